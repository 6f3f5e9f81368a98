/* Two image configs compared member by member. Maps go by name, the environment by variable,
 * histories and layers by position, everything else as a whole. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "image/image_priv.h"

struct differ {
        struct img_config_changes *out;
        unsigned ignore;
};

typedef int (*compare_fn)(struct differ *d, const char *field, const struct js *a,
                          const struct js *b, struct bld_err *err);

void img_config_changes_free(struct img_config_changes *c)
{
        for (size_t i = 0; i < c->n; i++) {
                free(c->v[i].field);
                free(c->v[i].key);
                free(c->v[i].before);
                free(c->v[i].after);
        }
        img_config_changes_done(c);
}

/* ---- values ---- */

/* What Go reads as its zero value: all the same to whoever runs the image. */
static bool is_zero(const struct js *j)
{
        if (js_is_str(j))
                return !*js_str(j);
        if (js_is_arr(j) || js_is_obj(j))
                return !js_len(j);
        if (js_is_int(j))
                return !js_i64(j, 1);
        return js_is_null(j) || (js_is_bool(j) && !js_is_true(j));
}

static const struct js *zero_to_absent(const struct js *j)
{
        return is_zero(j) ? NULL : j;
}

static int write_json(const struct js *j, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(IMG_CONFIG_MAX * 8); /* escapes make text longer */
        int r = js_write(j, JS_COMPACT | JS_SORT, &b, err);

        if (r < 0)
                return r;
        *ret = sb_take(&b);
        return *ret ? 0 : err_nomem(err, "JSON value");
}

static int text_of(const struct js *j, bool as_json, char **ret, struct bld_err *err)
{
        if (!j)
                return 0;
        if (as_json || !js_is_str(j))
                return write_json(j, ret, err);
        *ret = mem_strdup(js_str(j));
        return *ret ? 0 : err_nomem(err, "JSON value");
}

static int add(struct differ *d, const char *field, const char *key, char **before, char **after,
               struct bld_err *err)
{
        struct img_config_change *c = img_config_changes_push(d->out);

        if (!c)
                return err_nomem(err, "list of changes");
        c->field = mem_strdup(field);
        c->key = key ? mem_strdup(key) : NULL;
        c->before = TAKE_PTR(before);
        c->after = TAKE_PTR(after);
        return c->field && (c->key || !key) ? 0 : err_nomem(err, "list of changes");
}

/* NULL: absent. */
static int compare(struct differ *d, const char *field, const char *key, const struct js *a,
                   const struct js *b, struct bld_err *err)
{
        /* Between a string and something else, "1" and 1 must not look the same. */
        bool as_json = a && b && js_is_str(a) != js_is_str(b);
        AUTO_FREE char *before = NULL, *after = NULL;
        int r = text_of(a, as_json, &before, err);

        if (!r)
                r = text_of(b, as_json, &after, err);
        if (r < 0 || str_eq(before, after))
                return r;
        return before || after ? add(d, field, key, &before, &after, err) : 0;
}

static int whole(struct differ *d, const char *field, const struct js *a, const struct js *b,
                 struct bld_err *err)
{
        return compare(d, field, NULL, a, b, err);
}

/* ---- by name ---- */

/* Names of either object, sorted. */
static int all_names(const struct js *a, const struct js *b, struct strv *ret, struct bld_err *err)
{
        for (void *it = js_iter(a); it; it = js_iter_next(a, it))
                if (strv_add(ret, js_iter_key(it)) < 0)
                        return err_nomem(err, "names");
        for (void *it = js_iter(b); it; it = js_iter_next(b, it))
                if (!js_get(a, js_iter_key(it)) && strv_add(ret, js_iter_key(it)) < 0)
                        return err_nomem(err, "names");
        strv_sort(ret);
        return 0;
}

static bool both(const struct js *a, const struct js *b, bool (*is)(const struct js *))
{
        return (js_is_null(a) || is(a)) && (js_is_null(b) || is(b));
}

static int by_name(struct differ *d, const char *field, const struct js *a, const struct js *b,
                   struct bld_err *err)
{
        AUTO_STRV struct strv names = {0};
        int r;

        if (!both(a, b, js_is_obj))
                return whole(d, field, a, b, err);
        r = all_names(a, b, &names, err);
        for (size_t i = 0; !r && i < names.n; i++)
                r = compare(d, field, names.v[i], js_get(a, names.v[i]), js_get(b, names.v[i]),
                            err);
        return r;
}

/* Members that mean nothing when zero. */
static int by_member(struct differ *d, const char *field, const struct js *a, const struct js *b,
                     struct bld_err *err)
{
        AUTO_STRV struct strv names = {0};
        int r;

