/* --chown and --chmod values. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "builder/op/op_priv.h"

#define PASSWD_MAX (1u << 20)

/* Field number `field` (0-based, ':'-separated) of the line whose first field is name. */
static bool db_field(const char *text, const char *name, unsigned field, uint32_t *ret)
{
        size_t n = strlen(name);

        for (const char *line = text; *line;) {
                size_t len = strcspn(line, "\n");

                if (len > n && memcmp(line, name, n) == 0 && line[n] == ':') {
                        const char *p = line, *end = line + len;
                        char num[16];
                        uint64_t v;

                        for (unsigned i = 0; i < field && p; i++) {
                                p = memchr(p, ':', (size_t)(end - p));
                                p = p ? p + 1 : NULL;
                        }
                        if (p) {
                                size_t k = strcspn(p, ":\n");

                                if (k < sizeof(num)) {
                                        memcpy(num, p, k);
                                        num[k] = '\0';
                                        if (parse_u64(num, 0, UINT32_MAX, &v)) {
                                                *ret = (uint32_t)v;
                                                return true;
                                        }
                                }
                        }
                }
                line += len + (line[len] == '\n');
        }
        return false;
}

static int look_up(struct bd_tree *tree, const char *path, const char *kind, const char *name,
                   unsigned field, uint32_t *ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(PASSWD_MAX);
        int r = 0;

        if (tree)
                r = bd_tree_read_text(tree, path, PASSWD_MAX, &text, err);
        if (r < 0)
                return r;
        if (r == 1 && db_field(sb_text(&text), name, field, ret))
                return 0;
        if (field == 2 && strcmp(name, "root") == 0) {
                *ret = 0;
                return 0;
        }
        (void)err_set(err, BLD_E_INVALID, "--chown: there is no %s \"%s\" in the image", kind,
                      name);
        return err_try(err, BLD_E_INVALID,
                       tree ? "create it in a RUN before, or give a number"
                            : "give a number: with --link, or nothing below, names have no "
                              "/etc/passwd to be looked up in");
}

int owner_parse(struct bd_tree *tree, const char *text, uint32_t *ret_uid, uint32_t *ret_gid,
                struct bld_err *err)
{
        const char *colon = strchr(text, ':');
        AUTO_FREE char *user = mem_strndup(text, colon ? (size_t)(colon - text) : strlen(text));
        const char *group = colon && colon[1] ? colon + 1 : NULL;
        uint64_t v = 0;
        int r = 0;

        if (!user)
                return err_nomem(err, "--chown");
        *ret_uid = *ret_gid = 0;
        if (parse_u64(user, 0, UINT32_MAX - 1, &v)) {
                *ret_uid = *ret_gid = (uint32_t)v;
        } else if (*user && strcmp(user, "root") != 0) {
                r = look_up(tree, "/etc/passwd", "user", user, 2, ret_uid, err);
                if (r == 0 && !group)
                        r = look_up(tree, "/etc/passwd", "user", user, 3, ret_gid, err);
        }
        if (r < 0 || !group)
                return r;
        if (parse_u64(group, 0, UINT32_MAX - 1, &v)) {
                *ret_gid = (uint32_t)v;
                return 0;
        }
        return look_up(tree, "/etc/group", "group", group, 2, ret_gid, err);
}

/* Bits of the letters rwxXst at *p, moved past them. Set-id bits belong to u and g; the sticky bit
 * to nobody, so naming only o leaves it alone. */
static unsigned letters(const char **p, unsigned *who, unsigned original, bool is_dir)
{
        const bool not_only_others = !*who || (*who & ~07u);
        unsigned bits = 0, named = *who ? *who : 06777;

        for (; **p && strchr("rwxXst", **p); (*p)++) {
                if (**p == 'r')
                        bits |= 0444;
                else if (**p == 'w')
                        bits |= 0222;
                else if (**p == 'x' || (**p == 'X' && (is_dir || original & 0111)))
                        bits |= 0111;
                else if (**p == 's')
                        bits |= 06000;
                else if (**p == 't' && not_only_others)
                        named |= 01000;
        }
        *who = named;
        return (bits & named) | (named & 01000);
}

/* One clause of a symbolic mode: [ugoa]*([+-=]([rwxXst]*|[ugo]))+ applied to *mode, as BSD's chmod
 * does with a umask of 0. Returns the rest, or NULL for a syntax error. */
static const char *clause(const char *p, unsigned *mode, unsigned original, bool is_dir)
{
        unsigned who = 0;

        for (;; p++) {
                if (*p == 'u')
                        who |= 04700;
                else if (*p == 'g')
                        who |= 02070;
                else if (*p == 'o')
                        who |= 07;
                else if (*p == 'a')
                        who |= 06777;
                else
                        break;
        }
        if (!strchr("+-=", *p) || !*p)
                return NULL;
        while (*p && strchr("+-=", *p)) {
                char op = *p++;
                unsigned bits, whose = who;

                if (*p && strchr("ugo", *p)) { /* the bits that somebody else has */
                        unsigned from = *p == 'u' ? *mode >> 6 : *p == 'g' ? *mode >> 3 : *mode;

                        whose = who ? who & 0777 : 0777;
                        bits = (from & 7) * 0111 & whose;
                        p++;
                } else {
                        bits = letters(&p, &whose, original, is_dir);
                }
                if (op == '+')
                        *mode |= bits;
                else if (op == '-')
                        *mode &= ~bits;
                else
                        *mode = (*mode & ~whose) | bits;
        }
        return p;
}

static bool symbolic(const char *text, unsigned *mode, bool is_dir)
{
        const unsigned original = *mode;
        const char *p = text;

        do {
                p = clause(p, mode, original, is_dir);
                if (!p)
                        return false;
        } while (*p++ == ',');
        return p[-1] == '\0';
}

int chmod_parse(const char *text, struct chmod_spec *ret, struct bld_err *err)
{
        unsigned scratch = 0;

        *ret = (struct chmod_spec){.text = text};
        if (parse_octal(text, 07777, &ret->mode)) {
                ret->octal = true;
                return 0;
        }
        if (*text && !(*text >= '0' && *text <= '9') && symbolic(text, &scratch, false))
                return 0;
        return err_set(err, BLD_E_INVALID,
                       "invalid chmod parameter: '%s'. it should be octal string and between 0 "
                       "and 07777",
                       text);
}

unsigned chmod_apply(const struct chmod_spec *s, unsigned mode, bool is_dir)
{
        if (s->octal)
                return s->mode;
        (void)symbolic(s->text, &mode, is_dir);
        return mode;
}
