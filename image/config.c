/* The image config (image-spec config.md with Docker's extensions). Members nobody needs after a
 * build (docker commit's leftovers, inline cache) are read over and not written again. */
#include "image/image_priv.h"

#include <string.h>

#include "base/err.h"

#define HISTORY_MAX 65536

void img_config_init(struct img_config *c)
{
        memset(c, 0, sizeof(*c));
}

void img_history_done(struct img_history *h)
{
        if (!h)
                return;
        free(h->created);
        free(h->created_by);
        free(h->author);
        free(h->comment);
        memset(h, 0, sizeof(*h));
}

void img_config_done(struct img_config *c)
{
        if (!c)
                return;
        free(c->created);
        free(c->author);
        free(c->user);
        free(c->working_dir);
        free(c->stop_signal);
        free(c->cache);
        free(c->diff_ids);
        strv_done(&c->os_features);
        strv_done(&c->env);
        strv_done(&c->exposed_ports);
        strv_done(&c->volumes);
        strv_done(&c->entrypoint);
        strv_done(&c->cmd);
        strv_done(&c->on_build);
        strv_done(&c->shell);
        strv_done(&c->health.test);
        img_kvs_free(&c->labels);
        for (size_t i = 0; i < c->history.n; i++)
                img_history_done(&c->history.v[i]);
        img_histories_done(&c->history);
        memset(c, 0, sizeof(*c));
}

static int copy_text(const char *s, char **ret)
{
        *ret = s ? mem_strdup(s) : NULL;
        return s && !*ret ? BLD_E_NOMEM : 0;
}

static int copy_lists(const struct img_config *c, struct img_config *n)
{
        const struct {
                struct strv *to;
                const struct strv *from;
        } lists[] = {
                {&n->os_features, &c->os_features},     {&n->env, &c->env},
                {&n->exposed_ports, &c->exposed_ports}, {&n->volumes, &c->volumes},
                {&n->entrypoint, &c->entrypoint},       {&n->cmd, &c->cmd},
                {&n->on_build, &c->on_build},           {&n->shell, &c->shell},
                {&n->health.test, &c->health.test},
        };

        for (size_t i = 0; i < ARRAY_LEN(lists); i++)
                if (strv_copy(lists[i].to, lists[i].from) < 0)
                        return BLD_E_NOMEM;
        for (size_t i = 0; i < c->labels.n; i++)
                if (img_kvs_add(&n->labels, c->labels.v[i].key, c->labels.v[i].value) < 0)
                        return BLD_E_NOMEM;
        return 0;
}

int img_config_copy(const struct img_config *c, struct img_config *ret, struct bld_err *err)
{
        AUTO(img_config_done)
        struct img_config n = {.platform = c->platform,
                               .has_entrypoint = c->has_entrypoint,
                               .has_cmd = c->has_cmd,
                               .args_escaped = c->args_escaped,
                               .has_health = c->has_health,
                               .has_shell = c->has_shell,
                               .no_history = c->no_history};

        n.health.interval_ns = c->health.interval_ns;
        n.health.timeout_ns = c->health.timeout_ns;
        n.health.start_period_ns = c->health.start_period_ns;
        n.health.start_interval_ns = c->health.start_interval_ns;
        n.health.retries = c->health.retries;
        if (copy_text(c->created, &n.created) < 0 || copy_text(c->author, &n.author) < 0 ||
            copy_text(c->user, &n.user) < 0 || copy_text(c->working_dir, &n.working_dir) < 0 ||
            copy_text(c->stop_signal, &n.stop_signal) < 0 || copy_text(c->cache, &n.cache) < 0 ||
            copy_lists(c, &n) < 0)
                return err_nomem(err, "copy image config");
        for (size_t i = 0; i < c->ndiff_ids; i++)
                if (img_config_add_diff_id(&n, &c->diff_ids[i]) < 0)
                        return err_nomem(err, "copy image config");
        for (size_t i = 0; i < c->history.n; i++)
                if (img_config_add_history(&n, &c->history.v[i]) < 0)
                        return err_nomem(err, "copy image config");
        *ret = n;
        memset(&n, 0, sizeof(n));
        return 0;
}

int img_config_add_diff_id(struct img_config *c, const struct digest *d)
{
        struct digest *v;
        size_t size;

        if (MUL_OVERFLOWS(c->ndiff_ids + 1, sizeof(*v), &size))
                return BLD_E_NOMEM;
        v = mem_realloc(c->diff_ids, size);
        if (!v)
                return BLD_E_NOMEM;
        c->diff_ids = v;
        c->diff_ids[c->ndiff_ids++] = *d;
        return 0;
}