        if (!both(a, b, js_is_obj))
                return whole(d, field, a, b, err);
        r = all_names(a, b, &names, err);
        for (size_t i = 0; !r && i < names.n; i++)
                r = compare(d, field, names.v[i], zero_to_absent(js_get(a, names.v[i])),
                            zero_to_absent(js_get(b, names.v[i])), err);
        return r;
}

/* ---- by position ---- */

static int by_position(struct differ *d, const char *field, const struct js *a, const struct js *b,
                       struct bld_err *err)
{
        size_t na = js_len(a), nb = js_len(b);
        char key[24];
        int r = 0;

        if (!both(a, b, js_is_arr))
                return whole(d, field, a, b, err);
        for (size_t i = 0; !r && i < MAX(na, nb); i++) {
                (void)snprintf(key, sizeof(key), "%zu", i);
                r = compare(d, field, key, js_at(a, i), js_at(b, i), err);
        }
        return r;
}

/* A copy of a history without what says nothing or is not to count. */
static int plain_history(const struct differ *d, const struct js *a, struct js **ret,
                         struct bld_err *err)
{
        AUTO_JS struct js *copy = js_copy(a);
        AUTO_STRV struct strv names = {0};

        if (!copy)
                return err_nomem(err, "history");
        for (size_t i = 0; i < js_len(copy); i++) {
                struct js *h = js_at(copy, i);

                strv_done(&names);
                if (all_names(h, NULL, &names, err) < 0)
                        return BLD_E_NOMEM;
                for (size_t k = 0; k < names.n; k++)
                        if (is_zero(js_get(h, names.v[k])) ||
                            ((d->ignore & IMG_CONFIG_DIFF_CREATED) &&
                             str_eq(names.v[k], "created")))
                                (void)js_del(h, names.v[k]); /* it is there */
        }
        *ret = TAKE_PTR(&copy);
        return 0;
}

static int history(struct differ *d, const char *field, const struct js *a, const struct js *b,
                   struct bld_err *err)
{
        AUTO_JS struct js *x = NULL, *y = NULL;
        int r = 0;

        if (!both(a, b, js_is_arr))
                return whole(d, field, a, b, err);
        if (a)
                r = plain_history(d, a, &x, err);
        if (!r && b)
                r = plain_history(d, b, &y, err);
        return r < 0 ? r : by_position(d, field, x, y, err);
}

/* ---- the environment ---- */

/* One variable. A name may come several times: its first, second, ... are compared. */
struct env {
        struct sb id; /* name, '=' when there is one, NUL, which of that name */
        const char *text, *value;
        size_t name_len, at;
};
VEC_DEFINE(envs, struct env);

static void envs_free(struct envs *v)
{
        for (size_t i = 0; i < v->n; i++)
                sb_done(&v->v[i].id);
        envs_done(v);
}

static void counts_done(struct map *m)
{
        map_done(m);
}

static int read_env(const struct js *list, struct envs *ret, struct map *ids, struct bld_err *err)
{
        AUTO(counts_done) struct map counts;

        map_init(&counts, NULL);
        for (size_t i = 0; i < js_len(list); i++) {
                const char *s = js_str(js_at(list, i)), *eq = strchr(s, '=');
                size_t n = eq ? (size_t)(eq - s) : strlen(s), id = n + (eq != NULL);
                uintptr_t nth = (uintptr_t)map_getn(&counts, s, id);
                struct env *e = envs_push(ret);

                if (!e || map_setn(&counts, s, id, (void *)(nth + 1)) < 0)
                        return err_nomem(err, "environment");
                *e = (struct env){.id = SB_INIT(IMG_CONFIG_MAX + 64),
                                  .text = s,
                                  .value = eq ? eq + 1 : "",
                                  .name_len = n,
                                  .at = i};
                sb_add(&e->id, s, id);
                sb_add(&e->id, &nth, sizeof(nth));
                if (e->id.failed)
                        return err_nomem(err, "environment");
        }
        /* Only now: the elements do not move any more. */
        for (size_t i = 0; i < ret->n; i++)
                if (map_setn(ids, ret->v[i].id.buf, ret->v[i].id.len, &ret->v[i]) < 0)
                        return err_nomem(err, "environment");
        return 0;
}

static const struct env *env_find(const struct map *ids, const struct env *e)
{
        return map_getn(ids, e->id.buf, e->id.len);
}

static int env_change(struct differ *d, const struct env *a, const struct env *b,
                      struct bld_err *err)
{
        const struct env *one = a ? a : b;
        AUTO_FREE char *name = mem_strndup(one->text, one->name_len);
        AUTO_FREE char *before = a ? mem_strdup(a->value) : NULL;
        AUTO_FREE char *after = b ? mem_strdup(b->value) : NULL;

