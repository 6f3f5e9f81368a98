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

void reg_note(struct reg_client *c, const char *fmt, ...)
{
        AUTO_SB struct sb b = SB_INIT(8192);
        bool running = false;
        va_list ap;

        if (!c->note)
                return;
        va_start(ap, fmt);
        sb_vfmt(&b, fmt, ap);
        va_end(ap);
        if (b.failed)
                return;
        (void)pthread_mutex_lock(&c->lock);
        /* a note that cannot be kept for lack of memory is lost: nothing depends on it */
        if (!map_get(&c->noted, sb_text(&b)) && c->noted.live < NOTES_MAX &&
            map_set(&c->noted, sb_text(&b), c) == 0 && strv_add(&c->notes, sb_text(&b)) == 0)
                running = c->running;
        (void)pthread_mutex_unlock(&c->lock);
        if (running)
                engine_wake(c);
}
