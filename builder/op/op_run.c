/* RUN: the chain below as snapshots, the step in its sandbox, the upper folder as a layer. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/num.h"
#include "base/sys.h"
#include "builder/op/op_priv.h"
#include "builder/op/redact_priv.h"

struct run {
        struct build *b;
        struct vertex *v;
        struct strv lowers; /* bottom first */
        struct run_mounts mounts;
        struct strv env;
        struct cas_tmp *scratch;
        struct step_log *log;
        struct rt_result result;
        int out[2], errout[2]; /* pipes of the step */
};

/* No overlay: the step changes a whole tree in place. */
static bool native(const struct run *run)
{
        return rt_keeper_env(run->b->keeper)->native;
}

/* ---- output ---- */

/* One stream of the step's output on its way to the log. */
struct stream {
        int fd, number;
        struct redactor redactor;
};

/* A log that cannot be written (disk full) loses output, not the step. */
static void to_log(struct run *run, const struct stream *x, struct sb *clean)
{
        if (clean->len && !clean->failed)
                (void)!step_log_write(run->log, x->number, sb_text(clean), clean->len, NULL);
}

/* False at the end of the stream. */
static bool pump_one(struct run *run, struct stream *x)
{
        AUTO_SB struct sb clean = SB_INIT(4u << 20);
        char buf[65536];
        ssize_t n = sys_read(x->fd, buf, sizeof(buf));

        if (n > 0)
                (void)!redactor_add(&x->redactor, buf, (size_t)n, &clean, NULL);
        else
                (void)!redactor_end(&x->redactor, &clean, NULL);
        to_log(run, x, &clean);
        return n > 0;
}

/* Until both ends are closed. A log that cannot be written (disk full) ends the pumping with the
 * pipes still drained, so that the step does not hang. */
static void *pump(void *p)
{
        struct run *run = p;
        struct stream streams[] = {{.fd = run->out[0], .number = 1},
                                   {.fd = run->errout[0], .number = 2}};
        struct pollfd fds[] = {{.fd = run->out[0], .events = POLLIN},
                               {.fd = run->errout[0], .events = POLLIN}};

        for (int i = 0; i < 2; i++)
                redactor_init(&streams[i].redactor, run->b->secrets);
        while (fds[0].fd >= 0 || fds[1].fd >= 0) {
                if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
                        break;
                for (int i = 0; i < 2; i++)
                        if (fds[i].fd >= 0 && fds[i].revents && !pump_one(run, &streams[i]))
                                fds[i].fd = -1;
        }
        for (int i = 0; i < 2; i++)
                redactor_done(&streams[i].redactor);
        return NULL;
}

/* ---- the step ---- */

static const char *const proxies[] = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY",
                                      "ALL_PROXY"};

/* Proxy settings reach every step in both spellings, and neither key nor history. */
static int add_proxies(const struct bld_build_opts *o, struct strv *env)
{
        int r = 0;

        for (size_t i = 0; i < ARRAY_LEN(proxies) && r == 0; i++) {
                const char *value = NULL;
                char lower[16];
                size_t n = strlen(proxies[i]);

                for (size_t k = 0; k <= n; k++)
                        lower[k] = (char)(proxies[i][k] >= 'A' && proxies[i][k] <= 'Z'
                                                  ? proxies[i][k] | 0x20
                                                  : proxies[i][k]);
                for (size_t a = 0; a < o->build_args.n; a++) {
                        const char *arg = o->build_args.v[a];

                        if ((strncmp(arg, proxies[i], n) == 0 || strncmp(arg, lower, n) == 0) &&
                            arg[n] == '=')
                                value = arg + n + 1;
                }
                if (!value && !o->no_host_proxy)
                        value = getenv(lower);
                if (!value && !o->no_host_proxy)
                        value = getenv(proxies[i]);
                if (!value || !*value)
                        continue;
                if (!strv_env_get(env, proxies[i]))
                        r = strv_env_set(env, proxies[i], value);
                if (r == 0 && !strv_env_get(env, lower))
                        r = strv_env_set(env, lower, value);
        }
        return r;
}

