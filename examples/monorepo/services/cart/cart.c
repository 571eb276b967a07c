/* cart CATALOG   reads an order, lines of `NUMBER ID`; prints number, name and cents, with tabs between them */
#include <stdio.h>
#include <string.h>

#include "goods.h"

int main(int count, char **arguments)
{
    static struct good goods[1000];
    int known = count == 2 ? read_catalog(arguments[1], goods, 1000) : -1;
    char line[256], id[32];
    long number;
    if (known < 0) {
        fprintf(stderr, "usage: cart CATALOG < ORDER\n");
        return 2;
    }
    for (int row = 1; fgets(line, sizeof line, stdin); row++) {
        int i = 0;
        if (sscanf(line, "%ld %31s", &number, id) != 2 || number < 1) {
            fprintf(stderr, "cart: line %d: not a number and a good: %s", row, line);
            return 1;
        }
        while (i < known && strcmp(goods[i].id, id) != 0)
            i++;
        if (i == known) {
            fprintf(stderr, "cart: line %d: there is no %s\n", row, id);
            return 1;
        }
        printf("%ld\t%s\t%ld\n", number, goods[i].name, number * goods[i].cents);
    }
    return 0;
}
