/* Result records: key -> what was made, one small file each. Everything a record names is durable
 * before the record is written, and a checksum covers it, so the record itself needs no sync: one
 * that a power cut tore or lost is a miss, never a lie.
 *
 * Form, little-endian: "bldr" | kind[4] | u32 version | u32 nblobs | u64 payload bytes | i64
 * written (seconds) | nblobs * (u8 algorithm, 64 bytes) | payload | u64 XXH3 of all before. */
#include "cas/cas_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/num.h"
#include "base/sys.h"

#define MAGIC "bldr"
#define VERSION 1
#define HEAD_SIZE 32
#define BLOB_SIZE (1 + DIGEST_BYTES_MAX)
#define BLOBS_MAX 8192
#define FILE_SIZE_MAX (CAS_RECORD_MAX + HEAD_SIZE + BLOBS_MAX * BLOB_SIZE + 8)

static void put_le(unsigned char *p, uint64_t v, size_t n)
{
        for (size_t i = 0; i < n; i++)
                p[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t get_le(const unsigned char *p, size_t n)
{
        uint64_t v = 0;

        for (size_t i = 0; i < n; i++)
                v |= (uint64_t)p[i] << (8 * i);
        return v;
}

#define RESULT_PATH_MAX (16 + DIGEST_HEX_MAX)

static int result_path(const struct digest *key, char out[RESULT_PATH_MAX], struct bld_err *err)
{
        char hex[DIGEST_HEX_MAX];

        if (!digest_is_set(key))
                return err_set(err, BLD_E_INVALID, "a result is asked for without a key");
        digest_hex(key, hex);
        (void)snprintf(out, RESULT_PATH_MAX, "results/%.2s/%s", hex, hex);
        return 0;
}

struct record {
        const unsigned char *head;
        const unsigned char *payload;
        size_t npayload;
        size_t nblobs;
};

/* Look into the bytes of a record; false when it is not whole or of another version. */
static bool parse(const struct sb *text, struct record *ret)
{
        const unsigned char *p = (const unsigned char *)text->buf;
        uint64_t nblobs, npayload;

        if (text->len < HEAD_SIZE + 8 || memcmp(p, MAGIC, 4) != 0 || get_le(p + 8, 4) != VERSION)
                return false;
        nblobs = get_le(p + 12, 4);
        npayload = get_le(p + 16, 8);
        if (nblobs > BLOBS_MAX || npayload > CAS_RECORD_MAX ||
            text->len != HEAD_SIZE + nblobs * BLOB_SIZE + npayload + 8)
                return false;
        if (get_le(p + text->len - 8, 8) != hash64(p, text->len - 8))
                return false;
        *ret = (struct record){.head = p,
                               .payload = p + HEAD_SIZE + nblobs * BLOB_SIZE,
                               .npayload = (size_t)npayload,
                               .nblobs = (size_t)nblobs};
        return true;
}

/* 1 read, 0 absent. */
static int read_record(struct cas *c, const char *path, int *ret_fd, struct sb *text,
                       struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(c->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        int r;

        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0)
                return err_sys(err, errno, "open %s/%s", c->root, path);
        r = fd_read_all(fd, text, "a result record", err);
        if (r == BLD_E_LIMIT) { /* no record of ours is so big */
                err_clear(err);
                return 0;
        }
        if (r < 0)
                return r;
        *ret_fd = take_fd(&fd);
        return 1;
}

int cas_result_get(struct cas *c, const struct digest *key, const char *kind, struct sb *out,
                   struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(FILE_SIZE_MAX);
        AUTO_FD int fd = -1;
        char path[RESULT_PATH_MAX];
        struct record rec;
        int r = result_path(key, path, err);

        if (r == 0)
                r = read_record(c, path, &fd, &text, err);
        if (r <= 0)
                return r;
        if (!parse(&text, &rec) || memcmp(rec.head + 4, kind, 4) != 0)
                return 0;
        sb_add(out, rec.payload, rec.npayload);
        r = sb_check(out, "a result record", err);
        if (r < 0)
                return r;
        /* last use; a file that lost its name meanwhile, or a read-only disk, does no harm */
        (void)futimens(fd, (struct timespec[2]){{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}});
        return 1;
}

int cas_result_time(struct cas *c, const struct digest *key, int64_t *ret_sec)
{
        AUTO_SB struct sb text = SB_INIT(FILE_SIZE_MAX);
        AUTO_FD int fd = -1;
        char path[RESULT_PATH_MAX];
        struct record rec;

        if (result_path(key, path, NULL) < 0 || read_record(c, path, &fd, &text, NULL) <= 0 ||
            !parse(&text, &rec))
                return 0;
        *ret_sec = (int64_t)get_le(rec.head + 24, 8);
        return 1;
}

static int encode(struct sb *b, const char *kind, const void *p, size_t n,
                  const struct digest *blobs, size_t nblobs, struct bld_err *err)
{
        unsigned char head[HEAD_SIZE] = MAGIC;
        unsigned char sum[8];

        memcpy(head + 4, kind, 4);
        put_le(head + 8, VERSION, 4);
        put_le(head + 12, nblobs, 4);
        put_le(head + 16, n, 8);
        put_le(head + 24, (uint64_t)(time_now_ns() / 1000000000), 8);
        sb_add(b, head, sizeof(head));
        for (size_t i = 0; i < nblobs; i++) {
                sb_char(b, (char)blobs[i].algo);
                sb_add(b, blobs[i].b, DIGEST_BYTES_MAX);
        }
        sb_add(b, p, n);
        if (!b->failed) {
                put_le(sum, hash64(b->buf, b->len), 8);
                sb_add(b, sum, sizeof(sum));
        }
        return sb_check(b, "a result record", err);
}

int cas_result_put(struct cas *c, const struct digest *key, const char *kind, const void *p,
                   size_t n, const struct digest *blobs, size_t nblobs, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(FILE_SIZE_MAX);
        char path[RESULT_PATH_MAX], folder[16], tmp[CAS_TMP_NAME_MAX];
        int r = result_path(key, path, err);

        if (r < 0)
                return r;
        if (strlen(kind) != 4)
                return err_set(err, BLD_E_BUG, "the kind of a result has four characters");
        if (n > CAS_RECORD_MAX || nblobs > BLOBS_MAX)
                return err_set(err, BLD_E_LIMIT, "a result record is too big");
        r = encode(&text, kind, p, n, blobs, nblobs, err);
        if (r == 0)
                r = cas_tmp_write(c, text.buf, text.len, false, tmp, err);
        if (r < 0)
                return r;
        r = sys_rename(c->tmp_fd, tmp, c->root_fd, path);
        if (r < 0 && errno == ENOENT) {
                (void)snprintf(folder, sizeof(folder), "%.10s", path);
                if (sys_mkdirat(c->root_fd, folder, 0755) == 0 || errno == EEXIST)
                        r = sys_rename(c->tmp_fd, tmp, c->root_fd, path);
        }
        if (r < 0) {
                r = err_sys(err, errno, "publish %s/%s", c->root, path);
                (void)sys_unlinkat(c->tmp_fd, tmp, 0);
        }
        return r;
}

int cas_result_delete(struct cas *c, const struct digest *key, struct bld_err *err)
{
        char path[RESULT_PATH_MAX];
        int r = result_path(key, path, err);

        if (r < 0)
                return r;
        if (sys_unlinkat(c->root_fd, path, 0) < 0 && errno != ENOENT)
                return err_sys(err, errno, "remove %s/%s", c->root, path);
        return 0;
}

/* ---- for the collector ---- */

void cas_result_info_done(struct cas_result_info *i)
{
        free(i->blobs);
        memset(i, 0, sizeof(*i));
}

int cas_result_info(struct cas *c, const char *path, struct cas_result_info *ret,
                    struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(FILE_SIZE_MAX);
        AUTO_FD int fd = -1;
        AUTO_FREE struct digest *blobs = NULL;
        struct record rec;
        struct stat st;
        int r = read_record(c, path, &fd, &text, err);

        if (r <= 0)
                return r;
        if (fstat(fd, &st) < 0)
                return err_sys(err, errno, "look at %s/%s", c->root, path);
        if (!parse(&text, &rec))
                return 0;
        blobs = mem_zalloc(rec.nblobs + 1, sizeof(*blobs));
        if (!blobs)
                return err_nomem(err, "result records");
        for (size_t i = 0; i < rec.nblobs; i++) {
                const unsigned char *b = rec.head + HEAD_SIZE + i * BLOB_SIZE;

                if (b[0] != DIGEST_SHA256 && b[0] != DIGEST_SHA512)
                        return 0;
                blobs[i].algo = b[0] == DIGEST_SHA512 ? DIGEST_SHA512 : DIGEST_SHA256;
                memcpy(blobs[i].b, b + 1, DIGEST_BYTES_MAX);
        }
        *ret = (struct cas_result_info){.nblobs = rec.nblobs,
                                        .last_use_ns = timespec_ns(st.st_mtim),
                                        .disk_bytes = (uint64_t)st.st_blocks * 512};
        ret->blobs = TAKE_PTR(&blobs);
        return 1;
}
