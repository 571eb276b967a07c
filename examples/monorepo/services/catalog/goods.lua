return {
    { id = "tea", name = "green tea", cents = 450, stock = 20 },
    { id = "mug", name = "blue mug", cents = 899, stock = 3 },
    { id = "spoon", name = "small spoon", cents = 125, stock = 12 },
}
