#!/usr/bin/python3
"""pages CATALOG: prints the catalog as a web page."""
import os
import sys

with open(sys.argv[1]) as catalog:
    goods = [line.rstrip("\n").split("\t") for line in catalog]
prices = os.popen("money " + " ".join(cents for _, _, cents, _ in goods)).read().splitlines()

print("<!doctype html>")
print("<title>The corner shop</title>")
print('<link rel="stylesheet" href="style.css">')
print("<h1>The corner shop</h1>")
print("<table>")
for (_, name, _, stock), price in zip(goods, prices):
    print(f"<tr><td>{name}<td>{price if int(stock) else 'sold out'}")
print("</table>")
