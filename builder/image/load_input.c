/* The container of what is loaded: a folder, or a tar that is brought into a form that can be read
 * at random. */
#include "builder/image/load_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/input.h"
#include "base/path.h"
#include "base/sys.h"
#include "layer/layer.h"

#define IO_BYTES (256u << 10)

/* ---- parts ---- */

void bd_part_done(struct bd_part *p)
{
        if (p->owned)
                fd_close(&p->fd);
        p->fd = -1;
}

ssize_t bd_part_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct bd_part_source *s = user;
        uint64_t left = s->part->size - s->at;
        ssize_t k;
        int r = cancel_check(s->cancel, err);

        if (r < 0)
                return r;
        if (left == 0)
                return 0;
        k = sys_pread(s->part->fd, p, (size_t)MIN((uint64_t)n, left),
                      (int64_t)(s->part->off + s->at));
        if (k < 0)
                return err_sys(err, errno, "read the archive");
        if (k == 0)
                return err_set(err, BLD_E_INVALID, "the archive ends early");
        s->at += (uint64_t)k;
        return k;
}

/* ---- a folder ---- */

static int open_below(int dir, const char *name)
{
        struct open_how how = {
                .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
        };
        int fd = sys_openat2(dir, name, &how);

        if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
                return fd;
        /* Without openat2 the last component is still not followed; names come from digests. */
        return sys_openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
}

static int find_in_folder(struct bd_input *in, const char *name, struct bd_part *ret,
                          struct bld_err *err)
{
        AUTO_FD int fd = open_below(in->dir, name);
        struct stat st;

        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
                return 0;
        if (fd < 0 && (errno == ELOOP || errno == EXDEV))
                return err_set(err, BLD_E_INVALID, "%s: \"%s\" leads through a symbolic link",
                               in->what, name);
        if (fd < 0)
                return err_sys(err, errno, "open %s/%s", in->what, name);
        if (fstat(fd, &st) < 0)
                return err_sys(err, errno, "stat %s/%s", in->what, name);
        if (!S_ISREG(st.st_mode))
                return err_set(err, BLD_E_INVALID, "%s: \"%s\" is not a file", in->what, name);
        *ret = (struct bd_part){.fd = take_fd(&fd), .owned = true, .size = (uint64_t)st.st_size};
        return 1;
}

/* ---- a tar ---- */

static int add_member(struct bd_input *in, const struct ly_entry *e, uint64_t off,
                      struct bld_err *err)
{
        const char *target = e->link && e->type != LY_FILE ? e->link : "";
        size_t n = strlen(target) + 1;
        bool hard = e->type == LY_HARDLINK; /* its target is a name from the root */
        struct bd_member *m = mem_zalloc(1, sizeof(*m) + n + 1);

        if (!m)
                return err_nomem(err, in->what);
        m->target[0] = '/';
        memcpy(m->target + hard, target, n);
        m->link = e->type != LY_FILE;
        m->off = off;
        m->size = e->size;
        if (map_set(&in->members, e->path, m) < 0) {
                free(m);
                return err_nomem(err, in->what);
        }
        return 0;
}

static ssize_t fd_source_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct bd_part_source *s = user;
        ssize_t k;
        int r = cancel_check(s->cancel, err);

        if (r < 0)
                return r;
        k = sys_pread(s->part->fd, p, n, (int64_t)s->at);
        if (k < 0)
                return err_sys(err, errno, "read the archive");
        s->at += (uint64_t)k;
        return k;
}

/* One pass over the headers: where each member's bytes are. */
static int list_members(struct bd_input *in, struct bld_err *err)
{
        struct bd_part whole = {.fd = in->fd};
        struct bd_part_source s = {.part = &whole, .cancel = in->c->cancel};
        struct ly_source src = {.read = fd_source_read, .user = &s};
        struct ly_limits lim = {.bytes = (uint64_t)1 << 42, .entries = BD_LOAD_MEMBERS_MAX};
        AUTO(ly_reader_free_p) struct ly_reader *reader = NULL;
        const struct ly_entry *e = NULL;
        int r = ly_reader_new(&src, &lim, &reader, err);

        if (r < 0)
                return r;
        while ((r = ly_reader_next(reader, &e, err)) > 0) {
                if (e->type != LY_FILE && e->type != LY_SYMLINK && e->type != LY_HARDLINK)
                        continue;
                r = add_member(in, e, ly_reader_data_offset(reader), err);
                if (r < 0)
                        return r;
        }
        return r;
}

