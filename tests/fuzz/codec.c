#include "tests/fuzz/codec.h"

#include <stdio.h>
#include <stdlib.h>

#include "layer/gz_priv.h"
#include "layer/unz_priv.h"
#include "tests/fuzz/memory.h"

/* What ly_unpack_stream() says. */
struct layer {
        int code;
        struct sb bytes;
        struct digest diff_id;
        uint64_t size;
};

_Noreturn void codec_fail(const char *what)
{
        (void)fprintf(stderr, "codec: %s\n", what);
        abort();
}

size_t codec_step(uint8_t choice)
{
        static const size_t steps[] = {1, 3, 7, 19, 100, 777, 4097, 300000};

        return steps[choice % ARRAY_LEN(steps)];
}

bool codec_add(struct codec_out *o, const void *p, size_t n)
{
        if (n > CODEC_OUT_MAX - o->bytes.len) {
                o->end = CODEC_LONG;
                return false;
        }
        sb_add(&o->bytes, p, n);
        return true;
}

static bool same(const struct sb *a, const struct sb *b)
{
        return a->len == b->len && !memcmp(sb_text(a), sb_text(b), a->len);
}

/* ---- the decoder alone, in pieces ---- */

static enum codec_end pieces(struct unz *u, struct memory *m, struct codec_out *o)
{
        unsigned char buf[5003];
        unsigned idle = 0;

        while (m->pos < m->n || !unz_between(u)) {
                const unsigned char *in = m->p + m->pos;
                size_t n_in = MIN(m->step, m->n - m->pos), had = n_in;
                size_t room = MIN(m->step * 3, sizeof(buf)), n_out = room;
                unsigned char *out = buf;

                if (unz_run(u, &in, &n_in, &out, &n_out, NULL) < 0)
                        return CODEC_DAMAGED;
                if (n_in > had || n_out > room)
                        codec_fail("more used than there was");
                if (!codec_add(o, buf, room - n_out))
                        return CODEC_LONG;
                m->pos += had - n_in;
                idle = n_in == had && n_out == room ? idle + 1 : 0;
                if (idle && m->pos == m->n && !unz_between(u))
                        return CODEC_DAMAGED;
                if (idle > 4)
                        codec_fail("the decoder stands still");
        }
        return CODEC_WHOLE;
}

static void check_pieces(const uint8_t *p, size_t n, size_t step, const struct codec_out *want,
                         bool strict)
{
        AUTO(unz_free_p) struct unz *u = NULL;
        struct memory m = {.p = p, .n = n, .step = step};
        struct codec_out got = CODEC_OUT_INIT;

        if (unz_new(ly_codec_sniff(p, n), &u, NULL) < 0)
                codec_fail("no decoder");
        got.end = pieces(u, &m, &got);
        if (got.end == CODEC_WHOLE && want->end != CODEC_WHOLE)
                codec_fail("whole for the decoder only");
        if (got.end == CODEC_WHOLE && !same(&got.bytes, &want->bytes))
                codec_fail("other bytes");
        if (strict && want->end == CODEC_WHOLE && got.end != CODEC_WHOLE)
                codec_fail("damaged for the decoder only");
        sb_done(&got.bytes);
}

/* ---- as a layer ---- */

static void unpack(const void *p, size_t n, size_t step, struct layer *ret)
{
        const struct ly_limits lim = {.bytes = CODEC_OUT_MAX, .entries = 1000};
        struct memory m = {.p = p, .n = n, .step = step};
        struct ly_source in = memory_source(&m);
        /* The limit is looked at once per block. */
        *ret = (struct layer){.bytes = SB_INIT(CODEC_OUT_MAX + LY_BLOCK + 1)};
        struct ly_sink out = memory_sink(&ret->bytes);

        ret->code = ly_unpack_stream(&in, &out, &lim, &ret->diff_id, &ret->size, NULL, NULL);
        if (sb_check(&ret->bytes, "tar", NULL) < 0)
                codec_fail("beyond the limit");
        if (!ret->code && (ret->size != ret->bytes.len || ret->size > lim.bytes))
                codec_fail("another size");
}

static void check_layer(const uint8_t *p, size_t n, size_t step, const struct codec_out *want,
                        bool strict)
{
        struct layer got, plain;

        unpack(p, n, step, &got);
        if (!got.code && want->end == CODEC_DAMAGED)
                codec_fail("a layer for us only");
        if (!got.code && want->end == CODEC_WHOLE && !same(&got.bytes, &want->bytes))
                codec_fail("another tar");
        /* Compressed twice, it is another stream. */
        if (want->end == CODEC_WHOLE &&
            ly_codec_sniff(sb_text(&want->bytes), want->bytes.len) == LY_CODEC_NONE) {
                unpack(sb_text(&want->bytes), want->bytes.len, SIZE_MAX, &plain);
                if (!got.code && (plain.code || !digest_eq(&got.diff_id, &plain.diff_id)))
                        codec_fail("another diff ID");
                if (strict && got.code && !plain.code)
                        codec_fail("refused, though the tar is good");
                sb_done(&plain.bytes);
        }
        sb_done(&got.bytes);
}

void codec_check(const uint8_t *p, size_t n, size_t step, const struct codec_out *want, bool strict)
{
        check_pieces(p, n, step, want, strict);
        check_layer(p, n, step, want, strict);
}
