/* The progress views: lines of plain, objects of rawjson, and what a terminal shows of tty, found
 * out with a small terminal of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "cli/view.h"

struct fixture {
        struct view *v;
        int fd; /* a memory file the view writes to */
};

static void open_view(struct fixture *f, struct view_opts *o)
{
        f->fd = memfd_create("view", MFD_CLOEXEC);
        assert_true(f->fd >= 0);
        o->term.fd = f->fd;
        if (!o->term.cols) {
                o->term.cols = 80;
                o->term.rows = 24;
        }
        o->log_fd = o->log_fd ? o->log_fd : -1;
        o->raw_fd = -1;
        assert_int_equal(view_new(o, &f->v, NULL), 0);
}

/* Everything written, after the view has ended; malloc'ed. */
static char *written(struct fixture *f)
{
        struct sb b = SB_INIT(64 << 20);

        view_end(f->v);
        assert_int_equal(lseek(f->fd, 0, SEEK_SET), 0);
        assert_int_equal(fd_read_all(f->fd, &b, "view", NULL), 0);
        (void)close(f->fd);
        view_free(f->v);
        return sb_take(&b);
}

static void send_event(struct fixture *f, struct bld_event ev)
{
        ev.file = ev.file ? ev.file : "Dockerfile";
        view_event(f->v, &ev);
}
#define SEND(f, ...) send_event(f, (struct bld_event){__VA_ARGS__})

static void send_log(struct fixture *f, const char *step, int stream, const char *text)
{
        SEND(f, .type = BLD_EV_STEP_LOG, .step = step, .stream = stream, .data = text,
             .len = strlen(text));
}

/* ---- plain ---- */

static void plain_lines(void **state)
{
        struct view_opts o = {.mode = VIEW_PLAIN};
        struct fixture f;
        char *have;

        (void)state;
        open_view(&f, &o);
        SEND(&f, .type = BLD_EV_STEP_PLAN, .step = "deps 4/4", .name = "RUN make", .line = 9);
        SEND(&f, .type = BLD_EV_STEP_PLAN, .step = "final 1/3", .name = "FROM debian:12-slim",
             .line = 12);
        SEND(&f, .type = BLD_EV_STEP_START, .step = "deps 4/4");
        send_log(&f, "deps 4/4", 1, "Compiling \033[32mserde\033[0m\n10%\r20%\r");
        SEND(&f, .type = BLD_EV_STEP_CACHED, .step = "final 1/3");
        SEND(&f, .type = BLD_EV_WARNING, .text = "watch out", .line = 3);
        SEND(&f, .type = BLD_EV_STEP_STATUS, .step = "deps 4/4", .text = "pull x", .done = 18200000,
             .total = 28100000);
        SEND(&f, .type = BLD_EV_STEP_STATUS, .step = "deps 4/4", .text = "pull x", .done = 18300000,
             .total = 28100000); /* too soon */
        SEND(&f, .type = BLD_EV_STEP_DONE, .step = "deps 4/4", .elapsed_ms = 39000);
        view_note(f.v, "note", "said \033[2Jaside");
        have = written(&f);
        assert_string_equal(
                have, "deps 4/4       start   RUN make                            Dockerfile:9\n"
                      "deps 4/4   0.0 | Compiling serde\n"
                      "final 1/3      cached  FROM debian:12-slim                 Dockerfile:12\n"
                      "warning: watch out (line 3)\n"
                      "deps 4/4   0.0 : pull x 18.2/28.1 MB\n"
                      "deps 4/4   0.0 | 20%\n"
                      "deps 4/4  39.0 done    exit 0\n"
                      "note: said aside\n");
        free(have);
}