int img_config_add_history(struct img_config *c, const struct img_history *h)
{
        AUTO(img_history_done) struct img_history n = {.empty_layer = h->empty_layer};
        struct img_history *slot;

        if (copy_text(h->created, &n.created) < 0 || copy_text(h->created_by, &n.created_by) < 0 ||
            copy_text(h->author, &n.author) < 0 || copy_text(h->comment, &n.comment) < 0)
                return BLD_E_NOMEM;
        slot = img_histories_push(&c->history);
        if (!slot)
                return BLD_E_NOMEM;
        *slot = n;
        memset(&n, 0, sizeof(n));
        return 0;
}

/* ---- decoding ---- */

static int get_bool(const struct js *obj, const char *key, bool *ret, struct bld_err *err)
{
        const struct js *j = js_get(obj, key);

        if (js_is_null(j))
                return 0;
        if (!js_is_bool(j))
                return err_set(err, BLD_E_CORRUPT, "\"%s\" is not true or false", key);
        *ret = js_get_bool(obj, key, false);
        return 0;
}

static int get_i64(const struct js *obj, const char *key, int64_t *ret, struct bld_err *err)
{
        const struct js *j = js_get(obj, key);

        if (js_is_null(j))
                return 0;
        if (!js_is_int(j))
                return err_set(err, BLD_E_CORRUPT, "\"%s\" is not an integer", key);
        *ret = js_i64(j, 0);
        return 0;
}

static int decode_health(const struct js *run, struct img_config *c, struct bld_err *err)
{
        const struct js *h = js_get(run, "Healthcheck");
        int r;

        if (js_is_null(h))
                return 0;
        if (!js_is_obj(h))
                return err_set(err, BLD_E_CORRUPT, "\"Healthcheck\" is not an object");
        c->has_health = true;
        r = img_js_strv(h, "Test", &c->health.test, err);
        if (r == 0)
                r = get_i64(h, "Interval", &c->health.interval_ns, err);
        if (r == 0)
                r = get_i64(h, "Timeout", &c->health.timeout_ns, err);
        if (r == 0)
                r = get_i64(h, "StartPeriod", &c->health.start_period_ns, err);
        if (r == 0)
                r = get_i64(h, "StartInterval", &c->health.start_interval_ns, err);
        if (r == 0)
                r = get_i64(h, "Retries", &c->health.retries, err);
        return r;
}

/* The member "config": what a container starts with. */
static int decode_run(const struct js *run, struct img_config *c, struct bld_err *err)
{
        const struct {
                const char *key;
                struct strv *to;
                bool *has;
        } lists[] = {
                {"Env", &c->env, NULL},
                {"Entrypoint", &c->entrypoint, &c->has_entrypoint},
                {"Cmd", &c->cmd, &c->has_cmd},
                {"OnBuild", &c->on_build, NULL},
                {"Shell", &c->shell, &c->has_shell},
        };
        int r = 0;

        if (js_is_null(run))
                return 0;
        if (!js_is_obj(run))
                return err_set(err, BLD_E_CORRUPT, "\"config\" is not an object");
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(lists); i++) {
                r = img_js_strv(run, lists[i].key, lists[i].to, err);
                if (lists[i].has)
                        *lists[i].has = js_is_arr(js_get(run, lists[i].key));
        }
        if (r == 0)
                r = img_js_text(run, "User", &c->user, err);
        if (r == 0)
                r = img_js_text(run, "WorkingDir", &c->working_dir, err);
        if (r == 0)
                r = img_js_text(run, "StopSignal", &c->stop_signal, err);
        if (r == 0)
                r = img_js_set_names(run, "ExposedPorts", &c->exposed_ports, err);
        if (r == 0)
                r = img_js_set_names(run, "Volumes", &c->volumes, err);
        if (r == 0)
                r = img_js_kvs(run, "Labels", &c->labels, err);
        if (r == 0)
                r = get_bool(run, "ArgsEscaped", &c->args_escaped, err);
        return r < 0 ? r : decode_health(run, c, err);
}

