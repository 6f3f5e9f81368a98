/* Messages between engine and keeper, and steps and results as bytes. Both ends are the same
 * program; the reader checks bounds all the same, because a decoder without them is a trap. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/runtime_priv.h"

int rt_send(int sock, const void *p, size_t n, const int *fds, size_t nfds, struct bld_err *err)
{
        union {
                char buf[CMSG_SPACE((RT_FDS_MAX + 8) * sizeof(int))];
                struct cmsghdr align;
        } u;
        struct iovec iov = {.iov_len = n};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

        memcpy(&iov.iov_base, &p, sizeof(p)); /* sendmsg only reads; the type cannot say so */
        if (nfds > RT_FDS_MAX + 8)
                return err_set(err, BLD_E_LIMIT, "too many file descriptors for a task: %zu", nfds);
        if (nfds) {
                memset(&u, 0, sizeof(u));
                m.msg_control = u.buf;
                m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
                struct cmsghdr *c = CMSG_FIRSTHDR(&m);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
                memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
        }
        for (;;) {
                if (sendmsg(sock, &m, MSG_NOSIGNAL) >= 0)
                        return 0;
                if (errno != EINTR)
                        return err_sys(err, errno, "send to the keeper process");
        }
}

static void take_fds(struct msghdr *m, int *fds, size_t max, size_t *ret_n)
{
        *ret_n = 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd = -1;
                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        if (*ret_n < max)
                                fds[(*ret_n)++] = fd;
                        else
                                close(fd);
                }
        }
}

int rt_recv(int sock, void *p, size_t n, int *fds, size_t max_fds, size_t *ret_nfds,
            struct bld_err *err)
{
        union {
                char buf[CMSG_SPACE((RT_FDS_MAX + 8) * sizeof(int))];
                struct cmsghdr align;
        } u;
        struct iovec iov = {.iov_base = p, .iov_len = n};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
        size_t nfds = 0;
        ssize_t got;

        if (max_fds) {
                m.msg_control = u.buf;
                m.msg_controllen = sizeof(u.buf);
        }
        do
                got = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
        while (got < 0 && errno == EINTR);
        if (got < 0 && errno == ECONNRESET)
                got = 0;
        if (got < 0)
                return err_sys(err, errno, "receive from the keeper process");
        if (max_fds)
                take_fds(&m, fds, max_fds, &nfds);
        if (ret_nfds)
                *ret_nfds = nfds;
        if (got == 0)
                return 0;
        if ((size_t)got != n || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
                for (size_t i = 0; i < nfds; i++)
                        close(fds[i]);
                if (ret_nfds)
                        *ret_nfds = 0;
                return err_set(err, BLD_E_BUG, "message of %zd bytes where %zu were due", got, n);
        }
        return 1;
}

int rt_memfd(const char *name, const void *p, size_t n, int *ret_fd, struct bld_err *err)
{
        AUTO_FD int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return err_sys(err, errno, "create a memory file");
        if (p) {
                r = fd_write_all(fd, p, n, err);
                if (r < 0)
                        return err_wrap(err, r, "fill a memory file");
        } else if (ftruncate(fd, (off_t)n) < 0) {
                return err_sys(err, errno, "size a memory file");
        }
        if (fcntl(fd, F_ADD_SEALS,
                  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | (p ? F_SEAL_WRITE : 0)) < 0)
                return err_sys(err, errno, "seal a memory file");
        *ret_fd = take_fd(&fd);
        return 0;
}

int rt_strv_end(struct strv *a)
{
        if (strv_add(a, "") < 0)
                return BLD_E_NOMEM;
        a->n--;
        free(a->v[a->n]);
        a->v[a->n] = NULL;
        return 0;
}

/* ---- fields ---- */

static void put_u64(struct sb *b, uint64_t v)
{
        sb_add(b, &v, sizeof(v));
}

static void put_blob(struct sb *b, const void *p, size_t n)
{
        put_u64(b, p ? n + 1 : 0); /* 0: NULL */
        if (p) {
                sb_add(b, p, n);
                sb_char(b, '\0');
        }
}

static void put_str(struct sb *b, const char *s)
{
        put_blob(b, s, s ? strlen(s) : 0);
}

static void put_list(struct sb *b, const char *const *v, size_t n)
{
        put_u64(b, n);
        for (size_t i = 0; i < n; i++)
                put_str(b, v[i]);
}

struct reader {
        const char *p;
        size_t left;
        bool bad;
};

static uint64_t get_u64(struct reader *r)
{
        uint64_t v = 0;

        if (r->bad || r->left < sizeof(v)) {
                r->bad = true;
                return 0;
        }
        memcpy(&v, r->p, sizeof(v));
        r->p += sizeof(v);
        r->left -= sizeof(v);
        return v;
}

