#!/usr/bin/mawk -f
# Hands on lines of number, name and cents, and adds one for the tax and one for the total.
BEGIN { FS = OFS = "\t"; rate = @RATE@ }
{ sum += $3; print }
END {
    tax = int(sum * rate / 100 + 0.5)
    print "", "tax " rate "%", tax
    print "", "total", sum + tax
}
