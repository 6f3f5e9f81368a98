/* Media types, string maps and content descriptors (image-spec descriptor.md). */
#include "image/image_priv.h"

#include <string.h>

#include "base/err.h"

#define URLS_MAX 64

static bool any_of(const char *const *list, size_t n, const char *s)
{
        for (size_t i = 0; s && i < n; i++)
                if (strcmp(list[i], s) == 0)
                        return true;
        return false;
}

bool img_mt_is_index(const char *mt)
{
        static const char *const types[] = {MT_OCI_INDEX, MT_DOCKER_LIST};

        return any_of(types, ARRAY_LEN(types), mt);
}

bool img_mt_is_manifest(const char *mt)
{
        static const char *const types[] = {MT_OCI_MANIFEST, MT_DOCKER_MANIFEST};

        return any_of(types, ARRAY_LEN(types), mt);
}

bool img_mt_is_layer(const char *mt)
{
        static const char *const types[] = {
                MT_OCI_LAYER,
                MT_OCI_LAYER_GZIP,
                MT_OCI_LAYER_ZSTD,
                MT_DOCKER_LAYER,
                MT_DOCKER_LAYER_GZIP,
                MT_DOCKER_LAYER ".zstd",
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
                "application/vnd.docker.image.rootfs.foreign.diff.tar",
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        };

        return any_of(types, ARRAY_LEN(types), mt);
}

bool img_mt_is_config(const char *mt)
{
        static const char *const types[] = {MT_OCI_CONFIG, MT_DOCKER_CONFIG};

        return any_of(types, ARRAY_LEN(types), mt);
}

void img_kvs_free(struct img_kvs *a)
{
        if (!a)
                return;
        for (size_t i = 0; i < a->n; i++) {
                free(a->v[i].key);
                free(a->v[i].value);
        }
        img_kvs_done(a);
}

int img_kvs_set(struct img_kvs *a, const char *key, const char *value)
{
        for (size_t i = 0; i < a->n; i++) {
                char *v;

                if (strcmp(a->v[i].key, key) != 0)
                        continue;
                v = mem_strdup(value);
                if (!v)
                        return BLD_E_NOMEM;
                free(a->v[i].value);
                a->v[i].value = v;
                return 0;
        }
        return img_kvs_add(a, key, value);
}

int img_kvs_add(struct img_kvs *a, const char *key, const char *value)
{
        AUTO_FREE char *k = mem_strdup(key), *v = mem_strdup(value);
        struct img_kv *kv = k && v ? img_kvs_push(a) : NULL;

        if (!kv)
                return BLD_E_NOMEM;
        kv->key = TAKE_PTR(&k);
        kv->value = TAKE_PTR(&v);
        return 0;
}

const char *img_kvs_get(const struct img_kvs *a, const char *key)
{
        for (size_t i = 0; i < a->n; i++)
                if (strcmp(a->v[i].key, key) == 0)
                        return a->v[i].value;
        return NULL;
}

void img_desc_done(struct img_desc *d)
{
        if (!d)
                return;
        free(d->media_type);
        free(d->artifact_type);
        free(d->data);
        img_kvs_free(&d->annotations);
        strv_done(&d->urls);
        strv_done(&d->os_features);
        memset(d, 0, sizeof(*d));
}

void img_descs_free(struct img_descs *a)
{
        if (!a)
                return;
        for (size_t i = 0; i < a->n; i++)
                img_desc_done(&a->v[i]);
        img_descs_done(a);
}

static int copy_text(const char *s, char **ret)
{
        *ret = s ? mem_strdup(s) : NULL;
        return s && !*ret ? BLD_E_NOMEM : 0;
}

