/* A folder that holds entries: an OCI image layout, in whose index each has a name. What is read
 * may come from anywhere and may be read-only; what is written is a store of our own, which many
 * processes can write to at once. */
#include "builder/cache/rcache_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"

#define COPY_BYTES (256u << 10)
/* Entries are named like images, so that the layout is one for every other tool. */
#define NAME_PREFIX "localhost/cache:"

static void desc_free(void *p)
{
        img_desc_done(p);
        free(p);
}

/* ---- reading ---- */

static int list_tags(struct rc_place *p, const struct sb *text, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = img_index_decode(sb_text(text), text->len, MT_OCI_INDEX, &ix, err);

        for (size_t i = 0; i < ix.manifests.n && r == 0; i++) {
                const struct img_desc *d = &ix.manifests.v[i];
                const char *tag = img_kvs_get(&d->annotations, BD_ANN_REF_NAME);
                struct img_desc *copy = tag ? mem_zalloc(1, sizeof(*copy)) : NULL;

                if (!tag)
                        continue;
                if (!copy || img_desc_copy(d, copy) < 0 || map_set(&p->tags, tag, copy) < 0) {
                        free(copy);
                        return err_nomem(err, "index of a cache");
                }
        }
        return r;
}

/* The layout is read once; a folder that is not there yet is an empty cache. */
static int open_layout(struct rc_place *p, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(BD_LOAD_JSON_MAX);
        struct bld_err own = BLD_ERR_INIT;
        struct bd_input *in;
        int r;

        p->in_opened = true;
        p->tags.free_value = desc_free;
        in = mem_zalloc(1, sizeof(*in));
        if (!in)
                return err_nomem(err, "cache");
        r = bd_input_open(&p->rc->in, p->spec->dir, -1, in, &own);
        if (r < 0) {
                free(in);
                if (r == BLD_E_NOT_FOUND)
                        return 0;
                err_copy(err, &own);
                return r;
        }
        p->in = in;
        r = bd_input_read(in, "index.json", BD_LOAD_JSON_MAX, &text, err);
        if (r == 1)
                r = list_tags(p, &text, err);
        /* No layout at all is the place's fault, not that of an entry. */
        return r < 0 && r != BLD_E_NOMEM && r != BLD_E_CANCELLED ? err_recode(err, BLD_E_SYS) : r;
}

static void blob_name(const struct digest *d, char out[32 + DIGEST_HEX_MAX])
{
        char hex[DIGEST_HEX_MAX];

        digest_hex(d, hex);
        (void)snprintf(out, 32 + DIGEST_HEX_MAX, "blobs/%s/%s", digest_algo_name(d->algo), hex);
}

static int folder_read(struct rc_place *p, const struct img_desc *d, struct sb *out,
                       struct bld_err *err)
{
        char name[32 + DIGEST_HEX_MAX];
        struct digest have;
        int r;

        blob_name(&d->digest, name);
        r = bd_input_read(p->in, name, IMG_MANIFEST_MAX, out, err);
        if (r == 0)
                return err_set(err, BLD_E_NOT_FOUND, "%s is not there", name);
        if (r < 0)
                return r == BLD_E_NOMEM || r == BLD_E_CANCELLED ? r
                                                                : err_recode(err, BLD_E_CORRUPT);
        digest_of(sb_text(out), out->len, &have);
        if (out->len != d->size || !digest_eq(&have, &d->digest))
                return err_set(err, BLD_E_CORRUPT, "%s is not what its name says", name);
        return 0;
}

static int folder_get(struct rc_place *p, const char *tag, struct sb *out, struct bld_err *err)
{
        const struct img_desc *d;
        int r = 0;

        (void)pthread_mutex_lock(&p->folder_lock);
        if (!p->in_opened)
                r = open_layout(p, err);
        d = p->in ? map_get(&p->tags, tag) : NULL;
        (void)pthread_mutex_unlock(&p->folder_lock);
        if (r < 0 || !d)
                return MIN(r, 0);
        if (!img_mt_is_manifest(d->media_type))
                return err_set(err, BLD_E_CORRUPT, "it is of type %.80s", d->media_type);
        r = folder_read(p, d, out, err);
        return r < 0 ? r : 1;
}

static int copy_part(struct rc_place *p, const struct bd_part *part, const struct img_desc *d,
                     struct bd_meter *meter, struct bld_err *err)
{
        AUTO(cas_writer_free_p) struct cas_writer *w = NULL;
        AUTO_FREE char *buf = mem_alloc(COPY_BYTES);
        struct bd_part_source s = {.part = part, .cancel = p->rc->in.cancel};
        struct bd_meter_item item;
        struct digest have;
        ssize_t k = 0;
        int r = buf ? cas_writer_open(p->rc->in.cas, &w, err) : err_nomem(err, "cache");

