/* Archives and layouts -> store: OCI image layouts (folder, or tar, compressed or not). What docker
 * save writes besides is in load_docker.c. Everything is checked against its digest on the way in;
 * a name is set only when all it reaches is there. */
#include "builder/builder.h"

#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "builder/image/load_priv.h"
#include "builder/image/move_priv.h"

#define COPY_BYTES (256u << 10)
#define IMAGES_MAX 10000u

/* ---- blobs ---- */

void bd_input_blob_path(const struct digest *d, char out[16 + DIGEST_HEX_MAX])
{
        char hex[DIGEST_HEX_MAX];

        digest_hex(d, hex);
        (void)snprintf(out, 16 + DIGEST_HEX_MAX, "blobs/%s/%s", digest_algo_name(d->algo), hex);
}

static int copy_part(struct bd_input *in, const struct bd_part *part, const struct img_desc *d,
                     struct bld_err *err)
{
        AUTO(cas_writer_free_p) struct cas_writer *w = NULL;
        AUTO_FREE char *buf = mem_alloc(COPY_BYTES);
        struct bd_part_source s = {.part = part, .cancel = in->c->cancel};
        struct digest have;
        ssize_t k = 0;
        int r = buf ? cas_writer_open(in->c->cas, &w, err) : err_nomem(err, in->what);

        while (r == 0 && (k = bd_part_read(&s, buf, COPY_BYTES, err)) > 0)
                r = cas_writer_add(w, buf, (size_t)k, err);
        if (r == 0 && k < 0)
                r = (int)k;
        return r == 0 ? cas_writer_commit(w, &d->digest, d->size, &have, err) : r;
}

/* 1 it is in the store now, 0 the input has no such blob. */
static int load_blob(struct bd_input *in, const struct img_desc *d, struct bld_err *err)
{
        struct bd_part part = {.fd = -1};
        char path[16 + DIGEST_HEX_MAX];
        uint64_t size = 0;
        int r = cas_blob_keep(in->c->cas, &d->digest, &size, err);

        if (r < 0)
                return r;
        /* what is there, but damaged, is moved aside and taken from the input */
        if (r > 0 && size == d->size && cas_blob_verify(in->c->cas, &d->digest, NULL) == 0)
                return 1;
        bd_input_blob_path(&d->digest, path);
        r = bd_input_find(in, path, &part, err);
        if (r <= 0)
                return r;
        if (part.size != d->size)
                r = err_set(err, BLD_E_INVALID, "%s: %s has %llu bytes where %llu were promised",
                            in->what, path, (unsigned long long)part.size,
                            (unsigned long long)d->size);
        else
                r = copy_part(in, &part, d, err);
        bd_part_done(&part);
        return r < 0 ? r : 1;
}

int bd_load_blob(struct bd_input *in, const struct img_desc *d, struct bld_err *err)
{
        char path[16 + DIGEST_HEX_MAX];
        int r = load_blob(in, d, err);

        if (r != 0)
                return MIN(r, 0);
        if (d->urls.n) /* a layer its maker does not hand on */
                return 0;
        bd_input_blob_path(&d->digest, path);
        return err_set(err, BLD_E_INVALID, "%s: %s is missing", in->what, path);
}

/* ---- documents ---- */

struct layout {
        struct bd_input *in;
        unsigned nodes;
};

static int load_manifest(struct layout *l, const struct img_desc *d, const struct sb *doc,
                         struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        int r = img_manifest_decode(sb_text(doc), doc->len, d->media_type, &m, err);

        if (r == 0)
                r = bd_load_blob(l->in, &m.config, err);
        for (size_t i = 0; r == 0 && i < m.layers.n; i++)
                r = bd_load_blob(l->in, &m.layers.v[i], err);
        return r;
}

static int load_doc(struct layout *l, const struct img_desc *d, unsigned depth,
                    struct bld_err *err);

/* A layout may hold only some of an index's images; one of them is the least. */
static int load_index(struct layout *l, const struct img_desc *d, const struct sb *doc,
                      unsigned depth, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        size_t there = 0;
        int r = img_index_decode(sb_text(doc), doc->len, d->media_type, &ix, err);

        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                r = load_blob(l->in, &ix.manifests.v[i], err);
                if (r > 0) {
                        there++;
                        r = load_doc(l, &ix.manifests.v[i], depth + 1, err);
                }
        }
        if (r == 0 && there == 0 && ix.manifests.n)
                r = err_set(err, BLD_E_INVALID, "%s: none of an index's %zu images is there",
                            l->in->what, ix.manifests.n);
        return r;
}

