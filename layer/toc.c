/* Tables of contents: built from tar bytes as they pass, stored as versioned, checksummed bytes. */
#include "base/err.h"
#include "base/map.h"
#include "layer/arena_priv.h"
#include "layer/tar_priv.h"

VEC_DEFINE(toc_entries, struct ly_toc_entry);
VEC_DEFINE(toc_seeks, struct ly_seek);
VEC_DEFINE(toc_sums, struct ly_sum);

struct toc_builder {
        struct tar_parser t;
        struct arena *mem;
        struct toc_entries entries;
        struct toc_seeks seeks;
        /* Of files with content. */
        uint32_t files;
        bool content;
        struct toc_sums sums;
        struct hasher h; /* of the current file */
        /* Of a sparse one: the extent that is being read, what is read of it, what the file has
         * up to there. */
        size_t extent;
        uint64_t in_extent, logical;
};

int toc_builder_new(const struct ly_limits *lim, bool content, struct toc_builder **ret,
                    struct bld_err *err)
{
        AUTO(toc_builder_free_p) struct toc_builder *b = mem_zalloc(1, sizeof(*b));

        if (!b)
                return err_nomem(err, "table of contents");
        tar_parser_init(&b->t, TAR_LAYER, lim);
        b->content = content;
        b->mem = mem_zalloc(1, sizeof(*b->mem));
        if (!b->mem)
                return err_nomem(err, "table of contents");
        *ret = TAKE_PTR(&b);
        return 0;
}

void toc_builder_free(struct toc_builder *b)
{
        if (!b)
                return;
        tar_parser_done(&b->t);
        toc_entries_done(&b->entries);
        toc_seeks_done(&b->seeks);
        toc_sums_done(&b->sums);
        if (b->mem)
                arena_done(b->mem);
        free(b->mem);
        free(b);
}

static void *arena_dup(struct arena *a, const void *p, size_t n)
{
        void *c = arena_alloc(a, n);

        if (c && n)
                memcpy(c, p, n);
        return c;
}

static bool copy_into(struct arena *mem, const struct ly_entry *e, struct ly_entry *c)
{
        *c = *e;
        c->path = arena_strndup(mem, e->path, strlen(e->path));
        c->link = e->link ? arena_strndup(mem, e->link, strlen(e->link)) : NULL;
        c->xattrs = NULL;
        if (e->nxattrs) {
                c->xattrs = arena_dup(mem, e->xattrs, e->nxattrs * sizeof(*e->xattrs));
                if (!c->xattrs)
                        return false;
        }
        for (size_t i = 0; i < e->nxattrs; i++) {
                const struct ly_xattr *x = &e->xattrs[i];

                c->xattrs[i].name = arena_strndup(mem, x->name, strlen(x->name));
                c->xattrs[i].value = arena_dup(mem, x->value, x->len);
                if (!c->xattrs[i].name || !c->xattrs[i].value)
                        return false;
        }
        return c->path && (c->link || !e->link);
}

static int builder_entry(struct toc_builder *b, struct bld_err *err)
{
        struct ly_toc_entry *te = toc_entries_push(&b->entries);
        const struct ly_extents *x = &b->t.extents;

        if (!te || !copy_into(b->mem, &b->t.e, &te->e))
                return err_nomem(err, "table of contents");
        te->data_off = b->t.data_off;
        te->sparse = b->t.sparse;
        if (te->e.type == LY_FILE && te->e.size)
                te->sum = b->files++;
        if (!te->sparse)
                return 0;
        te->extents = arena_dup(b->mem, x->v, x->n * sizeof(*x->v));
        te->nextents = x->n;
        return te->extents ? 0 : err_nomem(err, "table of contents");
}

/* ---- sums ---- */

static void hash_zeros(struct toc_builder *b, uint64_t n)
{
        static const unsigned char zeros[16384];

        for (; n; n -= MIN(n, sizeof(zeros)))
                hasher_add(&b->h, zeros, (size_t)MIN(n, sizeof(zeros)));
}

static void hash_sparse(struct toc_builder *b, const unsigned char *p, size_t n)
{
        while (n && b->extent < b->t.extents.n) {
                const struct ly_extent *x = &b->t.extents.v[b->extent];
                size_t take = (size_t)MIN((uint64_t)n, x->len - b->in_extent);

                hash_zeros(b, x->off + b->in_extent - b->logical);
                hasher_add(&b->h, p, take);
                b->in_extent += take;
                b->logical = x->off + b->in_extent;
                p += take;
                n -= take;
                if (b->in_extent == x->len) {
                        b->extent++;
                        b->in_extent = 0;
                }
        }
}

