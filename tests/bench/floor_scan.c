/* The least that comparing layers can cost: floor_scan BLOB...
 *
 * All blobs are decompressed at the same time, each once, by the calls that bld uses for it; of the
 * tar only the headers are looked at, nothing is hashed. */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "layer/layer.h"

#define BLOBS_MAX 8

static void *scan(void *arg)
{
        const struct ly_scan_opts o = {.content = false};
        const char *path = arg;
        struct bld_err err = BLD_ERR_INIT;
        struct ly_toc *t = NULL;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct ly_source in = ly_source_fd(fd);

        if (fd < 0 || ly_scan(&in, &o, &t, NULL, &err) < 0) {
                fprintf(stderr, "floor_scan: %s: %s\n", path, fd < 0 ? "cannot open" : err.msg);
                exit(1);
        }
        ly_toc_free(t);
        close(fd);
        return NULL;
}

int main(int argc, char **argv)
{
        pthread_t t[BLOBS_MAX];

        if (argc < 2 || argc - 1 > BLOBS_MAX)
                return 2;
        for (int i = 1; i < argc; i++)
                if (pthread_create(&t[i - 1], NULL, scan, argv[i]))
                        return 1;
        for (int i = 1; i < argc; i++)
                pthread_join(t[i - 1], NULL);
        return 0;
}