static int make_env(struct run *run, struct bld_err *err)
{
        int r = strv_copy(&run->env, &run->v->u.run.env);

        if (r == 0)
                r = add_proxies(run->b->o, &run->env);
        for (size_t i = 0; i < run->mounts.env.n && r == 0; i++) {
                const char *kv = run->mounts.env.v[i], *eq = strchr(kv, '=');
                AUTO_FREE char *key = mem_strndup(kv, (size_t)(eq - kv));

                r = key ? strv_env_set(&run->env, key, eq + 1) : BLD_E_NOMEM;
        }
        return r < 0 ? err_nomem(err, "environment") : 0;
}

static const char **null_terminated(const struct strv *a)
{
        const char **v = mem_zalloc(a->n + 1, sizeof(*v));

        for (size_t i = 0; v && i < a->n; i++)
                v[i] = a->v[i];
        return v;
}

static enum rt_network network_of(const char *s)
{
        if (strcmp(s, "none") == 0)
                return RT_NET_NONE;
        return strcmp(s, "host") == 0 ? RT_NET_HOST : RT_NET_DEFAULT;
}

static int run_step(struct run *run, struct bld_err *err)
{
        const struct vx_run *u = &run->v->u.run;
        struct build *b = run->b;
        AUTO_FREE const char **argv = null_terminated(&u->argv);
        AUTO_FREE const char **envp = null_terminated(&run->env);
        AUTO_FREE const char **lowers = null_terminated(&run->lowers);
        AUTO_FREE struct rt_host *hosts = mem_zalloc(b->host_names.n, sizeof(*hosts));
        struct rt_step s = {.argv = argv,
                            .envp = envp,
                            .lowers = lowers,
                            .nlowers = run->lowers.n,
                            .scratch = cas_tmp_path(run->scratch),
                            .cwd = u->cwd,
                            .hostname = u->hostname,
                            .user = u->user,
                            .network = network_of(u->network),
                            .insecure = u->insecure,
                            .mounts = run->mounts.v,
                            .nmounts = run->mounts.n,
                            .hosts = hosts,
                            .nhosts = b->host_names.n,
                            .limits = b->limits,
                            .nlimits = b->nlimits,
                            .resources = &b->resources,
                            .resolv_conf = b->resolv_conf,
                            .no_hosts = b->o->no_hosts,
                            .shm_bytes = b->o->shm_bytes,
                            .timeout_ms = b->o->run_timeout_ms};
        pthread_t t;
        int r;

        if (!argv || !envp || !lowers || !hosts)
                return err_nomem(err, "step");
        for (size_t i = 0; i < b->host_names.n; i++)
                hosts[i] = (struct rt_host){b->host_names.v[i], b->host_ips.v[i]};
        if (pipe2(run->out, O_CLOEXEC) < 0 || pipe2(run->errout, O_CLOEXEC) < 0)
                return err_sys(err, errno, "pipe");
        r = pthread_create(&t, NULL, pump, run);
        if (r)
                return err_sys(err, r, "start a thread");
        r = rt_step_run(b->keeper, &s, run->out[1], run->errout[1], &b->cancel, &run->result, err);
        fd_close(&run->out[1]);
        fd_close(&run->errout[1]);
        (void)pthread_join(t, NULL);
        return r;
}

/* ---- what the step left ---- */

struct pack_call {
        struct run *run;
        struct sb args, answer;
        int pipe_write;
        int r;
        struct bld_err err;
};

static void *call_pack(void *p)
{
        struct pack_call *c = p;

        c->r = rt_call(c->run->b->keeper, VERB_PACK, sb_text(&c->args), c->args.len, &c->pipe_write,
                       1, &c->run->b->cancel, &c->answer, &c->err);
        fd_close(&c->pipe_write); /* end of the stream, however it came */
        return NULL;
}

static struct js *stub_encode(const struct rt_stub *s)
{
        struct js *j = js_obj();
        int r = js_set_str(j, "path", s->path) | js_set_i64(j, "ino", (int64_t)s->ino) |
                js_set_bool(j, "dir", s->is_dir) | js_set_bool(j, "keep", s->keep) |
                js_set_i64(j, "mtime", s->parent_mtime_ns);

