/* Decompression pushes, reading pulls: a thread and a bounded buffer between them. Not a pipe of
 * the kernel's: a library may not risk SIGPIPE in its caller's process. */
#include <pthread.h>
#include <signal.h>

#include "base/err.h"
#include "lib/layer_priv.h"

#define RING (1u << 20)

struct lib_untar {
        struct ly_source from;
        atomic_bool *cut; /* of the source, or NULL */
        struct ly_limits lim;
        pthread_t thread;
        bool started;
        pthread_mutex_t ring_lock; /* guards all below */
        pthread_cond_t ring_cond;
        unsigned char *ring;
        uint64_t in, out; /* bytes ever put and taken */
        bool ended;       /* the thread is done; result and diff_id hold */
        bool unwanted;    /* the reader is gone */
        int result;
        struct bld_err err;
        struct digest diff_id;
};

static size_t put_some(struct lib_untar *u, const unsigned char *p, size_t n)
{
        size_t at = (size_t)(u->in % RING);

        n = MIN(n, (size_t)(RING - (u->in - u->out)));
        n = MIN(n, RING - at);
        if (n)
                memcpy(u->ring + at, p, n);
        u->in += n;
        return n;
}

static int ring_write(void *user, const void *buf, size_t n, struct bld_err *err)
{
        struct lib_untar *u = user;
        const unsigned char *p = buf;
        bool unwanted;

        pthread_mutex_lock(&u->ring_lock);
        while (n && !u->unwanted) {
                size_t k = put_some(u, p, n);

                p += k;
                n -= k;
                if (k)
                        pthread_cond_broadcast(&u->ring_cond);
                else
                        pthread_cond_wait(&u->ring_cond, &u->ring_lock);
        }
        unwanted = u->unwanted;
        pthread_mutex_unlock(&u->ring_lock);
        return unwanted ? err_set(err, BLD_E_CANCELLED, "no longer wanted") : 0;
}

static ssize_t ring_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct lib_untar *u = user;
        size_t at;
        ssize_t r;

        pthread_mutex_lock(&u->ring_lock);
        while (u->in == u->out && !u->ended)
                pthread_cond_wait(&u->ring_cond, &u->ring_lock);
        at = (size_t)(u->out % RING);
        n = MIN(n, (size_t)(u->in - u->out));
        n = MIN(n, RING - at);
        if (n)
                memcpy(p, u->ring + at, n);
        u->out += n;
        r = (ssize_t)n;
        if (!n && u->result < 0) {
                r = u->result;
                if (err)
                        *err = u->err;
        }
        pthread_cond_broadcast(&u->ring_cond);
        pthread_mutex_unlock(&u->ring_lock);
        return r;
}

static void *untar_main(void *user)
{
        struct lib_untar *u = user;
        struct ly_sink out = {.write = ring_write, .user = u};
        struct bld_err err = BLD_ERR_INIT;
        struct digest d;
        int r = ly_unpack_stream(&u->from, &out, &u->lim, &d, NULL, NULL, &err);

        pthread_mutex_lock(&u->ring_lock);
        u->result = r;
        u->err = err;
        if (!r)
                u->diff_id = d;
        u->ended = true;
        pthread_cond_broadcast(&u->ring_cond);
        pthread_mutex_unlock(&u->ring_lock);
        return NULL;
}

int lib_untar_new(const struct ly_source *in, atomic_bool *unwanted, const struct ly_limits *lim,
                  struct lib_untar **ret, struct bld_err *err)
{
        AUTO(lib_untar_free_p) struct lib_untar *u = mem_zalloc(1, sizeof(*u));
        sigset_t all, old;
        int r;

        if (!u)
                return err_nomem(err, "layer reader");
        pthread_mutex_init(&u->ring_lock, NULL);
        pthread_cond_init(&u->ring_cond, NULL);
        u->from = *in;
        u->cut = unwanted;
        u->lim = *lim;
        u->ring = mem_alloc(RING);
        if (!u->ring)
                return err_nomem(err, "layer reader");
        /* Signals belong to the program's own threads. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&u->thread, NULL, untar_main, u);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (r)
                return err_sys(err, r, "start a thread");
        u->started = true;
        *ret = TAKE_PTR(&u);
        return 0;
}

struct ly_source lib_untar_source(struct lib_untar *u)
{
        return (struct ly_source){.read = ring_read, .user = u};
}

int lib_untar_end(struct lib_untar *u, struct digest *ret_diff_id, struct bld_err *err)
{
        char rest[4096];
        ssize_t n;

        while ((n = ring_read(u, rest, sizeof(rest), err)) > 0)
                ;
        if (n < 0)
                return (int)n;
        *ret_diff_id = u->diff_id;
        return 0;
}

void lib_untar_free(struct lib_untar *u)
{
        if (!u)
                return;
        pthread_mutex_lock(&u->ring_lock);
        u->unwanted = true;
        pthread_cond_broadcast(&u->ring_cond);
        pthread_mutex_unlock(&u->ring_lock);
        if (u->cut)
                atomic_store(u->cut, true);
        if (u->started)
                pthread_join(u->thread, NULL);
        pthread_cond_destroy(&u->ring_cond);
        pthread_mutex_destroy(&u->ring_lock);
        free(u->ring);
        free(u);
}
