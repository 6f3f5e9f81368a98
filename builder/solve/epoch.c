/* SOURCE_DATE_EPOCH: seconds, or the word for something whose age is known. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "builder/plan/plan_priv.h"
#include "builder/solve/start_priv.h"
#include "builder/source/git_priv.h"

#define DEPTH_MAX 4096 /* of folders in a context */

struct age {
        bool known;
        int64_t sec;
};

/* ---- what is how old ---- */

static int newest(struct fs *f, struct fs_node *dir, unsigned depth, struct age *ret,
                  struct bld_err *err)
{
        int r = depth > DEPTH_MAX ? err_set(err, BLD_E_LIMIT, "the build context is too deep")
                                  : fs_children(f, dir, err);

        for (size_t i = 0; i < dir->nchildren && r == 0; i++) {
                struct fs_node *n = dir->children[i];
                int64_t sec = n->mtime_ns / 1000000000;

                if (n->type == LY_DIR)
                        r = newest(f, n, depth + 1, ret, err);
                if (n->type != LY_FILE || (ret->known && ret->sec >= sec))
                        continue;
                *ret = (struct age){true, sec};
        }
        return r;
}

/* A context that came as an archive is as old as its newest file. */
static int folder_age(const char *path, struct age *ret, struct bld_err *err)
{
        AUTO(fs_free_p) struct fs *f = NULL;
        int r = fs_open_local(path, NULL, NULL, &f, err);

        return r < 0 ? r : newest(f, fs_root(f), 0, ret, err);
}

static int http_age(const struct build *b, const char *url, struct age *ret, struct bld_err *err)
{
        const struct digest any = {0};
        struct http_file f = {0};
        int r = http_fetch(b->c, b->secrets, url, &any, &f, err);

        if (r == 0 && f.mtime_sec > 0)
                *ret = (struct age){true, f.mtime_sec};
        http_file_done(&f);
        return r;
}

/* A repository is as old as its commit. */
static int url_age(const struct build *b, const char *url, bool context, struct age *ret,
                   struct bld_err *err)
{
        const struct remote_auth auth = {.secrets = b->secrets, .ssh = b->ssh};
        struct giturl u = {0};
        int r = git_url(url, context, &u, err);

        if (r == 1) {
                ret->known = true;
                r = source_git_time(b->c, &auth, &u, &ret->sec, err);
                giturl_done(&u);
                return r;
        }
        return r == 0 && http_is_url(url) ? http_age(b, url, ret, err) : r;
}

static int context_age(const struct build *b, const struct source *src, struct age *ret,
                       struct bld_err *err)
{
        int r = url_age(b, b->o->context, true, ret, err);

        return r == 0 && !ret->known && src->tmp ? folder_age(src->context_path, ret, err) : r;
}

static int image_age(struct resolver *x, const char *name, const struct img_platform *platform,
                     struct age *ret, struct bld_err *err)
{
        struct bd_image im = {0};
        int64_t ns;
        int r = resolver_image(x, name, platform, &im, err);

        if (r < 0)
                return r;
        ret->known = im.config.created && parse_rfc3339(im.config.created, &ret->sec, &ns);
        bd_image_done(&im);
        return 0;
}

/* 1 when there is a named context of that name. */
static int named_age(const struct build *b, struct resolver *x, const char *name, struct age *ret,
                     struct bld_err *err)
{
        struct img_platform host;
        const char *value = NULL;
        int r = 0;

        img_platform_host(&host);
        switch (named_find(b->named, name, &host, &value)) {
        case NAMED_NONE:
                return 0;
        case NAMED_FOLDER:
        case NAMED_EMPTY:
                break;
        case NAMED_IMAGE:
        case NAMED_LAYOUT:
        case NAMED_STORE:
                r = image_age(x, name, &host, ret, err);
                break;
        case NAMED_GIT:
        case NAMED_HTTP:
                r = url_age(b, value, true, ret, err);
                break;
        }
        return r < 0 ? r : 1;
}

/* ---- a stage that is one download ---- */

struct scope {
        struct strv env;
        struct strv_index at;
};

static void scope_done(struct scope *s)
{
        strv_done(&s->env);
        strv_index_done(&s->at);
}

static const char *scope_get(void *user, const char *name)
{
        struct scope *s = user;

        return strv_index_get(&s->at, &s->env, name);
}

static int set_args(const struct plan_opts *o, const struct df_instr *in, struct scope *s,
                    struct bld_err *err)
{
        const struct df_env e = {.get = scope_get, .user = s};

        for (size_t i = 0; i < in->npairs; i++) {
                const char *given = plan_build_arg(o, in->pairs[i].key);
                AUTO_FREE char *value = given ? mem_strdup(given) : NULL;
                int r = 0;

                if (!given && in->pairs[i].value)
                        r = df_expand_word(in->pairs[i].value, o->file->escape, &e, &value, err);
                if (r < 0)
                        return r;
                if (value && strv_index_set(&s->at, &s->env, in->pairs[i].key, value) < 0)
                        return err_nomem(err, "arguments");
        }
        return 0;
}

