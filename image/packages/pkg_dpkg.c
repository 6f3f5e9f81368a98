/* Control files as dpkg keeps them: stanzas of "Field: value" lines, continued by lines that begin
 * with a blank, and separated by empty ones (deb-control(5), dpkg's status in dpkg(1)). */
#include <string.h>

#include "base/err.h"
#include "image/packages/pkg_priv.h"

enum field { PACKAGE, VERSION, ARCHITECTURE, SOURCE, STATUS, INSTALLED_SIZE, NFIELDS };
static const char *const field_names[NFIELDS] = {
        [PACKAGE] = "package", [VERSION] = "version", [ARCHITECTURE] = "architecture",
        [SOURCE] = "source",   [STATUS] = "status",   [INSTALLED_SIZE] = "installed-size",
};

struct stanza {
        struct pkg_text v[NFIELDS];
        bool any;    /* a field, known or not */
        size_t line; /* of the file, from 1: where it begins */
};

static int damaged(struct bld_err *err, size_t line, const char *what)
{
        return err_set(err, BLD_E_CORRUPT, "the dpkg database is damaged: line %zu: %s", line,
                       what);
}

/* Names of fields are ASCII and their case does not count; no locale may say otherwise. */
static bool same_name(struct pkg_text t, const char *lower)
{
        if (t.n != strlen(lower))
                return false;
        for (size_t i = 0; i < t.n; i++) {
                char c = t.p[i];

                if (c >= 'A' && c <= 'Z')
                        c = (char)(c - 'A' + 'a');
                if (c != lower[i])
                        return false;
        }
        return true;
}

/* 1 unpacked at least, 0 not, -1 no state dpkg knows. The last of three words says it. */
static int is_there(struct pkg_text status)
{
        static const struct {
                const char *name;
                int there;
        } states[] = {
                {"installed", 1},        {"unpacked", 1},         {"half-configured", 1},
                {"triggers-awaited", 1}, {"triggers-pending", 1}, {"half-installed", 0},
                {"config-files", 0},     {"not-installed", 0},
        };
        const char *blank = memrchr(status.p, ' ', status.n);
        struct pkg_text word = status;

        if (blank) {
                word.p = blank + 1;
                word.n = (size_t)(status.p + status.n - word.p);
        }
        for (size_t i = 0; i < ARRAY_LEN(states); i++)
                if (pkg_text_is(word, states[i].name))
                        return states[i].there;
        return -1;
}

/* "glibc" or "glibc (2.36-9)"; without the field both are the package's own. */
static void set_source(struct pkg_fields *f, struct pkg_text source)
{
        const char *open = source.n ? memchr(source.p, '(', source.n) : NULL;

        f->source = source.n ? source : f->name;
        f->source_version = f->version;
        if (!open)
                return;
        f->source = pkg_trim(source.p, (size_t)(open - source.p));
        f->source_version = pkg_trim(open + 1, (size_t)(source.p + source.n - open) - 1);
        if (f->source_version.n > 0 && f->source_version.p[f->source_version.n - 1] == ')')
                f->source_version.n--;
}

static int end_stanza(struct stanza *s, struct pkg_list *to, struct bld_err *err)
{
        struct pkg_fields f = {.manager = "dpkg",
                               .name = s->v[PACKAGE],
                               .version = s->v[VERSION],
                               .arch = s->v[ARCHITECTURE]};
        int there = s->v[STATUS].n ? is_there(s->v[STATUS]) : 1;
        uint64_t kib;

        if (!s->any)
                return 0;
        if (f.name.n == 0)
                return damaged(err, s->line, "a package without a name");
        if (there < 0)
                return damaged(err, s->line, "a status dpkg does not have");
        if (there && f.version.n == 0)
                return damaged(err, s->line, "a package without a version");
        if (s->v[INSTALLED_SIZE].n &&
            (!pkg_number(s->v[INSTALLED_SIZE], &kib) || MUL_OVERFLOWS(kib, 1024, &f.installed)))
                return damaged(err, s->line, "a size that is no number");
        set_source(&f, s->v[SOURCE]);
        *s = (struct stanza){0};
        return there ? pkg_list_add(to, &f, err) : 0;
}

static int add_field(struct stanza *s, struct pkg_text line, size_t lineno, struct bld_err *err)
{
        const char *colon = memchr(line.p, ':', line.n);
        struct pkg_text name;

        if (!colon)
                return damaged(err, lineno, "no field and no continuation of one");
        if (!s->any)
                s->line = lineno;
        s->any = true;
        name = pkg_trim(line.p, (size_t)(colon - line.p));
        for (size_t i = 0; i < NFIELDS; i++) {
                if (!same_name(name, field_names[i]))
                        continue;
                if (s->v[i].p)
                        return damaged(err, lineno, "a field that was there before");
                s->v[i] = pkg_trim(colon + 1, (size_t)(line.p + line.n - colon) - 1);
        }
        return 0;
}

int pkg_parse_dpkg(const char *p, size_t n, struct pkg_list *to, struct bld_err *err)
{
        struct stanza s = {0};
        struct pkg_text line;
        size_t at = 0;
        int r = 0;

        for (size_t lineno = 1; r == 0 && pkg_line(p, n, &at, &line); lineno++) {
                if (line.n == 0 || (!s.any && pkg_trim(line.p, line.n).n == 0))
                        r = end_stanza(&s, to, err);
                else if (line.p[0] == ' ' || line.p[0] == '\t')
                        r = s.any ? 0 : damaged(err, lineno, "a continuation of nothing");
                else
                        r = add_field(&s, line, lineno, err);
        }
        return r < 0 ? r : end_stanza(&s, to, err);
}
