/* Instructions that make layers: RUN, COPY, ADD, WORKDIR. */
#include "builder/plan/plan_priv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/path.h"

#define HISTORY_MAX (1u << 20)

static const char *workdir(const struct stage *s)
{
        return s->config.working_dir && *s->config.working_dir ? s->config.working_dir : "/";
}

/* ---- WORKDIR ---- */

static int plan_workdir(struct plan *p, struct stage *s, const struct df_instr *in,
                        struct bld_err *err)
{
        AUTO_FREE char *path = NULL;
        char *full, *text = NULL;
        struct vertex *v;
        int r = plan_expand(p, s, in->args[0].text, &path, err);

        if (r < 0)
                return plan_fail(p, &in->args[0].pos, r);
        lint_workdir(p->o->lint, &s->lint, path);
        full = *path == '/' ? mem_strdup(path) : path_join(workdir(s), path);
        if (!full)
                return err_nomem(err, "WORKDIR");
        free(s->config.working_dir);
        s->config.working_dir = full;
        if (asprintf(&text, "WORKDIR %s", full) < 0)
                text = NULL;
        if (strcmp(full, "/") == 0) {
                s->fs_total -= s->fs_total > 0;
                return plan_note(s, text, err);
        }
        r = plan_vertex(p, s, in, VX_MKDIR, 1, &v, err);
        if (r < 0) {
                free(text);
                return r;
        }
        v->u.mkdir.path = mem_strdup(full);
        v->u.mkdir.user = mem_strdup(s->config.user ? s->config.user : "");
        if (!v->u.mkdir.path || !v->u.mkdir.user) {
                vertex_free(v);
                free(text);
                return err_nomem(err, "WORKDIR");
        }
        return plan_push(p, s, v, text, err);
}

/* ---- COPY and ADD ---- */

/* `--from` never expands: a value that would change is refused. */
int plan_check_from(struct plan *p, const char *from, struct bld_err *err)
{
        struct strv none = {0};
        struct df_env env = {.get = df_env_strv, .user = &none};
        AUTO_FREE char *out = NULL;
        int r = df_expand_word(from, p->o->file->escape, &env, &out, NULL);

        if (r == BLD_E_NOMEM)
                return err_nomem(err, "--from");
        if (r < 0 || strcmp(out, from) != 0)
                return err_set(err, BLD_E_INVALID,
                               "variable expansion is not supported for --from, define a new "
                               "stage with FROM using ARG from global scope as a workaround");
        return 0;
}

static int copy_from(struct plan *p, struct stage *s, const struct df_instr *in, struct vertex *v,
                     struct bld_err *err)
{
        const char *from = in->kind == DF_COPY ? df_flag(in, "from") : NULL;
        struct stage *t = NULL;
        bool paths = false;
        int r = 0;

        for (size_t i = 0; i < v->u.copy.nsrc; i++)
                paths = paths || v->u.copy.src[i].kind == COPY_PATH;
        if (!paths)
                return 0;
        v->ninputs = MAX(v->ninputs, (size_t)2);
        if (!from || !*from)
                return plan_context(p, &v->inputs[1], err);
        r = plan_check_from(p, from, err);
        if (r == 0)
                r = plan_from_stage(p, s, from, true, &t, err);
        if (r == 0 && t)
                v->inputs[1] = t->fs;
        else if (r == 0)
                r = plan_near_stage(p, s, "COPY --from", from, err);
        if (r == 0 && !t)
                r = plan_input_image(p, s, from, &v->inputs[1], err);
        return r;
}

static bool is_remote(const char *s)
{
        const char *at = strchr(s, '@'), *colon = strchr(s, ':');

        return strncasecmp(s, "http://", 7) == 0 || strncasecmp(s, "https://", 8) == 0 ||
               strncasecmp(s, "git://", 6) == 0 || strncasecmp(s, "ssh://", 6) == 0 ||
               (at && colon && at < colon && at > s && !memchr(s, '/', (size_t)(colon - s)));
}

static int remote_file(struct plan *p, const struct df_instr *in, struct copy_source *src,
                       struct bld_err *err)
{
        const char *checksum = df_flag(in, "checksum");
        struct digest want = {0};
        int r = 0;

        src->shown = TAKE_PTR(&src->path);
        if (checksum && *checksum)
                r = digest_parse(checksum, &want, err);
        if (r == 0)
                r = p->o->fetch(p->o->user, src->shown, &want, src, err);
        src->kind = COPY_BLOB;
        return r;
}

