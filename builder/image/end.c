/* Reading from one end of a copy. */
#include "builder/image/end_state_priv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "registry/dockerd.h"

#define CACHE_BYTES ((size_t)64 << 20)

/* ---- opening ---- */

static void free_doc(void *p)
{
        struct sb *b = p;

        sb_done(b);
        free(b);
}

void bd_end_free(struct bd_end *e)
{
        if (!e)
                return;
        if (e->opened)
                bd_input_done(&e->in);
        img_place_done(&e->place);
        img_descs_free(&e->entries);
        map_done(&e->cache);
        free(e);
}

int bd_file_fault(int r, struct bld_err *err)
{
        return r == BLD_E_CORRUPT || r == BLD_E_LIMIT || r == BLD_E_INVALID
                       ? err_recode(err, BLD_E_MALFORMED)
                       : r;
}

static int own_fault(struct bd_end *e, int r, struct bld_err *own, struct bld_err *err)
{
        if (r >= 0)
                return r;
        r = bd_file_fault(r, own);
        err_copy(err, own);
        return strstr(own->msg, e->place.path) ? r : err_wrap(err, r, "%s", e->place.path);
}

/* docker save: its layers have no digests of their own before they are read, so all of it is
 * brought into the store, unnamed. */
static int open_docker(struct bd_end *e, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(BD_LOAD_JSON_MAX);
        AUTO_STRV struct strv names = {.v = NULL};
        int r = bd_input_read(&e->in, "manifest.json", BD_LOAD_JSON_MAX, &text, err);

        if (r == 0) {
                r = err_set(err, BLD_E_MALFORMED, "it holds no image");
                return err_why(err, r,
                               "there is neither index.json beside oci-layout nor manifest.json");
        }
        e->in.unnamed = e->loaded = true;
        if (r > 0)
                r = bd_load_docker(&e->in, sb_text(&text), text.len, &names, &e->entries, err);
        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (names.v[i][0] &&
                    img_kvs_set(&e->entries.v[i].annotations, BD_ANN_IMAGE_NAME, names.v[i]) < 0)
                        r = err_nomem(err, "names of an archive");
        return r;
}

static int open_file(struct bd_end *e, int in_fd, struct bld_err *err)
{
        struct bld_err own = BLD_ERR_INIT;
        struct img_index ix = {.media_type = NULL};
        int r = bd_input_open(e->c, e->place.path, in_fd, &e->in, err);

        if (r < 0)
                return bd_file_fault(r, err);
        e->opened = true;
        e->at = IMG_AT_OCI;
        r = bd_load_index(&e->in, &ix, &own);
        if (r > 0) {
                e->entries = ix.manifests;
                ix.manifests = (struct img_descs){.v = NULL};
                img_index_done(&ix);
                return 0;
        }
        img_index_done(&ix);
        e->docker = r == 0 && e->peek;
        if (r == 0 && !e->peek)
                r = open_docker(e, &own);
        return own_fault(e, r, &own, err);
}

struct fetched {
        int fd;
};

static int fetched_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        const struct fetched *f = user;

        return fd_write_all(f->fd, p, n, err);
}

/* What the daemon saves is an archive, which is read at random. */
static int open_daemon(struct bd_end *e, struct bld_err *err)
{
        struct fetched f = {.fd = -1};
        AUTO_FD int fd = -1;
        struct reg_sink sink = {.write = fetched_write, .user = &f};
        int r = bd_scratch(e->c, &fd, err);

        if (r < 0)
                return r;
        f.fd = fd;
        r = reg_dockerd_save(e->c->cancel, e->place.name, &sink, err);
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return err_sys(err, errno, "read what the docker daemon sent");
        e->place.path = mem_strdup("-");
        if (!e->place.path)
                return err_nomem(err, "place of an image");
        r = open_file(e, fd, err);
        free(e->place.path);
        e->place.path = mem_strdup(e->place.text);
        if (!e->place.path)
                return err_nomem(err, "place of an image");
        e->in.what = e->place.path;
        if (r == 0 && e->entries.n == 1) { /* an ID is no name inside the archive */
                free(e->place.name);
                e->place.name = NULL;
        }
        return r;
}

static int copy_place(const struct img_place *p, struct img_place *ret, struct bld_err *err)
{
        /* the text is whole: parsing it again is the copy; only what was filled in is set */
        int r = img_place_parse(p->text, ret, err);

        if (r == 0 && p->at != ret->at && p->ref.domain)
                r = img_ref_copy(&p->ref, &ret->ref, err);
        if (r == 0)
                ret->at = p->at;
        return r;
}

