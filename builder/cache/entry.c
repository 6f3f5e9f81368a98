/* One result as registries keep it: a record (the config blob) and a manifest over it and the
 * layers. Everything here may come from anybody. */
#include "builder/cache/cache_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"

#define RECORD_VERSION 1
/* Records up to this size ride inside the manifest, too: a look-up then is one request. */
#define EMBED_MAX (64u << 10)

static const char *const key_names[RC_KEYS] = {"definition", "result"};

void rc_entry_done(struct rc_entry *e)
{
        bd_layers_free(&e->layers);
        memset(e, 0, sizeof(*e));
}

void rc_tag(const char *prefix, const struct digest *key, char out[130])
{
        char hex[DIGEST_HEX_MAX];

        digest_hex(key, hex);
        (void)snprintf(out, 130, "%.63s-%.64s", prefix, hex);
}

/* ---- the record ---- */

static struct js *layer_encode(const struct bd_layer *l)
{
        char text[DIGEST_STR_MAX];
        struct js *j = js_obj();
        int r = 0;

        digest_format(&l->diff_id, text);
        r |= js_set_str(j, "diffID", text);
        if (digest_is_set(&l->desc.digest)) {
                digest_format(&l->desc.digest, text);
                r |= js_set_str(j, "digest", text);
                r |= js_set_i64(j, "size", (int64_t)l->desc.size);
                r |= js_set_str(j, "mediaType", l->desc.media_type);
                r |= js_set_i64(j, "created", l->created_sec);
        }
        if (r < 0) {
                js_free(j);
                return NULL;
        }
        return j;
}

int rc_record_encode(const struct rc_entry *e, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj();
        struct js *ids = js_obj(), *layers = js_arr();
        char text[DIGEST_STR_MAX];
        int r = 0;

        for (size_t i = 0; i < RC_KEYS; i++) {
                if (!digest_is_set(&e->keys[i]))
                        continue;
                digest_format(&e->keys[i], text);
                r |= js_set_str(ids, key_names[i], text);
        }
        for (size_t i = 0; i < e->layers.n; i++)
                r |= js_push(layers, layer_encode(&e->layers.v[i]));
        r |= js_set_i64(j, "v", RECORD_VERSION);
        r |= js_set_i64(j, "created", e->created_sec);
        r |= js_set(j, "keys", ids);
        r |= js_set(j, "layers", layers);
        if (r < 0)
                return err_nomem(err, "record for a cache");
        return js_write(j, JS_COMPACT, out, err);
}

static int layer_decode(const struct js *j, struct bd_layer *l, struct bld_err *err)
{
        const char *diff = js_get_str(j, "diffID"), *blob = js_get_str(j, "digest");
        const char *type = js_get_str(j, "mediaType");
        int64_t size = -1;
        int r;

        if (!diff)
                return err_set(err, BLD_E_CORRUPT, "a layer has no diffID");
        r = digest_parse(diff, &l->diff_id, err);
        if (r < 0 || !blob)
                return r;
        r = digest_parse(blob, &l->desc.digest, err);
        if (r < 0)
                return r;
        if (!type || !img_mt_is_layer(type) || !js_get_i64(j, "size", &size) || size < 0)
                return err_set(err, BLD_E_CORRUPT, "a layer has no size, or is of no known type");
        (void)js_get_i64(j, "created", &l->created_sec);
        l->desc.size = (uint64_t)size;
        l->desc.media_type = mem_strdup(type);
        l->reused = true;
        return l->desc.media_type ? 0 : err_nomem(err, "record of a cache");
}

static int decode(const struct js *j, struct rc_entry *e, struct bld_err *err)
{
        const struct js *layers = js_get(j, "layers");
        int64_t version = 0;
        int r = 0;

        if (!js_get_i64(j, "v", &version) || version != RECORD_VERSION)
                return err_set(err, BLD_E_CORRUPT, "the record is of another version");
        if (!js_is_arr(layers) || js_len(layers) == 0 || js_len(layers) > RC_LAYERS_MAX)
                return err_set(err, BLD_E_CORRUPT, "the record has no layers, or too many");
        if (!js_get_i64(j, "created", &e->created_sec))
                return err_set(err, BLD_E_CORRUPT, "the record has no time");
        for (size_t i = 0; i < RC_KEYS && r == 0; i++) {
                const char *key = js_get_str(js_get(j, "keys"), key_names[i]);

                r = key ? digest_parse(key, &e->keys[i], err) : 0;
        }
        for (size_t i = 0; i < js_len(layers) && r == 0; i++) {
                struct bd_layer *l = bd_layers_push(&e->layers);

                r = l ? layer_decode(js_at(layers, i), l, err)
                      : err_nomem(err, "record of a cache");
        }
        return r;
}