static int load_doc(struct layout *l, const struct img_desc *d, unsigned depth, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        int r;

        if (depth > BD_INDEX_DEPTH_MAX || ++l->nodes > IMAGES_MAX)
                return err_set(err, BLD_E_INVALID, "%s: too many or too deeply nested indexes",
                               l->in->what);
        r = bd_load_blob(l->in, d, err);
        if (r < 0 || (!img_mt_is_index(d->media_type) && !img_mt_is_manifest(d->media_type)))
                return r;
        r = bd_doc_read(l->in->c, d, IMG_MANIFEST_MAX, &doc, err);
        if (r < 0)
                return r;
        return img_mt_is_index(d->media_type) ? load_index(l, d, &doc, depth, err)
                                              : load_manifest(l, d, &doc, err);
}

/* ---- names ---- */

int bd_load_named(struct bd_input *in, const char *name, const struct img_desc *desc,
                  struct strv *names, struct img_descs *descs, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO_FREE char *full = NULL;
        struct img_desc *d;
        int r;

        if (name && img_ref_parse(name, &ref, NULL) == 0) {
                full = img_ref_format(&ref, IMG_REF_DEFAULT_TAG | IMG_REF_NO_DIGEST);
                if (!full)
                        return err_nomem(err, in->what);
        }
        r = in->unnamed ? 0 : cas_ref_set(in->c->cas, full, desc, err);
        if (r < 0)
                return r;
        d = img_descs_push(descs);
        if (!d || img_desc_copy(desc, d) < 0 || strv_add(names, full ? full : "") < 0)
                return err_nomem(err, in->what);
        return 0;
}

/* containerd's full name, or a ref.name that says which repository it means. A mere tag does not.
 */
const char *bd_entry_name(const struct img_desc *d)
{
        const char *name = img_kvs_get(&d->annotations, BD_ANN_IMAGE_NAME);

        if (name)
                return name;
        name = img_kvs_get(&d->annotations, BD_ANN_REF_NAME);
        return name && strpbrk(name, "/:") ? name : NULL;
}

static int fix_type(struct bd_input *in, struct img_desc *d, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        const char *mt;
        char path[16 + DIGEST_HEX_MAX];
        int r;

        if (d->media_type && (img_mt_is_index(d->media_type) || img_mt_is_manifest(d->media_type)))
                return 0;
        bd_input_blob_path(&d->digest, path);
        r = bd_input_read(in, path, IMG_MANIFEST_MAX, &doc, err);
        if (r < 0)
                return r;
        mt = r ? img_guess_media_type(sb_text(&doc), doc.len) : NULL;
        if (!mt)
                return err_set(err, BLD_E_INVALID, "%s: index.json lists %s, which is no image",
                               in->what, path);
        free(d->media_type);
        d->media_type = mem_strdup(mt);
        return d->media_type ? 0 : err_nomem(err, in->what);
}

static int load_entry(struct bd_input *in, struct img_desc *d, struct strv *names,
                      struct img_descs *descs, struct bld_err *err)
{
        struct layout l = {.in = in};
        AUTO(img_desc_done) struct img_desc plain = {.media_type = NULL};
        int r = load_doc(&l, d, 0, err);

        if (r < 0)
                return r;
        if (img_desc_copy(d, &plain) < 0)
                return err_nomem(err, in->what);
        img_kvs_free(&plain.annotations); /* the names are given anew */
        plain.annotations = (struct img_kvs){.v = NULL};
        return bd_load_named(in, bd_entry_name(d), &plain, names, descs, err);
}

int bd_load_document(struct bd_input *in, struct img_desc *d, struct bld_err *err)
{
        struct layout l = {.in = in};
        int r = fix_type(in, d, err);

        return r < 0 ? r : load_doc(&l, d, 0, err);
}