static int end_open(struct bd_ctx *c, const struct img_place *p, int in_fd, bool peek,
                    struct bd_end **ret, struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *e = mem_zalloc(1, sizeof(*e));
        int r;

        if (!e)
                return err_nomem(err, "place of an image");
        e->c = c;
        map_init(&e->cache, free_doc);
        r = copy_place(p, &e->place, err);
        if (r < 0)
                return r;
        e->at = p->at;
        e->peek = peek;
        if (img_at_is_file(p->at))
                r = open_file(e, in_fd, err);
        else if (p->at == IMG_AT_REGISTRY)
                r = c->registry(c->user, &e->reg, err);
        else if (p->at == IMG_AT_DOCKER_DAEMON)
                r = open_daemon(e, err);
        else
                e->at = IMG_AT_STORE;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&e);
        return 0;
}

int bd_end_open(struct bd_ctx *c, const struct img_place *p, int in_fd, struct bd_end **ret,
                struct bld_err *err)
{
        return end_open(c, p, in_fd, false, ret, err);
}

int bd_end_peek(struct bd_ctx *c, const struct img_place *p, int in_fd, struct bd_end **ret,
                struct bld_err *err)
{
        return end_open(c, p, in_fd, true, ret, err);
}

struct bd_input *bd_end_docker(struct bd_end *e)
{
        return e->docker ? &e->in : NULL;
}

struct bd_ctx *bd_end_ctx(const struct bd_end *e)
{
        return e->c;
}

bool bd_end_is_store(const struct bd_end *e)
{
        return e->at == IMG_AT_STORE || e->loaded;
}

const struct img_ref *bd_end_repo(const struct bd_end *e)
{
        return e->at == IMG_AT_REGISTRY ? &e->place.ref : NULL;
}

const struct img_descs *bd_end_entries(const struct bd_end *e)
{
        return &e->entries;
}

/* ---- documents ---- */

int bd_end_remember(struct bd_end *e, const char *key, const struct sb *doc, struct bld_err *err)
{
        struct sb *b;

        if (e->cached + doc->len > CACHE_BYTES)
                return 0;
        b = mem_zalloc(1, sizeof(*b));
        if (!b)
                return err_nomem(err, "document");
        sb_init(b, doc->len + 1);
        sb_add(b, sb_text(doc), doc->len);
        if (b->failed || map_set(&e->cache, key, b) < 0) {
                free_doc(b);
                return err_nomem(err, "document");
        }
        e->cached += doc->len;
        return 0;
}

static int sink_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct sb *b = user;

        sb_add(b, p, n);
        return sb_check(b, "document", err);
}

static int sink_rewind(void *user, struct bld_err *err)
{
        (void)err;
        sb_reset(user);
        return 0;
}

static int read_remote(struct bd_end *e, const struct img_desc *d, struct sb *out,
                       struct bld_err *err)
{
        struct reg_sink sink = {.write = sink_write, .rewind = sink_rewind, .user = out};
        AUTO(img_desc_done) struct img_desc got = {.media_type = NULL};
        AUTO_REF struct img_ref ref = {.domain = NULL};
        int r;

        if (!img_mt_is_index(d->media_type) && !img_mt_is_manifest(d->media_type))
                return reg_blob_get(e->reg, &e->place.ref, d, &sink, err);
        r = img_ref_copy(&e->place.ref, &ref, err);
        if (r < 0)
                return r;
        ref.digest = d->digest;
        return reg_manifest_get(e->reg, &ref, out, &got, err);
}

/* The digest is what decides, so the size and the hash are looked at here for files. */
static int read_file(struct bd_end *e, const struct img_desc *d, size_t max, struct sb *out,
                     struct bld_err *err)
{
        struct bld_err own = BLD_ERR_INIT;
        char path[16 + DIGEST_HEX_MAX], text[DIGEST_STR_MAX];
        struct hasher h;
        struct digest have;
        int r;

        bd_input_blob_path(&d->digest, path);
        r = bd_input_read(&e->in, path, max, out, &own);
        if (r == 0)
                r = err_set(&own, BLD_E_NOT_FOUND, "%s is missing", path);
        if (r < 0)
                return own_fault(e, r, &own, err);
        hasher_init(&h, d->digest.algo);
        hasher_add(&h, sb_text(out), out->len);
        hasher_end(&h, &have);
        if (digest_eq(&have, &d->digest))
                return 0;
        digest_format(&have, text);
        return err_set(err, BLD_E_MALFORMED, "%s: %s holds other bytes (%s)", e->place.path, path,
                       text);
}

static int read_doc(void *user, const struct img_desc *d, size_t max, struct sb *out,
                    struct bld_err *err)
{
        struct bd_end *e = user;
        char key[DIGEST_STR_MAX];
        const struct sb *known;
        size_t before = out->len;
        int r;

