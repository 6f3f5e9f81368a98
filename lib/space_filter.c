/* --filter of du and prune, with the keys of `docker buildx prune` as far as they mean something
 * here: all terms must hold; "id" is a regular expression as there. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "lib/space_priv.h"

#define BIT(kind) (1u << (kind))

static const struct {
        const char *name;
        unsigned types;
} types[] = {
        {"result", BIT(CAS_ITEM_RESULT)},
        {"snapshot", BIT(CAS_ITEM_SNAPSHOT)},
        {"index", BIT(CAS_ITEM_INDEX)},
        {"mount", BIT(CAS_ITEM_MOUNT)},
        {"build", BIT(CAS_ITEM_BUILD)},
        {"image", BIT(CAS_ITEM_IMAGE)},
        {"waste", BIT(CAS_ITEM_WASTE)},
        /* BuildKit's words */
        {"regular", BIT(CAS_ITEM_RESULT) | BIT(CAS_ITEM_SNAPSHOT)},
        {"exec.cachemount", BIT(CAS_ITEM_MOUNT)},
        {"internal", BIT(CAS_ITEM_INDEX)},
        {"frontend", 0},
        {"source.local", 0},
        {"source.git.checkout", 0},
};

const char *space_type_name(enum cas_item_kind kind)
{
        return types[kind].name; /* the first are in the order of the enum */
}

static int add_type(struct space_term *t, const char *value, struct bld_err *err)
{
        for (size_t i = 0; i < ARRAY_LEN(types); i++)
                if (strcmp(types[i].name, value) == 0) {
                        t->types = types[i].types;
                        return 0;
                }
        return err_set(err, BLD_E_USAGE,
                       "--filter type= takes result, snapshot, index, mount, build, image or "
                       "waste, not \"%.100s\"",
                       value);
}

static int add_regex(struct space_term *t, const char *value, struct bld_err *err)
{
        char why[100];
        int r = regcomp(&t->re, value, REG_EXTENDED | REG_NOSUB);

        if (r == 0) {
                t->compiled = true;
                return 0;
        }
        (void)regerror(r, &t->re, why, sizeof(why));
        return err_set(err, BLD_E_USAGE, "--filter: \"%.100s\" is no regular expression: %s", value,
                       why);
}

static int add_flag(struct space_term *t, const char *name, const char *value, struct bld_err *err)
{
        t->flag = true;
        if (*value && !parse_go_bool(value, &t->flag))
                return err_set(err, BLD_E_USAGE, "--filter %s takes true or false, not \"%.100s\"",
                               name, value);
        return 0;
}

static int add_age(struct space_filter *f, const char *name, const char *value, struct bld_err *err)
{
        int64_t ns;

        if (!parse_duration(value, &ns) || ns <= 0)
                return err_set(err, BLD_E_USAGE,
                               "--filter %s= takes a duration like 24h or 7d, not \"%.100s\"", name,
                               value);
        f->until_sec = MAX((ns + 999999999) / 1000000000, f->until_sec);
        return 0;
}

static int unknown(const char *name, struct bld_err *err)
{
        if (strcmp(name, "label") == 0)
                return err_set(err, BLD_E_USAGE, "--filter label: nothing in the cache has labels");
        return err_set(err, BLD_E_USAGE,
                       "--filter knows until, unused-for, id, type, inuse, shared and private, not "
                       "\"%.100s\"",
                       name);
}

static int add_term(struct space_filter *f, const char *text, struct bld_err *err)
{
        static const char *const ages[] = {"until", "unused-for"};
        struct space_term *t;
        char name[32];
        size_t n = strcspn(text, "=");
        const char *value = text[n] ? text + n + 1 : "";
        enum space_op op = SPACE_EQ;

        if (n && text[n] && (text[n - 1] == '!' || text[n - 1] == '~')) {
                op = text[n - 1] == '!' ? SPACE_NE : SPACE_MATCH;
                n--;
        }
        if (n >= sizeof(name))
                return unknown(text, err);
        (void)snprintf(name, sizeof(name), "%.*s", (int)n, text);
        for (size_t i = 0; i < ARRAY_LEN(ages); i++)
                if (strcmp(name, ages[i]) == 0)
                        return add_age(f, name, value, err);
        t = space_terms_push(&f->terms);
        if (!t)
                return err_nomem(err, "--filter");
        t->op = op;
        if (strcmp(name, "id") == 0) {
                t->key = SPACE_ID;
                return add_regex(t, value, err);
        }
        if (op == SPACE_MATCH)
                return err_set(err, BLD_E_USAGE, "--filter: ~= is for id, not for \"%s\"", name);
        if (strcmp(name, "type") == 0) {
                t->key = SPACE_TYPE;
                f->names_mounts = f->names_mounts || strcmp(value, "mount") == 0 ||
                                  strcmp(value, "exec.cachemount") == 0;
                return add_type(t, value, err);
        }
        if (strcmp(name, "inuse") == 0 || strcmp(name, "shared") == 0) {
                t->key = name[0] == 'i' ? SPACE_IN_USE : SPACE_SHARED;
                return add_flag(t, name, value, err);
        }
        if (strcmp(name, "private") != 0)
                return unknown(name, err);
        t->key = SPACE_SHARED;
        t->op = op == SPACE_EQ ? SPACE_NE : SPACE_EQ;
        return add_flag(t, name, value, err);
}

int space_filter_parse(const struct bld_list *filters, struct space_filter *ret,
                       struct bld_err *err)
{
        int r = 0;

        memset(ret, 0, sizeof(*ret));
        for (size_t i = 0; filters && r == 0 && i < filters->n; i++)
                r = add_term(ret, filters->v[i], err);
        if (r < 0)
                space_filter_done(ret);
        return r;
}

void space_filter_done(struct space_filter *f)
{
        for (size_t i = 0; i < f->terms.n; i++)
                if (f->terms.v[i].compiled)
                        regfree(&f->terms.v[i].re);
        space_terms_done(&f->terms);
}

static bool holds(const struct space_term *t, const struct cas_item *it)
{
        switch (t->key) {
        case SPACE_ID:
                return regexec(&t->re, it->id, 0, NULL, 0) == 0;
        case SPACE_TYPE:
                return (t->types & BIT(it->kind)) != 0;
        case SPACE_IN_USE:
                return it->held == t->flag;
        case SPACE_SHARED:
                return it->shared == t->flag;
        }
        return false;
}

bool space_filter_match(const struct space_filter *f, const struct cas_item *it)
{
        for (size_t i = 0; i < f->terms.n; i++)
                if (holds(&f->terms.v[i], it) == (f->terms.v[i].op == SPACE_NE))
                        return false;
        return true;
}
