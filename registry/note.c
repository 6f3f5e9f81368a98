/* Lines for the user: retries and warnings. Composed anywhere, handed out by the engine thread. */
#include <stdarg.h>
#include <string.h>

#include "base/err.h"
#include "registry/client_priv.h"

#define NOTES_MAX 1000

void reg_safe(struct sb *out, const char *s, size_t n, size_t max)
{
        while (n > 0 && strchr(" \t\r\n", s[n - 1]))
                n--;
        sb_escaped(out, s, MIN(n, max));
        if (n > max)
                sb_str(out, "...");
}

/* A note that cannot be kept for lack of memory is lost: nothing depends on it. */
PRINTF(3, 0)
static void note(struct reg_client *c, bool once, const char *fmt, va_list ap)
{
        AUTO_SB struct sb b = SB_INIT(8192);
        bool wake = false, seen;

        if (!c->note)
                return;
        sb_vfmt(&b, fmt, ap);
        if (b.failed)
                return;
        (void)pthread_mutex_lock(&c->lock);
        seen = once && (map_get(&c->noted, sb_text(&b)) || c->noted.live >= NOTES_MAX ||
                        map_set(&c->noted, sb_text(&b), c) < 0);
        if (!seen && c->notes.n < NOTES_MAX && strv_add(&c->notes, sb_text(&b)) == 0)
                wake = c->running;
        (void)pthread_mutex_unlock(&c->lock);
        if (wake)
                engine_wake(c);
}

void reg_note(struct reg_client *c, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        note(c, false, fmt, ap);
        va_end(ap);
}

void reg_note_once(struct reg_client *c, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        note(c, true, fmt, ap);
        va_end(ap);
}
