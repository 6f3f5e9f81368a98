/* gzip (RFC 1952) by three engines: ISA-L (opened at first use), libdeflate, zlib.
 *
 * bld writes one member per LY_BLOCK bytes of tar. Each member's header carries an extra field
 * (subfield "bL", four bytes, little endian: length of the whole member), so that a reader who
 * knows it can cut the stream into members without inflating, and use all cores. Everybody else
 * skips it. */
#ifndef LAYER_GZ_PRIV_H
#define LAYER_GZ_PRIV_H

#include "layer/layer.h"

#define LY_BLOCK (1u << 20) /* bytes of tar per gzip member, and per pipeline job */
#define GZ_HEAD 20u         /* length of a member's header with our extra field */
#define GZ_TAIL 8u
#define GZ_MEMBER_MAX (2u << 20)

enum gz_engine { GZ_ISAL, GZ_LIBDEFLATE };

/* Which engine and level an option set means; UNSUPPORTED when ISA-L should be here and is not. */
int gz_choose(const struct ly_pack_opts *o, enum gz_engine *ret_engine, int *ret_level,
              char name[32], struct bld_err *err) MUST_CHECK;

/* One per thread. */
struct gz_enc;
int gz_enc_new(enum gz_engine engine, int level, struct gz_enc **ret,
               struct bld_err *err) MUST_CHECK;
void gz_enc_free(struct gz_enc *e);
/* n <= LY_BLOCK bytes into one member of at most GZ_MEMBER_MAX. */
int gz_enc_member(struct gz_enc *e, const void *p, size_t n, unsigned char *out, size_t *ret_n,
                  struct bld_err *err) MUST_CHECK;

/* Length of the member at p if it is one of ours (n >= GZ_HEAD bytes are looked at), else 0. */
size_t gz_member_len(const unsigned char *p, size_t n);

/* One whole member of ours, by ISA-L (a fifth faster) or libdeflate. One decoder per thread. */
struct gz_dec;
int gz_dec_new(struct gz_dec **ret, struct bld_err *err) MUST_CHECK;
void gz_dec_free(struct gz_dec *d);
int gz_dec_member(struct gz_dec *d, const unsigned char *p, size_t n, unsigned char *out,
                  size_t cap, size_t *ret_n, struct bld_err *err) MUST_CHECK;

/* Any gzip stream, piece by piece, one member at a time. */
struct gz_stream;
int gz_stream_new(struct gz_stream **ret, struct bld_err *err) MUST_CHECK;
void gz_stream_free(struct gz_stream *s);
/* Inflate; moves *in and *out along. 1 when the member ended (the next call begins another). */
int gz_stream_run(struct gz_stream *s, const unsigned char **in, size_t *n_in, unsigned char **out,
                  size_t *n_out, struct bld_err *err) MUST_CHECK;

#endif
