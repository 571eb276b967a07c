echo 'return { { id = "gift", name = "for free", cents = 0, stock = 1 } }' >/tmp/goods.lua
catalog /tmp/goods.lua 2>&1 | grep -o 'the price of gift'
