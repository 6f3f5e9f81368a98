/* The terminal behind a file descriptor, and what may be sent to it. */
#ifndef CLI_TERM_H
#define CLI_TERM_H

#include "base/base.h"

struct term {
        int fd;
        bool tty;    /* a terminal */
        bool redraw; /* understands cursor movement (TERM is set and not "dumb") */
        bool color;
        bool utf8;
        unsigned cols, rows;
};

enum term_color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

/* Look at fd and the environment (NO_COLOR, CLICOLOR, CLICOLOR_FORCE, FORCE_COLOR, TERM, locale).
 */
void term_init(struct term *t, int fd, enum term_color color);
/* Ask for the size; without an answer it stays as it was. */
void term_resize(struct term *t);
unsigned term_text_flags(const struct term *t); /* for text_add() */

/* Write all of it, waiting where fd does not block; false (errno set) when that fails. */
bool term_write(int fd, const void *p, size_t n);

/* SGR sequences, "" where colour is off. */
enum term_style { S_RESET, S_BOLD, S_DIM, S_RED, S_GREEN, S_YELLOW, S_BLUE, S_CYAN };
const char *term_style(const struct term *t, enum term_style s);

#endif
