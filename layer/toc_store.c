/* Tables of contents and sums as versioned, checksummed bytes: magic, varints, XXH3 of all before
 * it. Paths share their beginning with the entry before. docs/layers.md lists the fields. */
#include "base/err.h"
#include "base/map.h"
#include "layer/arena_priv.h"
#include "layer/tar_priv.h"

static const char toc_magic[8] = "bldtoc\0\1";
static const char sums_magic[8] = "bldsum\0\1";

static void put_u(struct sb *b, uint64_t v)
{
        for (; v >= 0x80; v >>= 7)
                sb_char(b, (char)(v | 0x80));
        sb_char(b, (char)v);
}

static void put_i(struct sb *b, int64_t v)
{
        put_u(b, ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0));
}

static void put_bytes(struct sb *b, const void *p, size_t n)
{
        put_u(b, n);
        sb_add(b, p, n);
}

static size_t shared_prefix(const char *a, const char *b)
{
        size_t n = 0;

        while (a[n] && a[n] == b[n])
                n++;
        return n;
}

static void put_entry(struct sb *b, const struct ly_toc_entry *te, const char *prev)
{
        const struct ly_entry *e = &te->e;
        size_t shared = shared_prefix(prev, e->path);

        sb_char(b, (char)((unsigned)e->type | (te->sparse ? 0x80u : 0)));
        put_u(b, shared);
        put_bytes(b, e->path + shared, strlen(e->path + shared));
        put_u(b, e->mode);
        put_u(b, e->uid);
        put_u(b, e->gid);
        put_i(b, e->mtime_ns);
        put_u(b, e->size);
        put_u(b, te->data_off);
        if (e->type == LY_SYMLINK || e->type == LY_HARDLINK)
                put_bytes(b, e->link, strlen(e->link));
        if (e->type == LY_CHAR || e->type == LY_BLOCK) {
                put_u(b, e->dev_major);
                put_u(b, e->dev_minor);
        }
        put_u(b, e->nxattrs);
        for (size_t i = 0; i < e->nxattrs; i++) {
                put_bytes(b, e->xattrs[i].name, strlen(e->xattrs[i].name));
                put_bytes(b, e->xattrs[i].value, e->xattrs[i].len);
        }
        if (!te->sparse)
                return;
        put_u(b, te->nextents);
        for (size_t i = 0; i < te->nextents; i++) {
                put_u(b, te->extents[i].off);
                put_u(b, te->extents[i].len);
        }
}

static void put_check(struct sb *out, size_t start)
{
        unsigned char sum[8];
        uint64_t h;

        if (out->failed)
                return;
        h = hash64(out->buf + start, out->len - start);
        for (unsigned i = 0; i < 8; i++)
                sum[i] = (unsigned char)(h >> 8 * i);
        sb_add(out, sum, sizeof(sum));
}

int ly_toc_encode(const struct ly_toc *t, struct sb *out, struct bld_err *err)
{
        struct ly_seek last = {0};
        const char *prev = "";
        size_t start = out->len;

        sb_add(out, toc_magic, sizeof(toc_magic));
        put_u(out, t->tar_size);
        put_u(out, (uint64_t)t->codec);
        put_u(out, t->missing_parents);
        put_u(out, (uint64_t)t->blob.algo);
        sb_add(out, t->blob.b, digest_len(t->blob.algo));
        put_u(out, t->nseeks);
        for (size_t i = 0; i < t->nseeks; i++) {
                put_u(out, t->seeks[i].tar_off - last.tar_off);
                put_u(out, t->seeks[i].blob_off - last.blob_off);
                last = t->seeks[i];
        }
        put_u(out, t->n);
        for (size_t i = 0; i < t->n; i++) {
                put_entry(out, &t->v[i], prev);
                prev = t->v[i].e.path;
        }
        put_check(out, start);
        return sb_check(out, "table of contents", err);
}

int ly_sums_encode(const struct ly_toc *t, struct sb *out, struct bld_err *err)
{
        size_t start = out->len;

        sb_add(out, sums_magic, sizeof(sums_magic));
        if (t->nsums)
                sb_add(out, t->sums, t->nsums * sizeof(*t->sums));
        put_check(out, start);
        return sb_check(out, "digests of files", err);
}

struct toc_in {
        const unsigned char *p, *end;
        struct arena *mem;
        bool bad;
};

