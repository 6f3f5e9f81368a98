/* Changes to the documents of one image. */
#include "image/edit.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "image/image_priv.h"

int img_edit_parse(const struct sb *text, size_t max, const char *what, struct js **ret,
                   struct bld_err *err)
{
        return img_doc_parse(sb_text(text), text->len, max, what, ret, err);
}

static int finish(int r, const char *what, struct bld_err *err)
{
        if (r == BLD_E_INVALID)
                return err_set(err, BLD_E_USAGE, "%s: a name is not UTF-8", what);
        return r < 0 ? err_nomem(err, what) : 0;
}

/* The member as an object (or array), made where it is absent or null. Borrowed. */
static struct js *member(int *r, struct js *obj, const char *key, bool array)
{
        struct js *j = js_get(obj, key);

        if (!js_is_null(j))
                return j;
        img_put(r, obj, key, array ? js_arr() : js_obj());
        return js_get(obj, key);
}

/* ---- maps and variables ---- */

/* The key of "KEY=VALUE", malloc'ed; what: "label". */
static int split(const char *s, const char *what, char **ret_key, const char **ret_value,
                 struct bld_err *err)
{
        const char *eq = strchr(s, '=');

        if (!eq || eq == s)
                return err_set(err, BLD_E_USAGE, "%s: \"%.200s\" is not KEY=VALUE", what, s);
        *ret_key = mem_strndup(s, (size_t)(eq - s));
        *ret_value = eq + 1;
        return *ret_key ? 0 : err_nomem(err, what);
}

static int set_map(struct js *owner, const char *key, const struct img_words *kv, const char *what,
                   struct bld_err *err)
{
        int r = 0;
        struct js *map = kv->n ? member(&r, owner, key, false) : NULL;

        for (size_t i = 0; r == 0 && i < kv->n; i++) {
                AUTO_FREE char *k = NULL;
                const char *value = NULL;

                r = split(kv->v[i], what, &k, &value, err);
                if (r < 0)
                        return r;
                img_put_str(&r, map, k, value);
        }
        return finish(r, what, err);
}

static int set_env(struct js *conf, const struct img_changes *c, struct bld_err *err)
{
        AUTO_STRV struct strv env = {.v = NULL}, kept = {.v = NULL};
        int r = js_is_null(js_get(conf, "Env")) ? 0 : js_to_strv(js_get(conf, "Env"), &env, err);

        for (size_t i = 0; r == 0 && i < c->env.n; i++) {
                AUTO_FREE char *k = NULL;
                const char *value = NULL;

                r = split(c->env.v[i], "environment", &k, &value, err);
                if (r == 0 && strv_env_set(&env, k, value) < 0)
                        return err_nomem(err, "environment");
        }
        for (size_t i = 0; r == 0 && i < env.n; i++) {
                size_t n = strcspn(env.v[i], "=");
                bool gone = false;

                for (size_t k = 0; k < c->unset_env.n; k++)
                        gone = gone || (strlen(c->unset_env.v[k]) == n &&
                                        strncmp(c->unset_env.v[k], env.v[i], n) == 0);
                if (!gone && strv_add(&kept, env.v[i]) < 0)
                        return err_nomem(err, "environment");
        }
        if (r < 0)
                return r;
        img_put_strv(&r, conf, "Env", &kept);
        return finish(r, "environment", err);
}

/* ---- ports ---- */

static int expose(int *r, struct js *ports, const char *spec, struct bld_err *err)
{
        static const char *const protocols[] = {"tcp", "udp", "sctp"};
        const char *slash = strchr(spec, '/'), *proto = slash ? slash + 1 : "tcp";
        AUTO_FREE char *range = mem_strndup(spec, slash ? (size_t)(slash - spec) : strlen(spec));
        char *dash = range ? strchr(range, '-') : NULL;
        uint64_t lo, hi;
        bool known = false;

        if (!range)
                return err_nomem(err, "port");
        if (dash)
                *dash = '\0';
        for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
                known = known || strcmp(proto, protocols[i]) == 0;
        if (!known || !parse_u64(range, 1, 65535, &lo) ||
            !parse_u64(dash ? dash + 1 : range, 1, 65535, &hi) || hi < lo) {
                int code = err_set(err, BLD_E_USAGE, "\"%.100s\" is not a port", spec);

                return err_try(err, code, "80, 80/tcp or 8000-8010/udp");
        }
        for (uint64_t p = lo; p <= hi; p++) {
                char text[32];

                (void)snprintf(text, sizeof(text), "%u/%s", (unsigned)p, proto);
                img_put(r, ports, text, js_obj());
        }
        return 0;
}

