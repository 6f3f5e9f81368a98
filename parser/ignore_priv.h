/* One compiled ignore pattern, and the path it is tried on. */
#ifndef PARSER_IGNORE_PRIV_H
#define PARSER_IGNORE_PRIV_H

#include "base/base.h"

enum ignore_kind {
        IGNORE_EXACT,  /* no wildcard */
        IGNORE_PREFIX, /* text, then anything: "dir/" of "dir/<star><star>" */
        IGNORE_SUFFIX, /* anything, then text */
        IGNORE_TOKENS,
};

enum ignore_tok_kind {
        TOK_TEXT,
        TOK_ANY,   /* ?: one character but '/' */
        TOK_STAR,  /* *: a run without '/' */
        TOK_CLASS, /* [..] */
        TOK_DIRS,  /* ** before more: nothing, or leading path elements with their '/' */
        TOK_REST,  /* ** at the end: everything */
};

struct ignore_tok {
        enum ignore_tok_kind kind;
        size_t off, len; /* TEXT: in texts; CLASS: in texts, behind its '[' */
};

struct ignore_pattern {
        char *raw; /* as written */
        unsigned line;
        bool exception;
        enum ignore_kind kind;
        char *texts; /* the text, or the bytes of all tokens */
        size_t len;
        struct ignore_tok *toks;
        size_t ntoks;
        /* A text that must stand at an end of the path or a parent folder; one that must stand
         * anywhere. Length 0: none. They refuse most paths without running the tokens. */
        size_t tail_off, tail_len, need_off, need_len;
};

/* A pattern hits a path when it matches the path or a parent folder of it: every '/' in the path
 * and its end is a place where a match may end. Paths that are longer or deeper than these limits
 * (no system call takes them) are judged by their parent folder within the limits. */
#define IGNORE_PATH_MAX 8192
#define IGNORE_ENDS_MAX 512

struct ignore_subject {
        const char *s;
        size_t n;
        size_t ends[IGNORE_ENDS_MAX], nends;
};

void ignore_subject_init(struct ignore_subject *s, const char *path);

/* Fills p from the cleaned pattern. 0, INVALID, or NOMEM; p is freed by ignore_pattern_done. */
int ignore_pattern_compile(struct ignore_pattern *p, const char *clean) MUST_CHECK;
void ignore_pattern_done(struct ignore_pattern *p);
bool ignore_pattern_match(const struct ignore_pattern *p, const struct ignore_subject *s);
/* Can the pattern match something that begins with this text, "folder/"? */
bool ignore_pattern_may_match_below(const struct ignore_pattern *p,
                                    const struct ignore_subject *dir);

#endif