/* --checksum and --keep-git-dir say the same as the URL, or the URL says nothing. */
static int git_flags(const struct df_instr *in, struct giturl *u, struct bld_err *err)
{
        const char *checksum = df_flag(in, "checksum");
        bool keep = df_flag_bool(in, "keep-git-dir");

        if (df_flag(in, "keep-git-dir") && u->keep_git_dir >= 0 && (u->keep_git_dir == 1) != keep)
                return err_set(err, BLD_E_INVALID, "inconsistent keep-git-dir configuration");
        if (df_flag(in, "keep-git-dir"))
                u->keep_git_dir = keep;
        if (!checksum || !*checksum)
                return 0;
        if (*u->checksum && strcmp(u->checksum, checksum) != 0)
                return err_set(err, BLD_E_INVALID, "checksum mismatch \"%.100s\" != \"%.100s\"",
                               checksum, u->checksum);
        free(u->checksum);
        u->checksum = mem_strdup(checksum);
        return u->checksum ? 0 : err_nomem(err, "--checksum");
}

/* A password of the URL is no business of the image's history. */
static char *without_password(const char *url)
{
        const char *host = strstr(url, "://"), *at, *colon;
        char *out = NULL;
        size_t n;

        if (!host)
                return mem_strdup(url);
        host += 3;
        n = strcspn(host, "/?#");
        at = memrchr(host, '@', n);
        colon = at ? memchr(host, ':', (size_t)(at - host)) : NULL;
        if (!colon)
                return mem_strdup(url);
        return asprintf(&out, "%.*s:xxxxx%s", (int)(colon - url), url, at) < 0 ? NULL : out;
}

/* Behind the inputs of all copies, [0] and [1]. */
static int git_source(struct plan *p, struct stage *s, const struct df_instr *in, struct giturl *u,
                      struct copy_source *src, struct vertex *v, struct bld_err *err)
{
        int r = git_flags(in, u, err);

        src->kind = COPY_GIT;
        src->shown = without_password(src->path);
        free(src->path);
        src->path = mem_strdup("");
        if (r == 0 && (!src->shown || !src->path))
                r = err_nomem(err, "git URL");
        v->ninputs = MAX(v->ninputs, (size_t)2);
        src->input = v->ninputs;
        if (r == 0)
                r = plan_git(p, s, u, src->shown, &v->inputs[src->input], err);
        if (r < 0)
                return r;
        /* Content is told apart without times: where they are the commit's, the commit counts. */
        if (v->inputs[src->input]->u.git.mtime_commit) {
                free(src->path);
                src->path = mem_strdup(v->inputs[src->input]->u.git.commit);
        }
        v->ninputs++;
        return src->path ? 0 : err_nomem(err, "git URL");
}

/* Some place that is not the context: a repository, or a file of the web. 1: neither. */
static int remote_source(struct plan *p, struct stage *s, const struct df_instr *in,
                         struct copy_source *src, struct vertex *v, struct bld_err *err)
{
        AUTO(giturl_done) struct giturl u = {0};
        const char *checksum = df_flag(in, "checksum");
        int git = giturl_parse(src->path, &u, err);
        bool http = strncasecmp(src->path, "http://", 7) == 0 ||
                    strncasecmp(src->path, "https://", 8) == 0;

        if (git < 0)
                return git;
        git = git && !u.like_path; /* which would be a context's form */
        if (!git && !http)
                return 1;
        if (in->kind == DF_COPY)
                return err_set(err, BLD_E_INVALID, "source can't be a %s for COPY: %.300s",
                               git ? "git ref" : "URL", src->path);
        if (checksum && *checksum && in->nargs > 2)
                return err_set(err, BLD_E_INVALID,
                               "checksum can't be specified for multiple sources");
        return git ? git_source(p, s, in, &u, src, v, err) : remote_file(p, in, src, err);
}

