/* The program: what all subcommands share. Each subcommand is one file with one `struct cli_cmd`;
 * main.c holds the table of them. The CLI uses the public API and base/ only. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/opt.h"
#include "base/sb.h"
#include "base/vec.h"
#include "bld/bld.h"
#include "cli/term.h"

struct view;

/* Flags every command takes (global) and those of commands that talk to a registry. First member
 * of every command's own argument struct: the tables' offsets count from there. */
struct cli_common {
        bool help, version, debug, no_ci, offline;
        const char *root, *log_level, *log_format, *color;
        bool tls_verify, mirror_only;
        const char *authfile, *creds, *retry, *retry_max_time, *parallel, *cert_dir, *limit_rate;
        struct strv insecure, ca, client_cert, credential_helper, mirror;
};

extern const struct opt cli_global_opts[], cli_registry_opts[];

enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct cli {
        const struct cli_common *o; /* of the command that runs */
        struct term err;            /* stderr */
        enum term_color color;      /* --color, for what is printed on stdout */
        enum log_level level;
        bool json_log;
        bool quiet;    /* no notes */
        struct bld *b; /* set by cli_open */
        char *creds;   /* with the password asked for; owned */
        uint64_t retries, parallel, limit_rate;
        int64_t retry_max_ms;
};

struct cli_cmd {
        const char *name;
        const char *aliases;  /* blank-separated, or NULL */
        const char *args;     /* for the usage line */
        const char *summary;  /* one line, lower case */
        const char *details;  /* further help text, whole lines, or NULL */
        const char *examples; /* whole lines without indentation */
        const char *exits;    /* exit codes beyond 0, 1 and 2, or NULL */
        const char *see;
        const struct opt *opts; /* NULL: none */
        bool registry;          /* takes the registry flags */
        size_t args_size;       /* of the argument struct */
        size_t min_args, max_args;
        void (*init)(void *args); /* defaults other than zero; NULL: none */
        bool names_input; /* malformed input is a malformed argument: exit 2 rather than 3 */
        const char *one;  /* what status 1 answers; failures that would be 1 are 2 then */
        /* args: the argument struct, parsed. Returns an exit status, or a negative code with err
         * filled, which main reports. */
        int (*run)(struct cli *c, void *args, const struct strv *pos, struct bld_err *err);
        /* Instead: gets its arguments as they are. */
        int (*run_raw)(struct cli *c, int argc, char **argv, struct bld_err *err);
        bool hidden;
};

extern const struct cli_cmd cmd_build, cmd_check, cmd_images, cmd_tag, cmd_rmi, cmd_inspect,
        cmd_files, cmd_cat, cmd_analyze, cmd_history, cmd_diff, cmd_pull, cmd_push, cmd_copy,
        cmd_mutate, cmd_append, cmd_flatten, cmd_rebase, cmd_save, cmd_load, cmd_import, cmd_export,
        cmd_tags, cmd_digest, cmd_manifest, cmd_config, cmd_blob, cmd_referrers, cmd_catalog,
        cmd_index, cmd_login, cmd_logout, cmd_du, cmd_prune, cmd_debug, cmd_doctor, cmd_version,
        cmd_help;
extern const struct cli_cmd *const cli_cmds[];
extern const size_t cli_ncmds;
const struct cli_cmd *cli_find_cmd(const char *name);

/* Environment first, so that flags win (cli.md 1.1, 1.2). */
int cli_env_apply(struct cli_common *o, struct bld_err *err) MUST_CHECK;
/* Judge the common flags and set c up. */
int cli_setup(struct cli *c, const struct cli_common *o, struct bld_err *err) MUST_CHECK;
/* Open the library with those flags; signals are handled from here on. Closed by main. */
int cli_open(struct cli *c, struct bld_err *err) MUST_CHECK;
void cli_close(struct cli *c);

/* Help of one command, or of all, to stdout. */
int cli_help(const struct cli_cmd *cmd, bool all, struct bld_err *err) MUST_CHECK;

/* Data on stdout. A reader that went away is no error: what it did not want is dropped. */
int cli_write_out(const void *p, size_t n, struct bld_err *err) MUST_CHECK;
int cli_puts(const char *s, struct bld_err *err) MUST_CHECK;
/* r of what the library wrote to the file `path`, or to stdout when that is NULL or "-": 0 where
 * the reader went away. */
int cli_written(int r, const char *path, struct bld_err *err) MUST_CHECK;

/* Whole lines for people on stderr: what was done. */
void cli_say(struct cli *c, const char *text);
/* Could a file be written under this name? "-" can. */
int cli_check_target(const char *flag, const char *path, struct bld_err *err) MUST_CHECK;
/* One line from the terminal; malloc'ed. prompt: "password: ". USAGE where there is none. */
int cli_ask(const char *prompt, bool echo, char **ret, struct bld_err *err) MUST_CHECK;

/* A line for people on stderr, past whatever view is drawn. kind: "note" or "warning". */
void cli_note(struct cli *c, const char *kind, const char *fmt, ...) PRINTF(3, 4);
void cli_opt_note(void *user,
                  const char *text); /* opt_note.fn and bld_opts.note; user: struct cli */
void cli_set_view(struct view *v);   /* NULL: none */

/* Ask on the terminal; 1 yes, 0 no, negative where there is no terminal (USAGE naming --force). */
int cli_confirm(struct cli *c, const char *question, struct bld_err *err) MUST_CHECK;

/* Flag values; USAGE naming the flag. NULL leaves *ret alone. */
int cli_number(const char *flag, const char *s, uint64_t max, uint64_t *ret, struct bld_err *err);
int cli_bytes(const char *flag, const char *s, uint64_t *ret, struct bld_err *err);
int cli_duration_ms(const char *flag, const char *s, int64_t *ret, struct bld_err *err);
struct bld_list cli_list(const struct strv *a);
/* Bytes of a reference before its tag and digest. */
size_t cli_repository_len(const char *ref);

/* What push, pull and copy did: for people on stderr ("pushed  NAME  DIGEST"), or on stdout as
 * NAME@DIGEST or in a format. */
struct cli_moved {
        const char *verb, *past; /* "push", "pushed" */
        const char *format;      /* NULL: for people */
        bool quiet, dry_run;
};
struct js;
int cli_moved_print(struct cli *c, const struct cli_moved *m, const struct js *list,
                    struct bld_err *err) MUST_CHECK;
/* --digest-file: each digest once, one per line, no newline behind the last. */
int cli_moved_digests(const char *path, const struct js *list, struct bld_err *err) MUST_CHECK;
/* Append what a call told (json, freed; NULL: nothing) to a list. */
int cli_moved_take(char *json, struct js *list, struct bld_err *err) MUST_CHECK;

/* Progress of a transfer, as bld_progress_fn with a struct cli_progress. */
struct cli_progress {
        struct cli *c;
        bool quiet;
        int64_t last_ms;
        bool drawn;
};
void cli_progress(void *user, const char *what, uint64_t done, uint64_t total);
void cli_progress_end(struct cli_progress *p);

#endif
