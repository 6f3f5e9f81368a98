/* Option tables: parsing and help come from the same static tables (cli.md section 1). */
#ifndef BASE_OPT_H
#define BASE_OPT_H

#include "base/base.h"
#include "base/vec.h"

enum opt_kind {
        OPT_BOOL,   /* --x, --x=true|false|1|0, --no-x; target: bool */
        OPT_STR,    /* target: const char * (borrowed from argv) */
        OPT_LIST,   /* repeatable, empty value clears; target: struct strv */
        OPT_OPTSTR, /* --x or --x=value; target: const char *, "" when bare */
        OPT_NOTE,   /* foreign flag: accepted and ignored with one note */
        OPT_REFUSE, /* foreign flag: usage error, help text explains */
};

struct opt {
        const char *name; /* long name without dashes */
        char letter;      /* short flag or 0 */
        enum opt_kind kind;
        size_t offset;     /* of the target in the caller's struct */
        const char *arg;   /* placeholder in help; NULL for booleans */
        const char *help;  /* one line; NULL hides the option */
        const char *group; /* heading in help; NULL: same as the one before */
};

struct opt_note {
        void (*fn)(void *user, const char *text);
        void *user;
};

/* Parse argv[1..] into dst; flags may follow arguments, "--" ends flags. Positional arguments are
 * appended to args (borrowed). USAGE names the flag and, when near enough, the one meant. */
int opt_parse(const struct opt *const *tables, size_t ntables, int argc, char **argv, void *dst,
              struct strv *args, const struct opt_note *note, struct bld_err *err) MUST_CHECK;

/* Options as help text, at most 80 columns. */
struct sb;
void opt_help(const struct opt *const *tables, size_t ntables, struct sb *out);

/* The candidate nearest to word with an edit distance below limit, or NULL. Ties: first. */
const char *near_match(const char *word, const char *const *candidates, size_t n, size_t limit);
size_t edit_distance(const char *a, const char *b);

/* One CSV record (RFC 4180 quoting): fields appended to out. INVALID on a bare quote. */
int csv_split(const char *s, struct strv *out, struct bld_err *err) MUST_CHECK;

#endif