static void plain_streams_and_log(void **state)
{
        int log = memfd_create("log", MFD_CLOEXEC);
        struct view_opts o = {.mode = VIEW_NONE, .log_streams = true, .log_fd = log, .raw_fd = -1};
        struct sb b = SB_INIT(1 << 20);
        struct fixture f;
        char *have;

        (void)state;
        open_view(&f, &o);
        SEND(&f, .type = BLD_EV_STEP_START, .step = "a 1/1", .name = "RUN x", .line = 2);
        send_log(&f, "a 1/1", 2, "two");
        send_log(&f, "a 1/1", 1, "one\n");
        send_log(&f, "a 1/1", 2, " parts\n");
        SEND(&f, .type = BLD_EV_STEP_ERROR, .step = "a 1/1", .text = "failed",
             .elapsed_ms = 120000);
        have = written(&f);
        assert_string_equal(have, ""); /* mode none */
        free(have);
        assert_int_equal(lseek(log, 0, SEEK_SET), 0);
        assert_int_equal(fd_read_all(log, &b, "log", NULL), 0);
        assert_string_equal(sb_text(&b),
                            "a 1/1      start   RUN x                               Dockerfile:2\n"
                            "a 1/1  0.0 1| one\n"
                            "a 1/1  0.0 2| two parts\n"
                            "a 1/1  120 error   failed\n");
        sb_done(&b);
        (void)close(log);
}

/* ---- rawjson ---- */

static const char *text_of(const struct js *j, const char *list, const char *key)
{
        return js_get_str(js_at(js_get(j, list), 0), key);
}

