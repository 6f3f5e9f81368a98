#include "base/sshkey.h"

#include <openssl/core_names.h>
#include <string.h>

#include "base/crypto_api_priv.h"
#include "base/err.h"

#define BLOB_MAX ((size_t)64 << 10)
#define KEY_TEXT_MAX ((size_t)64 << 10)
#define NUMBER_MAX ((size_t)2048) /* bytes of one: RSA of 16384 bits */

enum kind { KIND_RSA, KIND_ECDSA, KIND_ED25519 };

struct ssh_key {
        EVP_PKEY *pkey;
        enum kind kind;
        const struct curve *curve; /* of ECDSA */
        struct sb blob;
};

static const struct curve {
        const char *ssh, *openssl, *hash;
} curves[] = {
        {"nistp256", "prime256v1", "SHA256"},
        {"nistp384", "secp384r1", "SHA384"},
        {"nistp521", "secp521r1", "SHA512"},
};

/* ---- the wire ---- */

void ssh_put_u32(struct sb *b, size_t v)
{
        const unsigned char be[] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
                                    (unsigned char)(v >> 8), (unsigned char)v};

        sb_add(b, be, sizeof(be));
}

void ssh_put_string(struct sb *b, const void *p, size_t n)
{
        ssh_put_u32(b, n);
        sb_add(b, p, n);
}

static void put_text(struct sb *b, const char *s)
{
        ssh_put_string(b, s, strlen(s));
}

/* Positive numbers only. */
static void put_number(struct sb *b, const BIGNUM *n)
{
        unsigned char buf[NUMBER_MAX + 1] = {0};
        int len = (crypto.BN_num_bits(n) + 7) / 8;

        if (len < 0 || (size_t)len > NUMBER_MAX) {
                b->failed = true;
                return;
        }
        (void)crypto.BN_bn2bin(n, buf + 1);
        if (buf[1] & 0x80)
                ssh_put_string(b, buf, (size_t)len + 1);
        else
                ssh_put_string(b, buf + 1, (size_t)len);
        explicit_bzero(buf, sizeof(buf));
}

static const unsigned char *take(struct ssh_reader *r, size_t n)
{
        const unsigned char *p = r->p;

        if (r->bad || n > r->left) {
                r->bad = true;
                return NULL;
        }
        r->p += n;
        r->left -= n;
        return p;
}