        if (r < 0) {
                js_free(j);
                return NULL;
        }
        return j;
}

/* adopt: where the step's tree goes; now: the folder of that. */
static int pack_args(const struct run *run, const char *now, const char *adopt, struct sb *out,
                     struct bld_err *err)
{
        AUTO_JS struct js *a = js_obj();
        struct js *stubs = js_arr(), *lowers = js_arr();
        AUTO_FREE char *upper = NULL;
        int r = stubs && lowers ? 0 : BLD_E_NOMEM;

        if (asprintf(&upper, "%s/%s", cas_tmp_path(run->scratch), native(run) ? "fs" : "upper") <
            0) {
                upper = NULL;
                r = BLD_E_NOMEM;
        }
        for (size_t i = 0; i < run->result.nstubs && r == 0; i++)
                r = js_push(stubs, stub_encode(&run->result.stubs[i]));
        for (size_t i = run->lowers.n; i-- > 0 && r == 0;) /* top first */
                r = js_push_str(lowers, run->lowers.v[i]);
        if (r == 0)
                r = js_set_str(a, "upper", upper) | js_set_str(a, "adopt", adopt) |
                    js_set_i64(a, "form", snapshot_form(run->b));
        if (r < 0) {
                js_free(stubs);
                js_free(lowers);
                return err_nomem(err, "step");
        }
        if (native(run))
                r = js_set_str(a, "base", cas_tmp_path(run->scratch)) | js_set_str(a, "now", now);
        if (r < 0) {
                js_free(stubs);
                js_free(lowers);
                return err_nomem(err, "step");
        }
        r = js_set(a, "stubs", stubs) | js_set(a, "lowers", lowers);
        return r < 0 ? err_nomem(err, "step") : js_write(a, JS_COMPACT, out, err);
}

static int pump_tar(int fd, const struct ly_sink *tar, struct bld_err *err)
{
        struct ly_source in = ly_source_fd(fd);
        uint64_t n;

        return ly_copy(&in, tar, &n, err);
}

/* What the child says of the tree: its size on the disk. */
static int read_size(const struct sb *answer, uint64_t *ret, struct bld_err *err)
{
        AUTO_JS struct js *a = NULL;
        int64_t v;

        if (js_parse(sb_text(answer), answer->len, &a, NULL) < 0 || !js_get_i64(a, "disk", &v))
                return err_set(err, BLD_E_BUG, "pack: answer");
        *ret = (uint64_t)v;
        return 0;
}

/* The upper folder becomes a blob here and a snapshot under its diff ID. */
static int pack(struct run *run, struct layer_out *out, const char *now, const char *adopt,
                uint64_t *ret_disk_bytes, struct bld_err *err)
{
        struct pack_call c = {
                .run = run, .args = SB_INIT(1u << 20), .answer = SB_INIT(4096), .pipe_write = -1};
        struct bld_err own = BLD_ERR_INIT;
        struct ly_sink tar = layer_out_tar(out);
        AUTO_FD int in = -1;
        int ends[2], r = pack_args(run, now, adopt, &c.args, err);
        pthread_t t;

        if (r == 0 && pipe2(ends, O_CLOEXEC) < 0)
                r = err_sys(err, errno, "pipe");
        if (r < 0) {
                sb_done(&c.args);
                return r;
        }
        (void)fcntl(ends[1], F_SETPIPE_SZ, 1 << 20); /* refused is fine */
        in = ends[0];
        c.pipe_write = ends[1];
        r = pthread_create(&t, NULL, call_pack, &c);
        if (r) {
                fd_close(&c.pipe_write);
                sb_done(&c.args);
                return err_sys(err, r, "start a thread");
        }
        r = pump_tar(in, &tar, &own);
        fd_close(&in); /* a child still writing must not wait for us */
        (void)pthread_join(t, NULL);
        if (r < 0)
                err_copy(err, &own);
        else if (c.r < 0)
                err_copy(err, &c.err);
        else
                r = read_size(&c.answer, ret_disk_bytes, err);
        sb_done(&c.args);
        sb_done(&c.answer);
        return r < 0 ? r : c.r;
}

