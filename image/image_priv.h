/* Helpers shared by the decoders and encoders of image/. */
#ifndef IMAGE_IMAGE_PRIV_H
#define IMAGE_IMAGE_PRIV_H

#include "image/image.h"

/* Parse a document of at most max bytes whose top is an object. CORRUPT or LIMIT; what: "manifest".
 */
int img_doc_parse(const char *text, size_t len, size_t max, const char *what, struct js **ret,
                  struct bld_err *err) MUST_CHECK;

/* Members of obj: absent and null leave *ret as it is; a wrong type is CORRUPT. */
int img_js_text(const struct js *obj, const char *key, char **ret, struct bld_err *err) MUST_CHECK;
int img_js_fixed(const struct js *obj, const char *key, char *ret, size_t size,
                 struct bld_err *err) MUST_CHECK;
int img_js_strv(const struct js *obj, const char *key, struct strv *ret,
                struct bld_err *err) MUST_CHECK;
int img_js_kvs(const struct js *obj, const char *key, struct img_kvs *ret,
               struct bld_err *err) MUST_CHECK;
/* Member names of a set such as {"80/tcp": {}}. */
int img_js_set_names(const struct js *obj, const char *key, struct strv *ret,
                     struct bld_err *err) MUST_CHECK;
/* The array member, *ret NULL when absent or null. */
int img_js_array(const struct js *obj, const char *key, struct js **ret,
                 struct bld_err *err) MUST_CHECK;

/* Encoders collect the first failure instead of checking every step: a negative *r makes the rest
 * no-ops (a value handed over is freed). Bytes that are not UTF-8 become U+FFFD, as Go writes them.
 * The _opt form leaves empty values out. */
void img_put(int *r, struct js *obj, const char *key, struct js *v);
void img_put_str(int *r, struct js *obj, const char *key, const char *s);
void img_put_str_opt(int *r, struct js *obj, const char *key, const char *s);
void img_put_strv(int *r, struct js *obj, const char *key, const struct strv *a);
void img_put_strv_opt(int *r, struct js *obj, const char *key, const struct strv *a);
void img_put_kvs_opt(int *r, struct js *obj, const char *key, const struct img_kvs *a);
/* Sorted set of names: {"a":{},"b":{}}. */
void img_put_set_opt(int *r, struct js *obj, const char *key, const struct strv *a);

bool img_is_utf8(const char *s); /* RFC 3629: no overlong forms, no surrogates */

/* Members a platform has in descriptors and configs. os_features may be NULL. */
int img_platform_decode(const struct js *obj, struct img_platform *p, struct strv *os_features,
                        struct bld_err *err) MUST_CHECK;
void img_platform_put(int *r, struct js *obj, const struct img_platform *p,
                      const struct strv *os_features);

#endif