        digest_format(&d->digest, key);
        known = map_get(&e->cache, key);
        if (known) {
                sb_add(out, sb_text(known), known->len);
                return sb_check(out, "document", err);
        }
        if (e->at == IMG_AT_STORE || e->loaded)
                return bd_doc_read(e->c, d, max, out, err);
        if (d->size > max)
                return err_set(err, BLD_E_LIMIT, "%s has more than %zu bytes", key, max);
        r = e->at == IMG_AT_REGISTRY ? read_remote(e, d, out, err) : read_file(e, d, max, out, err);
        if (r == 0 && d->size && out->len - before != d->size)
                r = err_set(err, BLD_E_CORRUPT, "%s has %zu bytes where %llu were promised", key,
                            out->len - before, (unsigned long long)d->size);
        return r == 0 ? bd_end_remember(e, key, out, err) : r;
}

static int has_doc(void *user, const struct digest *d, struct bld_err *err)
{
        struct bd_end *e = user;
        struct bd_part part = {.fd = -1};
        char path[16 + DIGEST_HEX_MAX];
        int r;

        if (e->at == IMG_AT_REGISTRY)
                return 1; /* an index there is complete; reading tells otherwise */
        if (e->at == IMG_AT_STORE || e->loaded)
                return bd_has(e->c, d, err);
        bd_input_blob_path(d, path);
        r = bd_input_find(&e->in, path, &part, err);
        if (r > 0)
                bd_part_done(&part);
        return r;
}

struct bd_docs bd_end_docs(struct bd_end *e)
{
        return (struct bd_docs){.read = read_doc, .has = has_doc, .user = e};
}

/* ---- blobs ---- */

int bd_end_made(struct bd_ctx *c, const struct img_desc *d, const struct bd_loans *loans,
                struct bd_end **ret, struct bld_err *err)
{
        char text[DIGEST_STR_MAX];
        struct img_place p = {.at = IMG_AT_STORE, .text = text};
        int r;

        digest_format(&d->digest, text);
        r = bd_end_open(c, &p, -1, ret, err);
        if (r == 0)
                (*ret)->loans = loans;
        return r;
}

static struct bd_end *lender(const struct bd_end *e, const struct digest *d)
{
        for (size_t i = 0; e->loans && i < e->loans->n; i++)
                if (digest_eq(&e->loans->v[i].digest, d))
                        return e->loans->v[i].from;
        return NULL;
}

bool bd_end_blob_is_in(const struct bd_end *e, const struct digest *d, const struct img_ref *repo)
{
        const struct bd_end *from = lender(e, d);
        const struct img_ref *at = from ? bd_end_repo(from) : NULL;

        return at && str_eq(at->domain, repo->domain) && str_eq(at->path, repo->path);
}

int bd_store_blob(struct bd_ctx *c, const struct img_desc *d, struct bd_part *ret,
                  struct img_ref *ret_repo, struct bld_err *err)
{
        char text[DIGEST_STR_MAX];
        AUTO_FD int fd = -1;
        int r = cas_blob_open(c->cas, &d->digest, &fd, NULL);

        if (r == 0) {
                *ret = (struct bd_part){.fd = take_fd(&fd), .owned = true, .size = d->size};
                return 1;
        }
        digest_format(&d->digest, text);
        if (r != BLD_E_NOT_FOUND)
                return err_set(err, r, "blob %s of the store cannot be read", text);
        /* a base layer that nobody needed so far */
        r = bd_source_find(c, &d->digest, ret_repo, err);
        return MIN(r, 0);
}

int bd_end_blob(struct bd_end *e, const struct img_desc *d, struct bd_part *ret,
                struct img_ref *ret_repo, struct bld_err *err)
{
        char path[16 + DIGEST_HEX_MAX];
        struct bd_end *from = lender(e, &d->digest);
        int r = from ? bd_has(e->c, &d->digest, err) : 1;

        if (r < 0)
                return r;
        if (r == 0)
                return bd_end_blob(from, d, ret, ret_repo, err);
        if (e->at == IMG_AT_REGISTRY)
                return img_ref_copy(&e->place.ref, ret_repo, err);
        if (e->at == IMG_AT_STORE || e->loaded)
                return bd_store_blob(e->c, d, ret, ret_repo, err);
        bd_input_blob_path(&d->digest, path);
        r = bd_input_find(&e->in, path, ret, err);
        if (r == 0)
                return err_set(err, BLD_E_MALFORMED, "%s: %s is missing", e->place.path, path);
        if (r > 0 && ret->size != d->size) {
                bd_part_done(ret);
                return err_set(err, BLD_E_MALFORMED, "%s: %s has another size than its image says",
                               e->place.path, path);
        }
        return r;
}

