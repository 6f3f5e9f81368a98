#include "base/digest.h"

/* The low-level functions: the first digest costs 2 us, not the milliseconds of a provider fetch,
 * and they work on plain storage. Deprecated since OpenSSL 3, and unchanged. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <string.h>

#include "base/err.h"

_Static_assert(sizeof(SHA256_CTX) <= sizeof(((struct hasher *)0)->u), "hasher storage");
_Static_assert(sizeof(SHA512_CTX) <= sizeof(((struct hasher *)0)->u), "hasher storage");

static const struct {
        const char *name;
        size_t len;
} algos[] = {
        [DIGEST_NONE] = {"", 0},
        [DIGEST_SHA256] = {"sha256", 32},
        [DIGEST_SHA512] = {"sha512", 64},
};

bool digest_eq(const struct digest *a, const struct digest *b)
{
        return a->algo == b->algo && memcmp(a->b, b->b, digest_len(a->algo)) == 0;
}

bool digest_is_set(const struct digest *d)
{
        return d->algo != DIGEST_NONE;
}

size_t digest_len(enum digest_algo algo)
{
        return algos[algo].len;
}

const char *digest_algo_name(enum digest_algo algo)
{
        return algos[algo].name;
}

void digest_hex(const struct digest *d, char out[DIGEST_HEX_MAX])
{
        static const char hex[] = "0123456789abcdef";
        size_t n = digest_len(d->algo);

        for (size_t i = 0; i < n; i++) {
                out[2 * i] = hex[d->b[i] >> 4];
                out[2 * i + 1] = hex[d->b[i] & 15];
        }
        out[2 * n] = '\0';
}

void digest_format(const struct digest *d, char out[DIGEST_STR_MAX])
{
        size_t n = strlen(algos[d->algo].name);

        if (d->algo == DIGEST_NONE) {
                out[0] = '\0';
                return;
        }
        memcpy(out, algos[d->algo].name, n);
        out[n] = ':';
        digest_hex(d, out + n + 1);
}

static int nibble(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

static bool hex_bytes(const char *hex, size_t n, unsigned char *out)
{
        for (size_t i = 0; i < n; i++) {
                int hi = nibble(hex[2 * i]);
                int lo = hi < 0 ? -1 : nibble(hex[2 * i + 1]);

                if (lo < 0)
                        return false;
                out[i] = (unsigned char)(hi << 4 | lo);
        }
        return hex[2 * n] == '\0';
}

bool digest_from_hex(const char *hex, struct digest *ret)
{
        struct digest d = {.algo = DIGEST_SHA256};

        if (!hex_bytes(hex, 32, d.b))
                return false;
        *ret = d;
        return true;
}

/* algo = [a-z0-9]+([+._-][a-z0-9]+)*, encoded = [a-zA-Z0-9=_-]+ (OCI image-spec, descriptor). */
static bool well_formed(const char *s, const char *colon)
{
        static const char low[] = "abcdefghijklmnopqrstuvwxyz0123456789";
        static const char enc[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789=_-";

        for (const char *p = s; p < colon; p++) {
                bool sep = strchr("+._-", *p) != NULL;

                if (!sep && !strchr(low, *p))
                        return false;
                if (sep && (p == s || p + 1 == colon || strchr("+._-", p[1])))
                        return false;
        }
        return colon > s && colon[1] != '\0' && colon[1 + strspn(colon + 1, enc)] == '\0';
}

int digest_parse(const char *s, struct digest *ret, struct bld_err *err)
{
        const char *colon = strchr(s, ':');
        struct digest d = {0};

        if (!colon || !well_formed(s, colon))
                return err_set(err, BLD_E_INVALID, "\"%.200s\" is not a digest", s);
        for (size_t a = DIGEST_SHA256; a < ARRAY_LEN(algos); a++) {
                size_t n = strlen(algos[a].name);

                if ((size_t)(colon - s) != n || memcmp(s, algos[a].name, n) != 0)
                        continue;
                d.algo = (enum digest_algo)a;
                if (strlen(colon + 1) != 2 * algos[a].len ||
                    !hex_bytes(colon + 1, algos[a].len, d.b))
                        return err_set(err, BLD_E_INVALID,
                                       "digest \"%.200s\" must have %zu lower-case hex digits", s,
                                       2 * algos[a].len);
                *ret = d;
                return 0;
        }
        return err_set(err, BLD_E_UNSUPPORTED, "digest algorithm of \"%.200s\" is not supported",
                       s);
}

void hasher_init(struct hasher *h, enum digest_algo algo)
{
        h->algo = algo;
        if (algo == DIGEST_SHA512)
                SHA512_Init((SHA512_CTX *)(void *)h->u.space);
        else
                SHA256_Init((SHA256_CTX *)(void *)h->u.space);
}

void hasher_add(struct hasher *h, const void *p, size_t n)
{
        if (h->algo == DIGEST_SHA512)
                SHA512_Update((SHA512_CTX *)(void *)h->u.space, p, n);
        else
                SHA256_Update((SHA256_CTX *)(void *)h->u.space, p, n);
}

void hasher_end(struct hasher *h, struct digest *ret)
{
        struct digest d = {.algo = h->algo};

        if (h->algo == DIGEST_SHA512)
                SHA512_Final(d.b, (SHA512_CTX *)(void *)h->u.space);
        else
                SHA256_Final(d.b, (SHA256_CTX *)(void *)h->u.space);
        *ret = d;
}

void digest_of(const void *p, size_t n, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_add(&h, p, n);
        hasher_end(&h, ret);
}

void hasher_field_u64(struct hasher *h, uint64_t v)
{
        unsigned char b[8];

        for (int i = 0; i < 8; i++)
                b[i] = (unsigned char)(v >> (8 * i));
        hasher_add(h, b, sizeof(b));
}

void hasher_field(struct hasher *h, const void *p, size_t n)
{
        hasher_field_u64(h, n);
        hasher_add(h, p, n);
}

void hasher_field_str(struct hasher *h, const char *s)
{
        if (s)
                hasher_field(h, s, strlen(s));
        else
                hasher_field_u64(h, UINT64_MAX);
}