int rc_record_decode(const char *text, size_t len, struct rc_entry *ret, struct bld_err *err)
{
        AUTO(rc_entry_done) struct rc_entry e = {.created_sec = 0};
        AUTO_JS struct js *j = NULL;
        int r = js_parse(text, len, &j, err);

        if (r == 0)
                r = decode(j, &e, err);
        if (r < 0)
                return r == BLD_E_NOMEM ? r : err_recode(err, BLD_E_CORRUPT);
        *ret = e;
        memset(&e, 0, sizeof(e));
        return 0;
}

/* ---- the manifest ---- */

static const struct img_desc *find_blob(const struct img_descs *a, const struct digest *d)
{
        for (size_t i = 0; i < a->n; i++)
                if (digest_eq(&a->v[i].digest, d))
                        return &a->v[i];
        return NULL;
}

static int add_layers(const struct rc_entry *e, struct img_manifest *m, struct bld_err *err)
{
        for (size_t i = 0; i < e->layers.n; i++) {
                const struct img_desc *d = &e->layers.v[i].desc;
                struct img_desc *n;

                if (!digest_is_set(&d->digest) || find_blob(&m->layers, &d->digest))
                        continue;
                n = img_descs_push(&m->layers);
                if (!n)
                        return err_nomem(err, "manifest for a cache");
                n->digest = d->digest;
                n->size = d->size;
                n->media_type = mem_strdup(d->media_type);
                if (!n->media_type)
                        return err_nomem(err, "manifest for a cache");
        }
        return 0;
}

int rc_manifest_encode(const struct rc_entry *e, const struct sb *record, struct sb *out,
                       struct img_desc *ret_record, struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        int r;

        m.media_type = mem_strdup(MT_OCI_MANIFEST);
        m.config.media_type = mem_strdup(RC_MT_RECORD);
        digest_of(sb_text(record), record->len, &m.config.digest);
        m.config.size = record->len;
        if (!m.media_type || !m.config.media_type || img_desc_copy(&m.config, ret_record) < 0)
                return err_nomem(err, "manifest for a cache");
        if (record->len <= EMBED_MAX) {
                m.config.data = mem_dup(sb_text(record), record->len);
                if (!m.config.data)
                        return err_nomem(err, "manifest for a cache");
        }
        r = add_layers(e, &m, err);
        return r == 0 ? img_manifest_encode(&m, out, err) : r;
}

/* ---- belief ---- */

static bool has_key(const struct rc_entry *e, const struct digest *key)
{
        for (size_t i = 0; i < RC_KEYS; i++)
                if (digest_is_set(&e->keys[i]) && digest_eq(&e->keys[i], key))
                        return true;
        return false;
}

int rc_entry_check(const struct rc_entry *e, const struct img_manifest *m, const struct digest *key,
                   struct bld_err *err)
{
        if (!has_key(e, key))
                return err_set(err, BLD_E_CORRUPT, "it is the entry of another key");
        for (size_t i = 0; i < e->layers.n; i++) {
                const struct img_desc *d = &e->layers.v[i].desc, *said;

                if (!digest_is_set(&d->digest))
                        continue;
                said = find_blob(&m->layers, &d->digest);
                if (!said || said->size != d->size || !str_eq(said->media_type, d->media_type))
                        return err_set(err, BLD_E_CORRUPT,
                                       "record and manifest name different layers");
        }
        /* The result itself is the top one: an entry without it is none. */
        if (!digest_is_set(&e->layers.v[e->layers.n - 1].desc.digest))
                return err_set(err, BLD_E_CORRUPT, "the layer of the step itself is not in it");
        return 0;
}
