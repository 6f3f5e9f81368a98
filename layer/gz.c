#include "layer/gz_priv.h"

#include <libdeflate.h>
#include <stdio.h>
#include <zlib.h>

#include "base/err.h"
#include "layer/isal_priv.h"

#define ISAL_LEVEL 2
#define LIBDEFLATE_LEVEL 6 /* where reproducibility, or the lack of SSE4.2, asks for it */

static void put32(unsigned char *p, uint32_t v)
{
        for (unsigned i = 0; i < 4; i++)
                p[i] = (unsigned char)(v >> 8 * i);
}

static uint32_t get32(const unsigned char *p)
{
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int gz_choose(const struct ly_pack_opts *o, enum gz_engine *ret_engine, int *ret_level,
              char name[32], struct bld_err *err)
{
        if (o->level < 0 || o->level > 12)
                return err_set(err, BLD_E_INVALID, "gzip level %d: use 1 to 12, or 0", o->level);
#if LY_HAVE_ISAL
        if (!o->level && !o->reproducible && isal_expected()) {
                /* Never silently other bytes than every machine like this one makes. */
                if (!isal_get())
                        return err_try(err,
                                       err_set(err, BLD_E_UNSUPPORTED,
                                               "the compression library libisal.so.2 is missing"),
                                       "apt install libisal2");
                *ret_engine = GZ_ISAL;
                *ret_level = ISAL_LEVEL;
                (void)snprintf(name, 32, "isal-%d", ISAL_LEVEL);
                return 0;
        }
#endif
        *ret_engine = GZ_LIBDEFLATE;
        *ret_level = o->level ? o->level : LIBDEFLATE_LEVEL;
        (void)snprintf(name, 32, "libdeflate-%d", *ret_level);
        return 0;
}

/* ---- writing members ---- */

struct gz_enc {
        struct libdeflate_compressor *ld; /* NULL: ISA-L */
#if LY_HAVE_ISAL
        struct isal_zstream zs;
        unsigned char level_buf[ISAL_DEF_LVL2_DEFAULT];
#endif
};

int gz_enc_new(enum gz_engine engine, int level, struct gz_enc **ret, struct bld_err *err)
{
        struct gz_enc *e = mem_zalloc(1, sizeof(*e));

        if (e && engine == GZ_LIBDEFLATE)
                e->ld = libdeflate_alloc_compressor(level);
        if (!e || (engine == GZ_LIBDEFLATE && !e->ld)) {
                free(e);
                return err_nomem(err, "gzip compressor");
        }
        *ret = e;
        return 0;
}

void gz_enc_free(struct gz_enc *e)
{
        if (!e)
                return;
        if (e->ld)
                libdeflate_free_compressor(e->ld);
        free(e);
}

#if LY_HAVE_ISAL
static size_t isal_block(struct gz_enc *e, const void *p, size_t n, unsigned char *out, size_t cap)
{
        isal_get()->deflate_init(&e->zs);
        /* The library takes a plain pointer and only reads. */
        e->zs.next_in = (uint8_t *)(uintptr_t)p;
        e->zs.avail_in = (uint32_t)n;
        e->zs.next_out = out;
        e->zs.avail_out = (uint32_t)cap;
        e->zs.level = ISAL_LEVEL;
        e->zs.level_buf = e->level_buf;
        e->zs.level_buf_size = sizeof(e->level_buf);
        e->zs.end_of_stream = 1;
        e->zs.flush = NO_FLUSH;
        if (isal_get()->deflate(&e->zs) != COMP_OK)
                return 0;
        return e->zs.total_out;
}
#endif

int gz_enc_member(struct gz_enc *e, const void *p, size_t n, unsigned char *out, size_t *ret_n,
                  struct bld_err *err)
{
        /* ID, deflate, FEXTRA; no time; XFL 0; OS 255 unknown; XLEN 8: "bL", 4 bytes. */
        static const unsigned char head[GZ_HEAD] = {0x1f, 0x8b, 8,   4,   0, 0, 0, 0, 0, 255,
                                                    8,    0,    'b', 'L', 4, 0, 0, 0, 0, 0};
        size_t cap = GZ_MEMBER_MAX - GZ_HEAD - GZ_TAIL, body;

        if (e->ld)
                body = libdeflate_deflate_compress(e->ld, p, n, out + GZ_HEAD, cap);
#if LY_HAVE_ISAL
        else
                body = isal_block(e, p, n, out + GZ_HEAD, cap);
#else
        else
                body = 0;
#endif
        if (!body)
                return err_set(err, BLD_E_BUG, "gzip block did not fit");
        memcpy(out, head, GZ_HEAD);
        put32(out + GZ_HEAD + body, libdeflate_crc32(0, p, n));
        put32(out + GZ_HEAD + body + 4, (uint32_t)n);
        *ret_n = GZ_HEAD + body + GZ_TAIL;
        put32(out + 16, (uint32_t)*ret_n);
        return 0;
}

/* ---- reading our own members ---- */

size_t gz_member_len(const unsigned char *p, size_t n)
{
        size_t len;

        if (n < GZ_HEAD || p[0] != 0x1f || p[1] != 0x8b || p[2] != 8 || p[3] != 4 || p[10] != 8 ||
            p[11] || p[12] != 'b' || p[13] != 'L' || p[14] != 4 || p[15])
                return 0;
        len = get32(p + 16);
        return len > GZ_HEAD + GZ_TAIL && len <= GZ_MEMBER_MAX ? len : 0;
}

struct gz_dec {
        struct libdeflate_decompressor *ld; /* NULL: ISA-L */
#if LY_HAVE_ISAL
        struct inflate_state st;
#endif
};

static bool have_isal(void)
{
#if LY_HAVE_ISAL
        return isal_expected() && isal_get();
#else
        return false;
#endif
}

int gz_dec_new(struct gz_dec **ret, struct bld_err *err)
{
        bool isal = have_isal();
        struct gz_dec *d = mem_zalloc(1, sizeof(*d));

        if (d && !isal)
                d->ld = libdeflate_alloc_decompressor();
        if (!d || (!isal && !d->ld)) {
                free(d);
                return err_nomem(err, "gzip decompressor");
        }
        *ret = d;
        return 0;
}

void gz_dec_free(struct gz_dec *d)
{
        if (d && d->ld)
                libdeflate_free_decompressor(d->ld);
        free(d);
}

/* Raw deflate, whole: false unless all of the input made *ret_n bytes. */
static bool inflate_whole(struct gz_dec *d, const unsigned char *p, size_t n, unsigned char *out,
                          size_t cap, size_t *ret_n)
{
        size_t used = 0;

#if LY_HAVE_ISAL
        if (!d->ld) {
                isal_get()->inflate_init(&d->st);
                d->st.next_in = (uint8_t *)(uintptr_t)p; /* only read */
                d->st.avail_in = (uint32_t)n;
                d->st.next_out = out;
                d->st.avail_out = (uint32_t)cap;
                d->st.crc_flag = ISAL_DEFLATE;
                *ret_n = 0;
                if (isal_get()->inflate_stateless(&d->st) != ISAL_DECOMP_OK)
                        return false;
                *ret_n = d->st.total_out;
                return !d->st.avail_in;
        }
#endif
        return libdeflate_deflate_decompress_ex(d->ld, p, n, out, cap, &used, ret_n) ==
                       LIBDEFLATE_SUCCESS &&
               used == n;
}

int gz_dec_member(struct gz_dec *d, const unsigned char *p, size_t n, unsigned char *out,
                  size_t cap, size_t *ret_n, struct bld_err *err)
{
        size_t got = 0;

        if (n <= GZ_HEAD + GZ_TAIL ||
            !inflate_whole(d, p + GZ_HEAD, n - GZ_HEAD - GZ_TAIL, out, cap, &got) ||
            get32(p + n - 4) != (uint32_t)got || get32(p + n - 8) != libdeflate_crc32(0, out, got))
                return err_set(err, BLD_E_CORRUPT, "damaged gzip member");
        *ret_n = got;
        return 0;
}

/* ---- any stream ---- */

#if LY_HAVE_ISAL
/* A member's header. ISA-L's own reader loses its place where reads cut optional fields, and takes
 * reserved flags for nothing. */
enum gz_part { GZ_FIXED, GZ_XLEN, GZ_EXTRA, GZ_NAME, GZ_COMMENT, GZ_HCRC, GZ_BODY };
enum gz_flag { GZ_F_HCRC = 2, GZ_F_EXTRA = 4, GZ_F_NAME = 8, GZ_F_COMMENT = 16, GZ_F_NONE = 0xe0 };
struct gz_head {
        enum gz_part part;
        unsigned at; /* bytes of the part seen */
        unsigned flags, xlen, hcrc;
        uint32_t crc;
};

/* On to the next part that is there. */
static void head_next(struct gz_head *h)
{
        static const unsigned needs[] = {[GZ_XLEN] = GZ_F_EXTRA,
                                         [GZ_EXTRA] = GZ_F_EXTRA,
                                         [GZ_NAME] = GZ_F_NAME,
                                         [GZ_COMMENT] = GZ_F_COMMENT,
                                         [GZ_HCRC] = GZ_F_HCRC};

        h->at = 0;
        do
                h->part++;
        while (h->part < GZ_BODY &&
               (!(h->flags & needs[h->part]) || (h->part == GZ_EXTRA && !h->xlen)));
}

static bool head_byte(struct gz_head *h, unsigned char c)
{
        static const unsigned char magic[] = {0x1f, 0x8b, 8};
        unsigned at = h->at++;

        if (h->part != GZ_HCRC)
                h->crc = libdeflate_crc32(h->crc, &c, 1);
        switch (h->part) {
        case GZ_FIXED:
                if (at == 3)
                        h->flags = c;
                if ((at < 3 && c != magic[at]) || h->flags & GZ_F_NONE)
                        return false;
                if (at == 9)
                        head_next(h);
                return true;
        case GZ_XLEN:
                h->xlen |= (unsigned)c << 8 * at;
                if (at == 1)
                        head_next(h);
                return true;
        case GZ_EXTRA:
                if (h->at == h->xlen)
                        head_next(h);
                return true;
        case GZ_NAME:
        case GZ_COMMENT:
                if (!c)
                        head_next(h);
                return true;
        case GZ_HCRC:
                h->hcrc |= (unsigned)c << 8 * at;
                if (at == 1)
                        head_next(h);
                return at == 0 || h->hcrc == (h->crc & 0xffff);
        case GZ_BODY:
                break;
        }
        return false;
}
#endif

struct gz_stream {
        bool fresh; /* at the beginning of a member */
        bool isal;
        z_stream z;
#if LY_HAVE_ISAL
        struct gz_head head;
        struct inflate_state st;
#endif
};

int gz_stream_new(struct gz_stream **ret, struct bld_err *err)
{
        struct gz_stream *s = mem_zalloc(1, sizeof(*s));

        if (!s)
                return err_nomem(err, "gzip decompressor");
        s->fresh = true;
        s->isal = have_isal();
        if (!s->isal && inflateInit2(&s->z, 15 + 16) != Z_OK) {
                free(s);
                return err_nomem(err, "gzip decompressor");
        }
        *ret = s;
        return 0;
}

void gz_stream_free(struct gz_stream *s)
{
        if (s && !s->isal)
                inflateEnd(&s->z);
        free(s);
}

#if LY_HAVE_ISAL
static int run_isal(struct gz_stream *s, const unsigned char **in, size_t *n_in,
                    unsigned char **out, size_t *n_out, struct bld_err *err)
{
        struct inflate_state *st = &s->st;
        int r;

        if (s->fresh) {
                isal_get()->inflate_init(st);
                st->crc_flag = ISAL_GZIP_NO_HDR_VER;
                s->head = (struct gz_head){.part = GZ_FIXED};
                s->fresh = false;
        }
        for (; s->head.part != GZ_BODY && *n_in; ++*in, --*n_in)
                if (!head_byte(&s->head, **in))
                        return err_set(err, BLD_E_CORRUPT, "damaged gzip header");
        if (s->head.part != GZ_BODY)
                return 0;
        st->next_in = (uint8_t *)(uintptr_t)*in; /* only read */
        st->avail_in = (uint32_t)MIN(*n_in, 1u << 30);
        st->next_out = *out;
        st->avail_out = (uint32_t)MIN(*n_out, 1u << 30);
        r = isal_get()->inflate(st);
        *n_in -= (size_t)(st->next_in - *in);
        *in = st->next_in;
        *n_out -= (size_t)(st->next_out - *out);
        *out = st->next_out;
        if (r != ISAL_DECOMP_OK && r != ISAL_END_INPUT)
                return err_set(err, BLD_E_CORRUPT, "damaged gzip data (%d)", r);
        s->fresh = st->block_state == ISAL_BLOCK_FINISH;
        return s->fresh;
}
#endif

static int run_zlib(struct gz_stream *s, const unsigned char **in, size_t *n_in,
                    unsigned char **out, size_t *n_out, struct bld_err *err)
{
        int r;

        if (s->fresh)
                inflateReset(&s->z);
        s->fresh = false;
        s->z.next_in = (Bytef *)(uintptr_t)*in; /* only read */
        s->z.avail_in = (uInt)MIN(*n_in, 1u << 30);
        s->z.next_out = *out;
        s->z.avail_out = (uInt)MIN(*n_out, 1u << 30);
        r = inflate(&s->z, Z_NO_FLUSH);
        *n_in -= (size_t)(s->z.next_in - *in);
        *in = s->z.next_in;
        *n_out -= (size_t)(s->z.next_out - *out);
        *out = s->z.next_out;
        if (r == Z_MEM_ERROR)
                return err_nomem(err, "gzip decompressor");
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
                return err_set(err, BLD_E_CORRUPT, "damaged gzip data (%s)",
                               s->z.msg ? s->z.msg : "zlib");
        s->fresh = r == Z_STREAM_END;
        return s->fresh;
}

int gz_stream_run(struct gz_stream *s, const unsigned char **in, size_t *n_in, unsigned char **out,
                  size_t *n_out, struct bld_err *err)
{
#if LY_HAVE_ISAL
        if (s->isal)
                return run_isal(s, in, n_in, out, n_out, err);
#endif
        return run_zlib(s, in, n_in, out, n_out, err);
}
