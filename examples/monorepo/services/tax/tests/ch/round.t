printf '1\tbox\t1000\n' | tax