static int decode_rootfs(const struct js *rootfs, struct img_config *c, struct bld_err *err)
{
        const char *type = js_get_str(rootfs, "type");
        struct js *ids;
        int r;

        if (js_is_null(rootfs))
                return 0;
        if (!js_is_obj(rootfs))
                return err_set(err, BLD_E_CORRUPT, "\"rootfs\" is not an object");
        if (!type || strcmp(type, "layers") != 0)
                return err_set(err, BLD_E_CORRUPT, "\"rootfs\" is not of type \"layers\"");
        r = img_js_array(rootfs, "diff_ids", &ids, err);
        if (r < 0)
                return r;
        for (size_t i = 0; ids && i < js_len(ids); i++) {
                const char *s = js_str(js_at(ids, i));
                struct digest d;

                if (i >= IMG_LAYERS_MAX)
                        return err_set(err, BLD_E_LIMIT, "more than %d layers", IMG_LAYERS_MAX);
                if (!s)
                        return err_set(err, BLD_E_CORRUPT, "\"diff_ids\": not a string");
                r = digest_parse(s, &d, err);
                if (r == BLD_E_INVALID)
                        r = err_recode(err, BLD_E_CORRUPT);
                if (r < 0)
                        return err_wrap(err, r, "\"diff_ids\"");
                if (img_config_add_diff_id(c, &d) < 0)
                        return err_nomem(err, "image config");
        }
        return 0;
}

static int decode_history(const struct js *doc, struct img_config *c, struct bld_err *err)
{
        struct js *list;
        int r = img_js_array(doc, "history", &list, err);

        if (r < 0 || !list)
                return r;
        if (js_len(list) > HISTORY_MAX)
                return err_set(err, BLD_E_LIMIT, "more than %d history entries", HISTORY_MAX);
        for (size_t i = 0; i < js_len(list); i++) {
                const struct js *j = js_at(list, i);
                struct img_history *h = img_histories_push(&c->history);

                if (!h)
                        return err_nomem(err, "image config");
                if (!js_is_obj(j))
                        return err_set(err, BLD_E_CORRUPT, "history entry %zu is not an object", i);
                r = img_js_text(j, "created", &h->created, err);
                if (r == 0)
                        r = img_js_text(j, "created_by", &h->created_by, err);
                if (r == 0)
                        r = img_js_text(j, "author", &h->author, err);
                if (r == 0)
                        r = img_js_text(j, "comment", &h->comment, err);
                if (r == 0)
                        r = get_bool(j, "empty_layer", &h->empty_layer, err);
                if (r < 0)
                        return err_wrap(err, r, "history entry %zu", i);
        }
        return 0;
}

/* Kept as text: whoever wants it judges it. */
static int decode_cache(const struct js *cache, struct img_config *c, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_CONFIG_MAX);
        int r;

        if (!js_is_obj(cache))
                return 0;
        r = js_write(cache, JS_COMPACT, &text, err);
        if (r < 0)
                return r;
        c->cache = sb_take(&text);
        return c->cache ? 0 : err_nomem(err, "image config");
}

int img_config_decode(const char *text, size_t len, struct img_config *ret, struct bld_err *err)
{
        AUTO(img_config_done) struct img_config c = {.created = NULL};
        AUTO_JS struct js *j = NULL;
        int r = img_doc_parse(text, len, IMG_CONFIG_MAX, "image config", &j, err);

        if (r < 0)
                return r;
        r = img_js_text(j, "created", &c.created, err);
        if (r == 0)
                r = img_js_text(j, "author", &c.author, err);
        if (r == 0)
                r = img_platform_decode(j, &c.platform, &c.os_features, err);
        if (r == 0)
                r = decode_run(js_get(j, "config"), &c, err);
        if (r == 0)
                r = decode_rootfs(js_get(j, "rootfs"), &c, err);
        if (r == 0)
                r = decode_history(j, &c, err);
        if (r == 0)
                r = decode_cache(js_get(j, IMG_CONFIG_CACHE), &c, err);
        if (r < 0)
                return err_wrap(err, r, "image config");
        *ret = c;
        memset(&c, 0, sizeof(c));
        return 0;
}

/* ---- encoding ---- */

static void put_i64_opt(int *r, struct js *obj, const char *key, int64_t v)
{
        if (v)
                img_put(r, obj, key, js_new_i64(v));
}

static struct js *encode_health(int *r, const struct img_health *h)
{
        struct js *j = js_obj();

        if (!j)
                return NULL;
        img_put_strv_opt(r, j, "Test", &h->test);
        put_i64_opt(r, j, "Interval", h->interval_ns);
        put_i64_opt(r, j, "Timeout", h->timeout_ns);
        put_i64_opt(r, j, "StartPeriod", h->start_period_ns);
        put_i64_opt(r, j, "StartInterval", h->start_interval_ns);
        put_i64_opt(r, j, "Retries", h->retries);
        return j;
}

