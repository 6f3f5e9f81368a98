/* Looking at a Dockerfile without building it: checks, what a target can be given, its stages. */
#ifndef BLD_CHECK_H
#define BLD_CHECK_H

#include "bld/build.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A check that bld knows. Made by the library only; lives as long as it. */
struct bld_rule {
        const char *name; /* "StageNameCasing" */
        const char *description;
        const char *url;   /* NULL: it has no page */
        bool experimental; /* only when asked for */
};
/* Every rule there is, by name; NULL beyond the last. Threads: MT-Safe. */
BLD_API const struct bld_rule *bld_rule(size_t i);

struct bld_check_opts {
        size_t size;
        /* Files, targets, arguments and platforms as for bld_build(); what says what becomes of the
         * image is not looked at. Without a target every stage is checked. */
        const struct bld_build_opts *build;
        struct bld_list skip, only; /* names of rules; only: empty means all */
        bool experimental;          /* also the rules that are off by themselves */
};

/* One finding, made by the library only. rule, description and url are the rule's. */
struct bld_finding {
        const char *rule, *description, *url;
        char *detail;
        unsigned line, end_line; /* 1-based, of the instruction */
};

/* Filled by the call, whose caller sets size. */
struct bld_check_result {
        size_t size;
        struct bld_finding *v; /* read through bld_check_finding() */
        size_t n;
        char *file; /* the Dockerfile as people know it */
        char *source;
        size_t source_len;
        bool failed; /* the file cannot be built: error and place say why */
        struct bld_err error;
        struct bld_place place;
};

/* 0 when the Dockerfile could be read, whatever is wrong with it; ret is then filled. Base images
 * are looked up as for a build; one that the network cannot give costs its checks and a note.
 * Caller: bld_check_done. */
BLD_API int bld_check(struct bld *b, const struct bld_check_opts *o, struct bld_check_result *ret,
                      struct bld_err *err);
BLD_API void bld_check_done(struct bld_check_result *r);
/* Finding i, in the order of the file; NULL beyond the last. */
BLD_API const struct bld_finding *bld_check_finding(const struct bld_check_result *r, size_t i);
/* The document of `--call=check,format=json`. Caller: bld_free. */
BLD_API int bld_check_json(const struct bld_check_result *r, char **ret, struct bld_err *err);

/* The documents of `--call=outline` and `--call=targets`: what the target can be given, and all
 * stages. On failure place says where. Caller: bld_free. */
BLD_API int bld_outline(struct bld *b, const struct bld_build_opts *o, char **ret,
                        struct bld_place *place, struct bld_err *err);
BLD_API int bld_targets(struct bld *b, const struct bld_build_opts *o, char **ret,
                        struct bld_place *place, struct bld_err *err);

#ifdef __cplusplus
}
#endif
#endif
