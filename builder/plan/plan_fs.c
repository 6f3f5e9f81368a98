/* Instructions that put files into layers: COPY, ADD, WORKDIR. */
#include "builder/plan/plan_priv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/path.h"

#define HISTORY_MAX (1u << 20)

const char *plan_cwd(const struct stage *s)
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
        full = *path == '/' ? mem_strdup(path) : path_join(plan_cwd(s), path);
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
                r = plan_from_stage(p, s, from, NULL, &t, err);
        if (r == 0 && t)
                v->inputs[1] = t->fs;
        else if (r == 0)
                r = plan_near_stage(p, s, "COPY --from", from, err);
        if (r == 0 && !t)
                r = plan_input_image(p, s, from, &v->inputs[1], err);
        return r;
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

static bool has_checksum(const struct df_instr *in)
{
        const char *checksum = df_flag(in, "checksum");

        return checksum && *checksum;
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
                lint_env_init(&e, &s->env, &s->env_at, p->o->lint);
                r = df_expand_heredoc(h, &e.env, &out->data, &out->len, err);
                lint_undefined(p->o->lint, &s->lint, &e, &s->args);
                lint_env_done(&e);
                return r < 0 || out->path ? r : err_nomem(err, "heredoc");
        }
        r = plan_expand(p, s, a->text, &out->path, err);
        if (r == 0)
                r = remote_source(p, s, in, out, v, err);
        if (r == 1 && has_checksum(in))
                r = err_set(err, BLD_E_INVALID, "checksum requires HTTP(S) or Git sources");
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
        AUTO_FREE char *full = path_join(plan_cwd(s), n ? *ret_written : ".");

        if (!full || asprintf(&c->dest, "%s%s", full, dir && strcmp(full, "/") ? "/" : "") < 0) {
                c->dest = NULL;
                return err_nomem(err, "destination");
        }
        return 0;
}

/* Empty, also if only once expanded, is as if it was not given. */
static int expand_flag(struct plan *p, struct stage *s, const char *value, char **ret,
                       struct bld_err *err)
{
        char *text = NULL;
        int r = value && *value ? plan_expand(p, s, value, &text, err) : 0;

        if (r == 0 && text && *text)
                *ret = TAKE_PTR(&text);
        free(text);
        return r;
}

static int copy_flags(struct plan *p, struct stage *s, const struct df_instr *in, struct vx_copy *c,
                      struct bld_err *err)
{
        const char *chown = df_flag(in, "chown"), *chmod = df_flag(in, "chmod");
        const char *unpack = df_flag(in, "unpack");
        int r = 0;

        r = expand_flag(p, s, chown, &c->chown, err);
        if (r == 0)
                r = expand_flag(p, s, chmod, &c->chmod, err);
        for (size_t i = 0; i < in->nflags && r == 0; i++)
                if (strcmp(in->flags[i].name, "exclude") == 0 && in->flags[i].value)
                        r = strv_add(&c->excludes, in->flags[i].value) < 0
                                    ? err_nomem(err, "--exclude")
                                    : 0;
        /* With a mode BuildKit copies as without --link, and files go where links in DEST lead. */
        c->link = df_flag_bool(in, "link") && !c->chmod;
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
        if (r == 0 && has_checksum(in) && (in->nargs != 2 || in->nheredocs))
                r = err_set(err, BLD_E_INVALID, "checksum can't be specified for multiple sources");
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

int plan_instr(struct plan *p, struct stage *s, const struct df_instr *in, struct bld_err *err)
{
        s->line = in->line;
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
