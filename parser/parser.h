/* Dockerfile text -> syntax tree. Sans-I/O: no files, no stages, no evaluation.
 * Grammar: the Dockerfile reference as BuildKit's built-in frontend reads it (docs/dockerfile.md).
 * Threads: MT-Object; a finished tree is immutable and MT-Safe to read. */
#ifndef PARSER_PARSER_H
#define PARSER_PARSER_H

#include "base/base.h"
#include "base/sb.h"
#include "base/vec.h"

enum df_kind {
        DF_UNKNOWN, /* kept as a node; df_check() reports it */
        DF_FROM,
        DF_RUN,
        DF_CMD,
        DF_ENTRYPOINT,
        DF_SHELL,
        DF_COPY,
        DF_ADD,
        DF_ENV,
        DF_LABEL,
        DF_ARG,
        DF_WORKDIR,
        DF_USER,
        DF_VOLUME,
        DF_EXPOSE,
        DF_STOPSIGNAL,
        DF_HEALTHCHECK,
        DF_MAINTAINER,
        DF_ONBUILD,
};

/* Where something stands in the file: 1-based line, 1-based byte column (0: unknown), bytes. */
struct df_pos {
        unsigned line, col, len;
};

/* A word of an instruction, unexpanded, with quotes as written. */
struct df_arg {
        char *text;
        struct df_pos pos;
};

struct df_flag {
        char *name;  /* without dashes */
        char *value; /* NULL when there was no '=' */
        struct df_pos pos;
};

struct df_pair {
        char *key, *value; /* unexpanded; value NULL: ARG without default */
        struct df_pos pos;
};

/* Body of a heredoc (section 2 of the language). */
struct df_heredoc {
        char *name;    /* delimiter, unquoted */
        char *word;    /* as written, "<<-'EOF'" */
        char *content; /* verbatim, every line terminated, not chomped */
        size_t content_len;
        unsigned fd;
        bool expand, chomp;
        unsigned line, end_line; /* first line of the body, line of the terminator */
};

/* Exec form (json) or one string handed to the shell. U+0000 in a JSON string is stored as the
 * bytes C0 80 (never valid UTF-8, so unambiguous); df_check() refuses it. */
struct df_cmd {
        bool json;
        struct strv argv; /* json: the elements; else one string (none when empty) */
};

enum df_health_kind { DF_HEALTH_CMD, DF_HEALTH_NONE };

struct df_instr {
        enum df_kind kind;
        char *word;     /* instruction word as written */
        char *original; /* logical line as written, continuations joined, trimmed */
        char *rest;     /* argument text after the flags, trimmed */
        unsigned line, end_line;
        struct df_flag *flags;
        size_t nflags;
        struct df_heredoc *heredocs;
        size_t nheredocs;
        struct strv comments; /* attached doc comments */

        /* By shape. Unused members are zero. */
        struct df_arg *args; /* FROM: image [as name]; COPY/ADD: sources then destination; VOLUME,
                                EXPOSE: entries; WORKDIR USER STOPSIGNAL MAINTAINER: one;
                                HEALTHCHECK: the type word */
        size_t nargs;
        bool args_json;        /* COPY/ADD/VOLUME given as a JSON array */
        struct df_cmd cmd;     /* RUN CMD ENTRYPOINT SHELL, HEALTHCHECK CMD */
        struct df_pair *pairs; /* ENV LABEL ARG */
        size_t npairs;
        bool legacy_pair; /* ENV/LABEL "key value" form */
        enum df_health_kind health;
        char *as_name;        /* FROM ... AS name, lower-cased */
        char *as_raw;         /* the name as written */
        struct df_instr *sub; /* ONBUILD: the trigger parsed; df_kind DF_UNKNOWN if not one */
        char *trigger;        /* ONBUILD: text to store, heredocs appended */
};

struct df_arena;

struct df_warning {
        const char *rule; /* "NoEmptyContinuation" */
        unsigned line;
};