static uint64_t get_u(struct toc_in *in, uint64_t max)
{
        uint64_t v = 0;

        for (unsigned shift = 0; in->p < in->end && shift < 64; shift += 7) {
                unsigned char c = *in->p++;

                if (shift == 63 && c > 1)
                        break;
                v |= (uint64_t)(c & 0x7f) << shift;
                if (!(c & 0x80)) {
                        if (v > max)
                                break;
                        return v;
                }
        }
        in->bad = true;
        return 0;
}

static int64_t get_i(struct toc_in *in)
{
        uint64_t u = get_u(in, UINT64_MAX);

        return (int64_t)(u >> 1) ^ -(int64_t)(u & 1);
}

static const unsigned char *get_bytes(struct toc_in *in, size_t max, size_t *ret_n)
{
        const unsigned char *p;
        size_t n = (size_t)get_u(in, MIN(max, (size_t)(in->end - in->p)));

        *ret_n = 0;
        if (in->bad || n > (size_t)(in->end - in->p)) {
                in->bad = true;
                return NULL;
        }
        p = in->p;
        in->p += n;
        *ret_n = n;
        return p;
}

/* A string: bytes without NUL, after the first `shared` ones of prev. */
static char *get_str(struct toc_in *in, const char *prev, size_t shared, size_t max)
{
        size_t n;
        const unsigned char *p = get_bytes(in, max, &n);
        char *s;

        if (!p || memchr(p, 0, n) || shared + n > max) {
                in->bad = true;
                return NULL;
        }
        s = arena_alloc(in->mem, shared + n + 1);
        if (!s) {
                in->bad = true;
                return NULL;
        }
        memcpy(s, prev, shared);
        memcpy(s + shared, p, n);
        return s;
}