uint32_t ssh_get_u32(struct ssh_reader *r)
{
        const unsigned char *p = take(r, 4);

        return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

const unsigned char *ssh_get_string(struct ssh_reader *r, size_t *ret_len)
{
        size_t n = ssh_get_u32(r);
        const unsigned char *p = take(r, n);

        *ret_len = p ? n : 0;
        return p ? p : (const unsigned char *)"";
}

static bool get_text_is(struct ssh_reader *r, const char *want)
{
        size_t n;
        const unsigned char *p = ssh_get_string(r, &n);

        return !r->bad && n == strlen(want) && memcmp(p, want, n) == 0;
}

static BIGNUM *get_number(struct ssh_reader *r)
{
        size_t n;
        const unsigned char *p = ssh_get_string(r, &n);

        if (r->bad || n == 0 || n > NUMBER_MAX + 1 || p[0] & 0x80)
                return NULL;
        return crypto.BN_bin2bn(p, (int)n, NULL);
}

/* ---- what a key is ---- */

static int unreadable(struct bld_err *err)
{
        crypto.ERR_clear_error();
        return err_set(err, BLD_E_INVALID, "not a private key that bld can read");
}

static int locked_key(struct bld_err *err)
{
        crypto.ERR_clear_error();
        return err_set(err, BLD_E_UNSUPPORTED, "the key has a passphrase");
}

void ssh_key_free(struct ssh_key *k)
{
        if (!k)
                return;
        crypto.EVP_PKEY_free(k->pkey);
        sb_done(&k->blob);
        free(k);
}
DEFINE_AUTO_PTR(struct ssh_key, ssh_key_free);

static void bn_free(BIGNUM **n)
{
        crypto.BN_clear_free(*n);
}
#define AUTO_BN AUTO(bn_free)

static int blob_rsa(struct ssh_key *k, struct bld_err *err)
{
        AUTO_BN BIGNUM *n = NULL;
        AUTO_BN BIGNUM *e = NULL;

        if (crypto.EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
            crypto.EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1)
                return unreadable(err);
        put_text(&k->blob, "ssh-rsa");
        put_number(&k->blob, e);
        put_number(&k->blob, n);
        return 0;
}

static int blob_ecdsa(struct ssh_key *k, struct bld_err *err)
{
        unsigned char point[512];
        char group[64], name[64];
        size_t len = 0;

        if (crypto.EVP_PKEY_get_utf8_string_param(k->pkey, OSSL_PKEY_PARAM_GROUP_NAME, group,
                                                  sizeof(group), NULL) != 1 ||
            crypto.EVP_PKEY_get_octet_string_param(k->pkey, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                   sizeof(point), &len) != 1)
                return unreadable(err);
        for (size_t i = 0; i < ARRAY_LEN(curves); i++)
                if (strcmp(group, curves[i].openssl) == 0)
                        k->curve = &curves[i];
        if (!k->curve || len == 0 || point[0] != POINT_CONVERSION_UNCOMPRESSED)
                return err_set(err, BLD_E_UNSUPPORTED, "a key on a curve that ssh does not use");
        (void)snprintf(name, sizeof(name), "ecdsa-sha2-%s", k->curve->ssh);
        put_text(&k->blob, name);
        put_text(&k->blob, k->curve->ssh);
        ssh_put_string(&k->blob, point, len);
        return 0;
}

static int blob_ed25519(struct ssh_key *k, struct bld_err *err)
{
        unsigned char point[32];
        size_t len = sizeof(point);

        if (crypto.EVP_PKEY_get_raw_public_key(k->pkey, point, &len) != 1)
                return unreadable(err);
        put_text(&k->blob, "ssh-ed25519");
        ssh_put_string(&k->blob, point, len);
        return 0;
}

/* Takes the key. */
static int key_new(EVP_PKEY *pkey, struct ssh_key **ret, struct bld_err *err)
{
        AUTO(ssh_key_free_p) struct ssh_key *k = mem_zalloc(1, sizeof(*k));
        int r;

        if (!k) {
                crypto.EVP_PKEY_free(pkey);
                return err_nomem(err, "ssh key");
        }
        k->pkey = pkey;
        sb_init(&k->blob, BLOB_MAX);
        if (crypto.EVP_PKEY_is_a(pkey, "RSA")) {
                k->kind = KIND_RSA;
                r = blob_rsa(k, err);
        } else if (crypto.EVP_PKEY_is_a(pkey, "EC")) {
                k->kind = KIND_ECDSA;
                r = blob_ecdsa(k, err);
        } else if (crypto.EVP_PKEY_is_a(pkey, "ED25519")) {
                k->kind = KIND_ED25519;
                r = blob_ed25519(k, err);
        } else {
                return err_set(err, BLD_E_UNSUPPORTED, "a kind of key that ssh does not use");
        }
        if (r == 0)
                r = sb_check(&k->blob, "ssh key", err);
        if (r < 0)
                return r;
        *ret = k;
        k = NULL;
        return 0;
}

const void *ssh_key_public(const struct ssh_key *k, size_t *ret_len)
{
        *ret_len = k->blob.len;
        return k->blob.buf;
}

/* ---- OpenSSH's form (PROTOCOL.key) ---- */

static int from_params(const char *type, OSSL_PARAM_BLD *bld, EVP_PKEY **ret, struct bld_err *err)
{
        OSSL_PARAM *params = crypto.OSSL_PARAM_BLD_to_param(bld);
        EVP_PKEY_CTX *ctx = crypto.EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
        bool ok = params && ctx && crypto.EVP_PKEY_fromdata_init(ctx) == 1 &&
                  crypto.EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_KEYPAIR, params) == 1;

        crypto.EVP_PKEY_CTX_free(ctx);
        crypto.OSSL_PARAM_free(params);
        return ok ? 0 : unreadable(err);
}

