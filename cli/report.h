/* Errors for people, in one form (docs/cli.md, "Errors"):
 *
 *   error: what happened
 *     --> Dockerfile:4
 *      4 | COPPY package.json ./
 *        | ^^^^^ did you mean COPY?
 *     why:  evidence
 *     try:  next step
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "base/sb.h"
#include "bld/bld.h"
#include "cli/steps.h"
#include "cli/term.h"

struct cli;

struct report {
        const struct bld_err *err;
        const struct bld_place *place; /* NULL: none */
        const char *platform;          /* NULL: not said */
        const struct step *step;       /* the failing step, for its last lines; NULL: none */
        unsigned tail;                 /* how many of them */
        bool debug;                    /* code and errno, too */
};

void report_format(const struct term *t, const struct report *r, struct sb *out);
/* The same as one JSON object, for --log-format json. */
void report_json(const struct report *r, struct sb *out);
/* A full disk: the same error with what takes the room and how to get some. step: "deps 4/4" or
 * NULL. While the session is open; it walks the store. */
bool report_is_full(const struct bld_err *err);
void report_full(struct cli *c, const struct bld_err *from, const char *step, struct bld_err *ret);
/* First line of a message, and its length. */
size_t report_what(const struct bld_err *err);

#endif
