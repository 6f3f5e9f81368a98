/* Runs a fuzz target over the files of a folder, in ordinary builds: the committed corpus is a
 * regression test. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "base/fd.h"
#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(int dirfd, const char *name)
{
        AUTO_SB struct sb b = SB_INIT(64u << 20);
        struct bld_err err = BLD_ERR_INIT;

        if (file_read(dirfd, name, &b, &err) < 0) {
                (void)fprintf(stderr, "%s: %s\n", name, err.msg);
                return -1;
        }
        (void)LLVMFuzzerTestOneInput((const uint8_t *)sb_text(&b), b.len);
        return 0;
}

int main(int argc, char **argv)
{
        size_t n = 0;
        struct dirent *e;
        DIR *d = argc == 2 ? opendir(argv[1]) : NULL;

        if (!d) {
                (void)fprintf(stderr, "usage: %s FOLDER (which must exist)\n", argv[0]);
                return 2;
        }
        while ((e = readdir(d))) {
                if (e->d_name[0] == '.')
                        continue;
                if (replay(dirfd(d), e->d_name) < 0)
                        return 1;
                n++;
        }
        (void)closedir(d);
        if (n == 0) {
                (void)fprintf(stderr, "%s: empty corpus\n", argv[1]);
                return 1;
        }
        (void)printf("%s: %zu inputs replayed\n", argv[1], n);
        return 0;
}
