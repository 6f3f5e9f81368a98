/* A folder becomes a layer. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "lib/layer_priv.h"

enum ly_codec lib_codec_of(enum bld_layer_codec c)
{
        switch (c) {
        case BLD_LAYER_TAR:
                return LY_CODEC_NONE;
        case BLD_LAYER_ZSTD:
                return LY_CODEC_ZSTD;
        case BLD_LAYER_GZIP:
                break;
        }
        return LY_CODEC_GZIP;
}

void lib_created_put(const struct ly_packed *p, struct bld_layer_created *ret)
{
        struct bld_layer_created c = {.tar_size = p->tar_size, .file_size = p->size};

        digest_format(&p->diff_id, c.diff_id);
        digest_format(&p->digest, c.digest);
        (void)str_copy(c.media_type, sizeof(c.media_type), p->media_type);
        (void)str_copy(c.engine, sizeof(c.engine), p->engine);
        lib_ret_put(ret, &c, sizeof(c));
}

/* The tar on its way: whoever watches is asked and told. */
struct passing {
        struct ly_sink to;
        const struct bld_watch *watch;
        uint64_t done;
};

static int pass(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct passing *x = user;
        int r = lib_watch_check(x->watch, err);

        if (r == 0)
                r = x->to.write(x->to.user, p, n, err);
        if (r < 0)
                return r;
        x->done += n;
        lib_watch_step(x->watch, "layer", x->done, 0);
        return 0;
}

static int pack(int dir_fd, int out_fd, const struct bld_layer_create_opts *o,
                const struct ly_diff_opts *d, struct ly_packed *ret, struct ly_toc **ret_toc,
                struct bld_err *err)
{
        const struct ly_pack_opts po = {.codec = lib_codec_of(o->codec),
                                        .level = o->level,
                                        .reproducible = o->reproducible,
                                        .threads = o->threads};
        AUTO(ly_pack_free_p) struct ly_pack *p = NULL;
        struct passing x = {.watch = o->watch};
        struct ly_sink out = ly_sink_fd(out_fd), tar = {.write = pass, .user = &x};
        int r = ly_pack_new(&out, &po, &p, err);

        if (r < 0)
                return r;
        x.to = ly_pack_sink(p);
        r = ly_diff_upper(dir_fd, d, &tar, err);
        return r < 0 ? r : ly_pack_end(p, ret, ret_toc, err);
}

int lib_tree_layer(int dir_fd, int out_fd, const struct bld_layer_create_opts *o,
                   struct ly_packed *ret, struct ly_toc **ret_toc, struct bld_err *err)
{
        AUTO_OWNERS struct lib_owners owners = {.there = false};
        struct ly_stub record = {.path = LIB_OWNERS, .filled = true};
        struct ly_diff_opts d = {.form = LY_TREE_PLAIN,
                                 .clamp = o->clamp,
                                 .clamp_sec = o->clamp_sec,
                                 .all_xattrs = o->all_xattrs};
        int r = o->recorded_owner ? lib_owners_load(&owners, dir_fd, err) : 0;

        if (r < 0)
                return r;
        if (o->recorded_owner)
                d.owners = &owners.table;
        if (owners.there) {
                record.ino = owners.ino;
                d.stubs = &record;
                d.nstubs = 1;
        }
        return pack(dir_fd, out_fd, o, &d, ret, ret_toc, err);
}

int bld_layer_create(int dir_fd, int out_fd, const struct bld_layer_create_opts *o,
                     struct bld_layer_created *ret, struct bld_err *err)
{
        struct bld_layer_create_opts own;
        struct ly_packed p;
        int r = lib_opts_copy(&own, sizeof(own), o, "bld_layer_create", err);
        if (r == 0)
                r = lib_known(own.codec <= BLD_LAYER_TAR, own.codec, "codec", err);

        if (r == 0)
                r = lib_ret_check(ret, "bld_layer_create", err);
        if (r == 0)
                r = lib_watch_known(own.watch, err);
        if (r == 0)
                r = lib_tree_layer(dir_fd, out_fd, &own, &p, NULL, err);
        if (r == 0)
                lib_created_put(&p, ret);
        return r;
}

/* Not every file system has O_TMPFILE. */
int lib_unlinked_file(void)
{
        const char *tmp = getenv("TMPDIR");
        AUTO_FREE char *path = NULL;
        int fd;

        tmp = tmp && *tmp ? tmp : "/tmp";
        fd = sys_openat(AT_FDCWD, tmp, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
                return fd;
        path = path_join(tmp, "bld-layer-XXXXXX");
        if (!path) {
                errno = ENOMEM;
                return -1;
        }
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0)
                (void)sys_unlinkat(AT_FDCWD, path, 0);
        return fd;
}

int lib_layer_open_dir(int dir_fd, const struct bld_watch *watch, struct bld_layer **ret,
                       struct bld_err *err)
{
        const struct bld_layer_create_opts o = {
                .size = sizeof(o), .codec = BLD_LAYER_TAR, .all_xattrs = true, .watch = watch};
        AUTO(ly_toc_free_p) struct ly_toc *toc = NULL;
        struct ly_packed p;
        AUTO_FD int fd = lib_unlinked_file();
        int r;

        if (fd < 0)
                return err_sys(err, errno, "make a temporary file");
        r = lib_tree_layer(dir_fd, fd, &o, &p, &toc, err);
        return r < 0 ? r : lib_layer_made(&fd, &p, &toc, ret, err);
}

int bld_layer_open_dir(int dir_fd, struct bld_layer **ret, struct bld_err *err)
{
        return lib_layer_open_dir(dir_fd, NULL, ret, err);
}
