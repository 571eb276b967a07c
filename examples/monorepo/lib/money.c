/* money CENTS...   prints amounts, a line for each */
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments)
{
    const char *currency = getenv("SHOP_CURRENCY");
    for (int i = 1; i < count; i++) {
        long cents = atol(arguments[i]);
        printf("%ld.%02ld %s\n", cents / 100, cents % 100, currency ? currency : "EUR");
    }
    return 0;
}
