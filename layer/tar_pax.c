/* PAX extended headers (POSIX pax), SCHILY xattrs, and GNU sparse maps in all four forms. */
#include "base/err.h"
#include "base/num.h"
#include "layer/tar_priv.h"

#define XATTR_KEY "SCHILY.xattr."
#define EXTENTS_MAX 1000000u
#define NS_PER_SEC 1000000000

void tar_ext_done(struct tar_ext *x)
{
        free(x->path);
        free(x->link);
        free(x->sparse_name);
        for (size_t i = 0; i < x->xattrs.n; i++) {
                free(x->xattrs.v[i].name);
                free(x->xattrs.v[i].value);
        }
        ly_xattrs_done(&x->xattrs);
        *x = (struct tar_ext){0};
}

static int bad_record(struct bld_err *err, const char *key)
{
        return err_set(err, BLD_E_CORRUPT, "malformed PAX record %.64s", key);
}

static int set_text(char **dst, const char *key, const char *v, size_t n, struct bld_err *err)
{
        free(*dst);
        *dst = NULL;
        if (!n)
                return 0;
        if (memchr(v, 0, n))
                return err_set(err, BLD_E_CORRUPT, "NUL in the PAX record %.64s", key);
        *dst = mem_strndup(v, n);
        return *dst ? 0 : err_nomem(err, "PAX record");
}

/* "-1.5" is one and a half seconds before the epoch. */
static bool parse_time(const char *s, int64_t *ret_ns)
{
        bool negative = *s == '-';
        uint64_t sec = 0;
        int64_t frac = 0, unit = NS_PER_SEC;
        size_t i = negative;

        if (s[i] < '0' || s[i] > '9')
                return false;
        for (; s[i] >= '0' && s[i] <= '9'; i++) {
                if (sec > INT64_MAX / NS_PER_SEC / 10)
                        return false;
                sec = sec * 10 + (uint64_t)(s[i] - '0');
        }
        if (s[i] == '.')
                for (i++; s[i] >= '0' && s[i] <= '9'; i++) {
                        unit /= 10;
                        frac += unit * (s[i] - '0');
                }
        if (s[i] || sec > INT64_MAX / NS_PER_SEC)
                return false;
        *ret_ns = negative ? time_ns(-(int64_t)sec, -frac) : time_ns((int64_t)sec, frac);
        return true;
}

static int add_xattr(struct tar_parser *t, const char *name, const char *v, size_t n,
                     struct bld_err *err)
{
        struct ly_xattr *x = NULL;

        if (!*name)
                return bad_record(err, XATTR_KEY);
        for (size_t i = 0; i < t->ext.xattrs.n; i++)
                if (str_eq(t->ext.xattrs.v[i].name, name))
                        x = &t->ext.xattrs.v[i];
        if (!x && t->ext.xattrs.n >= LY_XATTRS_MAX)
                return err_set(err, BLD_E_LIMIT, "tar entry with more than %u extended attributes",
                               LY_XATTRS_MAX);
        if (!x)
                x = ly_xattrs_push(&t->ext.xattrs);
        if (!x)
                return err_nomem(err, "extended attribute");
        free(x->name);
        free(x->value);
        x->len = n;
        x->name = mem_strdup(name);
        x->value = mem_alloc(MAX(n, 1));
        if (!x->name || !x->value)
                return err_nomem(err, "extended attribute");
        memcpy(x->value, v, n);
        return 0;
}

int tar_extent_add(struct ly_extents *a, uint64_t off, uint64_t len, struct bld_err *err)
{
        const struct ly_extent *last = a->n ? &a->v[a->n - 1] : NULL;
        struct ly_extent *x;
        uint64_t end;

        if (ADD_OVERFLOWS(off, len, &end) || end > INT64_MAX ||
            (last && off < last->off + last->len))
                return err_set(err, BLD_E_CORRUPT, "malformed map of a sparse file in a tar");
        if (a->n >= EXTENTS_MAX)
                return err_set(err, BLD_E_LIMIT, "sparse file with over %u extents", EXTENTS_MAX);
        x = ly_extents_push(a);
        if (!x)
                return err_nomem(err, "map of a sparse file");
        *x = (struct ly_extent){.off = off, .len = len};
        return 0;
}

