/* Ignore files: text -> patterns (section 12 of the language); the matcher is ignore_match.c. */
#include "parser/ignore.h"

#include <string.h>

#include "base/err.h"
#include "base/path.h"
#include "parser/ignore_priv.h"
#include "parser/text_priv.h"

#define TEXT_MAX ((size_t)16 << 20)

VEC_DEFINE(pattern_vec, struct ignore_pattern);

struct ignore {
        struct pattern_vec patterns;
        bool exceptions;
        char *name;
};

void ignore_free(struct ignore *ig)
{
        if (!ig)
                return;
        for (size_t i = 0; i < ig->patterns.n; i++)
                ignore_pattern_done(&ig->patterns.v[i]);
        pattern_vec_done(&ig->patterns);
        free(ig->name);
        free(ig);
}

/* One pattern as written, without white space around it. */
struct source {
        const char *s;
        size_t n;
        unsigned line;
        bool is_file; /* in a file a leading '/' means nothing */
};

static int refuse(const struct source *src, const char *name, const char *what, struct bld_err *err)
{
        char q[TEXT_EXCERPT_MAX];

        (void)text_excerpt(src->s, src->n, q);
        if (src->is_file)
                return err_set(err, BLD_E_INVALID, "%s line %u: %s: %s", name, src->line, what, q);
        return err_set(err, BLD_E_INVALID, "%s: %s", what, q);
}

static int add_pattern(struct ignore *ig, const struct source *src, const char *name,
                       struct bld_err *err)
{
        struct ignore_pattern *p = pattern_vec_push(&ig->patterns);
        AUTO_FREE char *clean = NULL;
        const char *s = src->s;
        size_t n = src->n;
        bool bare;
        int r;

        if (!p)
                return err_nomem(err, "ignore patterns");
        p->line = src->line;
        p->raw = mem_strndup(s, n);
        if (!p->raw)
                return err_nomem(err, "ignore patterns");
        p->exception = s[0] == '!';
        if (p->exception) {
                s++;
                n--;
        }
        if (p->exception && src->is_file) {
                size_t skip = text_skip_space(s, n);

                s += skip;
                n -= skip;
        }
        if (n == 0)
                return refuse(src, name, "illegal exclusion pattern", err);
        clean = path_cleann(s, n);
        if (!clean)
                return err_nomem(err, "ignore patterns");
        bare = strcmp(clean, "/") == 0;
        if (bare && p->exception)
                return refuse(src, name, "illegal exclusion pattern", err);
        r = ignore_pattern_compile(p, src->is_file && !bare && clean[0] == '/' ? clean + 1 : clean);
        if (r == BLD_E_NOMEM)
                return err_nomem(err, "ignore patterns");
        if (r < 0)
                return refuse(src, name, "syntax error in pattern", err);
        ig->exceptions = ig->exceptions || p->exception;
        return 0;
}

static int add_line(struct ignore *ig, struct source src, const char *name, struct bld_err *err)
{
        size_t skip;

        if (src.n > 0 && src.s[0] == '#' && src.is_file)
                return 0;
        skip = text_skip_space(src.s, src.n);
        src.s += skip;
        src.n -= skip;
        src.n -= text_space_tail(src.s, src.n);
        if (src.n == 0)
                return 0;
        if (memchr(src.s, '\0', src.n))
                return refuse(&src, name, "pattern contains a NUL character", err);
        return add_pattern(ig, &src, name, err);
}

int ignore_parse(const char *text, size_t len, const char *name, struct ignore **ret,
                 struct bld_err *err)
{
        AUTO(ignore_free_p) struct ignore *ig = mem_zalloc(1, sizeof(*ig));
        const char *p = text, *end = text + len;

        if (ig)
                ig->name = mem_strdup(name);
        if (!ig || !ig->name)
                return err_nomem(err, "ignore file");
        if (len > TEXT_MAX)
                return err_set(err, BLD_E_LIMIT, "%s is larger than %zu MiB", name, TEXT_MAX >> 20);
        if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
                p += 3;
        for (unsigned line = 1; p < end; line++) {
                const char *nl = memchr(p, '\n', (size_t)(end - p));
                size_t n = (size_t)((nl ? nl : end) - p);
                int r;

                r = add_line(ig, (struct source){.s = p, .n = n, .line = line, .is_file = true},
                             name, err);
                if (r < 0)
                        return r;
                p = nl ? nl + 1 : end;
        }
        *ret = TAKE_PTR(&ig);
        return 0;
}

