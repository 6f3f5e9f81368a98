/* A docker daemon on this machine: the few requests of its API that move images, over its socket.
 * HTTP/1.1 by hand: one request per connection, answers of known, chunked or open length. */
#include "registry/dockerd.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/num.h"
#include "base/sb.h"
#include "base/sys.h"

#define HEAD_MAX 65536u
#define ANSWER_MAX (4u << 20)
#define IO_BYTES 65536u
#define DEFAULT_SOCKET "/var/run/docker.sock"

struct talk {
        const struct cancel *cancel;
        const char *path; /* of the socket */
        int fd;
        int status;
        bool chunked, sized;
        uint64_t left; /* of the body, or of the chunk */
        char *buf;     /* IO_BYTES: what was read and not used is [at, end) */
        size_t at, end;
};

static void talk_done(struct talk *t)
{
        fd_close(&t->fd);
        free(t->buf);
}

/* ---- the socket ---- */

static int socket_path(const char **ret, struct bld_err *err)
{
        const char *host = getenv("DOCKER_HOST");
        int r;

        *ret = DEFAULT_SOCKET;
        if (!host || !*host)
                return 0;
        *ret = host + strlen("unix://");
        if (str_has_prefix(host, "unix://") && **ret)
                return 0;
        r = err_set(err, BLD_E_UNSUPPORTED, "DOCKER_HOST=%.200s: only unix:// is spoken", host);
        return err_try(err, r, "DOCKER_HOST=unix:///path/to/docker.sock");
}

