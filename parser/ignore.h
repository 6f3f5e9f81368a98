/* .dockerignore files and the pattern matcher they share with COPY --exclude and --parents
 * (section 12 of the language), and Go's filepath.Match for wildcards in COPY sources. */
#ifndef PARSER_IGNORE_H
#define PARSER_IGNORE_H

#include "base/base.h"
#include "base/vec.h"

struct ignore;

/* Whole file. name is used in messages. Errors: INVALID with the line. Caller: ignore_free. */
int ignore_parse(const char *text, size_t len, const char *name, struct ignore **ret,
                 struct bld_err *err) MUST_CHECK;
/* From patterns, one each (COPY --exclude). */
int ignore_from_patterns(const struct strv *patterns, struct ignore **ret,
                         struct bld_err *err) MUST_CHECK;
void ignore_free(struct ignore *ig);
DEFINE_AUTO_PTR(struct ignore, ignore_free);

/* Is this relative, clean path (no leading '/') excluded? *ret_line, if wanted, is the line of the
 * pattern that decided, 0 for none. MT-Safe. */
bool ignore_match(const struct ignore *ig, const char *path, unsigned *ret_line);
/* Text of the pattern on that line as written, or NULL. */
const char *ignore_pattern(const struct ignore *ig, unsigned line);
/* Can something below this excluded folder still be included by an exception? (Otherwise a walk
 * need not descend.) */
bool ignore_may_include_below(const struct ignore *ig, const char *dir);
bool ignore_has_exceptions(const struct ignore *ig);
/* What ignore_parse() was told the file is called; "" for patterns that are in no file. */
const char *ignore_name(const struct ignore *ig);
size_t ignore_count(const struct ignore *ig);
/* Is there a pattern for everything in the root (a star, two, or two with slash and star)?
 * Exceptions are not looked at. */
bool ignore_excludes_all(const struct ignore *ig);

/* The matcher alone: one pattern, in which a leading '!' is no exception (COPY --parents). */
int ignore_from_pattern(const char *pattern, struct ignore **ret, struct bld_err *err) MUST_CHECK;

/* Go filepath.Match over the whole name; INVALID for a bad pattern. Returns 1, 0 or negative. */
int glob_match(const char *pattern, const char *name, struct bld_err *err) MUST_CHECK;
bool glob_has_wildcard(const char *s); /* an unescaped * ? or [ */

#endif