static int write_fd(void *user, const void *p, size_t n, struct bld_err *err)
{
        const int *fd = user;

        return fd_write_all(*fd, p, n, err);
}

static int open_spool(struct bd_input *in, const char *name, int *ret, struct bld_err *err)
{
        int r = in->tmp ? 0 : cas_tmp_new(in->c->cas, &in->tmp, err);

        if (r < 0)
                return r;
        *ret = sys_openat(cas_tmp_dirfd(in->tmp), name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
                          0600);
        if (*ret < 0)
                return err_sys(err, errno, "create a temporary file in the store");
        /* nothing else needs the name, and the space goes with the last fd */
        (void)sys_unlinkat(cas_tmp_dirfd(in->tmp), name, 0);
        return 0;
}

/* What cannot be read at random (a pipe) is copied first. */
static int spool(struct bd_input *in, int *fd, struct bld_err *err)
{
        AUTO_FREE char *buf = NULL;
        AUTO_FD int to = -1;
        int r;

        if (lseek(*fd, 0, SEEK_CUR) == 0)
                return 0;
        buf = mem_alloc(IO_BYTES);
        if (!buf)
                return err_nomem(err, in->what);
        r = open_spool(in, "input", &to, err);
        while (r == 0) {
                ssize_t k;

                k = input_read(*fd, buf, IO_BYTES, in->c->cancel, err);
                if (k < 0)
                        return err_wrap(err, (int)k, "%s", in->what);
                if (k == 0)
                        break;
                r = fd_write_all(to, buf, (size_t)k, err);
        }
        if (r < 0)
                return err_wrap(err, r, "spool %s", in->what);
        fd_close(fd);
        *fd = take_fd(&to);
        return lseek(*fd, 0, SEEK_SET) < 0 ? err_sys(err, errno, "rewind %s", in->what) : 0;
}

/* A compressed archive is unpacked first, within the limits of a layer. */
static int inflate(struct bd_input *in, int *fd, struct bld_err *err)
{
        struct bd_part whole = {.fd = *fd};
        struct bd_part_source s = {.part = &whole, .cancel = in->c->cancel};
        struct ly_source src = {.read = fd_source_read, .user = &s};
        AUTO_FD int to = -1;
        struct ly_sink sink = {.write = write_fd, .user = &to};
        unsigned char magic[8];
        struct digest unused;
        ssize_t k = sys_pread(*fd, magic, sizeof(magic), 0);
        int r;

        if (k < 0)
                return err_sys(err, errno, "read %s", in->what);
        if (ly_codec_sniff(magic, (size_t)k) == LY_CODEC_NONE)
                return 0;
        r = open_spool(in, "plain", &to, err);
        if (r == 0)
                r = ly_unpack_stream(&src, &sink, NULL, &unused, NULL, NULL, err);
        if (r < 0)
                return r;
        fd_close(fd);
        *fd = take_fd(&to);
        return lseek(*fd, 0, SEEK_SET) < 0 ? err_sys(err, errno, "rewind %s", in->what) : 0;
}

static int open_tar(struct bd_input *in, int *fd, struct bld_err *err)
{
        struct bld_err e = BLD_ERR_INIT;
        int r = spool(in, fd, err);

        if (r < 0)
                return r;
        r = inflate(in, fd, &e);
        if (r == 0 && ly_archive_sniff(*fd, NULL) == 0)
                return err_set(err, BLD_E_INVALID, "%s is not an archive", in->what);
        if (r == 0) {
                in->fd = take_fd(fd);
                r = list_members(in, &e);
        }
        if (r == 0)
                return 0;
        /* It is the user's own archive that is bad, not something that was fetched. */
        if (r == BLD_E_CORRUPT)
                r = err_recode(&e, BLD_E_INVALID);
        err_copy(err, &e);
        return err_wrap(err, r, "%s", in->what);
}

