/* Archives that users give to ADD. libarchive undoes the compression (its formats stay outside: the
 * tar reader is the one layers go through, too). */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "base/sys.h"
#include "layer/reader_priv.h"
#include "layer/unz_priv.h"

#define IN_BUF (64u << 10)

struct unarchive {
        int fd;
        int64_t off;
        struct archive *a; /* NULL: not compressed */
        int sys;           /* errno of a failed read */
        unsigned char buf[IN_BUF];
};

static const struct {
        const char *bytes;
        size_t n;
} magics[] = {
        {"\x1f\x8b", 2},
        {"BZh", 3},
        {"\xfd"
         "7zXZ\0",
         6},
        {"\x28\xb5\x2f\xfd", 4},
};

static bool compressed(const unsigned char *p, size_t n)
{
        for (size_t i = 0; i < ARRAY_LEN(magics); i++)
                if (n >= magics[i].n && !memcmp(p, magics[i].bytes, magics[i].n))
                        return true;
        return false;
}

static la_ssize_t read_cb(struct archive *a, void *user, const void **ret)
{
        struct unarchive *u = user;
        ssize_t n = sys_pread(u->fd, u->buf, sizeof(u->buf), u->off);

        if (n < 0) {
                u->sys = errno;
                archive_set_error(a, errno, "read");
                return -1;
        }
        u->off += n;
        *ret = u->buf;
        return n;
}

static int failed(struct unarchive *u, struct bld_err *err)
{
        const char *what = archive_error_string(u->a);

        if (u->sys)
                return err_sys(err, u->sys, "read the archive");
        return err_set(err, BLD_E_CORRUPT, "damaged archive: %s", what ? what : "unknown reason");
}

static void unarchive_free(void *user)
{
        struct unarchive *u = user;

        if (u && u->a)
                archive_read_free(u->a);
        free(u);
}

static void unarchive_free_p(struct unarchive **u)
{
        unarchive_free(*u);
}

static int open_filters(struct unarchive *u, struct bld_err *err)
{
        struct archive_entry *e;

        u->a = archive_read_new();
        if (!u->a)
                return err_nomem(err, "archive reader");
        /* ARCHIVE_WARN: supported by running a program, which is not wanted: then opening fails. */
        if (archive_read_support_filter_gzip(u->a) != ARCHIVE_OK ||
            archive_read_support_filter_bzip2(u->a) != ARCHIVE_OK ||
            archive_read_support_filter_xz(u->a) != ARCHIVE_OK ||
            archive_read_support_filter_zstd(u->a) != ARCHIVE_OK ||
            archive_read_support_format_raw(u->a) != ARCHIVE_OK)
                return err_set(err, BLD_E_UNSUPPORTED, "libarchive lacks a compression format");
        if (archive_read_open(u->a, u, NULL, read_cb, NULL) != ARCHIVE_OK ||
            archive_read_next_header(u->a, &e) != ARCHIVE_OK)
                return failed(u, err);
        return 0;
}

static ssize_t unarchive_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct unarchive *u = user;
        la_ssize_t got;

        if (!u->a) {
                got = sys_pread(u->fd, p, n, u->off);
                if (got < 0)
                        return err_sys(err, errno, "read the archive");
                u->off += got;
                return got;
        }
        got = archive_read_data(u->a, p, n);
        if (got < 0)
                return failed(u, err);
        return got;
}

static int unarchive_new(int fd, struct unarchive **ret, struct bld_err *err)
{
        AUTO(unarchive_free_p) struct unarchive *u = mem_zalloc(1, sizeof(*u));
        unsigned char head[8];
        ssize_t n;
        int r;

        if (!u)
                return err_nomem(err, "archive reader");
        u->fd = fd;
        u->off = lseek(fd, 0, SEEK_CUR);
        n = u->off < 0 ? -1 : sys_pread(fd, head, sizeof(head), u->off);
        if (n < 0)
                return err_sys(err, errno, "read the archive");
        if (compressed(head, (size_t)n)) {
                r = open_filters(u, err);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(&u);
        return 0;
}

/* The first block of what is in u, as far as it can be had. */
static int first_block(struct unarchive *u, unsigned char block[TAR_BLOCK], size_t *ret_n,
                       struct bld_err *err)
{
        *ret_n = 0;
        while (*ret_n < TAR_BLOCK) {
                ssize_t n = unarchive_read(u, block + *ret_n, TAR_BLOCK - *ret_n, err);

                if (n <= 0)
                        return (int)n;
                *ret_n += (size_t)n;
        }
        return 0;
}

/* The same for the codecs that give what they have: of an archive that was cut off short libarchive
 * gives nothing, and it would be taken for a file like others. */
static int first_block_unz(int fd, int64_t off, enum ly_codec codec, unsigned char block[TAR_BLOCK],
                           size_t *ret_n, struct bld_err *err)
{
        AUTO(unz_free_p) struct unz *z = NULL;
        AUTO_FREE unsigned char *buf = mem_alloc(IN_BUF);
        unsigned char *out = block;
        size_t n_out = TAR_BLOCK;
        int r = buf ? unz_new(codec, &z, err) : err_nomem(err, "archive reader");

        while (r == 0 && n_out > 0) {
                ssize_t n = sys_pread(fd, buf, IN_BUF, off);
                const unsigned char *in = buf;
                size_t n_in = (size_t)MAX(n, (ssize_t)0), before;

                if (n < 0)
                        return err_sys(err, errno, "read the archive");
                if (n == 0)
                        break;
                off += n;
                do {
                        before = n_in + n_out;
                        r = unz_run(z, &in, &n_in, &out, &n_out, err);
                } while (r == 0 && n_out > 0 && n_in + n_out < before);
        }
        *ret_n = TAR_BLOCK - n_out;
        return r;
}

bool ly_tar_sniff(const void *p, size_t n)
{
        struct tar_header h;

        return n >= TAR_BLOCK && tar_header_decode(p, &h, NULL) == 1;
}

/* Decided as BuildKit does: the first header must parse. */
int ly_archive_sniff(int fd, struct bld_err *err)
{
        AUTO(unarchive_free_p) struct unarchive *u = NULL;
        struct bld_err own = BLD_ERR_INIT;
        unsigned char block[TAR_BLOCK], head[8];
        enum ly_codec codec = LY_CODEC_NONE;
        size_t have = 0;
        int64_t off = lseek(fd, 0, SEEK_CUR);
        ssize_t n = off < 0 ? -1 : sys_pread(fd, head, sizeof(head), off);
        int r;

        if (n < 0)
                return err_sys(err, errno, "read the archive");
        if (compressed(head, (size_t)n))
                codec = ly_codec_sniff(head, (size_t)n);
        if (codec != LY_CODEC_NONE) {
                r = first_block_unz(fd, off, codec, block, &have, &own);
        } else {
                r = unarchive_new(fd, &u, &own);
                if (r == 0)
                        r = first_block(u, block, &have, &own);
        }
        if (r < 0 && r != BLD_E_CORRUPT) { /* that: it only looked compressed */
                if (err)
                        *err = own;
                return r;
        }
        return ly_tar_sniff(block, have);
}

int ly_archive_open(int fd, const struct ly_limits *lim, struct ly_reader **ret,
                    struct bld_err *err)
{
        struct unarchive *u = NULL;
        struct ly_source in = {.read = unarchive_read};
        int r = unarchive_new(fd, &u, err);

        if (r < 0)
                return r;
        in.user = u;
        r = reader_new(&in, unarchive_free, TAR_ARCHIVE, lim, ret, err);
        if (r < 0)
                unarchive_free(u);
        return r;
}