static struct js *encode_run(int *r, const struct img_config *c)
{
        struct js *j = js_obj();

        if (!j)
                return NULL;
        img_put_str_opt(r, j, "User", c->user);
        img_put_set_opt(r, j, "ExposedPorts", &c->exposed_ports);
        img_put_strv_opt(r, j, "Env", &c->env);
        if (c->has_entrypoint)
                img_put_strv(r, j, "Entrypoint", &c->entrypoint);
        if (c->has_cmd)
                img_put_strv(r, j, "Cmd", &c->cmd);
        img_put_set_opt(r, j, "Volumes", &c->volumes);
        img_put_str_opt(r, j, "WorkingDir", c->working_dir);
        img_put_kvs_opt(r, j, "Labels", &c->labels);
        img_put_str_opt(r, j, "StopSignal", c->stop_signal);
        if (c->args_escaped)
                img_put(r, j, "ArgsEscaped", js_new_bool(true));
        if (c->has_health)
                img_put(r, j, "Healthcheck", encode_health(r, &c->health));
        img_put_strv_opt(r, j, "OnBuild", &c->on_build);
        if (c->has_shell)
                img_put_strv(r, j, "Shell", &c->shell);
        return j;
}

static struct js *encode_rootfs(int *r, const struct img_config *c)
{
        AUTO_JS struct js *j = js_obj();
        AUTO_JS struct js *ids = js_arr();
        char text[DIGEST_STR_MAX];

        if (!j || !ids)
                return NULL;
        for (size_t i = 0; *r == 0 && i < c->ndiff_ids; i++) {
                digest_format(&c->diff_ids[i], text);
                *r = js_push_str(ids, text);
        }
        img_put_str(r, j, "type", "layers");
        img_put(r, j, "diff_ids", TAKE_PTR(&ids));
        return TAKE_PTR(&j);
}

static struct js *encode_history(int *r, const struct img_config *c)
{
        AUTO_JS struct js *list = js_arr();

        for (size_t i = 0; list && *r == 0 && i < c->history.n; i++) {
                const struct img_history *h = &c->history.v[i];
                AUTO_JS struct js *j = js_obj();

                if (!j)
                        return NULL;
                img_put_str_opt(r, j, "created", h->created);
                img_put_str_opt(r, j, "created_by", h->created_by);
                img_put_str_opt(r, j, "author", h->author);
                img_put_str_opt(r, j, "comment", h->comment);
                if (h->empty_layer)
                        img_put(r, j, "empty_layer", js_new_bool(true));
                if (*r == 0)
                        *r = js_push(list, TAKE_PTR(&j));
        }
        return TAKE_PTR(&list);
}

int img_config_encode(const struct img_config *c, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj();
        int r = j ? 0 : BLD_E_NOMEM;

        if (r == 0) {
                img_put_str_opt(&r, j, "created", c->created);
                img_put_str_opt(&r, j, "author", c->author);
                img_platform_put(&r, j, &c->platform, &c->os_features);
                img_put(&r, j, "config", encode_run(&r, c));
                img_put(&r, j, "rootfs", encode_rootfs(&r, c));
                if (c->history.n)
                        img_put(&r, j, "history", encode_history(&r, c));
                if (c->cache && r == 0) {
                        struct js *cache = NULL;

                        r = js_parse(c->cache, strlen(c->cache), &cache, NULL);
                        if (r == 0)
                                img_put(&r, j, IMG_CONFIG_CACHE, cache);
                }
        }
        if (r == BLD_E_NOMEM)
                return err_nomem(err, "image config");
        if (r < 0)
                return err_set(err, r, "the image config cannot be written as JSON");
        return js_write(j, JS_COMPACT, out, err);
}

void img_chain_id(const struct digest *diff_ids, size_t n, struct digest *ret)
{
        char text[2 * DIGEST_STR_MAX];

        memset(ret, 0, sizeof(*ret));
        for (size_t i = 0; i < n; i++) {
                size_t len;

                if (i == 0) {
                        *ret = diff_ids[0];
                        continue;
                }
                digest_format(ret, text);
                len = strlen(text);
                text[len++] = ' ';
                digest_format(&diff_ids[i], text + len);
                digest_of(text, strlen(text), ret);
        }
}
