#!/usr/bin/lua5.4
-- Prints the goods, sorted: id, name, price in cents and stock, with tabs between them.
local goods = dofile(arg[1] or "/usr/share/shop/goods.lua")
table.sort(goods, function(a, b) return a.id < b.id end)
for _, it in ipairs(goods) do
    assert(math.type(it.cents) == "integer" and it.cents > 0, "the price of " .. it.id)
    print(table.concat({ it.id, it.name, it.cents, it.stock }, "\t"))
end
