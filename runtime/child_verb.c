/* A verb: the embedding program's code in a forked child of the keeper, shut in to the store. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/path.h"
#include "runtime/runtime_priv.h"

static int remove_verb(struct rt_verb_ctx *ctx, struct bld_err *err)
{
        AUTO_FREE char *path = mem_strndup(ctx->args, ctx->nargs);
        AUTO_FREE char *clean = path ? path_clean(path) : NULL;

        if (!clean)
                return err_nomem(err, "remove a folder");
        if (!*path || clean[0] == '/' || str_eq(clean, ".") || str_eq(clean, "..") ||
            str_has_prefix(clean, "../"))
                return err_set(err, BLD_E_INVALID, "not a path inside the store: \"%s\"", path);
        return path_remove_tree(ctx->store_fd, clean, err);
}

static const struct rt_verb *find_verb(const struct rt_verbs *verbs, const char *name)
{
        static const struct rt_verb remove = {RT_REMOVE_VERB, remove_verb};

        if (str_eq(name, remove.name))
                return &remove;
        for (size_t i = 0; i < verbs->n; i++)
                if (str_eq(name, verbs->v[i].name))
                        return &verbs->v[i];
        return NULL;
}

/* What trees of foreign owners need, and no more: an archive that takes this process over can
 * neither mount nor trace. CAP_SYS_ADMIN is what trusted.overlay attributes cost in the initial
 * namespace; in a user namespace user.overlay is used and it goes. */
static uint64_t verb_caps(const struct rt_env *env)
{
        uint64_t caps = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH |
                        1u << CAP_FOWNER | 1u << CAP_FSETID | 1u << CAP_MKNOD;

        caps |= (uint64_t)1 << CAP_SETFCAP;
        if (!env->user_xattr)
                caps |= (uint64_t)1 << CAP_SYS_ADMIN;
        return caps;
}

static int shut_in(const struct rt_child *c, struct bld_err *err)
{
        int r;

        /* Landlock refuses mounts of any kind, also to CAP_SYS_ADMIN. */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return err_sys(err, errno, "set no_new_privs");
        r = landlock_tree(c->store_fd, err);
        return r < 0 ? r : caps_limit(verb_caps(&c->env), true, err);
}

static int run_verb(struct rt_child *c, int args_fd, const int *fds, size_t nfds, struct sb *out,
                    struct bld_err *err)
{
        struct rt_verb_ctx ctx = {
                .fds = fds, .nfds = nfds, .store_fd = c->store_fd, .env = &c->env, .out = out};
        const struct rt_verb *v;
        const char *name, *end;
        const void *p;
        size_t n;
        int r;

        r = rt_map_args(args_fd, RT_CALL_MAX + 256, &p, &n, err);
        if (r < 0)
                return r;
        name = p;
        end = memchr(name, '\0', n);
        v = end ? find_verb(c->verbs, name) : NULL;
        if (!v)
                return err_set(err, BLD_E_BUG, "the keeper knows no verb \"%s\"", end ? name : "");
        ctx.args = end + 1;
        ctx.nargs = n - (size_t)(end + 1 - name);
        r = shut_in(c, err);
        if (r < 0)
                return r;
        r = v->run(&ctx, err);
        if (r < 0)
                return r;
        return sb_check(out, "the answer of a task", err);
}

void rt_verb_child(struct rt_child *c, int args_fd, int answer_fd, const int *fds, size_t nfds)
{
        AUTO_SB struct sb out = SB_INIT(RT_CALL_MAX);
        struct bld_err err = BLD_ERR_INIT;
        int all[RT_FDS_MAX + 8];
        sigset_t none;
        int r;

        rt_tie_to_parent();
        if (getppid() != c->pid)
                _exit(1);
        (void)prctl(PR_SET_NAME, "bld-task", 0, 0, 0);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        for (size_t i = 0; i < nfds; i++)
                all[i] = fds[i];
        all[nfds] = c->store_fd;
        all[nfds + 1] = args_fd;
        all[nfds + 2] = answer_fd;
        if (rt_fds_arrange(all, nfds + 3, 3) < 0)
                _exit(1);
        c->store_fd = all[nfds];
        r = run_verb(c, all[nfds + 1], all, nfds, &out, &err);
        if (r < 0 && err.code >= 0)
                (void)err_set(&err, BLD_E_BUG, "a task failed without saying why (%d)", r);
        /* No exit handlers, no destructors: they belong to the keeper. */
        _exit(rt_answer_write(all[nfds + 2], r, &err, &out) < 0);
}
