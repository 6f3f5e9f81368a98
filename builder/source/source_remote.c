/* Build contexts and Dockerfiles that are somewhere else: repositories, archives and files of the
 * web. What comes is unpacked into a folder of tmp/ that belongs to this build. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sys.h"
#include "builder/source/git_priv.h"
#include "builder/plan/plan_priv.h"

/* ---- git ---- */

static bool over_ssh(const struct giturl *u)
{
        return strncasecmp(u->remote, "ssh://", 6) == 0 || !strstr(u->remote, "://");
}

/* A repository that is reached through ssh is asked for with the user's agent, even if no step gets
 * it. */
static int own_agent(const struct giturl *u, const struct remote_auth *auth,
                     struct ssh_agents **ret, struct bld_err *err)
{
        const char *const spec = "default";
        const struct bld_list list = {.v = &spec, .n = 1};
        const char *sock = getenv("SSH_AUTH_SOCK");

        if (!over_ssh(u) || u->like_path || (auth && ssh_agents_get(auth->ssh, "default")) ||
            !sock || access(sock, F_OK) < 0)
                return 0;
        return ssh_agents_new(&list, ret, err);
}

static int keep_git_dir(const struct bld_build_opts *o, struct giturl *u, struct bld_err *err)
{
        const struct plan_opts args = {.build_args = &o->build_args};
        const char *keep = plan_build_arg(&args, "BUILDKIT_CONTEXT_KEEP_GIT_DIR");
        bool yes = false;

        if (!keep || !*keep || u->keep_git_dir >= 0)
                return 0;
        if (!parse_go_bool(keep, &yes))
                return err_set(err, BLD_E_USAGE, "invalid BUILDKIT_CONTEXT_KEEP_GIT_DIR: %.100s",
                               keep);
        u->keep_git_dir = yes;
        return 0;
}

/* The files of what a context's URL means, as a tar. commit_times: files are as old as the commit.
 */
static int open_git(struct bd_ctx *c, const struct remote_auth *auth, const struct giturl *u,
                    bool commit_times, int *ret_tar, struct bld_err *err)
{
        struct remote_auth with = {.secrets = auth ? auth->secrets : NULL,
                                   .ssh = auth ? auth->ssh : NULL};
        struct ssh_agents *own = NULL;
        struct vx_git g = {0};
        struct digest tar;
        uint64_t size = 0;
        int r = own_agent(u, auth, &own, err);

        if (own)
                with.ssh = own;
        if (r == 0)
                r = git_resolve(c, &with, u, &g, err);
        g.mtime_commit = g.mtime_commit || commit_times;
        if (r == 0)
                r = git_tar(c, &with, &g, &tar, &size, err);
        if (r == 0)
                r = cas_blob_open(c->cas, &tar, ret_tar, err);
        vx_git_done(&g);
        ssh_agents_free(own);
        return r;
}

static bool has_epoch(const struct bld_build_opts *o)
{
        const struct plan_opts args = {.build_args = &o->build_args};
        const char *text = o->source_date_epoch;

        if (!text)
                text = plan_build_arg(&args, "SOURCE_DATE_EPOCH");
        return text && *text;
}

int source_git(struct bd_ctx *c, const struct bld_build_opts *o, const struct remote_auth *auth,
               struct giturl *u, struct source *s, struct bld_err *err)
{
        AUTO_FD int tar = -1;
        int r = keep_git_dir(o, u, err);

        if (r == 0)
                r = open_git(c, auth, u, !*u->mtime && has_epoch(o), &tar, err);
        if (r == 0)
                r = source_tar(c, tar, s, err);
        return r < 0 ? err_wrap(err, r, "build context") : 0;
}

int source_git_time(struct bd_ctx *c, const struct remote_auth *auth, const struct giturl *u,
                    int64_t *ret_sec, struct bld_err *err)
{
        static const struct ly_limits lim = {.bytes = 0};
        AUTO(ly_reader_free_p) struct ly_reader *rd = NULL;
        const struct ly_entry *e;
        AUTO_FD int tar = -1;
        int r = open_git(c, auth, u, true, &tar, err);

        if (r == 0)
                r = ly_archive_open(tar, &lim, &rd, err);
        *ret_sec = 0;
        while (r == 0 && (r = ly_reader_next(rd, &e, err)) == 1) {
                *ret_sec = MAX(*ret_sec, e->mtime_ns / 1000000000);
                r = 0;
        }
        return r;
}

/* ---- the web ---- */

/* A context with one file in it, which is the Dockerfile. */
static int lone_file(struct bd_ctx *c, const struct bld_build_opts *o, struct http_file *f,
                     struct source *s, struct bld_err *err)
{
        AUTO_FREE char *path = NULL;
        int r = cas_blob_read(c->cas, &f->digest, s->text.max, &s->text, err);

        if (r == BLD_E_LIMIT)
                return err_recode(err, BLD_E_INVALID);
        if (r == 0)
                r = source_folder(c, s, err);
        if (r == 0 && asprintf(&path, "%s/context", s->context_path) < 0) {
                path = NULL;
                r = err_nomem(err, "build context");
        }
        if (r == 0)
                r = file_write(AT_FDCWD, path, sb_text(&s->text), s->text.len, 0600, 0, err);
        if (r == 0 && o->dockerfile) { /* one that is elsewhere was named */
                sb_reset(&s->text);
                return 0;
        }
        s->dockerfile_name = TAKE_PTR(&f->name);
        return r;
}

int source_http(struct bd_ctx *c, const struct bld_build_opts *o, const struct remote_auth *auth,
                const char *url, struct source *s, struct bld_err *err)
{
        const struct digest any = {0};
        struct http_file f = {0};
        AUTO_FD int fd = -1;
        char head[512];
        size_t n = 0;
        int r = http_fetch(c, auth ? auth->secrets : NULL, url, &any, &f, err);

        if (r == 0)
                r = cas_blob_open(c->cas, &f.digest, &fd, err);
        if (r == 0)
                r = fd_read_full(fd, head, sizeof(head), &n, err);
        if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
                r = err_sys(err, errno, "read the build context");
        if (r == 0)
                r = source_is_archive(head, n) ? source_archive_file(c, fd, s, err)
                                               : lone_file(c, o, &f, s, err);
        http_file_done(&f);
        return r;
}

int source_dockerfile(struct bd_ctx *c, const struct remote_auth *auth, const char *url,
                      struct source *s, struct bld_err *err)
{
        const struct digest any = {0};
        struct http_file f = {0};
        int r = http_fetch(c, auth ? auth->secrets : NULL, url, &any, &f, err);

        if (r == 0)
                r = cas_blob_read(c->cas, &f.digest, s->text.max, &s->text, err);
        s->dockerfile_name = TAKE_PTR(&f.name);
        http_file_done(&f);
        return r == BLD_E_LIMIT ? err_recode(err, BLD_E_INVALID) : r;
}
