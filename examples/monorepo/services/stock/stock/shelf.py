"""What is left of each good."""


class Shelf:
    def __init__(self, catalog):
        with open(catalog) as lines:
            rows = [line.rstrip("\n").split("\t") for line in lines]
        self.left = {good: int(number) for good, _, _, number in rows}

    def take(self, good, wanted):
        """Takes as many as there are. What is not in the catalog is for others to refuse."""
        if good not in self.left:
            return wanted
        given = min(wanted, self.left[good])
        self.left[good] -= given
        return given