static int end_sum(struct toc_builder *b, struct bld_err *err)
{
        struct ly_sum *s = toc_sums_push(&b->sums);
        struct digest d;

        if (!s)
                return err_nomem(err, "table of contents");
        if (b->t.sparse)
                hash_zeros(b, b->t.e.size - b->logical);
        hasher_end(&b->h, &d);
        memcpy(s->b, d.b, sizeof(s->b));
        return 0;
}

static int begin_sum(struct toc_builder *b, struct bld_err *err)
{
        if (b->t.e.type != LY_FILE || !b->t.e.size)
                return 0;
        hasher_init(&b->h, DIGEST_SHA256);
        b->extent = 0;
        b->in_extent = b->logical = 0;
        return b->t.left ? 0 : end_sum(b, err); /* all of it may be a hole */
}

static int add_sum(struct toc_builder *b, const unsigned char *p, size_t n, struct bld_err *err)
{
        if (b->t.sparse)
                hash_sparse(b, p, n);
        else
                hasher_add(&b->h, p, n);
        return b->t.left ? 0 : end_sum(b, err);
}

int toc_builder_feed(struct toc_builder *b, const void *p, size_t n, struct bld_err *err)
{
        const unsigned char *at = p, *data;
        size_t used, len;
        enum tar_event ev;
        int r = 0;

        while (!r && n) {
                r = tar_feed(&b->t, at, n, &used, &ev, &data, &len, err);
                if (!r && ev == TAR_ENTRY)
                        r = builder_entry(b, err);
                if (!r && b->content && ev == TAR_ENTRY)
                        r = begin_sum(b, err);
                if (!r && b->content && ev == TAR_DATA)
                        r = add_sum(b, data, len, err);
                at += used;
                n -= used;
        }
        return r;
}

int toc_builder_seek(struct toc_builder *b, uint64_t tar_off, uint64_t blob_off,
                     struct bld_err *err)
{
        struct ly_seek *s = toc_seeks_push(&b->seeks);

        if (!s)
                return err_nomem(err, "table of contents");
        *s = (struct ly_seek){.tar_off = tar_off, .blob_off = blob_off};
        return 0;
}

/* Is some entry's folder neither in this layer nor the root? *ret, or out of memory. */
static int find_missing_parents(struct ly_toc *t, bool *ret)
{
        const char *last = "";
        size_t last_len = 0;
        struct map dirs;
        bool missing = false;
        int r = 0;

        map_init(&dirs, NULL);
        for (size_t i = 0; !r && i < t->n; i++)
                if (t->v[i].e.type == LY_DIR)
                        r = map_set(&dirs, t->v[i].e.path, t);
        for (size_t i = 0; !r && !missing && i < t->n; i++) {
                const char *p = t->v[i].e.path, *slash = strrchr(p, '/');
                size_t n = slash ? (size_t)(slash - p) : 0;

                if (t->v[i].e.type == LY_OPAQUE)
                        n = strlen(p);
                if (!n || (n == last_len && !memcmp(p, last, n)))
                        continue;
                missing = !map_getn(&dirs, p, n);
                last = p;
                last_len = n;
        }
        map_done(&dirs);
        *ret = missing;
        return r;
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

int toc_builder_end(struct toc_builder *b, struct ly_toc **ret, struct bld_err *err)
{
        AUTO(ly_toc_free_p) struct ly_toc *t = NULL;
        int r = tar_eof(&b->t, err);

        if (r < 0 || !ret)
                return r;
        t = mem_zalloc(1, sizeof(*t));
        if (!t)
                return err_nomem(err, "table of contents");
        t->priv = TAKE_PTR(&b->mem);
        t->v = TAKE_PTR(&b->entries.v);
        t->n = b->entries.n;
        t->seeks = TAKE_PTR(&b->seeks.v);
        t->nseeks = b->seeks.n;
        t->nsums = b->files;
        t->sums = TAKE_PTR(&b->sums.v);
        t->tar_size = b->t.off;
        if (find_missing_parents(t, &t->missing_parents) < 0)
                return err_nomem(err, "table of contents");
        *ret = TAKE_PTR(&t);
        return 0;
}

void ly_toc_free(struct ly_toc *t)
{
        if (!t)
                return;
        if (t->priv)
                arena_done(t->priv);
        free(t->priv);
        free(t->v);
        free(t->seeks);
        free(t->sums);
        free(t);
}

const struct ly_sum *ly_toc_sum(const struct ly_toc *t, const struct ly_toc_entry *e)
{
        static const struct ly_sum nothing = {{0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14,
                                               0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
                                               0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c,
                                               0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55}};

        if (!e->e.size)
                return &nothing;
        return t->sums ? &t->sums[e->sum] : NULL;
}

/* ---- stored form: magic, varints, XXH3 of all before it ----
 * Paths share their beginning with the entry before. docs/layers.md lists the fields. */

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