static int publish(struct run *run, struct cas_tmp *tmp, uint64_t disk_bytes, struct bld_err *err)
{
        const struct bd_layers *l = &run->v->result.layers;
        const char *view = rt_keeper_env(run->b->keeper)->view;
        char id[DIGEST_HEX_MAX];
        int r = 0;

        if (native(run))
                r = tree_id(l, id, err);
        else
                digest_hex(&l->v[l->n - 1].diff_id, id);
        if (r < 0)
                return r;
        r = cas_snapshot_publish(run->b->c->cas, cas_tmp_path(tmp), view, id, disk_bytes, 0, err);
        if (r == 0)
                r = cas_lease_snapshot(run->b->record, view, id, err);
        return r < 0 ? r : 0; /* lost to another's collection: the next step unpacks it */
}

static int commit(struct run *run, struct bld_err *err)
{
        AUTO(layer_out_free_p) struct layer_out *out = NULL;
        AUTO(cas_tmp_free_p) struct cas_tmp *tmp = NULL;
        AUTO_FREE char *adopt = NULL;
        uint64_t disk_bytes = 0;
        int r = layer_out_new(run->b, false, &out, err);

        if (r == 0)
                r = cas_tmp_new(run->b->c->cas, &tmp, err);
        if (r == 0 && asprintf(&adopt, "%s/fs", cas_tmp_path(tmp)) < 0) {
                adopt = NULL;
                r = err_nomem(err, "step");
        }
        if (r == 0)
                r = pack(run, out, cas_tmp_path(tmp), adopt, &disk_bytes, err);
        if (r == 0)
                r = layer_out_end(run->b, out, run->v, err);
        if (r == 0)
                r = publish(run, tmp, disk_bytes, err);
        if (tmp)
                snapshot_discard(run->b, cas_tmp_path(tmp));
        return r;
}

/* ---- judging ---- */

static int exit_status(const struct rt_result *r)
{
        return WIFSIGNALED(r->wait_status) ? 128 + WTERMSIG(r->wait_status)
                                           : WEXITSTATUS(r->wait_status);
}

static int out_of_memory(const struct rt_result *res, struct bld_err *err)
{
        char limit[24], peak[24];

        (void)err_set(err, BLD_E_LIMIT, "RUN was killed: out of memory");
        if (res->memory_limit_bytes && res->memory_limit_bytes < INT64_MAX) {
                format_size(res->memory_limit_bytes, limit);
                format_size(res->memory_peak_bytes, peak);
                (void)err_why(err, BLD_E_LIMIT, "the step's limit is %s, its peak was %s", limit,
                              peak);
        }
        return err_try(err, BLD_E_LIMIT,
                       "a larger limit (--memory, or that of the pod), or fewer parallel jobs in "
                       "the command");
}

#define NO_ROOM (1u << 20)

/* The command saw a full disk, and perhaps said something else about it. What it wrote is still
 * there. */
static void tell_full(const struct run *run, struct bld_err *err)
{
        uint64_t size, avail;
        char left[24], whole[24];

        if (cas_disk(run->b->c->cas, &size, &avail, NULL) < 0 || avail >= NO_ROOM)
                return;
        format_size(avail, left);
        format_size(size, whole);
        (void)err_why(err, BLD_E_CHILD, "the disk of the store is full: %s of %s left", left,
                      whole);
        (void)err_try(err, BLD_E_CHILD, "bld prune --all, or another disk with --root DIR");
}