static int check_layout(const struct sb *text, struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        const char *version;
        int r = js_parse(sb_text(text), text->len, &j, err);

        if (r < 0)
                return err_wrap(err, r, "oci-layout");
        version = js_get_str(j, "imageLayoutVersion");
        if (version && str_has_prefix(version, "1."))
                return 0;
        return err_set(err, BLD_E_INVALID, "oci-layout: version \"%.50s\" is not known",
                       version ? version : "");
}

/* Docker 25.0 wrote manifests without layers beside a manifest.json that lists them: 1 when this is
 * such an archive, and manifest.json is what counts. */
static int layers_left_out(struct bd_input *in, const struct img_index *ix, struct bld_err *err)
{
        struct bd_part part = {.fd = -1};
        int r = bd_input_find(in, "manifest.json", &part, err);

        if (r <= 0)
                return r;
        bd_part_done(&part);
        for (size_t i = 0; i < ix->manifests.n; i++) {
                AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
                AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
                char path[16 + DIGEST_HEX_MAX];

                bd_input_blob_path(&ix->manifests.v[i].digest, path);
                if (bd_input_read(in, path, IMG_MANIFEST_MAX, &doc, NULL) > 0 &&
                    img_manifest_decode(sb_text(&doc), doc.len, NULL, &m, NULL) == 0 &&
                    m.layers.n == 0)
                        return 1;
        }
        return 0;
}

int bd_load_index(struct bd_input *in, struct img_index *ret, struct bld_err *err)
{
        AUTO_SB struct sb version = SB_INIT(4096);
        AUTO_SB struct sb text = SB_INIT(BD_LOAD_JSON_MAX);
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = bd_input_read(in, "oci-layout", 4096, &version, err);

        if (r <= 0)
                return r;
        r = check_layout(&version, err);
        if (r == 0)
                r = bd_input_read(in, "index.json", BD_LOAD_JSON_MAX, &text, err);
        if (r <= 0)
                return r;
        r = img_index_decode(sb_text(&text), text.len, NULL, &ix, err);
        if (r < 0)
                return err_wrap(err, r, "index.json");
        r = layers_left_out(in, &ix, err);
        if (r != 0)
                return MIN(r, 0);
        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++)
                r = fix_type(in, &ix.manifests.v[i], err);
        if (r < 0)
                return r;
        *ret = ix;
        memset(&ix, 0, sizeof(ix));
        return ret->manifests.n > 0;
}

/* 1 the images of a layout were loaded, 0 it is none (or lists nothing). */
static int load_layout(struct bd_input *in, struct strv *names, struct img_descs *descs,
                       struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = bd_load_index(in, &ix, err);

        if (r <= 0)
                return r;
        for (size_t i = 0; r > 0 && i < ix.manifests.n; i++) {
                r = load_entry(in, &ix.manifests.v[i], names, descs, err);
                r = r < 0 ? r : 1;
        }
        return r;
}

static int load_any(struct bd_input *in, struct strv *names, struct img_descs *descs,
                    struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(BD_LOAD_JSON_MAX);
        int r = load_layout(in, names, descs, err);

        if (r != 0)
                return MIN(r, 0);
        r = bd_input_read(in, "manifest.json", BD_LOAD_JSON_MAX, &text, err);
        if (r < 0)
                return r;
        if (r > 0)
                return bd_load_docker(in, sb_text(&text), text.len, names, descs, err);
        r = err_set(err, BLD_E_INVALID, "it holds no image");
        return err_why(err, r, "there is neither index.json beside oci-layout nor manifest.json");
}

int bd_load(struct bd_ctx *c, const char *path, int in_fd, struct strv *names,
            struct img_descs *descs, struct bld_err *err)
{
        struct bd_input in;
        struct bld_err e = BLD_ERR_INIT;
        int r = bd_input_open(c, path, in_fd, &in, err);

        if (r < 0)
                return r;
        r = load_any(&in, names, descs, &e);
        if (r < 0) {
                /* whatever does not verify or decode is a fault of the file the user gave */
                if (r == BLD_E_CORRUPT || r == BLD_E_LIMIT)
                        r = err_recode(&e, BLD_E_INVALID);
                err_copy(err, &e);
                if (!strstr(e.msg, in.what))
                        (void)err_wrap(err, r, "%s", in.what);
        }
        bd_input_done(&in);
        return r;
}
