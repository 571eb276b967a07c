#!/usr/bin/python3
"""stock CATALOG: reads an order, lines of `NUMBER ID`, and prints it with no number above what there is."""
import sys

left = {}
with open(sys.argv[1]) as catalog:
    for line in catalog:
        good, _, _, number = line.rstrip("\n").split("\t")
        left[good] = int(number)

for line in sys.stdin:
    number, good = line.split()
    given = min(int(number), left.get(good, int(number)))
    if given < int(number):
        print(f"stock: only {given} of {good}", file=sys.stderr)
    if good in left:
        left[good] -= given
    if given > 0:
        print(given, good)
