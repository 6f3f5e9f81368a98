#include "base/fpr.h"

#include <openssl/modes.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"

struct fpr {
        GCM128_CONTEXT *gcm;
        struct fpr_key key;
};

int fpr_key_make(struct fpr_key *ret, struct bld_err *err)
{
        if (getrandom(ret->b, sizeof(ret->b), 0) != (ssize_t)sizeof(ret->b))
                return err_set(err, BLD_E_SYS, "the kernel gives no random bytes");
        return 0;
}

/* GCM takes the key of its hash from the cipher, which here has nothing else to do. */
static void cipher(const unsigned char in[16], unsigned char out[16], const void *key)
{
        (void)in;
        memcpy(out, key, 16);
}

static void begin(struct fpr *f)
{
        static const unsigned char iv[12];

        CRYPTO_gcm128_setiv(f->gcm, iv, sizeof(iv));
}

int fpr_new(const struct fpr_key *key, struct fpr **ret, struct bld_err *err)
{
        struct fpr *f = mem_zalloc(1, sizeof(*f));

        if (f) {
                f->key = *key;
                f->gcm = CRYPTO_gcm128_new(f->key.b, cipher);
        }
        if (!f || !f->gcm) {
                free(f);
                return err_nomem(err, "fingerprint");
        }
        begin(f);
        *ret = f;
        return 0;
}

void fpr_free(struct fpr *f)
{
        if (!f)
                return;
        CRYPTO_gcm128_release(f->gcm);
        free(f);
}

void fpr_add(struct fpr *f, const void *p, size_t n)
{
        /* It refuses only what is longer than 2^61 bytes in all. */
        (void)CRYPTO_gcm128_aad(f->gcm, p, n);
}

void fpr_end(struct fpr *f, unsigned char out[FPR_LEN])
{
        CRYPTO_gcm128_tag(f->gcm, out, FPR_LEN);
        begin(f);
}