/* ---- into the store ---- */

static int take_doc(struct bd_end *e, const struct img_desc *d, size_t max, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(max);
        int r = read_doc(e, d, max, &doc, err);

        return r == 0 ? bd_doc_put(e->c, sb_text(&doc), doc.len, &d->digest, NULL, err) : r;
}

static int take_closure(struct bd_end *e, const struct bd_closure *x, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < x->docs.n; i++)
                r = take_doc(e, &x->docs.v[i], IMG_MANIFEST_MAX, err);
        for (size_t i = 0; r == 0 && i < x->blobs.n; i++)
                if (img_mt_is_config(x->blobs.v[i].media_type))
                        r = take_doc(e, &x->blobs.v[i], IMG_CONFIG_MAX, err);
        return r;
}

int bd_end_take_docs(struct bd_end *e, const struct img_desc *d, struct bld_err *err)
{
        AUTO(bd_closure_done) struct bd_closure x = {.docs = {.v = NULL}};
        struct bd_docs docs = bd_end_docs(e);
        int r;

        if (e->at == IMG_AT_STORE || e->loaded)
                return 0;
        r = bd_closure_from(&docs, d, BD_CLOSURE_SPARSE, &x, err);
        return r == 0 ? take_closure(e, &x, err) : r;
}

/* Those of these blobs that a repository lends, at once. */
static int fetch_lent(struct bd_end *e, const struct bd_end *from, const struct img_descs *blobs,
                      bd_progress_fn progress, void *user, struct bld_err *err)
{
        struct img_descs part = {.v = NULL}; /* its elements are the blobs' */
        int r = 0;

        for (size_t i = 0; r == 0 && i < blobs->n; i++) {
                struct img_desc *d;

                if (lender(e, &blobs->v[i].digest) != from)
                        continue;
                d = img_descs_push(&part);
                if (d)
                        *d = blobs->v[i];
                else
                        r = err_nomem(err, "list of blobs");
        }
        if (r == 0)
                r = bd_fetch_missing(e->c, &part, bd_end_repo(from), progress, user, err);
        img_descs_done(&part);
        return r;
}

static int take_loans(struct bd_end *e, const struct img_descs *blobs, bd_progress_fn progress,
                      void *user, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && e->loans && i < blobs->n; i++) {
                struct bd_end *from = lender(e, &blobs->v[i].digest);
                struct bld_err own = BLD_ERR_INIT;

                r = from ? bd_has(e->c, &blobs->v[i].digest, err) : 1;
                if (r != 0)
                        r = MIN(r, 0);
                else if (from->at == IMG_AT_OCI)
                        r = own_fault(from, bd_load_blob(&from->in, &blobs->v[i], &own), &own, err);
                else
                        r = fetch_lent(e, from, blobs, progress, user, err);
        }
        return r;
}

int bd_end_take_lent(struct bd_end *e, const struct img_desc *d, bd_progress_fn progress,
                     void *user, struct bld_err *err)
{
        AUTO(bd_closure_done) struct bd_closure x = {.docs = {.v = NULL}};
        struct bd_docs docs = bd_end_docs(e);
        int r = bd_closure_from(&docs, d, BD_CLOSURE_SPARSE, &x, err);

        return r == 0 ? take_loans(e, &x.blobs, progress, user, err) : r;
}

int bd_end_take(struct bd_end *e, const struct img_desc *d, bd_progress_fn progress, void *user,
                struct bld_err *err)
{
        AUTO(bd_closure_done) struct bd_closure x = {.docs = {.v = NULL}};
        AUTO(img_desc_done) struct img_desc copy = {.media_type = NULL};
        struct bd_docs docs = bd_end_docs(e);
        struct bld_err own = BLD_ERR_INIT;
        int r;

        if (e->at == IMG_AT_OCI && !e->loaded) {
                r = img_desc_copy(d, &copy) < 0 ? err_nomem(&own, "descriptor") : 0;
                if (r == 0)
                        r = bd_load_document(&e->in, &copy, &own);
                return own_fault(e, r, &own, err);
        }
        r = bd_closure_from(&docs, d, 0, &x, err);
        if (r == 0 && e->at == IMG_AT_REGISTRY)
                r = take_closure(e, &x, err);
        if (r == 0)
                r = take_loans(e, &x.blobs, progress, user, err);
        return r == 0 ? bd_fetch_missing(e->c, &x.blobs, bd_end_repo(e), progress, user, err) : r;
}
