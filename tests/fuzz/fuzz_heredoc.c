/* Heredocs: the bodies of a parsed Dockerfile against a reading of the source lines that knows
 * nothing of the lexer, and what is made of them. */
#include <string.h>

#include "base/err.h"
#include "parser/expand.h"
#include "parser/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
        if (!ok)
                abort();
}

/* Is the line the terminator? */
static bool ends(const struct df_heredoc *h, const char *s, size_t n)
{
        while (h->chomp && n > 0 && *s == '\t') {
                s++;
                n--;
        }
        while (n > 0 && (s[n - 1] == '\r' || s[n - 1] == '\n'))
                n--;
        return n == strlen(h->name) && memcmp(s, h->name, n) == 0;
}

/* The body is the source from its first line to the terminator, byte for byte. */
static void check_body(const struct df_file *f, const struct df_heredoc *h)
{
        const char *p = f->text, *end = f->text + f->len, *start;

        must(h->line >= 2 && h->end_line >= h->line);
        for (unsigned i = 1; i < h->line; i++) {
                p = memchr(p, '\n', (size_t)(end - p));
                must(p != NULL);
                p++;
        }
        start = p;
        for (unsigned i = h->line; i <= h->end_line; i++) {
                const char *nl = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
                const char *next = nl ? nl + 1 : end;

                must(p < end && ends(h, p, (size_t)(next - p)) == (i == h->end_line));
                if (i == h->end_line)
                        break;
                p = next;
        }
        must(h->content_len == (size_t)(p - start));
        must(memcmp(h->content, start, h->content_len) == 0);
}

static void check_chomp(const struct df_heredoc *h)
{
        size_t n, o = 0;
        char *out = df_heredoc_chomp(h->content, h->content_len, &n);
        bool at_start = true;

        must(out != NULL && n <= h->content_len);
        for (size_t i = 0; i < h->content_len; i++) {
                if (at_start && h->content[i] == '\t')
                        continue;
                must(o < n && out[o++] == h->content[i]);
                at_start = h->content[i] == '\n';
        }
        must(o == n);
        free(out);
}

static const char *lookup(void *user, const char *name)
{
        (void)user;
        return strcmp(name, "A") == 0 ? "$A \"x'\\" : NULL;
}

/* Without a `$` and a backslash, and always when the delimiter is quoted, nothing changes. */
static void check_expand(const struct df_heredoc *h)
{
        const struct df_env env = {.get = lookup};
        struct bld_err err = BLD_ERR_INIT;
        struct df_heredoc whole = *h;
        char *out = NULL;
        size_t n = 0;
        int r;

        whole.chomp = false; /* check_chomp() is about that */
        r = df_expand_heredoc(&whole, &env, &out, &n, &err);
        must(r == 0 || (err.code == r && err.msg[0]));
        if (!h->expand || (!memchr(h->content, '$', h->content_len) &&
                           !memchr(h->content, '\\', h->content_len))) {
                must(r == 0 && n == h->content_len);
                must(memcmp(out, h->content, n) == 0);
        }
        free(out);
}

static void check_instr(const struct df_file *f, const struct df_instr *in)
{
        for (size_t i = 0; i < in->nheredocs; i++) {
                const struct df_heredoc *h = &in->heredocs[i], *found = NULL;

                must(h->name[0] && strstr(h->word, "<<"));
                must(h->line == (i == 0 ? h->line : in->heredocs[i - 1].end_line + 1));
                must(h->end_line <= in->end_line);
                check_body(f, h);
                check_chomp(h);
                check_expand(h);
                must(df_heredoc_find(in, h->word, &found, NULL) == 1);
                must(found >= h && strcmp(found->name, h->name) == 0);
        }
}

/* A stored trigger brings its heredocs with it. */
static void check_trigger(const struct df_file *f, const struct df_instr *in)
{
        struct df_file *t = NULL;

        if (!in->sub || in->nheredocs == 0 ||
            df_parse_trigger(in->trigger, strlen(in->trigger), f->escape, &t, NULL) < 0)
                return;
        must(t->n == 1 && t->v[0].nheredocs == in->nheredocs);
        for (size_t i = 0; i < in->nheredocs; i++) {
                const struct df_heredoc *a = &in->heredocs[i], *b = &t->v[0].heredocs[i];

                must(strcmp(a->name, b->name) == 0 && a->expand == b->expand &&
                     a->chomp == b->chomp && a->fd == b->fd);
                must(a->content_len == b->content_len &&
                     memcmp(a->content, b->content, a->content_len) == 0);
        }
        df_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct bld_err err = BLD_ERR_INIT;
        struct df_file *f = NULL;

        if (df_parse((const char *)data, size, &f, NULL, &err) < 0) {
                must(err.code && err.msg[0]);
                return 0;
        }
        for (size_t i = 0; i < f->n; i++) {
                check_instr(f, &f->v[i]);
                if (f->v[i].kind == DF_ONBUILD)
                        check_trigger(f, &f->v[i]);
        }
        df_free(f);
        return 0;
}