static const char *get_blob(struct reader *r, size_t *ret_n)
{
        uint64_t n = get_u64(r);
        const char *p = r->p;

        *ret_n = 0;
        if (n == 0 || r->bad)
                return NULL;
        if (n > r->left || p[n - 1] != '\0') {
                r->bad = true;
                return NULL;
        }
        r->p += n;
        r->left -= (size_t)n;
        *ret_n = (size_t)n - 1;
        return p;
}

static const char *get_str(struct reader *r)
{
        size_t n;

        return get_blob(r, &n);
}

/* Count of elements that each take at least 8 bytes: what an allocation may trust. */
static size_t get_count(struct reader *r)
{
        uint64_t n = get_u64(r);

        if (n > r->left / 8)
                r->bad = true;
        return r->bad ? 0 : (size_t)n;
}

static const char *const *get_list(struct reader *r, size_t *ret_n)
{
        size_t n = get_count(r);
        const char **v = mem_zalloc(n + 1, sizeof(*v));

        *ret_n = n;
        if (!v) {
                r->bad = true;
                return NULL;
        }
        for (size_t i = 0; i < n; i++) {
                v[i] = get_str(r);
                if (!v[i])
                        r->bad = true;
        }
        return v;
}

/* ---- steps ---- */

static size_t list_len(const char *const *v)
{
        size_t n = 0;

        while (v && v[n])
                n++;
        return n;
}

static void put_mount(struct sb *b, const struct rt_mount *m)
{
        put_u64(b, m->kind);
        put_str(b, m->target);
        put_str(b, m->source);
        put_str(b, m->selector);
        put_u64(b, m->readonly);
        put_u64(b, m->size_bytes);
        put_blob(b, m->data ? m->data : (m->kind == RT_MOUNT_FILE ? "" : NULL), m->data_len);
        put_u64(b, m->mode);
        put_u64(b, m->uid);
        put_u64(b, m->gid);
        put_u64(b, m->is_dir);
        put_list(b, m->lowers, m->nlowers);
}

static void get_mount(struct reader *r, struct rt_mount *m)
{
        m->kind = (enum rt_mount_kind)get_u64(r);
        m->target = get_str(r);
        m->source = get_str(r);
        m->selector = get_str(r);
        m->readonly = get_u64(r);
        m->size_bytes = get_u64(r);
        m->data = get_blob(r, &m->data_len);
        m->mode = (unsigned)get_u64(r);
        m->uid = (uint32_t)get_u64(r);
        m->gid = (uint32_t)get_u64(r);
        m->is_dir = get_u64(r);
        m->lowers = get_list(r, &m->nlowers);
        if (!m->target)
                r->bad = true;
}

int rt_step_encode(const struct rt_step *s, struct sb *b, struct bld_err *err)
{
        put_list(b, s->lowers, s->nlowers);
        put_str(b, s->scratch);
        put_list(b, s->argv, list_len(s->argv));
        put_list(b, s->envp, list_len(s->envp));
        put_str(b, s->cwd);
        put_str(b, s->user);
        put_str(b, s->hostname);
        put_u64(b, s->network);
        put_u64(b, s->insecure);
        put_u64(b, s->nmounts);
        for (size_t i = 0; i < s->nmounts; i++)
                put_mount(b, &s->mounts[i]);
        put_u64(b, s->nhosts);
        for (size_t i = 0; i < s->nhosts; i++) {
                put_str(b, s->hosts[i].name);
                put_str(b, s->hosts[i].ip);
        }
        put_u64(b, s->nlimits);
        for (size_t i = 0; i < s->nlimits; i++) {
                put_str(b, s->limits[i].name);
                put_u64(b, (uint64_t)s->limits[i].resource);
                put_u64(b, s->limits[i].soft);
                put_u64(b, s->limits[i].hard);
        }
        put_str(b, s->resolv_conf);
        put_u64(b, s->no_hosts);
        put_u64(b, s->shm_bytes);
        put_u64(b, (uint64_t)s->timeout_ms);
        return sb_check(b, "the step's arguments, environment and files", err);
}

static int get_mounts(struct reader *r, struct rt_step *s)
{
        struct rt_mount *m;

        s->nmounts = get_count(r);
        m = mem_zalloc(s->nmounts + 1, sizeof(*m));
        if (!m) {
                s->nmounts = 0;
                return BLD_E_NOMEM;
        }
        s->mounts = m;
        for (size_t i = 0; i < s->nmounts; i++)
                get_mount(r, &m[i]);
        return 0;
}

static int get_hosts(struct reader *r, struct rt_step *s)
{
        struct rt_host *h;

        s->nhosts = get_count(r);
        h = mem_zalloc(s->nhosts + 1, sizeof(*h));
        if (!h)
                return BLD_E_NOMEM;
        for (size_t i = 0; i < s->nhosts; i++) {
                h[i].name = get_str(r);
                h[i].ip = get_str(r);
                if (!h[i].name || !h[i].ip)
                        r->bad = true;
        }
        s->hosts = h;
        return 0;
}