static void raw_objects(void **state)
{
        struct view_opts o = {.mode = VIEW_RAWJSON};
        const char *const inputs[] = {"sha256:90", NULL};
        struct js *lines[16] = {0};
        struct fixture f;
        char *have, *save, *line;
        size_t n = 0;

        (void)state;
        open_view(&f, &o);
        SEND(&f, .type = BLD_EV_STEP_PLAN, .step = "deps 4/4", .name = "RUN \"q\"",
             .digest = "sha256:4b", .inputs = inputs);
        SEND(&f, .type = BLD_EV_STEP_START, .step = "deps 4/4", .time_ns = 1795309803101000000);
        send_log(&f, "deps 4/4", 2, "hi\xff\n");
        SEND(&f, .type = BLD_EV_STEP_STATUS, .step = "deps 4/4", .text = "pull", .done = 1,
             .total = 2, .time_ns = 1795309803101000000);
        SEND(&f, .type = BLD_EV_WARNING, .text = "careful", .line = 3);
        SEND(&f, .type = BLD_EV_STEP_ERROR, .step = "deps 4/4", .text = "bad\xff",
             .time_ns = 1795309804101000000);
        have = written(&f);
        for (line = strtok_r(have, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                assert_true(n < ARRAY_LEN(lines));
                assert_int_equal(js_parse(line, strlen(line), &lines[n++], NULL), 0);
        }
        assert_int_equal(n, 6);
        assert_string_equal(text_of(lines[0], "vertexes", "digest"), "sha256:4b");
        assert_string_equal(text_of(lines[0], "vertexes", "name"), "[deps 4/4] RUN \"q\"");
        assert_string_equal(
                js_str(js_at(js_get(js_at(js_get(lines[0], "vertexes"), 0), "inputs"), 0)),
                "sha256:90");
        assert_null(text_of(lines[0], "vertexes", "started"));
        assert_string_equal(text_of(lines[1], "vertexes", "started"), "2026-11-22T01:10:03.101Z");
        assert_string_equal(text_of(lines[2], "logs", "vertex"), "sha256:4b");
        assert_string_equal(text_of(lines[2], "logs", "data"), "aGn/Cg==");
        assert_string_equal(text_of(lines[3], "statuses", "id"), "pull");
        assert_string_equal(text_of(lines[4], "warnings", "short"), "Y2FyZWZ1bA==");
        assert_string_equal(text_of(lines[5], "vertexes", "error"), "bad\xef\xbf\xbd");
        assert_non_null(text_of(lines[5], "vertexes", "completed"));
        for (size_t i = 0; i < n; i++)
                js_free(lines[i]);
        free(have);
}

/* ---- tty ---- */

#define COLS_MAX 200
#define SCROLL_MAX 400

/* Enough of a terminal: text, CR, LF, cursor up, erase. Lines that leave at the top are kept. */
struct screen {
        unsigned cols, rows, r, c;
        char cell[64][COLS_MAX];
        char scrolled[SCROLL_MAX][COLS_MAX];
        unsigned nscrolled;
};

static void screen_init(struct screen *s, unsigned cols, unsigned rows)
{
        memset(s, 0, sizeof(*s));
        memset(s->cell, ' ', sizeof(s->cell));
        s->cols = cols;
        s->rows = rows;
}

static void screen_down(struct screen *s)
{
        if (s->r + 1 < s->rows) {
                s->r++;
                return;
        }
        assert_true(s->nscrolled < SCROLL_MAX);
        memcpy(s->scrolled[s->nscrolled++], s->cell[0], COLS_MAX);
        memmove(s->cell[0], s->cell[1], (s->rows - 1) * COLS_MAX);
        memset(s->cell[s->rows - 1], ' ', COLS_MAX);
}

static void screen_csi(struct screen *s, unsigned n, char final)
{
        if (final == 'A') {
                assert_true(n <= s->r); /* never above the top: that would overwrite history */
                s->r -= n;
        } else if (final == 'K') {
                memset(s->cell[s->r] + s->c, ' ', COLS_MAX - s->c);
        } else if (final == 'J') {
                memset(s->cell[s->r] + s->c, ' ', COLS_MAX - s->c);
                for (unsigned i = s->r + 1; i < s->rows; i++)
                        memset(s->cell[i], ' ', COLS_MAX);
        } else if (!strchr("mhl", final)) {
                fail_msg("escape sequence %c", final);
        }
}

static void screen_feed(struct screen *s, const char *p)
{
        while (*p) {
                if (*p == '\033') {
                        unsigned n = 0;

                        assert_int_equal(p[1], '[');
                        for (p += 2; strchr("?;0123456789", *p); p++)
                                n = *p >= '0' && *p <= '9' ? n * 10 + (unsigned)(*p - '0') : 0;
                        screen_csi(s, n ? n : 1, *p++);
                } else if (*p == '\r') {
                        s->c = 0;
                        p++;
                } else if (*p == '\n') {
                        screen_down(s);
                        p++;
                } else {
                        if (s->c == s->cols) {
                                s->c = 0;
                                screen_down(s);
                        }
                        assert_true((unsigned char)*p >= 0x20);
                        s->cell[s->r][s->c++] = *p++;
                }
        }
}

/* All lines, history first, without trailing blanks. */
static char *screen_text(const struct screen *s)
{
        struct sb b = SB_INIT(1 << 20);

        for (unsigned i = 0; i < s->nscrolled + s->rows; i++) {
                const char *line = i < s->nscrolled ? s->scrolled[i] : s->cell[i - s->nscrolled];
                size_t n = COLS_MAX;

                while (n && line[n - 1] == ' ')
                        n--;
                sb_add(&b, line, n);
                sb_char(&b, '\n');
        }
        while (b.len > 1 && b.buf[b.len - 2] == '\n')
                sb_cut(&b, b.len - 1);
        return sb_take(&b);
}

/* ASCII glyphs, so that a byte is a column. */
static struct view_opts tty_opts(unsigned cols, unsigned rows)
{
        return (struct view_opts){.mode = VIEW_TTY,
                                  .title = "app:v1",
                                  .term = {.redraw = true, .cols = cols, .rows = rows}};
}

/* Frames come from a thread ten times a second; wait until the file has grown. */
static void await_frame(struct fixture *f)
{
        off_t before = lseek(f->fd, 0, SEEK_END);

        for (int i = 0; i < 500 && lseek(f->fd, 0, SEEK_END) == before; i++)
                (void)usleep(10000);
}

static void tty_scene(struct fixture *f, unsigned running)
{
        char step[32], line[64];

        for (unsigned i = 1; i <= running; i++) {
                (void)snprintf(step, sizeof(step), "s%u 1/1", i);
                SEND(f, .type = BLD_EV_STEP_PLAN, .step = step, .name = "RUN work", .line = i,
                     .steps_total = running);
                SEND(f, .type = BLD_EV_STEP_START, .step = step);
                for (int k = 0; k < 9; k++) {
                        (void)snprintf(line, sizeof(line), "out \033[5A%d of a long, long line\n",
                                       k);
                        send_log(f, step, 1, line);
                }
        }
}

static void tty_leaves_permanent_lines(void **state)
{
        static const struct {
                unsigned cols, rows, running;
        } sizes[] = {{80, 24, 1}, {80, 24, 3}, {80, 10, 12}, {40, 6, 2}, {20, 4, 3}, {12, 2, 2}};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                struct view_opts o = tty_opts(sizes[i].cols, sizes[i].rows);
                struct screen s;
                struct fixture f;
                char *bytes, *text, step[32];

                print_message("%u x %u, %u steps\n", sizes[i].cols, sizes[i].rows,
                              sizes[i].running);
                open_view(&f, &o);
                tty_scene(&f, sizes[i].running);
                await_frame(&f);
                for (unsigned k = 1; k <= sizes[i].running; k++) {
                        (void)snprintf(step, sizeof(step), "s%u 1/1", k);
                        SEND(&f, .type = BLD_EV_STEP_DONE, .step = step, .elapsed_ms = 1500);
                        await_frame(&f);
                }
                bytes = written(&f);
                screen_init(&s, sizes[i].cols, sizes[i].rows);
                screen_feed(&s, bytes);
                text = screen_text(&s);
                /* Nothing of the live area is left, and every step once. */
                assert_null(strstr(text, "bld  app:v1"));
                assert_null(strstr(text, "out "));
                for (unsigned k = 1; k <= sizes[i].running; k++) {
                        char *at;

                        (void)snprintf(step, sizeof(step), "+ s%u ", k);
                        at = strstr(text, step);
                        assert_non_null(at);
                        assert_null(strstr(at + 1, step));
                }
                free(text);
                free(bytes);
        }
}