int img_desc_copy(const struct img_desc *d, struct img_desc *ret)
{
        AUTO(img_desc_done)
        struct img_desc c = {.digest = d->digest,
                             .size = d->size,
                             .has_platform = d->has_platform,
                             .platform = d->platform};

        if (copy_text(d->media_type, &c.media_type) < 0 ||
            copy_text(d->artifact_type, &c.artifact_type) < 0 || strv_copy(&c.urls, &d->urls) < 0 ||
            strv_copy(&c.os_features, &d->os_features) < 0)
                return BLD_E_NOMEM;
        for (size_t i = 0; i < d->annotations.n; i++)
                if (img_kvs_add(&c.annotations, d->annotations.v[i].key,
                                d->annotations.v[i].value) < 0)
                        return BLD_E_NOMEM;
        if (d->data) {
                c.data = mem_dup(d->data, (size_t)d->size);
                if (!c.data)
                        return BLD_E_NOMEM;
        }
        *ret = c;
        memset(&c, 0, sizeof(c));
        return 0;
}

/* ---- embedded content ---- */

static const char b64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int b64_value(char c)
{
        const char *p = c ? strchr(b64_digits, c) : NULL;

        return p ? (int)(p - b64_digits) : -1;
}

/* RFC 4648 section 4, padding required; out holds 3/4 of the length. False when malformed. */
static bool b64_decode(const char *s, unsigned char *out, size_t *ret_n)
{
        size_t len = strlen(s), n = 0;

        if (len % 4)
                return false;
        for (size_t i = 0; i < len; i += 4) {
                bool last = i + 4 == len;
                int pad = last && s[i + 3] == '=' ? (s[i + 2] == '=' ? 2 : 1) : 0;
                uint32_t w = 0;

                for (size_t k = 0; k < 4; k++) {
                        int v = k >= 4 - (size_t)pad ? 0 : b64_value(s[i + k]);

                        if (v < 0)
                                return false;
                        w = w << 6 | (uint32_t)v;
                }
                if ((pad == 1 && (w & 0xff)) || (pad == 2 && (w & 0xffff)))
                        return false; /* two texts must not mean the same bytes */
                out[n++] = (unsigned char)(w >> 16);
                if (pad < 2)
                        out[n++] = (unsigned char)(w >> 8);
                if (pad < 1)
                        out[n++] = (unsigned char)w;
        }
        *ret_n = n;
        return true;
}

static char *b64_encode(const unsigned char *p, size_t n)
{
        char *out = mem_alloc((n + 2) / 3 * 4 + 1);
        size_t w = 0;

        if (!out)
                return NULL;
        for (size_t i = 0; i < n; i += 3) {
                uint32_t v = (uint32_t)p[i] << 16;

                if (i + 1 < n)
                        v |= (uint32_t)p[i + 1] << 8;
                if (i + 2 < n)
                        v |= p[i + 2];
                out[w++] = b64_digits[v >> 18];
                out[w++] = b64_digits[v >> 12 & 63];
                out[w++] = i + 1 < n ? b64_digits[v >> 6 & 63] : '=';
                out[w++] = i + 2 < n ? b64_digits[v & 63] : '=';
        }
        out[w] = '\0';
        return out;
}

static int decode_data(const struct js *j, struct img_desc *d, struct bld_err *err)
{
        const struct js *v = js_get(j, "data");
        AUTO_FREE unsigned char *buf = NULL;
        struct digest have;
        struct hasher h;
        size_t n;

        if (js_is_null(v))
                return 0;
        if (!js_is_str(v))
                return err_set(err, BLD_E_CORRUPT, "\"data\" is not a string");
        buf = mem_zalloc(strlen(js_str(v)) / 4 * 3 + 1, 1);
        if (!buf)
                return err_nomem(err, "embedded content");
        if (!b64_decode(js_str(v), buf, &n))
                return err_set(err, BLD_E_CORRUPT, "\"data\" is not base64");
        if (n != d->size)
                return err_set(err, BLD_E_CORRUPT,
                               "\"data\" does not have the size of its descriptor");
        hasher_init(&h, d->digest.algo);
        hasher_add(&h, buf, n);
        hasher_end(&h, &have);
        if (!digest_eq(&have, &d->digest))
                return err_set(err, BLD_E_CORRUPT,
                               "\"data\" does not have the digest of its descriptor");
        d->data = (char *)TAKE_PTR(&buf);
        return 0;
}

