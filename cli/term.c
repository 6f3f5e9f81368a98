#include "cli/term.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/text.h"

static bool env_is(const char *name, const char *value)
{
        const char *e = getenv(name);

        return e && strcmp(e, value) == 0;
}

static bool env_set(const char *name)
{
        const char *e = getenv(name);

        return e && *e;
}

/* CLICOLOR_FORCE and FORCE_COLOR: set, and not "0" or "false". */
static bool env_forces(const char *name)
{
        return env_set(name) && !env_is(name, "0") && !env_is(name, "false");
}

static bool auto_color(const struct term *t)
{
        if (env_set("NO_COLOR"))
                return false;
        if (env_forces("CLICOLOR_FORCE") || env_forces("FORCE_COLOR"))
                return true;
        return t->tty && t->redraw && !env_is("CLICOLOR", "0") && !env_is("FORCE_COLOR", "0");
}

/* POSIX order of the variables that name the character set. */
static bool locale_is_utf8(void)
{
        static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (env_set(names[i]))
                        return strcasestr(getenv(names[i]), "utf-8") ||
                               strcasestr(getenv(names[i]), "utf8");
        return false;
}

void term_resize(struct term *t)
{
        struct winsize ws;
        uint64_t n;

        if (t->tty && ioctl(t->fd, TIOCGWINSZ, &ws) == 0 && ws.ws_col && ws.ws_row) {
                t->cols = ws.ws_col;
                t->rows = ws.ws_row;
        }
        if (t->cols)
                return;
        t->cols = 80;
        t->rows = 24;
        if (env_set("COLUMNS") && parse_u64(getenv("COLUMNS"), 10, 10000, &n))
                t->cols = (unsigned)n;
}

void term_init(struct term *t, int fd, enum term_color color)
{
        memset(t, 0, sizeof(*t));
        t->fd = fd;
        t->tty = isatty(fd) == 1;
        t->redraw = t->tty && env_set("TERM") && !env_is("TERM", "dumb");
        t->color = color == COLOR_ALWAYS || (color == COLOR_AUTO && auto_color(t));
        t->utf8 = locale_is_utf8();
        term_resize(t);
}

unsigned term_text_flags(const struct term *t)
{
        return (t->color ? TEXT_SGR : 0u) | (t->utf8 || !t->tty ? 0u : TEXT_ASCII);
}

bool term_write(int fd, const void *p, size_t n)
{
        const char *s = p;

        while (n) {
                ssize_t k = write(fd, s, n);

                if (k < 0 && errno == EAGAIN) {
                        struct pollfd w = {.fd = fd, .events = POLLOUT};

                        (void)poll(&w, 1, -1); /* the write tells what came of it */
                        continue;
                }
                if (k < 0 && errno != EINTR)
                        return false;
                s += k > 0 ? k : 0;
                n -= k > 0 ? (size_t)k : 0;
        }
        return true;
}

const char *term_style(const struct term *t, enum term_style s)
{
        static const char *const seq[] = {
                [S_RESET] = "\033[0m",  [S_BOLD] = "\033[1m",    [S_DIM] = "\033[2m",
                [S_RED] = "\033[1;31m", [S_GREEN] = "\033[32m",  [S_YELLOW] = "\033[33m",
                [S_BLUE] = "\033[34m",  [S_CYAN] = "\033[1;36m",
        };

        return t->color ? seq[s] : "";
}
