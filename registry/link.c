#include "registry/header_priv.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/sb.h"

struct scan {
        const char *p, *end;
};

static void skip_space(struct scan *s)
{
        while (s->p < s->end && isspace((unsigned char)*s->p))
                s->p++;
}

/* Is one of the space-separated relation types "next"? */
static bool has_next(const char *v)
{
        while (*v) {
                size_t n = strcspn(v, " \t");

                if (n == 4 && strncasecmp(v, "next", 4) == 0)
                        return true;
                v += n;
                v += strspn(v, " \t");
        }
        return false;
}

static void read_value(struct scan *s, struct sb *b)
{
        if (s->p < s->end && *s->p == '"') {
                for (s->p++; s->p < s->end && *s->p != '"'; s->p++) {
                        if (*s->p == '\\' && s->p + 1 < s->end)
                                s->p++;
                        sb_char(b, *s->p);
                }
                if (s->p < s->end)
                        s->p++;
                return;
        }
        while (s->p < s->end && !strchr(";, \t", *s->p))
                sb_char(b, *s->p++);
}

/* After "<target>": the parameters up to the comma. Sets *next when rel says so; the first rel of a
 * link counts (RFC 8288, 3.3). */
static void read_params(struct scan *s, bool *next)
{
        bool seen = false;

        for (;;) {
                AUTO_SB struct sb v = SB_INIT(64u << 10);
                const char *name;
                size_t n;

                skip_space(s);
                if (s->p >= s->end || *s->p == ',')
                        return;
                if (*s->p != ';') { /* garbage: up to the next separator */
                        s->p++;
                        continue;
                }
                s->p++;
                skip_space(s);
                name = s->p;
                while (s->p < s->end && !strchr("=;, \t", *s->p))
                        s->p++;
                n = (size_t)(s->p - name);
                skip_space(s);
                if (s->p >= s->end || *s->p != '=')
                        continue;
                s->p++;
                skip_space(s);
                read_value(s, &v);
                if (!seen && n == 3 && strncasecmp(name, "rel", 3) == 0) {
                        seen = true;
                        *next = has_next(sb_text(&v));
                }
        }
}

int reg_link_next(const char *text, size_t len, char **ret, struct bld_err *err)
{
        struct scan s = {text, text + len};

        while (s.p < s.end) {
                const char *target, *close;
                bool next = false;

                skip_space(&s);
                if (s.p >= s.end)
                        break;
                if (*s.p != '<') {
                        s.p++;
                        continue;
                }
                target = s.p + 1;
                close = memchr(target, '>', (size_t)(s.end - target));
                if (!close)
                        return 0;
                s.p = close + 1;
                read_params(&s, &next);
                if (next) {
                        *ret = mem_strndup(target, (size_t)(close - target));
                        return *ret ? 1 : err_nomem(err, "read a Link header");
                }
        }
        return 0;
}