static int set_ports(struct js *conf, const struct img_words *ports, struct bld_err *err)
{
        int r = 0, bad = 0;
        struct js *map = ports->n ? member(&r, conf, "ExposedPorts", false) : NULL;

        for (size_t i = 0; r == 0 && bad == 0 && i < ports->n; i++)
                bad = expose(&r, map, ports->v[i], err);
        return bad < 0 ? bad : finish(r, "ports", err);
}

/* ---- the rest of a config ---- */

static void set_command(int *r, struct js *conf, const char *key, const struct img_words *w)
{
        AUTO_STRV struct strv list = {.v = NULL};

        if (!w->n)
                (void)js_del(conf, key);
        for (size_t i = 0; *r == 0 && i < w->n; i++)
                *r = strv_add(&list, w->v[i]);
        img_put_strv_opt(r, conf, key, &list);
}

static void set_platform(int *r, struct js *config, const struct img_platform *p)
{
        img_put_str(r, config, "os", p->os);
        img_put_str(r, config, "architecture", p->arch);
        (void)js_del(config, "variant");
        (void)js_del(config, "os.version");
        img_put_str_opt(r, config, "variant", p->variant);
        img_put_str_opt(r, config, "os.version", p->os_version);
}

static int set_folder(int *r, struct js *config, struct js *conf, const char *path,
                      struct bld_err *err)
{
        const char *os = js_get_str(config, "os");

        if (path[0] && path[0] != '/' && !str_eq(os, "windows"))
                return err_set(err, BLD_E_USAGE, "\"%.200s\" is not an absolute path", path);
        (void)js_del(conf, "WorkingDir");
        img_put_str_opt(r, conf, "WorkingDir", path);
        return 0;
}

int img_edit_config(struct js *config, const struct img_changes *c, struct bld_err *err)
{
        int r = 0, bad = 0;
        struct js *conf;

        if (c->created)
                img_put_str(&r, config, "created", c->created);
        if (c->platform)
                set_platform(&r, config, c->platform);
        if (!c->env.n && !c->labels.n && !c->unset_env.n && !c->unset_labels.n && !c->exposed.n &&
            !c->entrypoint && !c->cmd && !c->user && !c->workdir)
                return finish(r, "config", err);
        conf = member(&r, config, "config", false);
        if (r < 0)
                return finish(r, "config", err);
        if (c->env.n || c->unset_env.n)
                bad = set_env(conf, c, err);
        if (bad == 0)
                bad = set_map(conf, "Labels", &c->labels, "label", err);
        for (size_t i = 0; bad == 0 && i < c->unset_labels.n; i++)
                if (js_is_obj(js_get(conf, "Labels")))
                        (void)js_del(js_get(conf, "Labels"), c->unset_labels.v[i]);
        if (bad == 0)
                bad = set_ports(conf, &c->exposed, err);
        if (bad == 0 && c->workdir)
                bad = set_folder(&r, config, conf, c->workdir, err);
        if (bad < 0)
                return bad;
        if (c->entrypoint) {
                set_command(&r, conf, "Entrypoint", c->entrypoint);
                (void)(c->cmd ? 0 : js_del(conf, "Cmd"));
        }
        if (c->cmd)
                set_command(&r, conf, "Cmd", c->cmd);
        if (c->user) {
                (void)js_del(conf, "User");
                img_put_str_opt(&r, conf, "User", c->user);
        }
        return finish(r, "config", err);
}

int img_edit_annotations(struct js *manifest, const struct img_words *kv, struct bld_err *err)
{
        return set_map(manifest, "annotations", kv, "annotation", err);
}

int img_edit_target(struct js *desc, const struct digest *d, uint64_t size, struct bld_err *err)
{
        char text[DIGEST_STR_MAX];
        int r = 0;

        digest_format(d, text);
        img_put_str(&r, desc, "digest", text);
        img_put(&r, desc, "size", js_new_i64((int64_t)size));
        (void)js_del(desc, "data"); /* the bytes it led to */
        return finish(r, "descriptor", err);
}