/* One link: where containers/image puts the layers of its legacy archives. */
static const struct bd_member *follow(struct bd_input *in, const char *name)
{
        AUTO_FREE char *clean = path_clean(name);
        AUTO_FREE char *target = NULL;
        const struct bd_member *m;

        if (!clean)
                return NULL;
        m = map_get(&in->members, clean[0] == '/' ? clean + 1 : clean);
        if (!m || !m->link)
                return m;
        if (m->target[0] == '/') {
                target = path_clean(m->target);
        } else {
                AUTO_FREE char *dir = path_dir(clean);

                target = dir ? path_join(dir, m->target) : NULL;
        }
        m = target ? map_get(&in->members, target[0] == '/' ? target + 1 : target) : NULL;
        return m && !m->link ? m : NULL;
}

/* ---- both ---- */

int bd_input_find(struct bd_input *in, const char *name, struct bd_part *ret, struct bld_err *err)
{
        const struct bd_member *m;

        if (in->dir >= 0)
                return find_in_folder(in, name, ret, err);
        m = follow(in, name);
        if (!m)
                return 0;
        *ret = (struct bd_part){.fd = in->fd, .off = m->off, .size = m->size};
        return 1;
}

int bd_input_read(struct bd_input *in, const char *name, size_t max, struct sb *out,
                  struct bld_err *err)
{
        struct bd_part part = {.fd = -1};
        struct bd_part_source s = {.part = &part, .cancel = in->c->cancel};
        char buf[16384];
        ssize_t k;
        int r = bd_input_find(in, name, &part, err);

        if (r <= 0)
                return r;
        if (part.size > max) {
                bd_part_done(&part);
                return err_set(err, BLD_E_INVALID, "%s: \"%.200s\" is larger than %zu bytes",
                               in->what, name, max);
        }
        while ((k = bd_part_read(&s, buf, sizeof(buf), err)) > 0)
                sb_add(out, buf, (size_t)k);
        bd_part_done(&part);
        if (k < 0)
                return (int)k;
        r = sb_check(out, name, err);
        return r < 0 ? r : 1;
}

void bd_input_done(struct bd_input *in)
{
        fd_close(&in->dir);
        fd_close(&in->fd);
        cas_tmp_free(in->tmp);
        map_done(&in->members);
        in->tmp = NULL;
}

static int open_path(const char *path, int in_fd, struct bd_input *in, int *ret,
                     struct bld_err *err)
{
        if (strcmp(path, "-") == 0) {
                in->what = "standard input";
                *ret = fcntl(in_fd, F_DUPFD_CLOEXEC, 3);
        } else {
                *ret = input_open(path);
        }
        if (*ret < 0 && errno == ENOENT)
                return err_set(err, BLD_E_NOT_FOUND, "%s does not exist", path);
        return *ret < 0 ? err_sys(err, errno, "open %s", in->what) : 0;
}

int bd_input_open(struct bd_ctx *c, const char *path, int in_fd, struct bd_input *ret,
                  struct bld_err *err)
{
        struct bd_input in = {.c = c, .what = path, .dir = -1, .fd = -1};
        AUTO_FD int fd = -1;
        struct stat st;
        int r = open_path(path, in_fd, &in, &fd, err);

        if (r < 0)
                return r;
        map_init(&in.members, free);
        if (fstat(fd, &st) < 0)
                r = err_sys(err, errno, "stat %s", in.what);
        else if (S_ISDIR(st.st_mode))
                in.dir = take_fd(&fd);
        else
                r = open_tar(&in, &fd, err);
        if (r < 0) {
                bd_input_done(&in);
                return r;
        }
        *ret = in;
        return 0;
}
