"""stock CATALOG: reads an order, lines of `NUMBER ID`, and prints it with no number above what there is."""
import sys

from shelf import Shelf

shelf = Shelf(sys.argv[1])
for line in sys.stdin:
    wanted, good = line.split()
    given = shelf.take(good, int(wanted))
    if given < int(wanted):
        print(f"stock: only {given} of {good}", file=sys.stderr)
    if given > 0:
        print(given, good)
