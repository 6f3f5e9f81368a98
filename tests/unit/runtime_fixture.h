/* A store with a busybox image in it, and a keeper at one level: for the tests of runtime/. The
 * test program is its own helper, so its main() calls rt_child_main() first. */
#ifndef TESTS_UNIT_RUNTIME_FIXTURE_H
#define TESTS_UNIT_RUNTIME_FIXTURE_H

#include "base/sb.h"
#include "runtime/runtime.h"

struct rtf {
        char dir[256];
        int store_fd;
        enum rt_level level;
        struct rt_keeper *k;
        unsigned steps;
};

/* The levels this process can try: as root both, else only the one of ordinary users. */
size_t rtf_levels(enum rt_level out[2]);

void rtf_open(struct rtf *f, enum rt_level level);
void rtf_close(struct rtf *f);
/* Like mkdir -p, and a file with content, below the store. */
void rtf_mkdir(struct rtf *f, const char *path);
void rtf_file(struct rtf *f, const char *path, const char *content);

/* Defaults for a step over snapshots/base/fs, with a scratch folder of its own (name in scratch).
 */
struct rtf_step {
        struct rt_step s;
        char scratch[64];
        const char *argv[4];
        const char *lowers[1];
};
void rtf_step_init(struct rtf *f, struct rtf_step *st, const char *script);
/* Run; output of both streams is appended to out. Returns rt_step_run's result. */
int rtf_run(struct rtf *f, struct rtf_step *st, const struct cancel *cancel, struct sb *out,
            struct rt_result *res, struct bld_err *err);

/* Processes whose command line contains text. */
size_t rtf_count_procs(const char *text);
/* Until that is so, at most ms. */
bool rtf_wait_procs(const char *text, size_t want, int ms);
/* Does a mount of this process mention text? */
bool rtf_mounted(const char *text);

#endif
