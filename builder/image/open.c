/* Opening one image, or one document, from wherever it is. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/sys.h"
#include "builder/image/archive_priv.h"
#include "builder/image/end_priv.h"
#include "builder/transport.h"

int bd_scratch(struct bd_ctx *c, int *ret_fd, struct bld_err *err)
{
        int fd = sys_openat(cas_root_fd(c->cas), "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        if (fd < 0)
                return err_sys(err, errno, "make a temporary file in the store");
        *ret_fd = fd;
        return 0;
}

static int open_end(struct bd_ctx *c, const struct img_place *p, const struct bd_open_opts *o,
                    struct bd_image *ret, struct img_desc *root, struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *e = NULL;
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        struct img_platform host;
        int r = bd_end_open(c, p, o->in_fd, &e, err);

        if (r == 0)
                r = bd_end_resolve(e, root, err);
        if (r == 0) {
                struct bd_docs docs = bd_end_docs(e);

                img_platform_host(&host);
                r = bd_choose(&docs, root, o->platform ? o->platform : &host, &d, err);
        }
        if (r == 0 && o->layers)
                r = bd_end_take(e, &d, o->progress, o->user, err);
        else if (r == 0)
                r = bd_end_take_docs(e, &d, err);
        if (r == 0 && bd_end_repo(e))
                r = bd_source_note(c, &d.digest, bd_end_repo(e), err);
        return r == 0 ? bd_image_load(c, &d, o->platform, ret, err) : r;
}

/* Does the text name its registry itself? A short name is never sent to docker.io by a reader. */
static bool says_registry(const char *ref)
{
        const char *slash = strchr(ref, '/');
        size_t n = slash ? (size_t)(slash - ref) : 0;

        if (n == 0)
                return false;
        return memchr(ref, '.', n) || memchr(ref, ':', n) ||
               (n == strlen("localhost") && memcmp(ref, "localhost", n) == 0);
}

/* Store first; then, where the name says so, its registry. */
int bd_place_settle(struct bd_ctx *c, const struct img_place *p, bool offline,
                    struct img_place *ret, struct img_ref *own, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        struct bld_err why = BLD_ERR_INIT;
        int r = 0;

        *ret = *p;
        if (p->at != IMG_AT_ANY)
                return 0;
        ret->at = IMG_AT_STORE;
        r = bd_image_find(c, p->name, &d, NULL, &why);
        if (r == BLD_E_NOT_FOUND && says_registry(p->name) && !offline) {
                ret->at = IMG_AT_REGISTRY;
                r = img_ref_parse(p->name, own, err);
                ret->ref = *own;
                return r;
        }
        if (r == BLD_E_NOT_FOUND && says_registry(p->name) && offline)
                return err_set(err, BLD_E_NETWORK,
                               "%s is not in the store, and --offline forbids asking its registry",
                               p->name);
        if (r < 0)
                err_copy(err, &why);
        return r;
}

int bd_open(struct bd_ctx *c, const struct img_place *p, const struct bd_open_opts *o,
            struct bd_image *ret, struct img_desc *ret_root, struct bld_err *err)
{
        struct img_desc root = {.media_type = NULL};
        AUTO_REF struct img_ref own = {.domain = NULL};
        struct img_place at;
        int r = bd_place_settle(c, p, o->offline, &at, &own, err);

        if (r == 0)
                r = open_end(c, &at, o, ret, &root, err);
        if (r < 0) {
                img_desc_done(&root);
                return r;
        }
        *ret_root = root;
        return 0;
}

int bd_open_document(struct bd_ctx *c, const struct img_place *p, bool offline,
                     const struct img_platform *platform, struct sb *out, struct img_desc *ret,
                     struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *e = NULL;
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        AUTO_REF struct img_ref own = {.domain = NULL};
        struct img_desc d = {.media_type = NULL};
        struct img_place at;
        struct bd_docs docs;
        int r = bd_place_settle(c, p, offline, &at, &own, err);

        if (r == 0)
                r = bd_end_open(c, &at, -1, &e, err);
        if (r == 0)
                r = bd_end_resolve(e, &root, err);
        if (r < 0)
                return r;
        docs = bd_end_docs(e);
        if (platform)
                r = bd_choose(&docs, &root, platform, &d, err);
        else
                r = img_desc_copy(&root, &d) < 0 ? err_nomem(err, "descriptor") : 0;
        if (r == 0 && out)
                r = docs.read(docs.user, &d, IMG_MANIFEST_MAX, out, err);
        if (r < 0) {
                img_desc_done(&d);
                return r;
        }
        *ret = d;
        return 0;
}

int bd_place_tags(struct bd_ctx *c, const struct img_place *p, struct strv *out,
                  struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *e = NULL;
        int r = bd_end_open(c, p, -1, &e, err);

        return r == 0 ? bd_end_tags(e, out, err) : r;
}

int bd_place_referrers(struct bd_ctx *c, const struct img_place *p, const char *artifact_type,
                       struct img_descs *out, struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *e = NULL;
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO(img_descs_free) struct img_descs all = {.v = NULL};
        AUTO_STRV struct strv tags = {.v = NULL};
        int r = bd_end_open(c, p, -1, &e, err);

        if (r == 0)
                r = bd_end_resolve(e, &d, err);
        if (r == 0)
                r = bd_end_referrers(e, &d.digest, &all, &tags, err);
        for (size_t i = 0; r == 0 && i < all.n; i++) {
                struct img_desc *n;

                if (artifact_type && !str_eq(all.v[i].artifact_type, artifact_type))
                        continue;
                n = img_descs_push(out);
                if (!n || img_desc_copy(&all.v[i], n) < 0)
                        r = err_nomem(err, "referrers");
        }
        return r;
}

struct bd_file_out {
        struct bd_dest dest;
};

int bd_file_out_open(struct bd_ctx *c, const char *path, struct bd_file_out **ret, int *ret_fd,
                     struct bld_err *err)
{
        struct bd_file_out *f = mem_zalloc(1, sizeof(*f));
        int r = f ? bd_dest_open(c, path, -1, &f->dest, err) : err_nomem(err, path);

        if (r < 0) {
                free(f);
                return r;
        }
        *ret = f;
        *ret_fd = f->dest.fd;
        return 0;
}

int bd_file_out_commit(struct bd_file_out *f, struct bld_err *err)
{
        return bd_dest_commit(&f->dest, err);
}

void bd_file_out_free(struct bd_file_out *f)
{
        if (f)
                bd_dest_done(&f->dest);
        free(f);
}