/* sudo's own words, which blame the file system or the container, and not what it is. */
static void tell_no_privileges(const struct run *run, const char *said, struct bld_err *err)
{
        const struct rt_env *env = rt_keeper_env(run->b->keeper);

        if (!strstr(said, "effective uid is not 0") && !strstr(said, "no new privileges"))
                return;
        if (env->level == RT_SOLO || (!env->native && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1))
                return;
        (void)err_why(err, BLD_E_CHILD, "set-uid programs cannot gain privileges %s",
                      env->native ? "at isolation level chroot"
                                  : "here: bld itself runs with no_new_privs");
        (void)err_try(err, BLD_E_CHILD,
                      env->native ? "USER root before this RUN, or seccomp Unconfined so that user "
                                    "namespaces can be used"
                                  : "USER root before this RUN, or allowPrivilegeEscalation: true");
}

static int failed(struct run *run, int status, struct bld_err *err)
{
        AUTO_SB struct sb tail = SB_INIT(600);
        size_t total = 0;

        if (run->result.oom)
                return out_of_memory(&run->result, err);
        if (run->result.timed_out)
                return err_set(err, BLD_E_CHILD, "RUN took longer than --run-timeout");
        if (WIFSIGNALED(run->result.wait_status))
                (void)err_set(err, BLD_E_CHILD, "RUN was killed by signal %d (%s)",
                              WTERMSIG(run->result.wait_status),
                              sigabbrev_np(WTERMSIG(run->result.wait_status)));
        else
                (void)err_set(err, BLD_E_CHILD, "RUN exited with status %d", status);
        if (err)
                err->sys = run->result.wait_status;
        step_log_tail(run->log, 6, &tail, &total);
        tell_full(run, err);
        if (tail.len)
                tell_no_privileges(run, sb_text(&tail), err);
        if (tail.len)
                return err_why(err, BLD_E_CHILD, "last lines of %zu:%s", total, sb_text(&tail));
        return BLD_E_CHILD;
}

static int run_all(struct run *run, int *ret_status, struct bld_err *err)
{
        struct build *b = run->b;
        const struct vertex *below = run->v->inputs[0];
        static const struct bd_layers none = {0};
        int r = 0;

        if (run->v->u.run.argv.n == 0)
                return err_set(err, BLD_E_INVALID, "RUN []: arguments are required");
        if (below && !native(run))
                r = snapshots_ready(b, run->v, &below->result.layers, &run->lowers, err);
        if (r == 0)
                r = run_mounts_ready(b, run->v, &run->mounts, err);
        if (r == 0)
                r = make_env(run, err);
        if (r == 0)
                r = cas_tmp_new(b->c->cas, &run->scratch, err);
        if (r == 0 && native(run))
                r = tree_ready(b, run->v, below ? &below->result.layers : &none,
                               cas_tmp_path(run->scratch), err);
        if (r == 0)
                r = step_log_open(b->events, run->v, &run->log, err);
        if (r == 0)
                r = run_step(run, err);
        if (r < 0)
                return r;
        *ret_status = exit_status(&run->result);
        if (*ret_status != 0 || run->result.timed_out)
                return failed(run, *ret_status, err);
        return commit(run, err);
}

int op_run(struct build *b, struct vertex *v, int *ret_status, struct bld_err *err)
{
        struct run run = {.b = b, .v = v, .out = {-1, -1}, .errout = {-1, -1}};
        int r = run_all(&run, ret_status, err);

        /* A user, a secret, a folder the step wants and cannot have: the step failed. */
        if (r == BLD_E_INVALID || r == BLD_E_UNSUPPORTED)
                r = err_recode(err, BLD_E_CHILD);

        if (run.scratch) {
                cas_tmp_rescue(b->c->cas, cas_tmp_path(run.scratch) + strlen("tmp/"));
                snapshot_discard(b, cas_tmp_path(run.scratch));
        }
        cas_tmp_free(run.scratch);
        run_mounts_done(b, &run.mounts);
        for (size_t i = 0; i < run.env.n; i++)
                explicit_bzero(run.env.v[i], strlen(run.env.v[i]));
        strv_done(&run.env);
        strv_done(&run.lowers);
        step_log_close(run.log);
        rt_result_done(&run.result);
        for (int i = 0; i < 2; i++) {
                fd_close(&run.out[i]);
                fd_close(&run.errout[i]);
        }
        return r;
}
