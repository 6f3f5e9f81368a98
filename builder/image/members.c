/* Members of an index that is put together: each knows where its bytes are. */
#include <string.h>

#include "base/err.h"
#include "builder/image/end_priv.h"
#include "builder/transport.h"
#include "registry/registry.h"

void bd_members_free(struct bd_members *a)
{
        if (!a)
                return;
        for (size_t i = 0; i < a->n; i++) {
                img_desc_done(&a->v[i].desc);
                free(a->v[i].place);
        }
        bd_members_done(a);
}

int bd_members_add(struct bd_members *to, const struct bd_member_of *m, struct bld_err *err)
{
        struct bd_member_of *n;

        for (size_t i = 0; i < to->n; i++)
                if (digest_eq(&to->v[i].desc.digest, &m->desc.digest))
                        return 0;
        n = bd_members_push(to);
        if (!n || img_desc_copy(&m->desc, &n->desc) < 0 || !(n->place = mem_strdup(m->place)))
                return err_nomem(err, "index");
        n->at = m->at;
        return 0;
}

/* What an index would say of a manifest: its config knows the platform. */
static int describe(struct bd_end *e, struct img_desc *d, struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX), conf = SB_INIT(IMG_CONFIG_MAX);
        AUTO(img_config_done) struct img_config config;
        struct bd_docs docs = bd_end_docs(e);
        int r;

        img_config_init(&config);
        img_kvs_free(&d->annotations); /* a layout's name for it is not the index's business */
        d->annotations = (struct img_kvs){.v = NULL};
        if (d->has_platform)
                return 0;
        r = docs.read(docs.user, d, IMG_MANIFEST_MAX, &doc, err);
        if (r == 0)
                r = img_manifest_decode(sb_text(&doc), doc.len, d->media_type, &m, err);
        if (r < 0 || !img_mt_is_config(m.config.media_type))
                return r;
        r = docs.read(docs.user, &m.config, IMG_CONFIG_MAX, &conf, err);
        if (r == 0)
                r = img_config_decode(sb_text(&conf), conf.len, &config, err);
        if (r == 0 && config.platform.os[0]) {
                d->has_platform = true;
                d->platform = config.platform;
        }
        return r;
}

static int add(struct bd_members *to, const struct img_desc *d, const struct img_place *p,
               struct bld_err *err)
{
        struct bd_member_of m = {.desc = *d, .place = p->text, .at = p->at};

        return bd_members_add(to, &m, err);
}

static int add_entries(struct bd_end *e, const struct img_desc *root, const struct img_place *p,
                       struct bd_members *to, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        struct bd_docs docs = bd_end_docs(e);
        int r = docs.read(docs.user, root, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = img_index_decode(sb_text(&doc), doc.len, root->media_type, &ix, err);
        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++)
                r = add(to, &ix.manifests.v[i], p, err);
        return r;
}

int bd_members_of(struct bd_ctx *c, const struct img_place *p, bool offline, struct bd_members *to,
                  struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *e = NULL;
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO_REF struct img_ref own = {.domain = NULL};
        struct img_place at;
        int r = bd_place_settle(c, p, offline, &at, &own, err);

        if (r == 0)
                r = bd_end_open(c, &at, -1, &e, err);
        if (r == 0)
                r = bd_end_resolve(e, &d, err);
        if (r == 0 && img_mt_is_index(d.media_type))
                return add_entries(e, &d, &at, to, err);
        if (r == 0)
                r = describe(e, &d, err);
        return r == 0 ? add(to, &d, &at, err) : r;
}

static int reopen(struct bd_ctx *c, const struct bd_member_of *m, struct bd_end **ret,
                  struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        int r = img_place_parse(m->place, &p, err);

        if (r == 0 && p.at == IMG_AT_ANY && m->at == IMG_AT_REGISTRY)
                r = img_ref_parse(p.text, &p.ref, err);
        p.at = m->at;
        return r == 0 ? bd_end_open(c, &p, -1, ret, err) : r;
}

int bd_member_read(struct bd_ctx *c, const struct bd_member_of *m, struct sb *out,
                   struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *e = NULL;
        struct bd_docs docs;
        int r = reopen(c, m, &e, err);

        if (r < 0)
                return r;
        docs = bd_end_docs(e);
        return docs.read(docs.user, &m->desc, IMG_MANIFEST_MAX, out, err);
}

static int bring(struct bd_ctx *c, const struct bd_member_of *m, const struct img_place *dst,
                 bd_progress_fn progress, void *user, struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *e = NULL;
        AUTO_REF struct img_ref to = {.domain = NULL};
        struct bd_send_opts o = {.progress = progress, .user = user};
        const struct img_ref *repo;
        int r = reopen(c, m, &e, err);

        if (r < 0)
                return r;
        repo = bd_end_repo(e);
        if (dst->at != IMG_AT_REGISTRY)
                return bd_end_take(e, &m->desc, progress, user, err);
        if (repo && str_eq(repo->domain, dst->ref.domain) && str_eq(repo->path, dst->ref.path))
                return 0;
        r = img_ref_copy(&dst->ref, &to, err);
        if (r < 0)
                return r;
        free(to.tag);
        to.tag = NULL;
        to.digest = m->desc.digest;
        o.mount_from = repo;
        return bd_send(e, &m->desc, &to, &o, NULL, err);
}

static int name_it(struct bd_ctx *c, const struct img_desc *d, const struct sb *doc,
                   const struct img_place *dst, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO_FREE char *full = NULL;
        char *tag = dst->name;
        const struct strv tags = {.v = &tag, .n = tag ? 1 : 0};
        struct bd_saved one = {.desc = d, .tags = &tags};
        struct bd_save_opts so = {.dest = dst->path,
                                  .out_fd = -1,
                                  .as_dir = dst->at == IMG_AT_OCI,
                                  .docker = dst->at == IMG_AT_DOCKER_ARCHIVE};
        struct reg_client *reg = NULL;
        int r;

        if (dst->at == IMG_AT_REGISTRY) {
                r = c->registry(c->user, &reg, err);
                return r == 0 ? reg_manifest_put(reg, &dst->ref, d->media_type, sb_text(doc),
                                                 doc->len, err)
                              : r;
        }
        if (img_at_is_file(dst->at))
                return bd_save(c, &one, 1, &so, err);
        r = img_ref_parse(dst->name, &ref, err);
        full = r == 0 ? img_ref_format(&ref, IMG_REF_DEFAULT_TAG | IMG_REF_NO_DIGEST) : NULL;
        if (r == 0 && !full)
                r = err_nomem(err, "name");
        return r == 0 ? cas_ref_set(c->cas, full, d, err) : r;
}

int bd_members_publish(struct bd_ctx *c, const struct bd_members *members, const struct sb *doc,
                       const struct img_place *dst, bd_progress_fn progress, void *user,
                       struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {.size = doc->len};
        const char *type = img_guess_media_type(sb_text(doc), doc->len);
        int r = 0;

        for (size_t i = 0; r == 0 && i < members->n; i++)
                r = bring(c, &members->v[i], dst, progress, user, err);
        if (r < 0)
                return r;
        if (!type)
                return err_set(err, BLD_E_BUG, "a document of no known type");
        d.media_type = mem_strdup(type);
        if (!d.media_type)
                return err_nomem(err, "index");
        if (dst->at == IMG_AT_REGISTRY)
                digest_of(sb_text(doc), doc->len, &d.digest);
        else
                r = bd_doc_put(c, sb_text(doc), doc->len, NULL, &d.digest, err);
        return r == 0 ? name_it(c, &d, doc, dst, err) : r;
}