struct df_file {
        struct df_instr *v;
        size_t n;
        char escape;  /* '\\' or '`' */
        char *syntax; /* reference of `# syntax=`, or NULL */
        char *check;  /* value of `# check=`, or NULL */
        char *text;   /* the source, as given */
        size_t len;
        struct df_warning *warnings;
        size_t nwarnings;
        struct df_arena *arena; /* owns every string and array of the tree */
};

/* Position of a failed parse; set on failure only. */
struct df_err_pos {
        struct df_pos pos;
};

/* Lexing and parsing to typed nodes. Flags are split but not judged, unknown instructions are kept
 * (so a test dump of any file is possible): df_check() does the rest.
 * Limits: 16 MiB of text, 100,000 instructions; memory is bounded by a small multiple of len.
 * Errors: INVALID (message without position), LIMIT, NOMEM. Caller: df_free. */
int df_parse(const char *text, size_t len, struct df_file **ret, struct df_err_pos *ret_pos,
             struct bld_err *err) MUST_CHECK;
void df_free(struct df_file *f);
DEFINE_AUTO_PTR(struct df_file, df_free);

/* Parse one ONBUILD trigger text ("RUN x", heredocs included); exactly one instruction. */
int df_parse_trigger(const char *text, size_t len, char escape, struct df_file **ret,
                     struct bld_err *err) MUST_CHECK;

/* What is wrong whatever the build: unknown instructions and flags, arity, order (only ARG before
 * FROM), stage names, ONBUILD of FROM, with BuildKit's wording and suggestions. */
int df_check(const struct df_file *f, struct df_err_pos *ret_pos, struct bld_err *err) MUST_CHECK;
int df_check_instr(const struct df_instr *in, struct df_err_pos *ret_pos,
                   struct bld_err *err) MUST_CHECK;

/* The heredoc that an argument of COPY or ADD, or the whole text of a RUN, stands for: `word` must
 * be one heredoc word ("<<-'EOF'"). Of two with one name the last counts.
 * 1 and *ret (lives as long as the tree), 0 when it is none, or NOMEM. */
int df_heredoc_find(const struct df_instr *in, const char *word, const struct df_heredoc **ret,
                    struct bld_err *err) MUST_CHECK;

/* The frontend the text asks for ("# syntax=", its forms for other languages included), malloc'ed,
 * or NULL. The text need not be a Dockerfile. */
int df_syntax(const char *text, size_t len, char **ret, struct bld_err *err) MUST_CHECK;

/* The candidate for "did you mean": edit distance under 3, the nearest; of equals one with two
 * letters swapped, else the first; NULL when there is none or `word` is one of the options. fold:
 * the case of letters does not matter. */
const char *df_suggest(const char *word, const char *const *options, size_t n, bool fold);

/* Text in double quotes as Go's %q prints it, which histories and messages show. */
void df_quote(struct sb *b, const char *s);

const char *df_kind_name(enum df_kind k); /* "RUN" */
/* Value of a flag (last one), "" when bare, NULL when absent. */
const char *df_flag(const struct df_instr *in, const char *name);
bool df_flag_bool(const struct df_instr *in, const char *name); /* after df_check */

/* The reference test dump of the whole file (section 4 of the language). */
int df_dump(const struct df_file *f, struct sb *out, struct bld_err *err) MUST_CHECK;

/* The heredocs of each instruction as JSON: an array per instruction of objects with name, content,
 * expand, chomp, fd. Bytes that are not UTF-8 come out as U+FFFD. */
int df_dump_heredocs(const struct df_file *f, struct sb *out, struct bld_err *err) MUST_CHECK;

/* The excerpt lines of a source position, for error messages: text of line n (1-based), borrowed
 * from f->text, without its terminator. */
bool df_source_line(const struct df_file *f, unsigned line, const char **ret, size_t *ret_len);

#endif
