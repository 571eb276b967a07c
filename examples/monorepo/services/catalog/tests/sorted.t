cat >/tmp/goods.lua <<'END'
return { { id = "b", name = "second", cents = 2, stock = 0 }, { id = "a", name = "first", cents = 1, stock = 9 } }
END
catalog /tmp/goods.lua | tr '\t' ' '