static int get_limits(struct reader *r, struct rt_step *s)
{
        struct rt_limit *v;

        s->nlimits = get_count(r);
        v = mem_zalloc(s->nlimits + 1, sizeof(*v));
        if (!v)
                return BLD_E_NOMEM;
        for (size_t i = 0; i < s->nlimits; i++) {
                v[i].name = get_str(r);
                v[i].resource = (int)get_u64(r);
                v[i].soft = get_u64(r);
                v[i].hard = get_u64(r);
                if (!v[i].name)
                        r->bad = true;
        }
        s->limits = v;
        return 0;
}

int rt_step_decode(const void *p, size_t n, struct rt_step *ret, struct bld_err *err)
{
        struct reader r = {.p = p, .left = n};
        size_t unused;

        memset(ret, 0, sizeof(*ret));
        ret->lowers = get_list(&r, &ret->nlowers);
        ret->scratch = get_str(&r);
        ret->argv = get_list(&r, &unused);
        ret->envp = get_list(&r, &unused);
        ret->cwd = get_str(&r);
        ret->user = get_str(&r);
        ret->hostname = get_str(&r);
        ret->network = (enum rt_network)get_u64(&r);
        ret->insecure = get_u64(&r);
        if (get_mounts(&r, ret) < 0)
                return err_nomem(err, "read the step");
        if (!r.bad && get_hosts(&r, ret) < 0)
                return err_nomem(err, "read the step");
        if (!r.bad && get_limits(&r, ret) < 0)
                return err_nomem(err, "read the step");
        ret->resolv_conf = get_str(&r);
        ret->no_hosts = get_u64(&r);
        ret->shm_bytes = get_u64(&r);
        ret->timeout_ms = (int64_t)get_u64(&r);
        if (r.bad || r.left || !ret->scratch || !ret->lowers || !ret->argv || !ret->envp)
                return err_set(err, BLD_E_BUG, "the step did not arrive whole");
        return 0;
}

/* Only for steps that rt_step_decode() made: free() takes no const. */
static void free_list(const char *const *v)
{
        free((void *)(uintptr_t)v);
}

void rt_step_done(struct rt_step *s)
{
        free_list(s->lowers);
        free_list(s->argv);
        free_list(s->envp);
        for (size_t i = 0; i < s->nmounts; i++)
                free_list(s->mounts[i].lowers);
        free((void *)(uintptr_t)s->mounts);
        free((void *)(uintptr_t)s->hosts);
        free((void *)(uintptr_t)s->limits);
        memset(s, 0, sizeof(*s));
}

/* ---- results ---- */

int rt_result_encode(const struct rt_result *r, struct sb *b, struct bld_err *err)
{
        put_u64(b, (uint64_t)(uint32_t)r->wait_status);
        put_u64(b, r->user_us);
        put_u64(b, r->system_us);
        put_u64(b, r->max_rss_bytes);
        put_u64(b, r->nstubs);
        for (size_t i = 0; i < r->nstubs; i++) {
                put_str(b, r->stubs[i].path);
                put_u64(b, r->stubs[i].ino);
                put_u64(b, r->stubs[i].is_dir);
                put_u64(b, r->stubs[i].keep);
                put_u64(b, (uint64_t)r->stubs[i].parent_mtime_ns);
        }
        return sb_check(b, "the step's result", err);
}

static int get_stubs(struct reader *rd, struct rt_result *res)
{
        size_t n = get_count(rd);

        res->stubs = mem_zalloc(n + 1, sizeof(*res->stubs));
        if (!res->stubs)
                return BLD_E_NOMEM;
        for (size_t i = 0; i < n && !rd->bad; i++) {
                struct rt_stub *s = &res->stubs[i];
                const char *path = get_str(rd);

                s->ino = get_u64(rd);
                s->is_dir = get_u64(rd);
                s->keep = get_u64(rd);
                s->parent_mtime_ns = (int64_t)get_u64(rd);
                s->path = mem_strdup(path ? path : "");
                res->nstubs = i + 1;
                if (!s->path)
                        return BLD_E_NOMEM;
        }
        return 0;
}

int rt_result_decode(const void *p, size_t n, struct rt_result *ret, struct bld_err *err)
{
        struct reader rd = {.p = p, .left = n};
        struct rt_result res = {0};

        res.wait_status = (int)(uint32_t)get_u64(&rd);
        res.user_us = get_u64(&rd);
        res.system_us = get_u64(&rd);
        res.max_rss_bytes = get_u64(&rd);
        if (get_stubs(&rd, &res) < 0) {
                rt_result_done(&res);
                return err_nomem(err, "read the step's result");
        }
        if (rd.bad || rd.left) {
                rt_result_done(&res);
                return err_set(err, BLD_E_BUG, "the step's result did not arrive whole");
        }
        *ret = res;
        return 0;
}

void rt_result_done(struct rt_result *r)
{
        if (!r)
                return;
        for (size_t i = 0; i < r->nstubs; i++)
                free(r->stubs[i].path);
        free(r->stubs);
        memset(r, 0, sizeof(*r));
}
