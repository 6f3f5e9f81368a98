/* Git URLs as build contexts and ADD sources: which repository, which revision, which folder of it.
 * Sans-I/O. */
#ifndef PARSER_GITURL_H
#define PARSER_GITURL_H

#include "base/base.h"

struct giturl {
        char *remote;   /* for git itself: without query and fragment */
        char *ref;      /* "" when none: the remote's HEAD */
        char *subdir;   /* as given: clean it before use */
        char *checksum; /* commit hash or a prefix of one, or "" */
        char *mtime;    /* "checkout", "commit" or "" */
        /* -1: not said */
        int keep_git_dir, submodules;
        bool fetch_by_commit;
        bool like_path; /* github.com/...: may as well be a folder of that name */
        bool insecure;  /* http and git: nothing protects what comes over the wire */
};

/* 1 when s names a git repository, 0 when it is something else, INVALID when it names one wrongly
 * (conflicting or unknown query), or NOMEM. Caller: giturl_done. */
int giturl_parse(const char *s, struct giturl *ret, struct bld_err *err) MUST_CHECK;
void giturl_done(struct giturl *g);

#endif