static int open_rsa(struct ssh_reader *r, EVP_PKEY **ret, struct bld_err *err)
{
        AUTO_BN BIGNUM *n = get_number(r);
        AUTO_BN BIGNUM *e = get_number(r);
        AUTO_BN BIGNUM *d = get_number(r);
        OSSL_PARAM_BLD *bld = crypto.OSSL_PARAM_BLD_new();
        int k = -1;

        if (n && e && d && bld &&
            crypto.OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
            crypto.OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) == 1 &&
            crypto.OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_D, d) == 1)
                k = from_params("RSA", bld, ret, err);
        else
                k = unreadable(err);
        crypto.OSSL_PARAM_BLD_free(bld);
        return k;
}

static int open_ecdsa(struct ssh_reader *r, const struct curve *c, EVP_PKEY **ret,
                      struct bld_err *err)
{
        bool same = get_text_is(r, c->ssh);
        size_t len;
        const unsigned char *point = ssh_get_string(r, &len);
        AUTO_BN BIGNUM *d = get_number(r);
        OSSL_PARAM_BLD *bld = crypto.OSSL_PARAM_BLD_new();
        int k = -1;

        if (same && d && bld &&
            crypto.OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, c->openssl,
                                                   0) == 1 &&
            crypto.OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, len) ==
                    1 &&
            crypto.OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, d) == 1)
                k = from_params("EC", bld, ret, err);
        else
                k = unreadable(err);
        crypto.OSSL_PARAM_BLD_free(bld);
        return k;
}

static int open_ed25519(struct ssh_reader *r, EVP_PKEY **ret, struct bld_err *err)
{
        size_t n, k;
        const unsigned char *secret;

        (void)ssh_get_string(r, &n); /* public */
        secret = ssh_get_string(r, &k);
        if (r->bad || n != 32 || k != 64) /* seed and public half */
                return unreadable(err);
        *ret = crypto.EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, 32);
        return *ret ? 0 : unreadable(err);
}

static int open_private(struct ssh_reader *r, EVP_PKEY **ret, struct bld_err *err)
{
        uint32_t check = ssh_get_u32(r);
        const unsigned char *type;
        size_t n;

        if (ssh_get_u32(r) != check)
                return unreadable(err);
        type = ssh_get_string(r, &n);
        if (n == 7 && memcmp(type, "ssh-rsa", n) == 0)
                return open_rsa(r, ret, err);
        if (n == 11 && memcmp(type, "ssh-ed25519", n) == 0)
                return open_ed25519(r, ret, err);
        for (size_t i = 0; i < ARRAY_LEN(curves); i++)
                if (n == 19 && memcmp(type, "ecdsa-sha2-", 11) == 0 &&
                    memcmp(type + 11, curves[i].ssh, 8) == 0)
                        return open_ecdsa(r, &curves[i], ret, err);
        return r->bad ? unreadable(err)
                      : err_set(err, BLD_E_UNSUPPORTED, "a kind of key that bld cannot use");
}

static int open_openssh(const unsigned char *p, size_t len, EVP_PKEY **ret, struct bld_err *err)
{
        static const char magic[] = "openssh-key-v1"; /* its NUL is part of it */
        struct ssh_reader r = {.p = p, .left = len};
        struct ssh_reader inner = {0};
        bool plain;
        size_t n;

        if (len < sizeof(magic) || memcmp(p, magic, sizeof(magic)) != 0)
                return unreadable(err);
        (void)take(&r, sizeof(magic));
        plain = get_text_is(&r, "none");
        plain = get_text_is(&r, "none") && plain;
        (void)ssh_get_string(&r, &n); /* of the key derivation */
        if (!r.bad && !plain)
                return locked_key(err);
        if (ssh_get_u32(&r) != 1)
                return unreadable(err);
        (void)ssh_get_string(&r, &n); /* public */
        inner.p = ssh_get_string(&r, &inner.left);
        return r.bad ? unreadable(err) : open_private(&inner, ret, err);
}

/* ---- text ---- */

/* Asked for a passphrase: there is none. */
static int no_passphrase(char *buf, int size, int writing, void *asked)
{
        (void)buf;
        (void)size;
        (void)writing;
        *(bool *)asked = true;
        return -1;
}

static int open_pem(BIO *in, EVP_PKEY **ret, struct bld_err *err)
{
        bool asked = false;

        *ret = crypto.PEM_read_bio_PrivateKey(in, NULL, no_passphrase, &asked);
        if (*ret)
                return 0;
        return asked ? locked_key(err) : unreadable(err);
}