        if (!name || (a && !before) || (b && !after))
                return err_nomem(err, "environment");
        return add(d, "Env", name, &before, &after, err);
}

/* The names of v that the other has, too, in v's order, as a JSON list. */
static int common_names(const struct envs *v, const struct map *other, char **ret,
                        struct bld_err *err)
{
        AUTO_JS struct js *list = js_arr();

        if (!list)
                return err_nomem(err, "environment");
        for (size_t i = 0; i < v->n; i++) {
                AUTO_FREE char *name = mem_strndup(v->v[i].text, v->v[i].name_len);

                if (env_find(other, &v->v[i]) && (!name || js_push_str(list, name) < 0))
                        return err_nomem(err, "environment");
        }
        return write_json(list, ret, err);
}

static int env_order(struct differ *d, const struct envs *a, const struct map *ids_a,
                     const struct envs *b, const struct map *ids_b, struct bld_err *err)
{
        AUTO_FREE char *before = NULL, *after = NULL;
        const struct env *last = NULL;
        bool same = true;
        int r;

        for (size_t i = 0; same && i < b->n; i++) {
                const struct env *in_a = env_find(ids_a, &b->v[i]);

                if (!in_a)
                        continue;
                same = !last || last->at < in_a->at;
                last = in_a;
        }
        if (same)
                return 0;
        r = common_names(a, ids_b, &before, err);
        if (!r)
                r = common_names(b, ids_a, &after, err);
        return r < 0 ? r : add(d, "Env", NULL, &before, &after, err);
}

static bool is_strings(const struct js *j)
{
        for (size_t i = 0; i < js_len(j); i++)
                if (!js_is_str(js_at(j, i)))
                        return false;
        return js_is_arr(j);
}

static int environment(struct differ *d, const char *field, const struct js *a, const struct js *b,
                       struct bld_err *err)
{
        AUTO(envs_free) struct envs va = {0}, vb = {0};
        AUTO(counts_done) struct map ids_a, ids_b;
        int r;

        map_init(&ids_a, NULL);
        map_init(&ids_b, NULL);
        if (!both(a, b, is_strings))
                return whole(d, field, a, b, err);
        r = read_env(a, &va, &ids_a, err);
        if (!r)
                r = read_env(b, &vb, &ids_b, err);
        for (size_t i = 0; !r && i < va.n; i++) {
                const struct env *other = env_find(&ids_b, &va.v[i]);

                if (!other || !str_eq(va.v[i].value, other->value))
                        r = env_change(d, &va.v[i], other, err);
        }
        for (size_t i = 0; !r && i < vb.n; i++)
                if (!env_find(&ids_a, &vb.v[i]))
                        r = env_change(d, NULL, &vb.v[i], err);
        return r < 0 ? r : env_order(d, &va, &ids_a, &vb, &ids_b, err);
}

/* ---- the document ---- */

struct rule {
        const char *name;
        compare_fn fn;   /* NULL: somewhere else */
        unsigned ignore; /* bits that leave it out */
};

static const struct rule top_rules[] = {
        {"os", whole, 0},
        {"os.version", whole, 0},
        {"os.features", whole, 0},
        {"architecture", whole, 0},
        {"variant", whole, 0},
        {"author", whole, 0},
        {"created", whole, IMG_CONFIG_DIFF_CREATED},
        {"config", NULL, 0},
        {"rootfs", NULL, 0},
        {"history", NULL, 0},
};

static const struct rule config_rules[] = {
        {"User", whole, 0},
        {"WorkingDir", whole, 0},
        {"Entrypoint", whole, 0},
        {"Cmd", whole, 0},
        {"Shell", whole, 0},
        {"Env", environment, 0},
        {"Labels", by_name, IMG_CONFIG_DIFF_LABELS},
        {"ExposedPorts", by_name, 0},
        {"Volumes", by_name, 0},
        {"StopSignal", whole, 0},
        {"StopTimeout", whole, 0},
        {"Healthcheck", by_member, 0},
        {"OnBuild", whole, 0},
        {"ArgsEscaped", whole, 0},
        /* Docker's, which a program that moves images may drop where they are zero. */
        {"Hostname", whole, 0},
        {"Domainname", whole, 0},
        {"AttachStdin", whole, 0},
        {"AttachStdout", whole, 0},
        {"AttachStderr", whole, 0},
        {"Tty", whole, 0},
        {"OpenStdin", whole, 0},
        {"StdinOnce", whole, 0},
        {"Image", whole, 0},
        {"NetworkDisabled", whole, 0},
        {"MacAddress", whole, 0},
};

