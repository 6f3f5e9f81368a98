#include "registry/challenge_priv.h"

#include <ctype.h>
#include <string.h>

#include "base/err.h"
#include "base/sb.h"

#define CHALLENGES_MAX 32
#define PARAMS_MAX 64

struct scan {
        const char *p, *end;
};

static void chal_done(struct reg_chal *c)
{
        free(c->scheme);
        free(c->token68);
        strv_done(&c->keys);
        strv_done(&c->values);
}

void reg_chals_free(struct reg_chals *a)
{
        for (size_t i = 0; i < a->n; i++)
                chal_done(&a->v[i]);
        reg_chals_done(a);
}

static bool is_tchar(char ch)
{
        unsigned char c = (unsigned char)ch;

        return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_space(struct scan *s)
{
        while (s->p < s->end && (*s->p == ' ' || *s->p == '\t'))
                s->p++;
}

static size_t token_len(const struct scan *s)
{
        size_t n = 0;

        while (s->p + n < s->end && is_tchar(s->p[n]))
                n++;
        return n;
}

static size_t token68_len(const struct scan *s)
{
        size_t n = 0;

        while (s->p + n < s->end &&
               (isalnum((unsigned char)s->p[n]) || (s->p[n] && strchr("-._~+/", s->p[n]))))
                n++;
        if (n == 0)
                return 0;
        while (s->p + n < s->end && s->p[n] == '=')
                n++;
        return n;
}

/* Past the next comma that is not inside quotes. */
static void skip_element(struct scan *s)
{
        bool quoted = false;

        for (; s->p < s->end; s->p++) {
                if (quoted && *s->p == '\\' && s->p + 1 < s->end)
                        s->p++;
                else if (*s->p == '"')
                        quoted = !quoted;
                else if (*s->p == ',' && !quoted)
                        return;
        }
}

static char *lower_dup(const char *p, size_t n)
{
        char *s = mem_strndup(p, n);

        for (char *q = s; q && *q; q++)
                *q = (char)tolower((unsigned char)*q);
        return s;
}

/* A quoted string; an unclosed one ends with the line. */
static char *quoted_value(struct scan *s)
{
        AUTO_SB struct sb b = SB_INIT(64u << 10);

        for (s->p++; s->p < s->end && *s->p != '"'; s->p++) {
                if (*s->p == '\\' && s->p + 1 < s->end)
                        s->p++;
                if (*s->p)
                        sb_char(&b, *s->p);
        }
        if (s->p < s->end)
                s->p++;
        return b.failed ? NULL : sb_take(&b);
}

/* At "key = value". 1 read (or skipped as a duplicate), 0 this is no parameter (nothing moved). */
static int param(struct scan *s, struct reg_chal *c, struct bld_err *err)
{
        AUTO_FREE char *key = NULL, *value = NULL;
        struct scan at = *s;
        size_t n = token_len(&at);

        if (n == 0)
                return 0;
        key = lower_dup(at.p, n);
        at.p += n;
        skip_space(&at);
        if (at.p >= at.end || *at.p != '=')
                return 0;
        at.p++;
        skip_space(&at);
        if (at.p < at.end && *at.p == '"') {
                value = quoted_value(&at);
        } else {
                /* servers forget to quote URLs: take all up to a comma or space */
                const char *start = at.p;

                while (at.p < at.end && !strchr(", \t", *at.p))
                        at.p++;
                value = mem_strndup(start, (size_t)(at.p - start));
        }
        *s = at;
        if (!key || !value)
                return err_nomem(err, "read a challenge");
        if (strv_has(&c->keys, key))
                return 1;
        if (c->keys.n >= PARAMS_MAX)
                return 1; /* nobody means that many: the rest is garbage */
        if (strv_add(&c->keys, key) < 0 || strv_add(&c->values, value) < 0)
                return err_nomem(err, "read a challenge");
        return 1;
}

/* At a scheme name: start a challenge, and read what follows on the same comma element. */
static int start_challenge(struct scan *s, size_t n, struct reg_chals *out, struct bld_err *err)
{
        struct reg_chal *c;
        bool spaced;
        int r;

        if (out->n >= CHALLENGES_MAX) {
                s->p = s->end;
                return 0;
        }
        c = reg_chals_push(out);
        if (!c)
                return err_nomem(err, "read a challenge");
        c->scheme = lower_dup(s->p, n);
        if (!c->scheme)
                return err_nomem(err, "read a challenge");
        s->p += n;
        spaced = s->p < s->end && (*s->p == ' ' || *s->p == '\t');
        skip_space(s);
        if (!spaced || s->p >= s->end || *s->p == ',')
                return 0;
        n = token68_len(s);
        /* "abc==" has the form of a parameter, too, with the value "=" */
        if (!(n > 2 && s->p[n - 1] == '=' && s->p[n - 2] == '=')) {
                r = param(s, c, err);
                if (r != 0)
                        return r < 0 ? r : 0;
        }
        if (n > 0) {
                c->token68 = mem_strndup(s->p, n);
                if (!c->token68)
                        return err_nomem(err, "read a challenge");
                s->p += n;
        }
        return 0;
}

/* Is the token at s followed by '=' (a parameter), rather than being a scheme? "a=" alone could be
 * both; a parameter it is, as no registry has a scheme with '=' after it. */
static bool at_param(const struct scan *s, size_t n)
{
        struct scan at = *s;

        at.p += n;
        skip_space(&at);
        return at.p < at.end && *at.p == '=';
}

int reg_chal_parse(const char *text, size_t len, struct reg_chals *out, struct bld_err *err)
{
        struct scan s = {text, text + len};
        size_t before = out->n;

        while (s.p < s.end) {
                size_t n;
                int r = 0;

                skip_space(&s);
                n = token_len(&s);
                if (n > 0 && at_param(&s, n)) {
                        /* a parameter before any scheme is garbage */
                        if (out->n > before)
                                r = param(&s, &out->v[out->n - 1], err);
                } else if (n > 0) {
                        r = start_challenge(&s, n, out, err);
                }
                if (r < 0)
                        return r;
                skip_element(&s);
                if (s.p < s.end)
                        s.p++;
        }
        return 0;
}

const char *reg_chal_get(const struct reg_chal *c, const char *key)
{
        for (size_t i = 0; i < c->keys.n && i < c->values.n; i++)
                if (str_eq(c->keys.v[i], key))
                        return c->values.v[i];
        return NULL;
}

const struct reg_chal *reg_chal_find(const struct reg_chals *a, const char *scheme)
{
        for (size_t i = 0; i < a->n; i++)
                if (str_eq(a->v[i].scheme, scheme))
                        return &a->v[i];
        return NULL;
}
