/* The part of Go's text/template that people type after --format: fields, pipelines, range, if,
 * with the functions json, upper, lower, title, join, index, len, print, println, printf, eq, ne,
 * and, or, not. Anything else is refused by name. */
#ifndef CLI_TEMPLATE_H
#define CLI_TEMPLATE_H

#include "base/json.h"
#include "base/sb.h"

enum template_flags { TEMPLATE_STRICT = 1 /* an unknown first field is an error */ };

/* Append the text for one value. USAGE: bad template. */
int template_run(const char *text, const struct js *dot, unsigned flags, struct sb *out,
                 struct bld_err *err) MUST_CHECK;
/* Go's way of printing a value; "<no value>" for NULL. */
void template_print(const struct js *j, struct sb *out);

#endif