int ignore_from_patterns(const struct strv *patterns, struct ignore **ret, struct bld_err *err)
{
        AUTO(ignore_free_p) struct ignore *ig = mem_zalloc(1, sizeof(*ig));

        if (!ig)
                return err_nomem(err, "ignore patterns");
        for (size_t i = 0; i < patterns->n; i++) {
                const struct source src = {
                        .s = patterns->v[i], .n = strlen(patterns->v[i]), .line = (unsigned)i + 1};
                int r = add_line(ig, src, "", err);

                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(&ig);
        return 0;
}

static bool is_root(const char *path)
{
        return !path[0] || strcmp(path, ".") == 0;
}

/* *ret_last: the pattern that decided, NULL for none. */
static bool match(const struct ignore *ig, const char *path, const struct ignore_pattern **ret_last)
{
        struct ignore_subject subject;
        bool excluded = false;

        *ret_last = NULL;
        /* The root of the context is always there. */
        if (ig->patterns.n == 0 || is_root(path))
                return false;
        ignore_subject_init(&subject, path);
        for (size_t i = 0; i < ig->patterns.n; i++) {
                const struct ignore_pattern *p = &ig->patterns.v[i];

                /* A plain pattern can only exclude, an exception only include. */
                if (p->exception != excluded || !ignore_pattern_match(p, &subject))
                        continue;
                excluded = !excluded;
                *ret_last = p;
        }
        return excluded;
}

bool ignore_match(const struct ignore *ig, const char *path, unsigned *ret_line)
{
        const struct ignore_pattern *last;
        bool excluded = match(ig, path, &last);

        if (ret_line)
                *ret_line = last ? last->line : 0;
        return excluded;
}

bool ignore_may_include_below(const struct ignore *ig, const char *dir)
{
        const struct ignore_pattern *last, *end = ig->patterns.v + ig->patterns.n;
        struct ignore_subject subject;
        char prefix[IGNORE_PATH_MAX];
        size_t n = strlen(dir);

        if (is_root(dir) || !match(ig, dir, &last))
                return true;
        if (!ig->exceptions)
                return false;
        if (n + 2 > sizeof(prefix))
                return true;
        memcpy(prefix, dir, n);
        prefix[n] = '/';
        prefix[n + 1] = '\0';
        ignore_subject_init(&subject, prefix);
        if (subject.n != n + 1)
                return true;
        /* What excludes the folder excludes all below it again, so only what comes later counts. */
        for (const struct ignore_pattern *p = last + 1; p < end; p++)
                if (p->exception && ignore_pattern_may_match_below(p, &subject))
                        return true;
        return false;
}

const char *ignore_pattern(const struct ignore *ig, unsigned line)
{
        for (size_t i = 0; i < ig->patterns.n; i++)
                if (ig->patterns.v[i].line == line)
                        return ig->patterns.v[i].raw;
        return NULL;
}

bool ignore_excludes_all(const struct ignore *ig)
{
        static const char *const all[] = {"*", "**", "**/*"};

        for (size_t i = 0; i < ig->patterns.n; i++) {
                const struct ignore_pattern *p = &ig->patterns.v[i];
                const char *s = p->raw;

                while (s[0] == '/' || (s[0] == '.' && s[1] == '/'))
                        s++;
                for (size_t k = 0; k < ARRAY_LEN(all) && !p->exception; k++)
                        if (strcmp(s, all[k]) == 0)
                                return true;
        }
        return false;
}

bool ignore_has_exceptions(const struct ignore *ig)
{
        return ig->exceptions;
}

const char *ignore_name(const struct ignore *ig)
{
        return ig->name ? ig->name : "";
}

size_t ignore_count(const struct ignore *ig)
{
        return ig->patterns.n;
}

int ignore_from_pattern(const char *pattern, struct ignore **ret, struct bld_err *err)
{
        AUTO(ignore_free_p) struct ignore *ig = mem_zalloc(1, sizeof(*ig));
        AUTO_FREE char *clean = path_clean(pattern);
        struct ignore_pattern *p = ig ? pattern_vec_push(&ig->patterns) : NULL;
        char q[TEXT_EXCERPT_MAX];
        int r;

        if (!p || !clean)
                return err_nomem(err, "pattern");
        r = ignore_pattern_compile(p, clean[0] == '/' && clean[1] ? clean + 1 : clean);
        if (r == BLD_E_NOMEM)
                return err_nomem(err, "pattern");
        if (r < 0)
                return err_set(err, BLD_E_INVALID, "syntax error in pattern %s",
                               text_excerpt(pattern, strlen(pattern), q));
        *ret = TAKE_PTR(&ig);
        return 0;
}