static bool clean_path(const char *p)
{
        if (!*p)
                return true;
        for (;;) {
                size_t n = strcspn(p, "/");

                if (!n || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                if (!p[n])
                        return true;
                p += n + 1;
        }
}

static void *get_array(struct toc_in *in, size_t size, size_t min_bytes, size_t *ret_n)
{
        size_t n = (size_t)get_u(in, (size_t)(in->end - in->p) / min_bytes);
        void *v = in->bad ? NULL : arena_alloc(in->mem, MAX(n, 1) * size);

        *ret_n = v ? n : 0;
        in->bad |= !v;
        return v;
}

static void get_extras(struct toc_in *in, struct ly_toc_entry *te)
{
        struct ly_entry *e = &te->e;

        if (e->type == LY_SYMLINK || e->type == LY_HARDLINK)
                e->link = get_str(in, "", 0, LY_LINK_MAX);
        if (e->type == LY_CHAR || e->type == LY_BLOCK) {
                e->dev_major = (uint32_t)get_u(in, UINT32_MAX);
                e->dev_minor = (uint32_t)get_u(in, UINT32_MAX);
        }
        e->xattrs = get_array(in, sizeof(*e->xattrs), 2, &e->nxattrs);
        for (size_t i = 0; !in->bad && i < e->nxattrs; i++) {
                const unsigned char *v;

                e->xattrs[i].name = get_str(in, "", 0, LY_PAX_MAX);
                v = get_bytes(in, LY_PAX_MAX, &e->xattrs[i].len);
                e->xattrs[i].value = v ? arena_dup(in->mem, v, e->xattrs[i].len) : NULL;
                in->bad |= !e->xattrs[i].value;
        }
        if (!e->nxattrs)
                e->xattrs = NULL;
        if (!te->sparse)
                return;
        te->extents = get_array(in, sizeof(*te->extents), 2, &te->nextents);
        for (size_t i = 0; !in->bad && i < te->nextents; i++) {
                const struct ly_extent *last = i ? &te->extents[i - 1] : NULL;

                te->extents[i].off = get_u(in, INT64_MAX);
                te->extents[i].len = get_u(in, INT64_MAX);
                if (te->extents[i].off + te->extents[i].len > e->size ||
                    (last && te->extents[i].off < last->off + last->len))
                        in->bad = true;
        }
}

static void get_entry(struct toc_in *in, struct ly_toc_entry *te, const char *prev)
{
        struct ly_entry *e = &te->e;
        size_t shared;
        unsigned type = in->p < in->end ? *in->p++ : 0x7f;

        te->sparse = type & 0x80;
        type &= 0x7f;
        in->bad |= type > LY_OPAQUE || (te->sparse && type != LY_FILE);
        if (in->bad)
                return;
        e->type = (enum ly_type)type;
        shared = (size_t)get_u(in, strlen(prev));
        e->path = in->bad ? NULL : get_str(in, prev, shared, LY_PATH_MAX);
        e->mode = (unsigned)get_u(in, 07777);
        e->uid = (uint32_t)get_u(in, UINT32_MAX);
        e->gid = (uint32_t)get_u(in, UINT32_MAX);
        e->mtime_ns = get_i(in);
        e->size = get_u(in, INT64_MAX);
        te->data_off = get_u(in, INT64_MAX);
        in->bad |= !e->path || !clean_path(e->path);
        if (!in->bad)
                get_extras(in, te);
}

static void get_head(struct toc_in *in, struct ly_toc *t)
{
        size_t n;
        struct ly_seek at = {0};

        t->tar_size = get_u(in, INT64_MAX);
        t->codec = (enum ly_codec)get_u(in, LY_CODEC_ZSTD);
        t->missing_parents = get_u(in, 1);
        t->blob.algo = (enum digest_algo)get_u(in, DIGEST_SHA512);
        n = digest_len(t->blob.algo);
        if (in->bad || n > (size_t)(in->end - in->p)) {
                in->bad = true;
                return;
        }
        memcpy(t->blob.b, in->p, n);
        in->p += n;
        t->nseeks = (size_t)get_u(in, (size_t)(in->end - in->p) / 2);
        t->seeks = in->bad ? NULL : mem_zalloc(MAX(t->nseeks, 1), sizeof(at));
        in->bad |= !t->seeks;
        for (size_t i = 0; !in->bad && i < t->nseeks; i++) {
                at.tar_off += get_u(in, INT64_MAX);
                at.blob_off += get_u(in, INT64_MAX);
                in->bad |= at.tar_off > INT64_MAX || at.blob_off > INT64_MAX;
                t->seeks[i] = at;
        }
}

static bool sum_ok(const unsigned char *p, size_t n)
{
        uint64_t h = hash64(p, n - 8);

        for (unsigned i = 0; i < 8; i++)
                if (p[n - 8 + i] != (unsigned char)(h >> 8 * i))
                        return false;
        return true;
}

static struct ly_toc *toc_alloc(void)
{
        struct ly_toc *t = mem_zalloc(1, sizeof(*t));

        if (t)
                t->priv = mem_zalloc(1, sizeof(struct arena));
        if (t && !t->priv) {
                free(t);
                return NULL;
        }
        return t;
}

int ly_toc_decode(const void *p, size_t n, struct ly_toc **ret, struct bld_err *err)
{
        AUTO(ly_toc_free_p) struct ly_toc *t = NULL;
        const char *prev = "";
        struct toc_in in = {.p = p};

        if (n < sizeof(toc_magic) + 8 || memcmp(p, toc_magic, sizeof(toc_magic)) != 0 ||
            !sum_ok(p, n))
                return err_set(err, BLD_E_CORRUPT, "damaged table of contents of a layer");
        t = toc_alloc();
        if (!t)
                return err_nomem(err, "table of contents");
        in.mem = t->priv;
        in.end = in.p + n - 8;
        in.p += sizeof(toc_magic);
        get_head(&in, t);
        /* Eight bytes is the least an entry takes, so the count cannot ask for much memory. */
        t->n = (size_t)get_u(&in, (size_t)(in.end - in.p) / 8);
        t->v = in.bad ? NULL : mem_zalloc(MAX(t->n, 1), sizeof(*t->v));
        in.bad |= !t->v;
        for (size_t i = 0; !in.bad && i < t->n; i++) {
                get_entry(&in, &t->v[i], prev);
                prev = t->v[i].e.path;
                if (t->v[i].e.type == LY_FILE && t->v[i].e.size)
                        t->v[i].sum = (uint32_t)t->nsums++;
        }
        if (in.bad || in.p != in.end)
                return err_set(err, BLD_E_CORRUPT, "damaged table of contents of a layer");
        *ret = TAKE_PTR(&t);
        return 0;
}

int ly_sums_decode(const void *p, size_t n, struct ly_toc *t, struct bld_err *err)
{
        const unsigned char *at = p;
        size_t want = t->nsums * sizeof(*t->sums);

        if (n < sizeof(sums_magic) + 8 || n - sizeof(sums_magic) - 8 != want ||
            memcmp(at, sums_magic, sizeof(sums_magic)) != 0 || !sum_ok(at, n))
                return err_set(err, BLD_E_CORRUPT, "damaged digests of a layer's files");
        t->sums = mem_dup(at + sizeof(sums_magic), want);
        return t->sums ? 0 : err_nomem(err, "digests of files");
}
