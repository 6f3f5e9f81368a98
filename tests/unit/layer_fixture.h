/* Shared by the tests of layer/: byte sinks and sources, a temp dir, running oracle programs. */
#ifndef TESTS_UNIT_LAYER_FIXTURE_H
#define TESTS_UNIT_LAYER_FIXTURE_H

#include "base/sb.h"
#include "layer/layer.h"

#define LF_MAX ((size_t)1 << 30)

/* Bytes in memory, read in pieces of at most `step` (0: as asked). */
struct lf_mem {
        const unsigned char *p;
        size_t n, pos, step;
};
struct ly_source lf_source(struct lf_mem *m);
/* Appends to a string builder. */
struct ly_sink lf_sink(struct sb *b);

/* A new folder below $TMPDIR; lf_rmdir() removes it and what is in it. */
char *lf_tmpdir(void);
void lf_rmdir(char *dir);

/* sh -c script with $1 = arg; input on stdin; stdout appended to out. Fails the test when the
 * script does not exit with 0. */
void lf_sh(const char *script, const char *arg, const void *input, size_t n, struct sb *out);
/* The same, exit status returned. */
int lf_sh_status(const char *script, const char *arg, const void *input, size_t n);

/* A tar of the entries given (files get `size` bytes of the letter 'x'). */
void lf_tar(const struct ly_entry *v, size_t n, struct sb *out);
/* Every entry of a tar, one line each: type mode uid:gid size mtime path [-> link]. */
int lf_list(const void *p, size_t n, size_t step, struct sb *out, struct bld_err *err);
struct ly_toc *lf_toc(const void *p, size_t n);
/* Bytes that compress about half, the same for the same seed. */
void lf_noise(unsigned char *p, size_t n, uint64_t seed);
int lf_open_dir(const char *path);
bool lf_is_root(void);

#endif
