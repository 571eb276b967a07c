#include <stdio.h>

#include "goods.h"

int read_catalog(const char *path, struct good *goods, int room)
{
    FILE *file = fopen(path, "r");
    char line[256];
    int count = 0;
    if (!file)
        return -1;
    while (count < room && fgets(line, sizeof line, file)) {
        struct good *good = &goods[count];
        if (sscanf(line, "%31[^\t]\t%63[^\t]\t%ld", good->id, good->name, &good->cents) == 3)
            count++;
    }
    fclose(file);
    return count;
}
