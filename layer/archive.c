/* Archives that users give to ADD. libarchive undoes the compression (its formats stay outside: the
 * tar reader is the one layers go through, too). */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "base/sys.h"
#include "layer/reader_priv.h"

#define IN_BUF (64u << 10)

struct unarchive {
        int fd;
        int64_t off;
        struct archive *a; /* NULL: not compressed */
        int sys;           /* errno of a failed read */
        uint64_t out, ratio;
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
        u->out += (uint64_t)got;
        if (u->out > LY_RATIO_FROM && u->out / u->ratio > (uint64_t)archive_filter_bytes(u->a, -1))
                return err_set(err, BLD_E_LIMIT, "archive unpacks to more than %llu times its size",
                               (unsigned long long)u->ratio);
        return got;
}

static int unarchive_new(int fd, const struct ly_limits *lim, struct unarchive **ret,
                         struct bld_err *err)
{
        AUTO(unarchive_free_p) struct unarchive *u = mem_zalloc(1, sizeof(*u));
        unsigned char head[8];
        ssize_t n;
        int r;

        if (!u)
                return err_nomem(err, "archive reader");
        u->fd = fd;
        u->ratio = lim && lim->ratio ? lim->ratio : LY_RATIO_MAX;
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

/* Decided as BuildKit does: the first header must parse. */
int ly_archive_sniff(int fd, struct bld_err *err)
{
        AUTO(unarchive_free_p) struct unarchive *u = NULL;
        struct bld_err own = BLD_ERR_INIT;
        unsigned char block[TAR_BLOCK];
        struct tar_header h;
        size_t have = 0;
        int r = unarchive_new(fd, NULL, &u, &own);

        while (!r && have < sizeof(block)) {
                ssize_t n = unarchive_read(u, block + have, sizeof(block) - have, &own);

                if (n <= 0) {
                        r = n < 0 ? (int)n : 0;
                        break;
                }
                have += (size_t)n;
        }
        if (r == BLD_E_CORRUPT)
                return 0; /* it only looked compressed */
        if (r < 0) {
                if (err)
                        *err = own;
                return r;
        }
        return have == sizeof(block) && tar_header_decode(block, &h, NULL) == 1;
}

int ly_archive_open(int fd, const struct ly_limits *lim, struct ly_reader **ret,
                    struct bld_err *err)
{
        struct unarchive *u = NULL;
        struct ly_source in = {.read = unarchive_read};
        int r = unarchive_new(fd, lim, &u, err);

        if (r < 0)
                return r;
        in.user = u;
        r = reader_new(&in, unarchive_free, TAR_ARCHIVE, lim, ret, err);
        if (r < 0)
                unarchive_free(u);
        return r;
}
