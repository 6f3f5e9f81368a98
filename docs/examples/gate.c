/* A gate for CI: compare the image a change would deploy with the one that runs, and refuse it when
 * it changes what it must not or costs too much to pull.
 *
 *   gate [-k PATH]... [-b BYTES] OLD NEW
 *
 *   -k PATH   nothing at or below PATH may change
 *   -b BYTES  a node that has OLD must not pull more than that for NEW
 *
 * Exit status 0: it may pass; 1: it may not, and standard output says why; 2: trouble. */
#include <bld/bld.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEEP_MAX 32

struct gate {
        const char *keep[KEEP_MAX]; /* patterns as in .dockerignore, "*" for everything below */
        size_t nkeep;
        uint64_t max_bytes;
};

/* Exit statuses, so that the worst wins. */
enum { PASS = 0, REFUSED = 1, TROUBLE = 2 };

static int trouble(const char *what, const struct bld_err *err)
{
        fprintf(stderr, "gate: %s: %s\n", what, err->msg);
        return TROUBLE;
}

static const char *word(const struct bld_change *c)
{
        switch (c->kind) {
        case BLD_CHANGE_ADDED:
                return "added";
        case BLD_CHANGE_DELETED:
                return "deleted";
        case BLD_CHANGE_MODIFIED:
                return "modified";
        case BLD_CHANGE_TYPE:
                return "another type";
        case BLD_CHANGE_METADATA:
                return "other attributes";
        }
        return "changed"; /* a kind younger than this program */
}

static int check_files(struct bld_image *before, struct bld_image *after, const struct gate *g)
{
        const struct bld_diff_opts o = {.size = sizeof(o),
                                        .ignore = BLD_DIFF_MTIME, /* every build has its own */
                                        .only = {g->keep, g->nkeep},
                                        .no_renames = true};
        struct bld_err err = BLD_ERR_INIT;
        struct bld_diff *d;
        size_t n;

        if (g->nkeep == 0)
                return PASS;
        if (bld_diff(before, after, &o, &d, &err) < 0)
                return trouble("compare", &err);
        n = bld_diff_count(d);
        for (size_t i = 0; i < n; i++) {
                const struct bld_change *c = bld_diff_change(d, i);

                printf("/%s: %s\n", c->path, word(c));
        }
        bld_diff_free(d);
        return n ? REFUSED : PASS;
}

static int check_cost(struct bld_image *before, struct bld_image *after, const struct gate *g)
{
        struct bld_pull_cost cost = {.size = sizeof(cost)};
        struct bld_err err = BLD_ERR_INIT;

        if (g->max_bytes == 0)
                return PASS;
        if (bld_pull_cost(before, after, &cost, &err) < 0)
                return trouble("pull cost", &err);
        if (cost.bytes <= g->max_bytes)
                return PASS;
        printf("pulling costs %" PRIu64 " bytes, allowed are %" PRIu64 "\n", cost.bytes,
               g->max_bytes);
        return REFUSED;
}

static int compare(struct bld *b, const char *old_ref, const char *new_ref, const struct gate *g)
{
        struct bld_image *before = NULL, *after = NULL;
        struct bld_err err = BLD_ERR_INIT;
        int files, cost, status;

        if (bld_image_open(b, old_ref, NULL, &before, &err) < 0) {
                status = trouble(old_ref, &err);
        } else if (bld_image_open(b, new_ref, NULL, &after, &err) < 0) {
                status = trouble(new_ref, &err);
        } else {
                files = check_files(before, after, g);
                cost = check_cost(before, after, g);
                status = files > cost ? files : cost;
        }
        bld_image_close(after); /* NULL is fine */
        bld_image_close(before);
        return status;
}

static bool parse(int argc, char **argv, struct gate *g)
{
        int c;

        while ((c = getopt(argc, argv, "k:b:")) != -1) {
                if (c == 'k' && g->nkeep < KEEP_MAX)
                        g->keep[g->nkeep++] = optarg;
                else if (c == 'b')
                        g->max_bytes = strtoull(optarg, NULL, 10);
                else
                        return false;
        }
        return argc - optind == 2;
}

int main(int argc, char **argv)
{
        const struct bld_opts o = {.size = sizeof(o)};
        struct bld_err err = BLD_ERR_INIT;
        struct gate g = {.nkeep = 0};
        struct bld *b;
        int status;

        if (!parse(argc, argv, &g)) {
                fprintf(stderr, "usage: gate [-k PATH]... [-b BYTES] OLD NEW\n");
                return TROUBLE;
        }
        if (bld_open(&o, &b, &err) < 0)
                return trouble("open the store", &err);
        status = compare(b, argv[optind], argv[optind + 1], &g);
        bld_close(b);
        return status;
}