/* GNU.sparse.map, version 0.1: "off,len,off,len". */
static int sparse_map_01(struct tar_parser *t, const char *v, struct bld_err *err)
{
        uint64_t pair[2];
        unsigned k = 0;
        char *end;
        int r;

        t->extents.n = 0;
        while (*v) {
                if (*v < '0' || *v > '9')
                        return bad_record(err, "GNU.sparse.map");
                pair[k++] = strtoull(v, &end, 10);
                if (k == 2) {
                        r = tar_extent_add(&t->extents, pair[0], pair[1], err);
                        if (r < 0)
                                return r;
                        k = 0;
                }
                v = *end == ',' ? end + 1 : end;
        }
        return k ? bad_record(err, "GNU.sparse.map") : 0;
}

/* Version 0.0: pairs of records, in order. */
static int sparse_pair_00(struct tar_parser *t, bool is_offset, uint64_t v, struct bld_err *err)
{
        struct tar_ext *x = &t->ext;
        struct ly_extent *last = t->extents.n ? &t->extents.v[t->extents.n - 1] : NULL;
        uint64_t end;

        if (is_offset == x->sparse_open)
                return bad_record(err, "GNU.sparse.offset");
        x->sparse_open = is_offset;
        if (is_offset)
                return tar_extent_add(&t->extents, v, 0, err);
        if (!last || ADD_OVERFLOWS(last->off, v, &end) || end > INT64_MAX)
                return bad_record(err, "GNU.sparse.numbytes");
        last->len = v;
        return 0;
}

static int sparse_record(struct tar_parser *t, const char *key, const char *v, size_t n,
                         struct bld_err *err)
{
        struct tar_ext *x = &t->ext;
        const char *k = key + strlen("GNU.sparse.");
        uint64_t num = 0;

        if (!x->sparse)
                t->extents.n = 0;
        x->sparse = true;
        if (str_eq(k, "name"))
                return set_text(&x->sparse_name, key, v, n, err);
        if (str_eq(k, "map"))
                return sparse_map_01(t, v, err);
        if (!parse_u64(v, 0, INT64_MAX, &num))
                return bad_record(err, key);
        if (str_eq(k, "offset") || str_eq(k, "numbytes"))
                return sparse_pair_00(t, str_eq(k, "offset"), num, err);
        if (str_eq(k, "size") || str_eq(k, "realsize")) {
                x->has_sparse_size = true;
                x->sparse_size = num;
        } else if (str_eq(k, "major")) {
                x->sparse_1_0 = num == 1;
        }
        return 0;
}

static int number_record(const char *key, const char *v, uint64_t max, bool *has, uint64_t *ret,
                         struct bld_err *err)
{
        if (!parse_u64(v, 0, max, ret))
                return bad_record(err, key);
        *has = true;
        return 0;
}

/* v is NUL-terminated after its n bytes (the record's line feed is overwritten). An empty value
 * takes back what an earlier record said. */
static int record(struct tar_parser *t, const char *key, const char *v, size_t n,
                  struct bld_err *err)
{
        struct tar_ext *x = &t->ext;

        if (str_has_prefix(key, XATTR_KEY))
                return add_xattr(t, key + strlen(XATTR_KEY), v, n, err);
        if (str_has_prefix(key, "GNU.sparse."))
                return sparse_record(t, key, v, n, err);
        if (str_eq(key, "path"))
                return set_text(&x->path, key, v, n, err);
        if (str_eq(key, "linkpath"))
                return set_text(&x->link, key, v, n, err);
        if (!n)
                return 0;
        if (str_eq(key, "size"))
                return number_record(key, v, INT64_MAX, &x->has_size, &x->size, err);
        if (str_eq(key, "uid"))
                return number_record(key, v, UINT32_MAX, &x->has_uid, &x->uid, err);
        if (str_eq(key, "gid"))
                return number_record(key, v, UINT32_MAX, &x->has_gid, &x->gid, err);
        if (str_eq(key, "mtime")) {
                x->has_mtime = parse_time(v, &x->mtime_ns);
                return x->has_mtime ? 0 : bad_record(err, key);
        }
        return 0; /* atime, ctime, uname, gname, comment, vendors' own */
}

