/* Blobs of layers as they are, compressed: out of a file, or off a registry's connection. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "lib/layer_priv.h"
#include "lib/open_state_priv.h"
#include "lib/session_priv.h"

struct lib_blob {
        struct bld_image *im;
        const struct lib_layer_ref *l;
        int fd; /* ours, of a file with its bytes; else -1 */
        uint64_t off, len;
        struct bd_relay *relay; /* else */
        uint64_t at;            /* of what was given out */
        bool jumped;            /* the relay is read at random */
        struct hasher h;        /* of that */
        const struct bld_watch *watch;
        atomic_bool cut;
};

static bool relay_stop(void *user)
{
        const struct lib_blob *b = user;

        return atomic_load(&b->cut) || lib_watch_stop(b->watch) || cancel_level(&b->im->b->cancel);
}

static int open_file(struct lib_blob *b, int fd, struct bld_err *err)
{
        b->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        b->len = b->l->info.blob_size;
        return b->fd < 0 ? err_sys(err, errno, "open a layer") : 0;
}

static int open_look(struct lib_blob *b, size_t i, struct bld_err *err)
{
        int r = bd_look_part(b->im->look, i, &b->fd, &b->off, &b->len, err);

        if (r != 0)
                return MIN(r, 0);
        b->len = b->l->info.blob_size;
        r = bd_look_relay(b->im->look, i, &b->relay, err);
        if (r == 0)
                bd_relay_watch(b->relay, relay_stop, b);
        return r;
}

int lib_blob_open(struct bld_image *im, size_t i, struct lib_blob **ret, struct bld_err *err)
{
        AUTO(lib_blob_close_p) struct lib_blob *b = NULL;
        int r;

        if (i >= im->n)
                return err_set(err, BLD_E_NOT_FOUND, "the image has %zu layer%s", im->n,
                               im->n == 1 ? "" : "s");
        b = mem_zalloc(1, sizeof(*b));
        if (!b)
                return err_nomem(err, "layer");
        b->im = im;
        b->l = &im->v[i];
        b->fd = -1;
        b->watch = im->watch;
        if (b->l->has_digest)
                hasher_init(&b->h, b->l->digest.algo);
        if (b->l->layer)
                r = open_file(b, b->l->layer->fd, err);
        else if (im->file >= 0)
                r = open_file(b, im->file, err);
        else
                r = open_look(b, b->l->info.number, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&b);
        return 0;
}

void lib_blob_close(struct lib_blob *b)
{
        if (!b)
                return;
        bd_relay_free(b->relay);
        fd_close(&b->fd);
        free(b);
}

void lib_blob_watch(struct lib_blob *b, const struct bld_watch *w)
{
        b->watch = w;
}

atomic_bool *lib_blob_cut(struct lib_blob *b)
{
        return &b->cut;
}

int lib_blob_part(struct lib_blob *b, int *ret_fd, uint64_t *ret_off, uint64_t *ret_len)
{
        if (b->fd < 0)
                return 0;
        *ret_fd = b->fd;
        *ret_off = b->off;
        *ret_len = b->len;
        return 1;
}

/* Further than what is on its way anyway. */
#define JUMP (1u << 20)

ssize_t lib_blob_pread(void *user, void *p, size_t n, uint64_t off, struct bld_err *err)
{
        struct lib_blob *b = user;
        ssize_t k;
        int r = lib_image_check(b->im, err);

        if (r < 0)
                return r;
        n = (size_t)MIN((uint64_t)n, off < b->l->info.blob_size ? b->l->info.blob_size - off : 0);
        if (n == 0)
                return 0;
        if (!b->relay) {
                k = sys_pread(b->fd, p, n, (int64_t)(b->off + off));
                return k < 0 ? err_sys(err, errno, "read a layer") : k;
        }
        if (!b->jumped || off < b->at || off - b->at > JUMP)
                bd_relay_seek(b->relay, off);
        b->jumped = true;
        k = bd_relay_pread(b->relay, p, n, off, err);
        b->at = off + (uint64_t)MAX(k, 0);
        return k;
}

static int verify(struct lib_blob *b, struct bld_err *err)
{
        char have[DIGEST_STR_MAX];
        struct digest d;

        if (!b->l->has_digest)
                return 0;
        hasher_end(&b->h, &d);
        if (digest_eq(&d, &b->l->digest))
                return 0;
        digest_format(&d, have);
        return err_set(err, BLD_E_CORRUPT, "layer %s holds other bytes (%s)", b->l->info.digest,
                       have);
}

static ssize_t read_some(struct lib_blob *b, void *p, size_t n, struct bld_err *err)
{
        ssize_t k;

        if (b->relay)
                return bd_relay_pread(b->relay, p, n, b->at, err);
        n = (size_t)MIN((uint64_t)n, b->len - b->at);
        if (n == 0)
                return 0;
        k = sys_pread(b->fd, p, n, (int64_t)(b->off + b->at));
        if (k < 0)
                return err_sys(err, errno, "read a layer");
        if (k == 0)
                return err_set(err, BLD_E_CORRUPT, "a layer ends early");
        return k;
}

static void tell(struct lib_blob *b)
{
        const char *what = b->l->info.digest ? b->l->info.digest : b->im->name;

        if (!b->watch)
                return;
        pthread_mutex_lock(&b->im->watch_lock);
        lib_watch_step(b->watch, what, b->at, b->len);
        pthread_mutex_unlock(&b->im->watch_lock);
}

static ssize_t blob_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct lib_blob *b = user;
        ssize_t k;
        int r = atomic_load(&b->cut) ? err_set(err, BLD_E_CANCELLED, "no longer wanted")
                                     : lib_watch_check(b->watch, err);

        if (r == 0 && b->im->b)
                r = cancel_check(&b->im->b->cancel, err);
        if (r < 0)
                return r;
        k = read_some(b, p, n, err);
        if (k == 0 && b->at == 0 && !b->relay) /* a blob of no bytes */
                r = verify(b, err);
        if (k <= 0 || r < 0)
                return r < 0 ? r : k;
        b->at += (uint64_t)k;
        /* what a registry sends is verified by the download */
        if (!b->relay && b->l->has_digest) {
                hasher_add(&b->h, p, (size_t)k);
                r = b->at == b->len ? verify(b, err) : 0;
                if (r < 0)
                        return r;
        }
        tell(b);
        return k;
}

struct ly_source lib_blob_source(struct lib_blob *b)
{
        return (struct ly_source){.read = blob_read, .user = b};
}