/* 1: the stage is FROM scratch, ARGs and one ADD of a URL, which is *ret; 0: it is something else.
 */
static int lone_add(const struct plan_opts *o, size_t from, char **ret, struct bld_err *err)
{
        const struct df_file *f = o->file;
        AUTO(scope_done) struct scope scope = {.env = {0}};
        const struct df_env e = {.get = scope_get, .user = &scope};
        const struct df_instr *add = NULL;
        struct giturl u = {0};
        int r = 0;

        if (strcmp(f->v[from].args[0].text, "scratch") != 0)
                return 0;
        for (size_t i = 0; i < f->n && f->v[i].kind == DF_ARG && r == 0; i++)
                r = set_args(o, &f->v[i], &scope, err);
        for (size_t i = from + 1; i < f->n && f->v[i].kind != DF_FROM && r == 0; i++) {
                if (f->v[i].kind == DF_ARG) {
                        r = add ? 0 : set_args(o, &f->v[i], &scope, err);
                        continue;
                }
                if (f->v[i].kind != DF_ADD || add || f->v[i].nargs != 2 || f->v[i].nheredocs)
                        return 0;
                add = &f->v[i];
        }
        if (r < 0 || !add)
                return r;
        r = df_expand_word(add->args[0].text, f->escape, &e, ret, err);
        if (r < 0)
                return r;
        r = git_url(*ret, false, &u, err);
        giturl_done(&u);
        return r < 0 ? r : r == 1 || http_is_url(*ret);
}

/* 1 when there is such a stage. */
static int stage_age(const struct build *b, const struct plan_opts *o, const char *name,
                     struct age *ret, struct bld_err *err)
{
        for (size_t i = o->file->n; i-- > 0;) {
                const struct df_instr *in = &o->file->v[i];
                AUTO_FREE char *url = NULL;
                int r;

                if (in->kind != DF_FROM || !in->as_name || strcasecmp(in->as_name, name) != 0)
                        continue;
                r = lone_add(o, i, &url, err);
                if (r == 1)
                        r = url_age(b, url, false, ret, err);
                else if (r == 0)
                        return 0;
                return r < 0 ? r : 1;
        }
        return 0;
}

/* ---- the value ---- */

/* A global ARG of that name is the default. */
static int from_default(const struct plan_opts *o, char **ret, struct bld_err *err)
{
        const struct df_file *f = o->file;
        AUTO(scope_done) struct scope scope = {.env = {0}};
        const char *value;
        int r = 0;

        for (size_t i = 0; i < f->n && f->v[i].kind == DF_ARG && r == 0; i++)
                r = set_args(o, &f->v[i], &scope, err);
        if (r < 0) { /* the plan meets it again, and knows where it stands */
                err_clear(err);
                return 0;
        }
        value = scope_get(&scope, "SOURCE_DATE_EPOCH");
        *ret = value ? mem_strdup(value) : NULL;
        return value && !*ret ? err_nomem(err, "SOURCE_DATE_EPOCH") : 0;
}

static int resolve(struct build *b, const struct source *src, struct resolver *x,
                   const struct plan_opts *o, const char *text, struct age *ret,
                   struct bld_err *err)
{
        int64_t ns;
        int r;

        ret->known = parse_i64(text, 0, INT64_MAX / 1000000000, &ret->sec) ||
                     parse_rfc3339(text, &ret->sec, &ns);
        if (ret->known)
                return 0;
        if (strcmp(text, "context") == 0)
                return context_age(b, src, ret, err);
        r = named_age(b, x, text, ret, err);
        if (r == 0)
                r = stage_age(b, o, text, ret, err);
        if (r == 0)
                return err_set(err, BLD_E_INVALID, "invalid SOURCE_DATE_EPOCH: %.100s", text);
        return r < 0 ? err_wrap(err, r, "SOURCE_DATE_EPOCH %.100s", text) : 0;
}

int epoch_find(struct build *b, const char *given, const struct source *src, struct resolver *x,
               const struct df_file *f, struct bld_err *err)
{
        const struct plan_opts o = {.file = f, .build_args = &b->o->build_args};
        const char *text = given ? given : b->o->source_date_epoch;
        AUTO_FREE char *value = NULL;
        struct age age = {0};
        int r = 0;

        if (!text)
                text = plan_build_arg(&o, "SOURCE_DATE_EPOCH");
        b->epoch_given = text != NULL;
        if (!text) {
                r = from_default(&o, &value, err);
                text = value;
        }
        if (!text && b->o->reproducible)
                text = "0";
        if (r < 0 || !text)
                return r;
        if (*text)
                r = resolve(b, src, x, &o, text, &age, err);
        b->has_epoch = age.known;
        b->clamp_sec = age.sec;
        if (age.known)
                (void)snprintf(b->epoch, sizeof(b->epoch), "%lld", (long long)age.sec);
        return r;
}
