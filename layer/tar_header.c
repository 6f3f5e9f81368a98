#include "base/err.h"
#include "layer/tar_priv.h"

#define SUM_AT 148u
#define SUM_LEN 8u

static bool octal_field(const unsigned char *p, size_t n, uint64_t *ret)
{
        uint64_t v = 0;
        size_t i = 0;

        while (i < n && (p[i] == ' ' || p[i] == 0))
                i++;
        for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) {
                if (v >> 60)
                        return false;
                v = v << 3 | (uint64_t)(p[i] - '0');
        }
        for (; i < n; i++)
                if (p[i] != ' ' && p[i] != 0)
                        return false;
        *ret = v;
        return true;
}

/* First bit set: a big-endian two's complement number in the other bits. */
static bool base256(const unsigned char *p, size_t n, bool *ret_negative, uint64_t *ret)
{
        bool negative = p[0] & 0x40;
        uint64_t v = negative ? UINT64_MAX : 0;

        for (size_t i = 0; i < n; i++) {
                unsigned char c = p[i];

                if (!i)
                        c = negative ? c | 0x80 : c & 0x7f;
                if (v >> 56 != (negative ? 0xffu : 0u))
                        return false;
                v = v << 8 | c;
        }
        *ret_negative = negative;
        *ret = v;
        return negative ? v >> 63 : !(v >> 63);
}

bool tar_number(const unsigned char *p, size_t n, uint64_t *ret)
{
        bool negative;

        if (p[0] & 0x80)
                return base256(p, n, &negative, ret) && !negative;
        return octal_field(p, n, ret);
}

static bool tar_signed(const unsigned char *p, size_t n, int64_t *ret)
{
        bool negative;
        uint64_t v;

        if (p[0] & 0x80) {
                if (!base256(p, n, &negative, &v))
                        return false;
        } else if (!octal_field(p, n, &v) || v > INT64_MAX) {
                return false;
        }
        *ret = (int64_t)v;
        return true;
}

/* Some old tars summed signed chars; both are accepted, as everywhere. */
static bool checksum_ok(const unsigned char b[TAR_BLOCK])
{
        int64_t uns = 0, sig = 0;
        uint64_t want;

        for (size_t i = 0; i < TAR_BLOCK; i++) {
                unsigned char c = i >= SUM_AT && i < SUM_AT + SUM_LEN ? ' ' : b[i];

                uns += c;
                sig += (signed char)c;
        }
        if (!octal_field(b + SUM_AT, SUM_LEN, &want) || want > INT64_MAX)
                return false;
        return (int64_t)want == uns || (int64_t)want == sig;
}

static bool all_zero(const unsigned char b[TAR_BLOCK])
{
        return !b[0] && !memcmp(b, b + 1, TAR_BLOCK - 1);
}

static void text_field(const unsigned char *p, size_t n, char *out)
{
        size_t len = strnlen((const char *)p, n);

        memcpy(out, p, len);
        out[len] = 0;
}

static void name_fields(const unsigned char b[TAR_BLOCK], struct tar_header *h)
{
        bool ustar = !memcmp(b + 257, "ustar\0", 6);
        size_t prefix_len = ustar && !memcmp(b + 508, "tar\0", 4) ? 131 : 155;
        size_t n = 0;

        h->gnu = !memcmp(b + 257, "ustar  \0", 8);
        if (ustar && b[345]) {
                text_field(b + 345, prefix_len, h->path);
                n = strlen(h->path);
                h->path[n++] = '/';
        }
        text_field(b, 100, h->path + n);
        text_field(b + 157, 100, h->link);
        if (!ustar && !h->gnu)
                h->major = h->minor = 0;
}

int tar_header_decode(const unsigned char b[TAR_BLOCK], struct tar_header *h, struct bld_err *err)
{
        bool device;

        if (all_zero(b))
                return 0;
        *h = (struct tar_header){.type = (char)b[156]};
        if (!checksum_ok(b))
                return err_set(err, BLD_E_CORRUPT, "tar header checksum does not match");
        device = h->type == '3' || h->type == '4';
        if (!tar_number(b + 100, 8, &h->mode) || !tar_number(b + 108, 8, &h->uid) ||
            !tar_number(b + 116, 8, &h->gid) || !tar_number(b + 124, 12, &h->size) ||
            !tar_signed(b + 136, 12, &h->mtime) ||
            (device && (!tar_number(b + 329, 8, &h->major) || !tar_number(b + 337, 8, &h->minor))))
                return err_set(err, BLD_E_CORRUPT, "malformed number in a tar header");
        name_fields(b, h);
        return 1;
}

/* One component into out; ".." goes up one level, or fails. */
static bool clean_component(const char *c, size_t n, enum tar_flavour flavour, char *out,
                            size_t *len)
{
        if (!n || (n == 1 && c[0] == '.'))
                return true;
        if (n == 2 && c[0] == '.' && c[1] == '.') {
                if (flavour == TAR_LAYER)
                        return false;
                while (*len && out[*len - 1] != '/')
                        --*len;
                if (*len)
                        --*len;
                return true;
        }
        if (*len)
                out[(*len)++] = '/';
        memcpy(out + *len, c, n);
        *len += n;
        return true;
}

int tar_clean(const char *name, enum tar_flavour flavour, char **ret, struct bld_err *err)
{
        AUTO_FREE char *out = NULL;
        size_t total = strlen(name), len = 0;

        while (total && name[total - 1] == '/')
                total--; /* a folder's, which is no part of its name */
        if (total > LY_PATH_MAX)
                return err_set(err, BLD_E_LIMIT, "name of %zu bytes in a tar (limit %u)", total,
                               LY_PATH_MAX);
        out = mem_alloc(total + 2);
        if (!out)
                return err_nomem(err, "tar name");
        for (const char *p = name; *p;) {
                size_t n = strcspn(p, "/");
                /* A file system's longest name can be gone, too. */
                bool wh = flavour == TAR_LAYER && str_has_prefix(p, WH_PREFIX);

                if (n > LY_NAME_MAX + (wh ? strlen(WH_PREFIX) : 0))
                        return err_set(err, BLD_E_LIMIT,
                                       "name component of %zu bytes in a tar (limit %u)", n,
                                       LY_NAME_MAX);
                if (!clean_component(p, n, flavour, out, &len))
                        return err_set(err, BLD_E_CORRUPT, "a tar entry's name contains \"..\"");
                p += n;
                while (*p == '/')
                        p++;
        }
        out[len] = 0;
        *ret = TAKE_PTR(&out);
        return 0;
}
