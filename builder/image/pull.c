/* Images of layouts, archives and daemons into the store. */
#include <string.h>

#include "base/err.h"
#include "builder/image/end_priv.h"
#include "builder/transport.h"

/* Its name in the store: as it is called there. NULL: a mere tag names no repository. */
static int name_of(const struct img_desc *d, char **ret, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        const char *name = bd_entry_name(d);

        *ret = NULL;
        if (!name || img_ref_parse(name, &ref, NULL) < 0)
                return 0;
        *ret = img_ref_format(&ref, IMG_REF_DEFAULT_TAG | IMG_REF_NO_DIGEST);
        return *ret ? 0 : err_nomem(err, "name of an image");
}

static int report(struct bd_copieds *done, const char *name, const struct digest *d,
                  struct bld_err *err)
{
        struct bd_copied *n = bd_copieds_push(done);

        if (!n || !(n->name = mem_strdup(name))) {
                done->n -= n != NULL;
                return err_nomem(err, "pull");
        }
        n->digest = *d;
        return 0;
}

static int pull_entry(struct bd_end *e, const struct img_desc *root, const struct img_place *p,
                      const struct bd_pull_opts *o, struct bd_copieds *done, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO_FREE char *name = NULL;
        struct bd_ctx *c = bd_end_ctx(e);
        struct bd_docs docs = bd_end_docs(e);
        struct img_platform host;
        int r = name_of(root, &name, err);

        img_platform_host(&host);
        if (r == 0 && !o->all_platforms)
                r = bd_choose(&docs, root, o->platform ? o->platform : &host, &d, err);
        else if (r == 0)
                r = img_desc_copy(root, &d) < 0 ? err_nomem(err, "descriptor") : 0;
        if (r == 0)
                r = bd_end_take(e, &d, o->progress, o->user, err);
        if (r < 0)
                return r;
        img_kvs_free(&d.annotations); /* what another place called it */
        d.annotations = (struct img_kvs){.v = NULL};
        r = cas_ref_set(c->cas, name, &d, err);
        return r == 0 ? report(done, name ? name : p->text, &root->digest, err) : r;
}

int bd_pull_place(struct bd_ctx *c, const struct img_place *p, const struct bd_pull_opts *o,
                  struct bd_copieds *ret, struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *e = NULL;
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        int r;

        if (p->at == IMG_AT_STORE || p->at == IMG_AT_ANY)
                return err_set(err, BLD_E_USAGE, "pull: \"%.200s\" is in the store", p->text);
        if (o->lazy)
                return err_set(err, BLD_E_USAGE,
                               "pull: \"%.200s\" is no registry, which layers could be fetched "
                               "from later",
                               p->text);
        if (o->all_tags && (p->name || p->digits))
                return err_set(err, BLD_E_USAGE, "all tags of \"%.200s\", which names one",
                               p->text);
        r = bd_end_open(c, p, o->in_fd, &e, err);
        if (r == 0 && !o->all_tags) {
                r = bd_end_resolve(e, &root, err);
                return r == 0 ? pull_entry(e, &root, p, o, ret, err) : r;
        }
        for (size_t i = 0; r == 0 && i < bd_end_entries(e)->n; i++)
                r = pull_entry(e, &bd_end_entries(e)->v[i], p, o, ret, err);
        return r;
}