/* "<len> <key>=<value>\n", len counting itself. */
int tar_pax_parse(struct tar_parser *t, struct bld_err *err)
{
        char *p = t->meta.buf, *end = p + t->meta.len;

        while (p < end) {
                char *sp = memchr(p, ' ', (size_t)(end - p)), *eq;
                uint64_t len = 0;
                int r;

                for (char *d = p; sp && d < sp; d++) {
                        if (*d < '0' || *d > '9' || len > LY_PAX_MAX)
                                return bad_record(err, "length");
                        len = len * 10 + (uint64_t)(*d - '0');
                }
                if (!sp || len > (uint64_t)(end - p) || len < (uint64_t)(sp - p) + 3 ||
                    p[len - 1] != '\n')
                        return bad_record(err, "length");
                p[len - 1] = 0;
                eq = memchr(sp + 1, '=', (size_t)(p + len - 1 - sp - 1));
                if (!eq || eq == sp + 1 || memchr(sp + 1, 0, (size_t)(eq - sp - 1)))
                        return bad_record(err, "without a key");
                *eq = 0;
                r = record(t, sp + 1, eq + 1, (size_t)(p + len - 1 - eq - 1), err);
                if (r < 0)
                        return r;
                p += len;
        }
        return 0;
}

int tar_sparse_block(struct tar_parser *t, const unsigned char *pairs, size_t n,
                     struct bld_err *err)
{
        for (size_t i = 0; i < n; i++, pairs += 24) {
                uint64_t off, len;
                int r;

                if (!pairs[0] && !pairs[12])
                        return 0;
                if (!tar_number(pairs, 12, &off) || !tar_number(pairs + 12, 12, &len))
                        return err_set(err, BLD_E_CORRUPT,
                                       "malformed map of a sparse file in a tar");
                r = tar_extent_add(&t->extents, off, len, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* One decimal line at *p, which is moved past it. */
static int map_line(const char **p, uint64_t max, uint64_t *ret, struct bld_err *err)
{
        const char *nl = strchr(*p, '\n');
        size_t n = nl ? (size_t)(nl - *p) : 0;
        char num[24];

        if (n && n < sizeof(num)) {
                memcpy(num, *p, n);
                num[n] = 0;
                *p = nl + 1;
                if (parse_u64(num, 0, max, ret))
                        return 0;
        }
        return err_set(err, BLD_E_CORRUPT, "malformed map of a sparse file in a tar");
}

/* Decimal lines: count, then offset and length of each, padded to a block. meta holds whole
 * blocks; lines are counted as they come, so that each byte is looked at twice at most. */
int tar_sparse_map(struct tar_parser *t, struct bld_err *err)
{
        const char *p = sb_text(&t->meta);
        uint64_t count, off, len;
        int r;

        for (; t->map_scanned < t->meta.len; t->map_scanned++)
                t->map_lines += p[t->map_scanned] == '\n';
        if (!t->map_lines)
                return t->meta.len <= TAR_BLOCK ? map_line(&p, 0, &count, err) : 0;
        r = map_line(&p, EXTENTS_MAX, &count, err);
        if (r < 0)
                return r;
        if (t->map_lines < 1 + 2 * count)
                return 0;
        t->extents.n = 0;
        while (count--) {
                r = map_line(&p, INT64_MAX, &off, err);
                if (!r)
                        r = map_line(&p, INT64_MAX, &len, err);
                if (!r)
                        r = tar_extent_add(&t->extents, off, len, err);
                if (r < 0)
                        return r;
        }
        return 1;
}
