/* Text for terminals: widths, cutting, and cleaning of what others wrote.
 * Everything that did not come from bld itself (step output, names, server messages) goes through
 * here before it reaches a terminal: escape sequences could otherwise rewrite the screen, set its
 * title, or make it type. Threads: MT-Safe after text_init(). */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include "base/base.h"
#include "base/sb.h"

enum text_flags {
        TEXT_SGR = 1,   /* colours pass; everything else of escape sequences never does */
        TEXT_ASCII = 2, /* the terminal is not UTF-8: other characters become '?' */
};

#define TEXT_WIDE ((size_t)1 << 30) /* "no limit" for widths */

/* Load the character tables that widths come from. Once, before threads; optional: without it every
 * character counts one column. */
void text_init(void);

/* Append s, cleaned, as far as it fits into `width` columns; returns the columns used. Tabs become
 * blanks, bad UTF-8 U+FFFD, control and bidirectional-override characters vanish. When colours
 * passed, a reset is appended. */
size_t text_add(struct sb *out, const char *s, size_t n, size_t width, unsigned flags);
/* The same, cut in the middle with "…" when it is too long. */
size_t text_add_middle(struct sb *out, const char *s, size_t n, size_t width, unsigned flags);
size_t text_width(const char *s, size_t n, unsigned flags);

/* What a terminal would show at the end of a line that uses '\r' to overwrite itself. */
void text_last_state(const char **s, size_t *n);

/* A JSON string, quotes included; bad UTF-8 becomes U+FFFD. */
void text_json(struct sb *out, const char *s, size_t n);
void text_base64(struct sb *out, const void *p, size_t n);
/* A file's name as it is, or in double quotes when something in it could deceive: quotes,
 * backslashes, what text_add() drops and bad UTF-8, as C writes them (\n, \303), which git and
 * patch(1) read, too: nothing of it is lost. */
void text_name(struct sb *out, const char *s, size_t n);
/* Would text_add() drop or replace any of it? Line ends and tabs do not count. */
bool text_hides(const char *s, size_t n);
/* Members of a JSON object: "KEY":"name", and "KEYBase64" with its exact bytes when it is not
 * UTF-8. */
void text_json_name(struct sb *out, const char *key, const char *s, size_t n);

/* ---- bytes to lines ---- */

struct line_buf {
        struct sb part; /* an unfinished line, bounded */
};
typedef void (*line_fn)(void *user, const char *line, size_t n);
void line_buf_init(struct line_buf *l);
void line_buf_done(struct line_buf *l);
/* Calls fn for every line that is complete (terminator removed, last '\r' state only). Lines longer
 * than 16 KiB come in pieces. */
void line_buf_feed(struct line_buf *l, const char *data, size_t n, line_fn fn, void *user);
/* And for what is left without a terminator. */
void line_buf_flush(struct line_buf *l, line_fn fn, void *user);

#endif