static const struct rule *find_rule(const struct rule *v, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (str_eq(v[i].name, name))
                        return &v[i];
        return NULL;
}

/* Members without a rule, as they stand. prefix: where they are, for a name that could be taken for
 * one of the other level (those of `config` begin with a capital letter, the document's do not). */
static int others(struct differ *d, const struct rule *v, size_t n, const char *prefix,
                  bool capitals, const struct js *a, const struct js *b, struct bld_err *err)
{
        AUTO_STRV struct strv names = {0};
        int r = all_names(a, b, &names, err);

        for (size_t i = 0; !r && i < names.n; i++) {
                const char *s = names.v[i];
                AUTO_SB struct sb field = SB_INIT(IMG_CONFIG_MAX + 64);

                if (find_rule(v, n, s))
                        continue;
                if ((*s >= 'A' && *s <= 'Z') != capitals)
                        sb_str(&field, prefix);
                sb_str(&field, s);
                r = sb_check(&field, "name of a member", err);
                if (!r)
                        r = whole(d, sb_text(&field), js_get(a, s), js_get(b, s), err);
        }
        return r;
}

static int ruled(struct differ *d, const struct rule *v, size_t n, const struct js *a,
                 const struct js *b, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; !r && i < n; i++)
                if (v[i].fn && !(d->ignore & v[i].ignore))
                        r = v[i].fn(d, v[i].name, zero_to_absent(js_get(a, v[i].name)),
                                    zero_to_absent(js_get(b, v[i].name)), err);
        return r;
}

static int config(struct differ *d, const struct js *a, const struct js *b, struct bld_err *err)
{
        int r;

        if (!both(a, b, js_is_obj))
                return whole(d, "config", a, b, err);
        r = ruled(d, config_rules, ARRAY_LEN(config_rules), a, b, err);
        return r < 0 ? r
                     : others(d, config_rules, ARRAY_LEN(config_rules), ".config.", true, a, b,
                              err);
}

static int rootfs(struct differ *d, const struct js *a, const struct js *b, struct bld_err *err)
{
        AUTO_STRV struct strv names = {0};
        int r;

        if (!both(a, b, js_is_obj))
                return whole(d, "rootfs", a, b, err);
        r = all_names(a, b, &names, err);
        for (size_t i = 0; !r && i < names.n; i++) {
                const struct js *x = js_get(a, names.v[i]), *y = js_get(b, names.v[i]);
                AUTO_SB struct sb field = SB_INIT(IMG_CONFIG_MAX + 64);

                if (!str_eq(names.v[i], "diff_ids")) {
                        sb_fmt(&field, "rootfs.%s", names.v[i]);
                        r = sb_check(&field, "name of a member", err);
                        if (!r)
                                r = whole(d, sb_text(&field), x, y, err);
                } else if (!(d->ignore & IMG_CONFIG_DIFF_LAYERS)) {
                        r = by_position(d, "rootfs.diff_ids", zero_to_absent(x), zero_to_absent(y),
                                        err);
                }
        }
        return r;
}

static int document(struct differ *d, const struct js *a, const struct js *b, struct bld_err *err)
{
        int r = ruled(d, top_rules, ARRAY_LEN(top_rules), a, b, err);

        if (!r)
                r = config(d, zero_to_absent(js_get(a, "config")),
                           zero_to_absent(js_get(b, "config")), err);
        if (!r)
                r = others(d, top_rules, ARRAY_LEN(top_rules), ".", false, a, b, err);
        if (!r)
                r = rootfs(d, zero_to_absent(js_get(a, "rootfs")),
                           zero_to_absent(js_get(b, "rootfs")), err);
        if (!r && !(d->ignore & IMG_CONFIG_DIFF_HISTORY))
                r = history(d, "history", zero_to_absent(js_get(a, "history")),
                            zero_to_absent(js_get(b, "history")), err);
        return r;
}

int img_config_diff(const char *a, size_t na, const char *b, size_t nb, unsigned ignore,
                    struct img_config_changes *ret, struct bld_err *err)
{
        AUTO_JS struct js *x = NULL, *y = NULL;
        AUTO(img_config_changes_free) struct img_config_changes out = {0};
        struct differ d = {.out = &out, .ignore = ignore};
        int r = a ? img_doc_parse(a, na, IMG_CONFIG_MAX, "image config", &x, err) : 0;

        if (!r && b)
                r = img_doc_parse(b, nb, IMG_CONFIG_MAX, "image config", &y, err);
        if (!r)
                r = document(&d, x, y, err);
        if (r < 0)
                return r;
        *ret = out;
        out = (struct img_config_changes){0};
        return 0;
}
