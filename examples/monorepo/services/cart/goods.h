struct good {
    char id[32];
    char name[64];
    long cents;
};

/* Reads a catalog; returns how many goods it has, or -1. */
int read_catalog(const char *path, struct good *goods, int room);