static int open_text(BIO *in, bool openssh, EVP_PKEY **ret, struct bld_err *err)
{
        char *name = NULL, *header = NULL;
        unsigned char *data = NULL;
        long n = 0;
        int r;

        if (!openssh)
                return open_pem(in, ret, err);
        if (crypto.PEM_read_bio(in, &name, &header, &data, &n) != 1 || n < 0)
                return unreadable(err);
        r = open_openssh(data, (size_t)n, ret, err);
        crypto.CRYPTO_free(name, NULL, 0);
        crypto.CRYPTO_free(header, NULL, 0);
        crypto.CRYPTO_clear_free(data, (size_t)n, NULL, 0);
        return r;
}

int ssh_key_parse(const char *text, size_t len, struct ssh_key **ret, struct bld_err *err)
{
        static const char openssh[] = "-----BEGIN OPENSSH PRIVATE KEY-----";
        EVP_PKEY *pkey = NULL;
        BIO *in;
        int r = crypto_open(err);

        if (r < 0)
                return r;
        if (len > KEY_TEXT_MAX)
                return unreadable(err);
        in = crypto.BIO_new_mem_buf(text, (int)len);
        if (!in)
                return err_nomem(err, "ssh key");
        r = open_text(in, memmem(text, len, openssh, sizeof(openssh) - 1) != NULL, &pkey, err);
        crypto.BIO_free(in);
        return r < 0 ? r : key_new(pkey, ret, err);
}

/* ---- signing ---- */

static const char *hash_of(const struct ssh_key *k, unsigned flags, const char **ret_name)
{
        switch (k->kind) {
        case KIND_RSA:
                *ret_name = flags & SSH_SIGN_SHA512   ? "rsa-sha2-512"
                            : flags & SSH_SIGN_SHA256 ? "rsa-sha2-256"
                                                      : "ssh-rsa";
                return flags & SSH_SIGN_SHA512   ? "SHA512"
                       : flags & SSH_SIGN_SHA256 ? "SHA256"
                                                 : "SHA1";
        case KIND_ED25519:
                *ret_name = "ssh-ed25519";
                return NULL; /* hashes by itself */
        case KIND_ECDSA:
                break;
        }
        return k->curve->hash;
}

/* The two numbers of a DER signature, in ssh's form. */
static int ecdsa_numbers(const unsigned char *der, size_t n, struct sb *out)
{
        ECDSA_SIG *sig = crypto.d2i_ECDSA_SIG(NULL, &der, (long)n);

        if (!sig)
                return -1;
        put_number(out, crypto.ECDSA_SIG_get0_r(sig));
        put_number(out, crypto.ECDSA_SIG_get0_s(sig));
        crypto.ECDSA_SIG_free(sig);
        return 0;
}

int ssh_key_sign(const struct ssh_key *k, const void *data, size_t len, unsigned flags,
                 struct sb *out, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(BLOB_MAX), whole = SB_INIT(BLOB_MAX);
        unsigned char sig[NUMBER_MAX];
        size_t n = sizeof(sig);
        char own[64];
        const char *name = own, *hash = hash_of(k, flags, &name);
        EVP_MD_CTX *ctx = crypto.EVP_MD_CTX_new();
        bool ok = ctx &&
                  crypto.EVP_DigestSignInit_ex(ctx, NULL, hash, NULL, NULL, k->pkey, NULL) == 1 &&
                  crypto.EVP_DigestSign(ctx, sig, &n, data, len) == 1;

        crypto.EVP_MD_CTX_free(ctx);
        if (k->kind == KIND_ECDSA) {
                (void)snprintf(own, sizeof(own), "ecdsa-sha2-%s", k->curve->ssh);
                ok = ok && ecdsa_numbers(sig, n, &text) == 0;
        } else {
                sb_add(&text, sig, ok ? n : 0);
        }
        if (!ok) {
                crypto.ERR_clear_error();
                return err_set(err, BLD_E_UNSUPPORTED, "the key cannot sign this");
        }
        put_text(&whole, name);
        ssh_put_string(&whole, text.buf, text.len);
        sb_add(out, whole.buf, whole.len);
        return text.failed || whole.failed ? err_nomem(err, "signature")
                                           : sb_check(out, "signature", err);
}