/* A heredoc's delimiter becomes a name in the image: it must not lead elsewhere. */
static bool is_file_name(const char *s)
{
        for (const char *p = s;; p++) {
                size_t n = strcspn(p, "/");

                if (n == 0 || (n == 1 && *p == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                p += n;
                if (!*p)
                        return true;
        }
}

static int copy_source(struct plan *p, struct stage *s, const struct df_instr *in,
                       const struct df_arg *a, struct vertex *v, struct copy_source *out,
                       struct bld_err *err)
{
        const struct df_heredoc *h = NULL;
        struct lint_env e;
        int r = df_heredoc_find(in, a->text, &h, err);

        if (r < 0)
                return r;
        out->pos = a->pos;
        if (r == 1) {
                out->kind = COPY_INLINE;
                if (!is_file_name(h->name))
                        return plan_fail(p, &a->pos,
                                         err_set(err, BLD_E_INVALID,
                                                 "\"%s\" cannot be the name of a file", h->name));
                out->path = mem_strdup(h->name);
                lint_env_init(&e, &s->env, p->o->lint);
                r = df_expand_heredoc(h, &e.env, &out->data, &out->len, err);
                lint_undefined(p->o->lint, &s->lint, &e, &s->args);
                lint_env_done(&e);
                return r < 0 || out->path ? r : err_nomem(err, "heredoc");
        }
        r = plan_expand(p, s, a->text, &out->path, err);
        if (r == 0)
                r = remote_source(p, s, in, out, v, err);
        if (r == 1 && (in->kind == DF_ADD || !df_flag(in, "from")))
                lint_copy_source(p->o->lint, in, out->path);
        r = MIN(r, 0);
        return plan_fail(p, &a->pos, r);
}

/* Relative to WORKDIR; a trailing slash, or none, is kept. */
static int copy_dest(struct plan *p, struct stage *s, const struct df_instr *in, struct vx_copy *c,
                     char **ret_written, struct bld_err *err)
{
        const struct df_arg *a = &in->args[in->nargs - 1];
        const struct df_heredoc *h = NULL;
        size_t n;
        bool dir;
        int r = df_heredoc_find(in, a->text, &h, err);

        if (r < 0)
                return r;
        if (r == 1)
                return plan_fail(p, &a->pos,
                                 err_set(err, BLD_E_INVALID,
                                         "%s cannot accept a heredoc as a destination",
                                         df_kind_name(in->kind)));
        r = plan_expand(p, s, a->text, ret_written, err);
        if (r < 0)
                return plan_fail(p, &a->pos, r);
        n = strlen(*ret_written);
        dir = n == 0 || (*ret_written)[n - 1] == '/' || strcmp(*ret_written, ".") == 0 ||
              str_has_suffix(*ret_written, "/.");
        AUTO_FREE char *full = path_join(workdir(s), n ? *ret_written : ".");

        if (!full || asprintf(&c->dest, "%s%s", full, dir && strcmp(full, "/") ? "/" : "") < 0) {
                c->dest = NULL;
                return err_nomem(err, "destination");
        }
        return 0;
}

static int copy_flags(struct plan *p, struct stage *s, const struct df_instr *in, struct vx_copy *c,
                      struct bld_err *err)
{
        const char *chown = df_flag(in, "chown"), *chmod = df_flag(in, "chmod");
        const char *unpack = df_flag(in, "unpack");
        int r = 0;

        if (chown && *chown)
                r = plan_expand(p, s, chown, &c->chown, err);
        if (r == 0 && chmod && *chmod)
                r = plan_expand(p, s, chmod, &c->chmod, err);
        for (size_t i = 0; i < in->nflags && r == 0; i++)
                if (strcmp(in->flags[i].name, "exclude") == 0 && in->flags[i].value)
                        r = strv_add(&c->excludes, in->flags[i].value) < 0
                                    ? err_nomem(err, "--exclude")
                                    : 0;
        for (size_t i = 0; i + 1 < in->nargs && r == 0 && in->kind == DF_ADD; i++)
                if (df_flag(in, "checksum") && *df_flag(in, "checksum") &&
                    !strchr(in->args[i].text, '$') && !is_remote(in->args[i].text))
                        r = err_set(err, BLD_E_INVALID, "checksum requires HTTP(S) or Git sources");
        c->link = df_flag_bool(in, "link");
        c->parents = df_flag_bool(in, "parents");
        c->is_add = in->kind == DF_ADD;
        c->unpack_set = unpack != NULL;
        c->unpack = df_flag_bool(in, "unpack");
        return r;
}

static void copy_text(const struct df_instr *in, const struct vx_copy *c, const char *written,
                      struct sb *out)
{
        sb_str(out, df_kind_name(in->kind));
        if (c->parents)
                sb_str(out, " --parents");
        if (c->chown)
                sb_fmt(out, " --chown=%s", c->chown);
        if (c->chmod)
                sb_fmt(out, " --chmod=%s", c->chmod);
        for (size_t i = 0; i < c->nsrc; i++)
                if (c->src[i].kind != COPY_INLINE)
                        sb_fmt(out, " %s", c->src[i].shown ? c->src[i].shown : c->src[i].path);
        for (size_t i = 0; i < c->nsrc; i++)
                if (c->src[i].kind == COPY_INLINE)
                        sb_fmt(out, " <<%s", c->src[i].path);
        sb_fmt(out, " %s # buildkit", written);
}

int plan_copy(struct plan *p, struct stage *s, const struct df_instr *in, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(HISTORY_MAX);
        AUTO_FREE char *written = NULL;
        struct vx_copy *c;
        struct vertex *v;
        int r = plan_vertex(p, s, in, VX_COPY, 2 + in->nargs, &v, err);

        if (r < 0)
                return r;
        c = &v->u.copy;
        c->src = mem_zalloc(in->nargs, sizeof(*c->src));
        if (!c->src)
                r = err_nomem(err, "sources");
        if (r == 0)
                r = copy_flags(p, s, in, c, err);
        for (size_t i = 0; i + 1 < in->nargs && r == 0; i++) {
                c->nsrc = i + 1;
                r = copy_source(p, s, in, &in->args[i], v, &c->src[i], err);
        }
        if (r == 0)
                r = copy_dest(p, s, in, c, &written, err);
        if (r == 0)
                r = copy_from(p, s, in, v, err);
        if (r == 0) {
                copy_text(in, c, written, &text);
                r = sb_check(&text, "history", err);
        }
        if (r < 0) {
                vertex_free(v);
                return r;
        }
        v->pos = in->nargs ? in->args[0].pos : (struct df_pos){0};
        return plan_push(p, s, v, sb_take(&text), err);
}

/* ---- RUN --mount ---- */

static int split_field(const char *field, char **ret_key, const char **ret_value,
                       struct bld_err *err)
{
        const char *eq = strchr(field, '=');
        char *key = mem_strndup(field, eq ? (size_t)(eq - field) : strlen(field));

        if (!key)
                return err_nomem(err, "--mount");
        for (char *c = key; *c; c++)
                *c = (char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
        *ret_key = key;
        *ret_value = eq ? eq + 1 : NULL;
        return 0;
}

int plan_mount_from(const char *value, char **ret, struct bld_err *err)
{
        AUTO_STRV struct strv fields = {0};
        int r = csv_split(value, &fields, err);

        for (size_t i = 0; i < fields.n && r == 0; i++) {
                AUTO_FREE char *key = NULL;
                const char *v;

                r = split_field(fields.v[i], &key, &v, err);
                if (r < 0 || strcmp(key, "from") != 0 || !v)
                        continue;
                const char *dollar = strchr(v, '$');

                if (dollar && dollar[1])
                        return err_set(err, BLD_E_INVALID,
                                       "'from' doesn't support variable expansion, define alias "
                                       "stage instead");
                free(*ret);
                *ret = mem_strdup(v);
                if (!*ret)
                        return err_nomem(err, "--mount");
        }
        return r;
}

struct mount_parse {
        struct plan *p;
        struct stage *s;
        struct vx_mount *m;
        char *from;
        bool readonly_set, sharing_set;
};

static int mount_bool(const char *key, const char *value, bool *ret, struct bld_err *err)
{
        *ret = true;
        if (value && !parse_go_bool(value, ret))
                return err_set(err, BLD_E_INVALID, "invalid value for %s: %s", key, value);
        return 0;
}

static int mount_type(const char *value, enum mount_type *ret, struct bld_err *err)
{
        static const char *const names[] = {[MT_BIND] = "bind",
                                            [MT_CACHE] = "cache",
                                            [MT_TMPFS] = "tmpfs",
                                            [MT_SECRET] = "secret",
                                            [MT_SSH] = "ssh"};
        const char *near;

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                if (strcasecmp(value, names[i]) == 0) {
                        *ret = (enum mount_type)i;
                        return 0;
                }
        }
        near = near_match(value, names, ARRAY_LEN(names), 3);
        (void)err_set(err, BLD_E_INVALID, "unsupported mount type \"%s\"", value);
        return near ? err_try(err, BLD_E_INVALID, "did you mean %s?", near) : BLD_E_INVALID;
}

static const char *type_name(enum mount_type t)
{
        static const char *const names[] = {"bind", "cache", "tmpfs", "secret", "ssh"};

        return names[t];
}

static int mount_owner_key(struct mount_parse *x, const char *key, const char *value,
                           struct bld_err *err)
{
        struct vx_mount *m = x->m;
        uint64_t n = 0;

        if (m->type != MT_CACHE && m->type != MT_SECRET && m->type != MT_SSH)
                return err_set(err, BLD_E_INVALID, "%s not allowed for \"%s\" type mounts", key,
                               type_name(m->type));
        if (strcmp(key, "mode") == 0) {
                m->mode_set = true;
                return parse_octal(value, 07777, &m->mode)
                               ? 0
                               : err_set(err, BLD_E_INVALID, "invalid value %s for mode", value);
        }
        if (!parse_u64(value, 0, UINT32_MAX, &n))
                return err_set(err, BLD_E_INVALID, "invalid value %s for %s", value, key);
        *(key[0] == 'u' ? &m->uid : &m->gid) = (uint32_t)n;
        return 0;
}

static int mount_sharing(struct mount_parse *x, const char *value, struct bld_err *err)
{
        static const char *const names[] = {"shared", "private", "locked"};

        if (x->m->type != MT_CACHE)
                return err_set(err, BLD_E_INVALID, "invalid cache sharing set for %s mount",
                               type_name(x->m->type));
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                if (strcasecmp(value, names[i]) == 0) {
                        x->m->sharing = (enum cache_sharing)i;
                        return 0;
                }
        }
        return err_set(err, BLD_E_INVALID, "unsupported sharing value \"%s\"", value);
}

static int set_text(char **slot, const char *value, struct bld_err *err)
{
        free(*slot);
        *slot = mem_strdup(value);
        return *slot ? 0 : err_nomem(err, "--mount");
}

static bool is(const char *key, const char *a, const char *b, const char *c)
{
        return strcmp(key, a) == 0 || (b && strcmp(key, b) == 0) || (c && strcmp(key, c) == 0);
}

static int mount_key(struct mount_parse *x, const char *key, const char *value, const char *field,
                     struct bld_err *err)
{
        struct vx_mount *m = x->m;

        if (is(key, "target", "dst", "destination"))
                return set_text(&m->target, value, err);
        if (is(key, "source", "src", NULL)) {
                if (m->type == MT_SSH)
                        return err_set(err, BLD_E_INVALID, "ssh does not support source");
                if (m->type == MT_SECRET && m->id)
                        return err_set(err, BLD_E_INVALID, "both source and id can't be set");
                return set_text(m->type == MT_SECRET ? &m->id : &m->source, value, err);
        }
        if (strcmp(key, "from") == 0) {
                if (m->type == MT_SECRET)
                        return err_set(err, BLD_E_INVALID, "secret mount should not have a from");
                return set_text(&x->from, value, err);
        }
        if (strcmp(key, "size") == 0) {
                if (m->type != MT_TMPFS)
                        return err_set(err, BLD_E_INVALID,
                                       "unexpected key 'size' for mount type '%s'",
                                       type_name(m->type));
                return parse_size(value, &m->size_bytes)
                               ? 0
                               : err_set(err, BLD_E_INVALID, "invalid value for size: %s", value);
        }
        if (strcmp(key, "id") == 0)
                return set_text(&m->id, value, err);
        if (strcmp(key, "env") == 0 && m->type == MT_SECRET)
                return set_text(&m->env, value, err);
        if (strcmp(key, "sharing") == 0)
                return mount_sharing(x, value, err);
        if (is(key, "mode", "uid", "gid"))
                return mount_owner_key(x, key, value, err);
        return err_set(err, BLD_E_INVALID, "unexpected key '%s' in '%s'", key, field);
}

static int mount_field(struct mount_parse *x, const char *field, struct bld_err *err)
{
        AUTO_FREE char *key = NULL, *expanded = NULL;
        const char *value;
        bool flag = false;
        int r = split_field(field, &key, &value, err);

        if (r == 0 && value && strcmp(key, "from") != 0) {
                r = plan_expand(x->p, x->s, value, &expanded, err);
                value = expanded;
        }
        if (r < 0)
                return r;
        if (is(key, "readonly", "ro", NULL) || is(key, "readwrite", "rw", NULL)) {
                r = mount_bool(key, value, &flag, err);
                x->m->readonly = is(key, "readonly", "ro", NULL) ? flag : !flag;
                x->readonly_set = true;
                return r;
        }
        if (strcmp(key, "required") == 0) {
                if (x->m->type != MT_SECRET && x->m->type != MT_SSH)
                        return err_set(err, BLD_E_INVALID, "unexpected key 'required' in '%s'",
                                       field);
                return mount_bool(key, value, &x->m->required, err);
        }
        if (!value)
                return err_set(err, BLD_E_INVALID, "invalid field '%s' must be a key=value pair",
                               field);
        if (strcmp(key, "type") == 0)
                return mount_type(value, &x->m->type, err);
        return mount_key(x, key, value, field, err);
}

/* Defaults that depend on everything else: target, id, read-only. */
static int mount_defaults(struct mount_parse *x, struct bld_err *err)
{
        struct vx_mount *m = x->m;
        bool secret = m->type == MT_SECRET, file_wanted = m->target || !m->env;
        char *full;

        if (!x->readonly_set)
                m->readonly = m->type != MT_CACHE && m->type != MT_TMPFS;
        if (m->type == MT_CACHE && !m->id) {
                m->id = path_clean(m->target ? m->target : "");
                if (!m->id)
                        return err_nomem(err, "--mount");
        }
        if (secret && !m->id && !m->target)
                return err_set(err, BLD_E_INVALID,
                               "invalid secret mount. one of source, target required");
        if (secret && !m->id && set_text(&m->id, path_base(m->target), err) < 0)
                return BLD_E_NOMEM;
        if (secret && m->env && !*m->env && set_text(&m->env, m->id, err) < 0)
                return BLD_E_NOMEM;
        if (m->type == MT_SSH && !m->id && set_text(&m->id, "default", err) < 0)
                return BLD_E_NOMEM;
        if (m->type == MT_SSH && !m->target)
                return 0;
        if (secret && !file_wanted)
                return 0;
        if (secret && !m->target) {
                if (asprintf(&m->target, "/run/secrets/%s", path_base(m->id)) < 0) {
                        m->target = NULL;
                        return err_nomem(err, "--mount");
                }
        }
        full = path_join(workdir(x->s), m->target ? m->target : ".");
        if (!full)
                return err_nomem(err, "--mount");
        free(m->target);
        m->target = full;
        if (strcmp(full, "/") == 0)
                return err_set(err, BLD_E_INVALID, "invalid mount target \"/\"");
        return 0;
}

static int mount_input(struct mount_parse *x, struct vertex *v, struct bld_err *err)
{
        struct stage *t = NULL;
        struct vertex *in = NULL;
        int r = 0;

        x->m->input = -1;
        if (x->m->type != MT_BIND && !(x->m->type == MT_CACHE && x->from))
                return 0;
        if (!x->from || !*x->from) {
                r = plan_context(x->p, &in, err);
        } else {
                r = plan_from_stage(x->p, x->s, x->from, false, &t, err);
                if (r == 0 && !t)
                        r = plan_near_stage(x->p, x->s, "RUN --mount from", x->from, err);
                if (r == 0 && !t)
                        r = plan_input_image(x->p, x->s, x->from, &in, err);
                else if (t)
                        in = t->fs;
        }
        if (r < 0 || !in)
                return r;
        x->m->input = (int)v->ninputs;
        v->inputs[v->ninputs++] = in;
        return 0;
}

static void outline_step_mount(struct plan *p, const struct vx_mount *m, unsigned line)
{
        if (m->type == MT_SECRET)
                outline_mount(p->o->outline, line, OUTLINE_SECRET, m->id, m->required);
        else if (m->type == MT_SSH)
                outline_mount(p->o->outline, line, OUTLINE_SSH, m->id, m->required);
        else if (m->type == MT_CACHE)
                outline_mount(p->o->outline, line, OUTLINE_CACHE, m->id, false);
}

static int plan_mount(struct plan *p, struct stage *s, const char *value, struct vertex *v,
                      struct bld_err *err)
{
        AUTO_STRV struct strv fields = {0};
        struct mount_parse x = {.p = p, .s = s, .m = &v->u.run.mounts[v->u.run.nmounts++]};
        int r = csv_split(value, &fields, err);

        for (size_t i = 0; i < fields.n && r == 0; i++)
                r = mount_field(&x, fields.v[i], err);
        if (r == 0)
                r = mount_defaults(&x, err);
        if (r == 0)
                outline_step_mount(p, x.m, v->line);
        if (r == 0)
                r = mount_input(&x, v, err);
        if (r == 0 && x.m->type == MT_CACHE) {
                const char *ns = plan_build_arg(p->o, "BUILDKIT_CACHE_MOUNT_NS");
                char *id = NULL;

                /* One made with a mode or an owner is another cache than one made without. */
                if ((x.m->mode_set || x.m->uid || x.m->gid
                             ? asprintf(&id, "%s/%s %o:%u:%u", ns ? ns : "", x.m->id,
                                        x.m->mode_set ? x.m->mode : 0755, x.m->uid, x.m->gid)
                             : asprintf(&id, "%s/%s", ns ? ns : "", x.m->id)) < 0)
                        r = err_nomem(err, "--mount");
                else {
                        free(x.m->id);
                        x.m->id = id;
                }
        }
        free(x.from);
        return r;
}

/* ---- RUN ---- */

static int run_network(struct plan *p, const struct df_instr *in, struct vx_run *run,
                       struct bld_err *err)
{
        const char *net = df_flag(in, "network"), *security = df_flag(in, "security");

        if (!net || !*net)
                net = p->o->network;
        if (strcmp(net, "default") && strcmp(net, "none") && strcmp(net, "host"))
                return err_set(err, BLD_E_INVALID, "invalid network mode \"%s\"", net);
        if (df_flag(in, "network") && strcmp(net, "host") == 0 && !p->o->allow_host_network)
                return err_try(err, err_set(err, BLD_E_POLICY, "RUN --network=host is not allowed"),
                               "bld build --allow network.host ...");
        if (security && *security && strcmp(security, "sandbox") && strcmp(security, "insecure"))
                return err_set(err, BLD_E_INVALID, "security \"%s\" is not valid", security);
        run->insecure = security && strcmp(security, "insecure") == 0;
        if (run->insecure && !p->o->allow_insecure)
                return err_try(err,
                               err_set(err, BLD_E_POLICY, "RUN --security=insecure is not allowed"),
                               "bld build --allow security.insecure ...");
        if (df_flag(in, "device"))
                return err_set(err, BLD_E_UNSUPPORTED, "RUN --device is not supported");
        run->network = mem_strdup(net);
        return run->network ? 0 : err_nomem(err, "RUN");
}

/* A single heredoc as the whole command: its body is the script. */
static int run_heredoc(struct stage *s, const struct df_heredoc *h, struct vx_run *run,
                       struct bld_err *err)
{
        struct df_cmd cmd = {0};
        char *body, *text = NULL;
        size_t len;
        int r;

        if (h->chomp) {
                body = df_heredoc_chomp(h->content, h->content_len, &len);
        } else {
                body = mem_strndup(h->content, h->content_len);
                len = h->content_len;
        }
        if (!body)
                return err_nomem(err, "heredoc");
        if (len >= 2 && body[0] == '#' && body[1] == '!') {
                run->script = body;
                run->script_len = len;
                run->script_name = mem_strdup(h->name);
                if (!run->script_name || asprintf(&text, "/dev/pipes/%s", h->name) < 0)
                        return err_nomem(err, "heredoc");
        } else {
                text = body;
        }
        r = strv_add(&cmd.argv, text) < 0 ? err_nomem(err, "heredoc")
                                          : plan_words(s, &cmd, &run->argv, err);
        strv_done(&cmd.argv);
        free(text);
        return r;
}

static int run_words(struct stage *s, const struct df_instr *in, struct vx_run *run,
                     struct bld_err *err)
{
        const char *w = in->cmd.argv.n ? in->cmd.argv.v[0] : "";
        AUTO_SB struct sb text = SB_INIT(32u << 20);
        const struct df_heredoc *h = NULL;
        struct df_cmd cmd = {0};
        int r;

        if (in->nheredocs == 0 || in->cmd.json)
                return plan_words(s, &in->cmd, &run->argv, err);
        r = df_heredoc_find(in, w, &h, err);
        if (r != 0)
                return r < 0 ? r : run_heredoc(s, h, run, err);
        sb_str(&text, w);
        for (size_t i = 0; i < in->nheredocs; i++) {
                sb_char(&text, '\n');
                sb_add(&text, in->heredocs[i].content, in->heredocs[i].content_len);
                sb_str(&text, in->heredocs[i].name);
        }
        r = sb_check(&text, "heredoc", err);
        if (r == 0)
                r = strv_add(&cmd.argv, sb_text(&text)) < 0 ? err_nomem(err, "heredoc")
                                                            : plan_words(s, &cmd, &run->argv, err);
        strv_done(&cmd.argv);
        return r;
}

static void run_text(const struct stage *s, const struct vx_run *run, struct sb *out)
{
        sb_str(out, "RUN ");
        if (s->args.n) {
                sb_fmt(out, "|%zu ", s->args.n);
                for (size_t i = 0; i < s->args.n; i++) {
                        const char *v = strv_env_get(&s->env, s->args.v[i]);

                        sb_fmt(out, "%s=%s ", s->args.v[i], v ? v : "");
                }
        }
        for (size_t i = 0; i < run->argv.n; i++)
                sb_fmt(out, "%s ", run->argv.v[i]);
        sb_str(out, "# buildkit");
}

static int run_env(struct plan *p, struct stage *s, struct vx_run *run, struct bld_err *err)
{
        static const char *const hidden[] = {"BUILDKIT_SBOM_SCAN_CONTEXT=",
                                             "BUILDKIT_SBOM_SCAN_STAGE="};
        int r = 0;

        for (size_t i = 0; i < s->env.n && r == 0; i++) {
                bool skip = false;

                for (size_t k = 0; k < ARRAY_LEN(hidden); k++)
                        skip = skip || str_has_prefix(s->env.v[i], hidden[k]);
                if (!skip)
                        r = strv_add(&run->env, s->env.v[i]);
        }
        for (size_t i = 0; i < p->o->host_names->n && r == 0; i++)
                r = strv_add(&run->host_names, p->o->host_names->v[i]);
        return r < 0 ? err_nomem(err, "environment") : 0;
}

int plan_run(struct plan *p, struct stage *s, const struct df_instr *in, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(64u << 20);
        struct vx_run *run;
        struct vertex *v;
        size_t mounts = 0;
        int r;

        for (size_t i = 0; i < in->nflags; i++)
                mounts += strcmp(in->flags[i].name, "mount") == 0;
        r = plan_vertex(p, s, in, VX_RUN, 1 + mounts, &v, err);
        if (r < 0)
                return r;
        run = &v->u.run;
        run->mounts = mem_zalloc(mounts, sizeof(*run->mounts));
        run->cwd = mem_strdup(workdir(s));
        run->user = mem_strdup(s->config.user ? s->config.user : "");
        if (!run->mounts || !run->cwd || !run->user)
                r = err_nomem(err, "RUN");
        if (r == 0)
                r = run_words(s, in, run, err);
        if (r == 0)
                r = run_env(p, s, run, err);
        if (r == 0)
                r = run_network(p, in, run, err);
        for (size_t i = 0; i < in->nflags && r == 0; i++)
                if (strcmp(in->flags[i].name, "mount") == 0)
                        r = plan_fail(p, &in->flags[i].pos,
                                      plan_mount(p, s, in->flags[i].value ? in->flags[i].value : "",
                                                 v, err));
        if (r == 0) {
                run_text(s, run, &text);
                r = sb_check(&text, "history", err);
        }
        if (r < 0) {
                vertex_free(v);
                return r;
        }
        return plan_push(p, s, v, sb_take(&text), err);
}

int plan_instr(struct plan *p, struct stage *s, const struct df_instr *in, struct bld_err *err)
{
        lint_at(p->o->lint, in);
        switch (in->kind) {
        case DF_RUN:
                return plan_run(p, s, in, err);
        case DF_COPY:
        case DF_ADD:
                return plan_copy(p, s, in, err);
        case DF_WORKDIR:
                return plan_workdir(p, s, in, err);
        case DF_UNKNOWN:
        case DF_FROM:
        case DF_CMD:
        case DF_ENTRYPOINT:
        case DF_SHELL:
        case DF_ENV:
        case DF_LABEL:
        case DF_ARG:
        case DF_USER:
        case DF_VOLUME:
        case DF_EXPOSE:
        case DF_STOPSIGNAL:
        case DF_HEALTHCHECK:
        case DF_MAINTAINER:
        case DF_ONBUILD:
                break;
        }
        return plan_config(p, s, in, err);
}