/* "type/subtype" of visible characters, so that it can go into a header and a message as it is. */
static bool valid_media_type(const char *s)
{
        const char *slash = strchr(s, '/');

        if (!slash || slash == s || !slash[1] || strlen(s) > 255)
                return false;
        for (; *s; s++)
                if (*s <= ' ' || *s > '~' || *s == '"' || *s == '\\')
                        return false;
        return true;
}

int img_desc_decode(const struct js *j, struct img_desc *ret, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {.size = 0};
        const struct js *platform;
        int64_t size;
        int r;

        if (!js_is_obj(j))
                return err_set(err, BLD_E_CORRUPT, "a descriptor is not an object");
        r = img_js_text(j, "mediaType", &d.media_type, err);
        if (r < 0)
                return r;
        if (!d.media_type || !valid_media_type(d.media_type))
                return err_set(err, BLD_E_CORRUPT, "a descriptor has no usable \"mediaType\"");
        if (!js_get_str(j, "digest"))
                return err_set(err, BLD_E_CORRUPT, "a descriptor has no \"digest\"");
        r = digest_parse(js_get_str(j, "digest"), &d.digest, err);
        if (r < 0) /* an algorithm nobody here can check is no better than a wrong digest */
                return err_recode(err, BLD_E_CORRUPT);
        if (!js_get_i64(j, "size", &size) || size < 0)
                return err_set(err, BLD_E_CORRUPT, "a descriptor has no usable \"size\"");
        d.size = (uint64_t)size;
        platform = js_get(j, "platform");
        if (!js_is_null(platform)) {
                if (!js_is_obj(platform))
                        return err_set(err, BLD_E_CORRUPT, "\"platform\" is not an object");
                d.has_platform = true;
                r = img_platform_decode(platform, &d.platform, &d.os_features, err);
        }
        if (r == 0)
                r = img_js_text(j, "artifactType", &d.artifact_type, err);
        if (r == 0)
                r = img_js_kvs(j, "annotations", &d.annotations, err);
        if (r == 0)
                r = img_js_strv(j, "urls", &d.urls, err);
        if (r == 0 && d.urls.n > URLS_MAX)
                r = err_set(err, BLD_E_LIMIT, "a descriptor has more than %d urls", URLS_MAX);
        if (r == 0)
                r = decode_data(j, &d, err);
        if (r < 0)
                return r;
        *ret = d;
        memset(&d, 0, sizeof(d));
        return 0;
}

struct js *img_desc_encode(const struct img_desc *d)
{
        AUTO_JS struct js *j = js_obj();
        char digest[DIGEST_STR_MAX];
        int r = j ? 0 : BLD_E_NOMEM;

        if (r < 0)
                return NULL;
        digest_format(&d->digest, digest);
        img_put_str(&r, j, "mediaType", d->media_type);
        img_put_str(&r, j, "digest", digest);
        img_put(&r, j, "size", js_new_i64((int64_t)d->size));
        img_put_strv_opt(&r, j, "urls", &d->urls);
        img_put_kvs_opt(&r, j, "annotations", &d->annotations);
        if (d->data) {
                AUTO_FREE char *b64 = b64_encode((const unsigned char *)d->data, (size_t)d->size);

                img_put(&r, j, "data", b64 ? js_new_str(b64) : NULL);
        }
        if (d->has_platform) {
                AUTO_JS struct js *p = js_obj();

                if (p)
                        img_platform_put(&r, p, &d->platform, &d->os_features);
                img_put(&r, j, "platform", TAKE_PTR(&p));
        }
        img_put_str_opt(&r, j, "artifactType", d->artifact_type);
        return r < 0 ? NULL : TAKE_PTR(&j);
}