static int dial(struct talk *t, struct bld_err *err)
{
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        int r;

        if (!str_copy(to.sun_path, sizeof(to.sun_path), t->path))
                return err_set(err, BLD_E_INVALID, "DOCKER_HOST: the path is too long");
        t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (t->fd < 0)
                return err_sys(err, errno, "make a socket");
        if (connect(t->fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
                return 0;
        r = err_set(err, errno == EACCES || errno == EPERM ? BLD_E_DENIED : BLD_E_NETWORK,
                    "docker daemon at %s: %s", t->path, strerror(errno));
        return err_try(err, r, "start docker, or set DOCKER_HOST=unix:///path/to/docker.sock");
}

static int wait_for(struct talk *t, short events, struct bld_err *err)
{
        struct pollfd p[2] = {{.fd = t->fd, .events = events},
                              {.fd = cancel_fd(t->cancel), .events = POLLIN}};

        for (;;) {
                int r = cancel_check(t->cancel, err);

                if (r < 0)
                        return r;
                r = poll(p, p[1].fd >= 0 ? 2 : 1, -1);
                if (r < 0 && errno != EINTR)
                        return err_sys(err, errno, "poll");
                if (r > 0 && p[0].revents)
                        return 0;
        }
}

static int lost(struct talk *t, const char *what, struct bld_err *err)
{
        return err_set(err, BLD_E_NETWORK, "docker daemon at %s: %s", t->path, what);
}

static int send_all(struct talk *t, const void *p, size_t n, struct bld_err *err)
{
        const char *s = p;

        while (n > 0) {
                int r = wait_for(t, POLLOUT, err);
                ssize_t k;

                if (r < 0)
                        return r;
                k = send(t->fd, s, n, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (k < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (k < 0)
                        return lost(t, strerror(errno), err);
                s += k;
                n -= (size_t)k;
        }
        return 0;
}

/* More bytes behind `end`: 1, or 0 at the end of the stream. */
static int fill(struct talk *t, struct bld_err *err)
{
        if (t->at == t->end)
                t->at = t->end = 0;
        if (t->end == IO_BYTES)
                return lost(t, "a line of its answer is too long", err);
        for (;;) {
                int r = wait_for(t, POLLIN, err);
                ssize_t k;

                if (r < 0)
                        return r;
                k = recv(t->fd, t->buf + t->end, IO_BYTES - t->end, MSG_DONTWAIT);
                if (k < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (k < 0)
                        return lost(t, strerror(errno), err);
                t->end += (size_t)k;
                return k > 0;
        }
}

/* ---- the answer ---- */

static int read_line(struct talk *t, char *out, size_t size, struct bld_err *err)
{
        for (size_t n = 0;;) {
                char ch;
                int r = t->at == t->end ? fill(t, err) : 1;

                if (r <= 0)
                        return r < 0 ? r : lost(t, "its answer ends early", err);
                ch = t->buf[t->at++];
                if (ch == '\n') {
                        out[n > 0 && out[n - 1] == '\r' ? n - 1 : n] = '\0';
                        return 0;
                }
                if (n + 1 == size)
                        return lost(t, "a line of its answer is too long", err);
                out[n++] = ch;
        }
}

static int read_head(struct talk *t, struct bld_err *err)
{
        char line[4096];
        size_t total = 0;
        uint64_t status = 0;
        int r = read_line(t, line, sizeof(line), err);

        if (r < 0)
                return r;
        if (!str_has_prefix(line, "HTTP/1.") || strlen(line) < 12 || line[8] != ' ')
                return lost(t, "it does not speak HTTP", err);
        line[12] = '\0';
        if (!parse_u64(line + 9, 100, 599, &status))
                return lost(t, "it does not speak HTTP", err);
        t->status = (int)status;
        while ((r = read_line(t, line, sizeof(line), err)) == 0 && line[0]) {
                char *value = strchr(line, ':');

                total += strlen(line);
                if (!value || total > HEAD_MAX)
                        return lost(t, "its answer is malformed", err);
                *value++ = '\0';
                value += strspn(value, " \t");
                if (strcasecmp(line, "Transfer-Encoding") == 0)
                        t->chunked = strcasecmp(value, "chunked") == 0;
                else if (strcasecmp(line, "Content-Length") == 0)
                        t->sized = parse_u64(value, 0, INT64_MAX, &t->left);
        }
        if (r == 0 && t->status / 100 == 1) /* an interim answer: the real one follows */
                return read_head(t, err);
        return r;
}

/* The next chunk's size into t->left: 1, or 0 behind the last. */
static int next_chunk(struct talk *t, bool first, struct bld_err *err)
{
        char line[4096], *end;
        int r = first ? 0 : read_line(t, line, sizeof(line), err);

        if (r == 0)
                r = read_line(t, line, sizeof(line), err);
        if (r < 0)
                return r;
        errno = 0;
        t->left = strtoull(line, &end, 16);
        if (end == line || errno || t->left > INT64_MAX)
                return lost(t, "its answer is malformed", err);
        return t->left > 0;
}

static int read_body(struct talk *t, const struct reg_sink *sink, struct bld_err *err)
{
        bool first = true;
        int r;

        for (;;) {
                size_t n;

                if (t->chunked && t->left == 0) {
                        r = next_chunk(t, first, err);
                        if (r <= 0)
                                return r;
                        first = false;
                }
                if (t->sized && !t->chunked && t->left == 0)
                        return 0;
                r = t->at == t->end ? fill(t, err) : 1;
                if (r == 0)
                        return t->chunked || t->sized ? lost(t, "its answer ends early", err) : 0;
                if (r < 0)
                        return r;
                n = t->end - t->at;
                if (t->chunked || t->sized) {
                        n = (size_t)MIN((uint64_t)n, t->left);
                        t->left -= n;
                }
                r = sink->write(sink->user, t->buf + t->at, n, err);
                if (r < 0)
                        return r;
                t->at += n;
        }
}

static int to_text(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct sb *b = user;

        sb_add(b, p, n);
        return sb_check(b, "answer of the docker daemon", err);
}

/* An answer that is no success: what it says. */
static int refused(struct talk *t, const char *what, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(ANSWER_MAX);
        AUTO_JS struct js *j = NULL;
        struct reg_sink sink = {.write = to_text, .user = &text};
        const char *why = NULL;

        if (read_body(t, &sink, NULL) == 0 && js_parse(sb_text(&text), text.len, &j, NULL) == 0)
                why = js_get_str(j, "message");
        return err_set(err,
                       t->status == 404                       ? BLD_E_NOT_FOUND
                       : t->status == 401 || t->status == 403 ? BLD_E_DENIED
                                                              : BLD_E_NETWORK,
                       "%s: the docker daemon answered %d%s%.300s", what, t->status,
                       why ? ": " : "", why ? why : "");
}

/* ---- requests ---- */

/* Everything but what a reference consists of is escaped. */
static void add_name(struct sb *b, const char *name)
{
        for (const unsigned char *s = (const unsigned char *)name; *s; s++) {
                if (strchr("-._/:@", *s) || (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') ||
                    (*s >= 'A' && *s <= 'Z'))
                        sb_char(b, (char)*s);
                else
                        sb_fmt(b, "%%%02X", *s);
        }
}

/* length: of a body that follows, or -1 for a request without one. */
static int begin(struct talk *t, const struct cancel *cancel, const char *method, const char *path,
                 int64_t length, struct bld_err *err)
{
        AUTO_SB struct sb head = SB_INIT(HEAD_MAX);
        int r;

        *t = (struct talk){.cancel = cancel, .fd = -1};
        t->buf = mem_alloc(IO_BYTES);
        if (!t->buf)
                return err_nomem(err, "docker daemon");
        r = socket_path(&t->path, err);
        if (r == 0)
                r = dial(t, err);
        if (r < 0)
                return r;
        sb_fmt(&head, "%s %s HTTP/1.1\r\nHost: docker\r\nUser-Agent: bld\r\nConnection: close\r\n",
               method, path);
        if (length >= 0)
                sb_fmt(&head, "Content-Type: application/x-tar\r\nContent-Length: %lld\r\n",
                       (long long)length);
        sb_str(&head, "\r\n");
        r = sb_check(&head, "request", err);
        return r == 0 ? send_all(t, head.buf, head.len, err) : r;
}

static int get(const struct cancel *cancel, const char *path, const char *what,
               const struct reg_sink *sink, struct bld_err *err)
{
        AUTO(talk_done) struct talk t;
        int r = begin(&t, cancel, "GET", path, -1, err);

        if (r == 0)
                r = read_head(&t, err);
        if (r == 0)
                r = t.status == 200 ? read_body(&t, sink, err) : refused(&t, what, err);
        return r;
}

int reg_dockerd_save(const struct cancel *cancel, const char *name, const struct reg_sink *sink,
                     struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(4096);
        int r;

        sb_str(&path, "/images/");
        add_name(&path, name);
        sb_str(&path, "/get");
        r = sb_check(&path, "name", err);
        return r == 0 ? get(cancel, sb_text(&path), name, sink, err) : r;
}

int reg_dockerd_id(const struct cancel *cancel, const char *name, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(4096), text = SB_INIT(ANSWER_MAX);
        AUTO_JS struct js *j = NULL;
        struct reg_sink sink = {.write = to_text, .user = &text};
        const char *id = NULL;
        int r;

        sb_str(&path, "/images/");
        add_name(&path, name);
        sb_str(&path, "/json");
        r = sb_check(&path, "name", err);
        if (r == 0)
                r = get(cancel, sb_text(&path), name, &sink, err);
        if (r < 0)
                return r;
        if (js_parse(sb_text(&text), text.len, &j, NULL) == 0)
                id = js_get_str(j, "Id");
        if (!id)
                return err_set(err, BLD_E_CORRUPT, "%s: the docker daemon does not tell its ID",
                               name);
        *ret = mem_strdup(id);
        return *ret ? 0 : err_nomem(err, "image ID");
}

static int send_file(struct talk *t, int fd, uint64_t size, struct bld_err *err)
{
        AUTO_FREE char *buf = mem_alloc(IO_BYTES);
        uint64_t at = 0;

        if (!buf)
                return err_nomem(err, "docker daemon");
        while (at < size) {
                ssize_t k =
                        sys_pread(fd, buf, (size_t)MIN((uint64_t)IO_BYTES, size - at), (int64_t)at);
                int r;

                if (k <= 0)
                        return err_sys(err, k < 0 ? errno : EIO, "read the archive");
                r = send_all(t, buf, (size_t)k, err);
                if (r < 0)
                        return r;
                at += (uint64_t)k;
        }
        return 0;
}

/* One JSON object per line; a failure is told in one of them, under status 200. */
static int judge(char *text, char **ret, struct bld_err *err)
{
        char *save = NULL;

        for (char *s = strtok_r(text, "\r\n", &save); s; s = strtok_r(NULL, "\r\n", &save)) {
                AUTO_JS struct js *j = NULL;
                const char *error, *stream, *name;

                if (js_parse(s, strlen(s), &j, NULL) < 0)
                        continue;
                error = js_get_str(j, "error");
                if (error)
                        return err_set(err, BLD_E_NETWORK,
                                       "the docker daemon did not take the image: %.300s", error);
                stream = js_get_str(j, "stream");
                name = stream && str_has_prefix(stream, "Loaded image") ? strchr(stream, ':')
                                                                        : NULL;
                if (!name || *ret)
                        continue;
                name += 1 + strspn(name + 1, " ");
                *ret = mem_strndup(name, strcspn(name, "\r\n"));
                if (!*ret)
                        return err_nomem(err, "name");
        }
        return 0;
}

int reg_dockerd_load(const struct cancel *cancel, int fd, uint64_t size, char **ret_name,
                     struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(ANSWER_MAX);
        AUTO(talk_done) struct talk t;
        AUTO_FREE char *name = NULL;
        struct reg_sink sink = {.write = to_text, .user = &text};
        struct bld_err sent = BLD_ERR_INIT;
        int r = begin(&t, cancel, "POST", "/images/load", (int64_t)size, err), e;

        if (r < 0)
                return r;
        /* who refuses early closes the door, and says why */
        e = send_file(&t, fd, size, &sent);
        r = e == BLD_E_CANCELLED ? e : read_head(&t, e < 0 ? NULL : err);
        if (e < 0 && r < 0) {
                err_copy(err, &sent);
                return e;
        }
        if (r == 0)
                r = t.status == 200 ? read_body(&t, &sink, err) : refused(&t, "load", err);
        if (r == 0 && text.buf)
                r = judge(text.buf, &name, err);
        if (r < 0)
                return r;
        *ret_name = TAKE_PTR(&name);
        return 0;
}