static void tty_frame(void **state)
{
        struct view_opts o = tty_opts(60, 12);
        struct sb b = SB_INIT(1 << 20);
        struct screen s;
        struct fixture f;
        char *text, *bytes;

        (void)state;
        open_view(&f, &o);
        SEND(&f, .type = BLD_EV_STEP_CACHED, .step = "base 1/1", .name = "FROM x",
             .steps_total = 3);
        tty_scene(&f, 1);
        await_frame(&f);
        assert_true(fd_read_all(f.fd, &b, "frame", NULL) == 0 || b.len == 0);
        assert_int_equal(lseek(f.fd, 0, SEEK_SET), 0);
        sb_reset(&b);
        assert_int_equal(fd_read_all(f.fd, &b, "frame", NULL), 0);
        screen_init(&s, 60, 12);
        screen_feed(&s, sb_text(&b));
        text = screen_text(&s);
        assert_non_null(strstr(text, " + base 1/1  FROM x"));
        assert_non_null(strstr(text, "bld  app:v1"));
        assert_non_null(strstr(text, "1/2 steps"));
        assert_non_null(strstr(text, " > s1   1/1  RUN work"));
        assert_non_null(strstr(text, " | out 8 of a long, long line"));
        assert_non_null(strstr(text, " | out 3 of a long, long line"));
        assert_null(strstr(text, " | out 2 of a long, long line")); /* six lines */
        assert_null(strstr(sb_text(&b), "[5A"));
        free(text);
        sb_done(&b);
        bytes = written(&f);
        free(bytes);
}

static void tty_push_and_notes(void **state)
{
        struct view_opts o = tty_opts(80, 24);
        struct screen s;
        struct fixture f;
        char *text, *bytes;

        (void)state;
        open_view(&f, &o);
        SEND(&f, .type = BLD_EV_TRANSFER, .text = "reg/app:v1", .done = 1000000, .total = 4000000);
        await_frame(&f);
        view_note(f.v, "warning", "slow \033]0;x\007link");
        SEND(&f, .type = BLD_EV_WARNING, .text = "StageNameCasing", .line = 7);
        await_frame(&f);
        SEND(&f, .type = BLD_EV_TRANSFER, .text = "reg/app:v1", .done = 4000000, .total = 4000000);
        bytes = written(&f);
        assert_non_null(strstr(bytes, "1.0 / 4.0 MB   25%"));
        screen_init(&s, 80, 24);
        screen_feed(&s, bytes);
        text = screen_text(&s);
        assert_string_equal(text, "warning: slow link\nwarning: StageNameCasing (line 7)\n");
        free(text);
        free(bytes);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(plain_lines),
                cmocka_unit_test(plain_streams_and_log),
                cmocka_unit_test(raw_objects),
                cmocka_unit_test(tty_frame),
                cmocka_unit_test(tty_leaves_permanent_lines),
                cmocka_unit_test(tty_push_and_notes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