        bd_meter_item_init(&item, meter, d);
        while (r == 0 && (k = bd_part_read(&s, buf, COPY_BYTES, err)) > 0) {
                r = cas_writer_add(w, buf, (size_t)k, err);
                if (r == 0)
                        bd_meter_step(&item, cas_writer_size(w));
        }
        if (r == 0 && k < 0) /* the folder's fault, not that of our disk */
                return k == BLD_E_CANCELLED ? (int)k : err_recode(err, BLD_E_CORRUPT);
        return r < 0 ? r : cas_writer_commit(w, &d->digest, d->size, &have, err);
}

static int folder_bring(struct rc_place *p, const struct img_desc *d, struct bd_meter *meter,
                        struct bld_err *err)
{
        struct bd_part part = {.fd = -1};
        char name[32 + DIGEST_HEX_MAX];
        uint64_t size = 0;
        int r = cas_blob_keep(p->rc->in.cas, &d->digest, &size, err);

        if (r < 0)
                return r;
        if (r == 1 && size != d->size)
                return err_set(err, BLD_E_CORRUPT, "it names a blob of another size");
        if (r == 1)
                return 0;
        blob_name(&d->digest, name);
        r = bd_input_find(p->in, name, &part, err);
        if (r == 0)
                return err_set(err, BLD_E_NOT_FOUND, "%s is not there", name);
        if (r < 0)
                return r == BLD_E_NOMEM ? r : err_recode(err, BLD_E_CORRUPT);
        r = part.size == d->size ? copy_part(p, &part, d, meter, err)
                                 : err_set(err, BLD_E_CORRUPT, "%s is of another size", name);
        bd_part_done(&part);
        return r;
}

/* ---- writing ---- */

static int open_out(struct rc_place *p, struct cas **ret, struct bld_err *err)
{
        int r = 0;

        (void)pthread_mutex_lock(&p->folder_lock);
        if (!p->out)
                r = cas_open(p->spec->dir, &p->out, err);
        *ret = p->out;
        (void)pthread_mutex_unlock(&p->folder_lock);
        return r;
}

static int copy_blob(struct rc_place *p, struct cas *to, const struct img_desc *d,
                     struct bd_meter *meter, struct bld_err *err)
{
        AUTO(cas_writer_free_p) struct cas_writer *w = NULL;
        AUTO_FREE char *buf = mem_alloc(COPY_BYTES);
        AUTO_FD int fd = -1;
        struct bd_meter_item item;
        struct digest have;
        ssize_t k = 0;
        int r = buf ? cas_blob_open(p->rc->out.cas, &d->digest, &fd, err) : err_nomem(err, "cache");

        if (r == 0)
                r = cas_writer_open(to, &w, err);
        bd_meter_item_init(&item, meter, d);
        while (r == 0) {
                r = cancel_check(p->rc->out.cancel, err);
                k = r == 0 ? sys_read(fd, buf, COPY_BYTES) : 0;
                if (k <= 0)
                        break;
                r = cas_writer_add(w, buf, (size_t)k, err);
                if (r == 0)
                        bd_meter_step(&item, cas_writer_size(w));
        }
        if (r == 0 && k < 0)
                r = err_sys(err, errno, "read a layer");
        return r < 0 ? r : cas_writer_commit(w, &d->digest, d->size, &have, err);
}

static int folder_put(struct rc_place *p, const struct img_desc *d, const struct sb *bytes,
                      struct bd_meter *meter, bool *ret_sent, struct bld_err *err)
{
        struct cas *to = NULL;
        struct digest have;
        uint64_t size = 0;
        int r = open_out(p, &to, err);

        if (r == 0 && bytes)
                return cas_blob_put(to, sb_text(bytes), bytes->len, &have, err);
        if (r == 0)
                r = cas_blob_keep(to, &d->digest, &size, err);
        if (r < 0 || (r == 1 && size == d->size))
                return MIN(r, 0);
        *ret_sent = true;
        return copy_blob(p, to, d, meter, err);
}

static int folder_name(struct rc_place *p, const char *tag, const struct sb *manifest,
                       struct bld_err *err)
{
        char mt[] = MT_OCI_MANIFEST, name[sizeof(NAME_PREFIX) + 130];
        struct img_desc d = {.media_type = mt, .size = manifest->len};
        struct cas *to = NULL;
        int r = open_out(p, &to, err);

        if (r == 0)
                r = cas_blob_put(to, sb_text(manifest), manifest->len, &d.digest, err);
        (void)snprintf(name, sizeof(name), NAME_PREFIX "%s", tag);
        return r == 0 ? cas_ref_set(to, name, &d, err) : r;
}

static void folder_close(struct rc_place *p)
{
        if (p->in)
                bd_input_done(p->in);
        free(p->in);
        cas_close(p->out);
}

const struct rc_place_ops rc_folder_ops = {
        .get = folder_get,
        .read = folder_read,
        .bring = folder_bring,
        .put = folder_put,
        .name = folder_name,
        .close = folder_close,
};
