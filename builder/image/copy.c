/* Copying images from any place to any other. Into a registry the bytes stream; layouts and
 * archives are written from the store. */
#include <errno.h>
#include <regex.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/map.h"
#include "builder/image/end_priv.h"
#include "builder/transport.h"
#include "parser/ignore.h"
#include "registry/dockerd.h"

#define REFERRER_DEPTH_MAX 4u
#define REFERRERS_MAX 10000u

struct copy {
        struct bd_ctx *c;
        const struct bd_copy_opts *o;
        const struct img_place *from, *dst;
        struct bd_end *src;
        struct img_ref origin; /* the repository the source is (or is named after); or nothing */
        struct bd_copieds *out;
        /* for a file: what is written at the end, all at once */
        struct img_descs descs;
        struct strv names; /* beside them; "" for none */
        struct map seen;   /* referrers */
};

void bd_copieds_free(struct bd_copieds *a)
{
        for (size_t i = 0; i < a->n; i++) {
                free(a->v[i].name);
                free(a->v[i].id);
        }
        bd_copieds_done(a);
}

static int report(struct copy *k, const char *name, const struct digest *d, enum bd_copy_how how,
                  const struct bd_push_stats *stats, struct bld_err *err)
{
        struct bd_copied *n = bd_copieds_push(k->out);

        if (!n || !(n->name = mem_strdup(name))) {
                k->out->n -= n != NULL;
                return err_nomem(err, "copy");
        }
        n->digest = *d;
        n->how = how;
        if (stats)
                n->stats = *stats;
        return 0;
}

/* ---- names ---- */

static int filter_regex(const char *re, const struct strv *all, struct strv *out,
                        struct bld_err *err)
{
        AUTO_FREE char *text = mem_strndup(re + 1, strlen(re) - 2);
        char why[128];
        regex_t x;
        int e, r = 0;

        if (!text)
                return err_nomem(err, "tags");
        e = regcomp(&x, text, REG_EXTENDED | REG_NOSUB);
        if (e != 0) {
                (void)regerror(e, &x, why, sizeof(why));
                return err_set(err, BLD_E_USAGE, "regular expression %.200s: %s", re, why);
        }
        for (size_t i = 0; r == 0 && i < all->n; i++)
                if (regexec(&x, all->v[i], 0, NULL, 0) == 0 && strv_add(out, all->v[i]) < 0)
                        r = err_nomem(err, "tags");
        regfree(&x);
        return r;
}

static int filter_glob(const char *glob, const struct strv *all, struct strv *out,
                       struct bld_err *err)
{
        for (size_t i = 0; i < all->n; i++) {
                int r = glob_match(glob, all->v[i], err);

                if (r < 0)
                        return r;
                if (r > 0 && strv_add(out, all->v[i]) < 0)
                        return err_nomem(err, "tags");
        }
        return 0;
}

static int list_tags(struct copy *k, struct strv *out, struct bld_err *err)
{
        AUTO_STRV struct strv all = {.v = NULL};
        const char *f = k->o->tag_filter;
        size_t n = f ? strlen(f) : 0;
        int r = bd_end_tags(k->src, &all, err);

        if (r < 0)
                return r;
        strv_sort(&all);
        if (n >= 2 && f[0] == '/' && f[n - 1] == '/')
                r = filter_regex(f, &all, out, err);
        else if (f)
                r = filter_glob(f, &all, out, err);
        else
                r = strv_copy(out, &all) < 0 ? err_nomem(err, "tags") : 0;
        if (r == 0 && out->n == 0)
                return err_set(err, BLD_E_NOT_FOUND, "%.200s has no such tag", k->from->text);
        return r;
}

/* The destination under this tag; NULL: as it is, "latest" when nothing is said. */
static int target(const struct img_ref *dst, const char *tag, struct img_ref *ret,
                  struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        int r = img_ref_copy(dst, &ref, err);

        if (r < 0)
                return r;
        if (tag || (!ref.tag && !digest_is_set(&ref.digest))) {
                free(ref.tag);
                ref.tag = mem_strdup(tag ? tag : "latest");
                ref.digest = (struct digest){.algo = DIGEST_NONE};
                if (!ref.tag)
                        return err_nomem(err, "tag");
        }
        *ret = ref;
        memset(&ref, 0, sizeof(ref));
        return 0;
}

/* ---- what is sent ---- */

static int changed(struct copy *k, const struct img_desc *was, const struct img_desc *is,
                   struct bld_err *err)
{
        char a[DIGEST_STR_MAX], b[DIGEST_STR_MAX];

        if (!k->o->preserve_digests || digest_eq(&was->digest, &is->digest))
                return 0;
        digest_format(&was->digest, a);
        digest_format(&is->digest, b);
        return err_set(err, BLD_E_POLICY, "the digest would change from %s to %s", a, b);
}

/* With other types or compression. The new bytes are made in the store. */
static int convert(struct copy *k, const struct img_desc *d, struct img_desc *ret,
                   struct bd_end **ret_end, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc a = {.media_type = NULL};
        struct bd_recompress_opts ro = {.codec = k->o->codec, .force = k->o->force_codec};
        int r = bd_end_take(k->src, d, k->o->progress, k->o->user, err);

        if (r == 0 && ro.codec)
                r = bd_recompress(k->c, d, &ro, &a, err);
        else if (r == 0 && img_desc_copy(d, &a) < 0)
                r = err_nomem(err, "descriptor");
        if (r == 0 && k->o->convert != BD_KEEP)
                r = bd_convert_types(k->c, &a,
                                     k->o->convert == BD_TO_OCI ? BD_FORMAT_OCI : BD_FORMAT_DOCKER,
                                     ret, err);
        else if (r == 0 && img_desc_copy(&a, ret) < 0)
                r = err_nomem(err, "descriptor");
        if (r == 0)
                r = changed(k, d, ret, err);
        return r == 0 ? bd_end_made(k->c, ret, NULL, ret_end, err) : r;
}

/* One platform of it, in another form: what is really copied. *ret_end is NULL when it comes from
 * the source as it is. */
static int prepare(struct copy *k, const struct img_desc *root, struct img_desc *ret,
                   struct bd_end **ret_end, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        struct bd_docs docs = bd_end_docs(k->src);
        const struct img_platform *want = k->o->platform;
        struct img_platform host;
        int r;

        if (!want && k->dst->at == IMG_AT_DOCKER_DAEMON) { /* its archives have no indexes */
                img_platform_host(&host);
                want = &host;
        }
        if (want && img_mt_is_index(root->media_type))
                r = bd_choose(&docs, root, want, &d, err);
        else
                r = img_desc_copy(root, &d) < 0 ? err_nomem(err, "descriptor") : 0;
        if (r == 0)
                r = changed(k, root, &d, err);
        if (r < 0)
                return r;
        /* A dry run fetches nothing: what is elsewhere is told under the digest it has there. */
        if ((!k->o->dry_run || bd_end_is_store(k->src)) &&
            (k->o->codec || k->o->convert != BD_KEEP))
                return convert(k, &d, ret, ret_end, err);
        *ret = d;
        memset(&d, 0, sizeof(d));
        return 0;
}

/* ---- destinations ---- */

static int exists(struct copy *k, const struct img_ref *ref, struct img_desc *ret,
                  struct bld_err *err)
{
        struct reg_client *reg = NULL;
        int r = k->c->registry(k->c->user, &reg, err);

        return r == 0 ? reg_manifest_head(reg, ref, ret, err) : r;
}

static int to_registry(struct copy *k, struct bd_end *end, const struct img_desc *d,
                       const char *tag, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc have = {.media_type = NULL};
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO_FREE char *name = NULL;
        struct bd_send_opts so = {.mount_from = k->origin.domain ? &k->origin : NULL,
                                  .progress = k->o->progress,
                                  .user = k->o->user};
        struct bd_push_stats stats = {.uploaded_bytes = 0};
        bool same;
        int r = target(&k->dst->ref, tag, &ref, err);

        if (r < 0)
                return r;
        name = img_ref_format(&ref, IMG_REF_NO_DIGEST);
        if (!name)
                return err_nomem(err, "name");
        if (k->o->skip_existing || k->o->if_changed || k->o->dry_run) {
                r = exists(k, &ref, &have, err);
                if (r < 0)
                        return r;
                if (r > 0 && k->o->skip_existing)
                        return report(k, name, &have.digest, BD_SKIPPED, NULL, err);
                same = r > 0 && digest_eq(&have.digest, &d->digest);
                if (same || k->o->dry_run)
                        return report(k, name, &d->digest, same ? BD_UNCHANGED : BD_COPIED, NULL,
                                      err);
        }
        r = bd_send(end, d, &ref, &so, &stats, err);
        return r == 0 ? report(k, name, &d->digest, stats.unchanged ? BD_UNCHANGED : BD_COPIED,
                               &stats, err)
                      : r;
}

static int to_store(struct copy *k, struct bd_end *end, const struct img_desc *d, const char *tag,
                    struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc have = {.media_type = NULL};
        AUTO(img_desc_done) struct img_desc plain = {.media_type = NULL};
        AUTO_REF struct img_ref given = {.domain = NULL}, ref = {.domain = NULL};
        AUTO_FREE char *name = NULL;
        int r = img_ref_parse(k->dst->name, &given, err);

        if (r == 0)
                r = target(&given, tag, &ref, err);
        if (r < 0)
                return r;
        name = img_ref_format(&ref, IMG_REF_NO_DIGEST);
        if (!name || img_desc_copy(d, &plain) < 0)
                return err_nomem(err, "name");
        img_kvs_free(&plain.annotations); /* what another place called it */
        plain.annotations = (struct img_kvs){.v = NULL};
        if (cas_ref_get(k->c->cas, name, &have, NULL) == 0 && k->o->skip_existing)
                return report(k, name, &have.digest, BD_SKIPPED, NULL, err);
        if (!k->o->dry_run)
                r = bd_end_take(end, d, k->o->progress, k->o->user, err);
        if (r == 0 && !k->o->dry_run)
                r = cas_ref_set(k->c->cas, name, &plain, err);
        return r == 0 ? report(k, name, &d->digest,
                               digest_eq(&have.digest, &d->digest) ? BD_UNCHANGED : BD_COPIED, NULL,
                               err)
                      : r;
}

/* For a daemon an ID in the place of a name means none: 1, 0, or -1 for other places. */
static int unnamed(const struct img_place *dst)
{
        if (dst->at != IMG_AT_DOCKER_DAEMON)
                return -1;
        return str_has_prefix(dst->name, "sha256:");
}

static int to_file(struct copy *k, struct bd_end *end, const struct img_desc *d, const char *tag,
                   struct bld_err *err)
{
        const char *name = tag ? tag : k->dst->name && unnamed(k->dst) <= 0 ? k->dst->name : "";
        struct img_desc *n;
        int r = 0;

        if (!k->o->dry_run)
                r = bd_end_take(end, d, k->o->progress, k->o->user, err);
        if (r < 0)
                return r;
        n = img_descs_push(&k->descs);
        if (!n || img_desc_copy(d, n) < 0 || strv_add(&k->names, name) < 0)
                return err_nomem(err, "copy");
        return report(k, k->dst->text, &d->digest, BD_COPIED, NULL, err);
}

static int put(struct copy *k, struct bd_end *end, const struct img_desc *d, const char *tag,
               struct bld_err *err)
{
        if (k->dst->at == IMG_AT_REGISTRY)
                return to_registry(k, end, d, tag, err);
        return k->dst->at == IMG_AT_STORE ? to_store(k, end, d, tag, err)
                                          : to_file(k, end, d, tag, err);
}

/* ---- referrers ---- */

static int first_time(struct copy *k, const struct digest *d, struct bld_err *err)
{
        char text[DIGEST_STR_MAX];

        digest_format(d, text);
        if (map_get(&k->seen, text))
                return 0;
        if (k->seen.live >= REFERRERS_MAX)
                return err_set(err, BLD_E_LIMIT, "more than %u referrers", REFERRERS_MAX);
        return map_set(&k->seen, text, k) < 0 ? err_nomem(err, "referrers") : 1;
}

/* Under its digest, beside its subject. */
static int put_referrer(struct copy *k, const struct img_desc *d, struct bld_err *err)
{
        AUTO_REF struct img_ref repo = {.domain = NULL};
        struct bd_send_opts so = {
                .mount_from = bd_end_repo(k->src), .progress = k->o->progress, .user = k->o->user};
        int r;

        if (k->dst->at != IMG_AT_REGISTRY) {
                struct img_desc *n;

                r = bd_end_take(k->src, d, k->o->progress, k->o->user, err);
                if (r < 0 || k->dst->at == IMG_AT_STORE)
                        return r < 0 ? r : cas_ref_set(k->c->cas, NULL, d, err);
                n = img_descs_push(&k->descs);
                return !n || img_desc_copy(d, n) < 0 || strv_add(&k->names, "") < 0
                               ? err_nomem(err, "copy")
                               : 0;
        }
        r = img_ref_copy(&k->dst->ref, &repo, err);
        if (r < 0)
                return r;
        free(repo.tag);
        repo.tag = NULL;
        repo.digest = d->digest;
        return bd_send(k->src, d, &repo, &so, NULL, err);
}

static int referrers_of(struct copy *k, const struct digest *subject, unsigned depth,
                        struct bld_err *err);

static int referrer(struct copy *k, const struct img_desc *d, unsigned depth, struct bld_err *err)
{
        int r = first_time(k, &d->digest, err);

        if (r <= 0)
                return r;
        r = put_referrer(k, d, err);
        return r == 0 ? referrers_of(k, &d->digest, depth + 1, err) : r;
}

static int referrers_of(struct copy *k, const struct digest *subject, unsigned depth,
                        struct bld_err *err)
{
        AUTO(img_descs_free) struct img_descs list = {.v = NULL};
        AUTO_STRV struct strv tags = {.v = NULL};
        int r;

        if (depth > REFERRER_DEPTH_MAX)
                return 0;
        r = bd_end_referrers(k->src, subject, &list, &tags, err);
        for (size_t i = 0; r == 0 && i < list.n; i++)
                r = referrer(k, &list.v[i], depth, err);
        for (size_t i = 0; r == 0 && i < tags.n; i++) { /* cosign's */
                AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};

                r = bd_end_resolve_tag(k->src, tags.v[i], &d, err);
                if (r == 0)
                        r = put(k, k->src, &d, tags.v[i], err);
        }
        return r;
}

static int all_referrers(struct copy *k, const struct img_desc *d, struct bld_err *err)
{
        AUTO(bd_closure_done) struct bd_closure x = {.docs = {.v = NULL}};
        struct bd_docs docs = bd_end_docs(k->src);
        int r = bd_closure_from(&docs, d, BD_CLOSURE_SPARSE, &x, err);

        for (size_t i = 0; r == 0 && i < x.docs.n; i++)
                r = referrers_of(k, &x.docs.v[i].digest, 0, err);
        return r;
}

/* ---- the whole ---- */

static int copy_one(struct copy *k, const struct img_desc *root, const char *tag,
                    struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO(bd_end_free_p) struct bd_end *made = NULL;
        int r = prepare(k, root, &d, &made, err);

        if (r == 0)
                r = put(k, made ? made : k->src, &d, tag, err);
        /* of a converted image they would say nothing: they are about the digest it had */
        if (r == 0 && k->o->referrers && !k->o->dry_run && digest_eq(&d.digest, &root->digest))
                r = all_referrers(k, &d, err);
        return r;
}

static int copy_tags(struct copy *k, struct bld_err *err)
{
        AUTO_STRV struct strv tags = {.v = NULL};
        int r = list_tags(k, &tags, err);

        for (size_t i = 0; r == 0 && i < tags.n; i++) {
                AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};

                r = bd_end_resolve_tag(k->src, tags.v[i], &d, err);
                if (r == 0)
                        r = copy_one(k, &d, tags.v[i], err);
                if (r < 0)
                        return err_wrap(err, r, "tag %s", tags.v[i]);
        }
        return r;
}

/* fd: where it goes instead, or -1. In a docker archive names are references; in a layout they are
 * what the user called them. */
static int save_all(struct copy *k, int fd, struct bld_err *err)
{
        bool docker = k->dst->at != IMG_AT_OCI && k->dst->at != IMG_AT_OCI_ARCHIVE;
        struct bd_save_opts so = {.dest = fd >= 0 ? "-" : k->dst->path,
                                  .out_fd = fd >= 0 ? fd : k->o->out_fd,
                                  .as_dir = k->dst->at == IMG_AT_OCI,
                                  .docker = docker};
        AUTO_FREE struct bd_saved *v = mem_zalloc(k->descs.n, sizeof(*v));
        AUTO_FREE struct strv *names = mem_zalloc(k->descs.n, sizeof(*names));
        int r = v && names ? 0 : err_nomem(err, "copy");

        for (size_t i = 0; r == 0 && i < k->descs.n; i++) {
                v[i].desc = &k->descs.v[i];
                if (!k->names.v[i][0])
                        continue;
                names[i] = (struct strv){.v = &k->names.v[i], .n = 1}; /* borrowed */
                if (docker)
                        v[i].names = &names[i];
                else
                        v[i].tags = &names[i];
        }
        return r == 0 ? bd_save(k->c, v, k->descs.n, &so, err) : r;
}

/* The daemon's own word on what the image is called there: its ID is a config's digest or a
 * manifest's, as its store has it. */
static int to_daemon(struct copy *k, struct bld_err *err)
{
        AUTO_FREE char *loaded = NULL;
        AUTO_FD int fd = -1;
        const char *name;
        int64_t size;
        int r = bd_scratch(k->c, &fd, err);

        if (r == 0)
                r = save_all(k, fd, err);
        if (r < 0)
                return r;
        size = lseek(fd, 0, SEEK_END);
        if (size < 0)
                return err_sys(err, errno, "size of an archive");
        r = reg_dockerd_load(k->c->cancel, fd, (uint64_t)size, &loaded, err);
        if (r < 0)
                return r;
        name = k->names.n && k->names.v[0][0] ? k->names.v[0] : loaded;
        return name && k->out->n
                       ? reg_dockerd_id(k->c->cancel, name, &k->out->v[k->out->n - 1].id, err)
                       : 0;
}

/* What is written all at once. */
static int write_out(struct copy *k, struct bld_err *err)
{
        if (k->o->dry_run)
                return 0;
        if (img_at_is_file(k->dst->at))
                return save_all(k, -1, err);
        return k->dst->at == IMG_AT_DOCKER_DAEMON ? to_daemon(k, err) : 0;
}

static bool names_one(const struct img_place *p)
{
        AUTO_REF struct img_ref own = {.domain = NULL};
        const struct img_ref *ref = &p->ref;

        if (img_at_is_file(p->at))
                return p->digits || p->name;
        if (p->at == IMG_AT_STORE && img_ref_parse(p->name, &own, NULL) == 0)
                ref = &own;
        return ref->tag || digest_is_set(&ref->digest);
}

static int check(struct copy *k, const struct img_place *src, struct bld_err *err)
{
        bool many = k->o->all_tags || k->o->tag_filter;
        bool tagged = names_one(src);

        if (many && tagged)
                return err_set(err, BLD_E_USAGE, "all tags of \"%.200s\", which names one",
                               src->text);
        if (many && names_one(k->dst))
                return err_set(err, BLD_E_USAGE, "all tags to \"%.200s\", which names one",
                               k->dst->text);
        if (k->dst->digits)
                return err_set(err, BLD_E_USAGE,
                               "\"%.200s\": what is written has the digest it has", k->dst->text);
        if (many && k->dst->at == IMG_AT_DOCKER_DAEMON)
                return err_set(err, BLD_E_USAGE, "a docker daemon takes one image at a time");
        if ((k->dst->at == IMG_AT_DOCKER_ARCHIVE && k->dst->name) || unnamed(k->dst) == 0) {
                AUTO_REF struct img_ref ref = {.domain = NULL};

                return img_ref_parse(k->dst->name, &ref, err);
        }
        return 0;
}

static int run(struct copy *k, const struct img_place *src, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        int r = check(k, src, err);

        if (r == 0)
                r = bd_end_open(k->c, src, k->o->in_fd, &k->src, err);
        if (r == 0 && bd_end_repo(k->src))
                r = img_ref_copy(bd_end_repo(k->src), &k->origin, err);
        if (r < 0)
                return r;
        if (src->at == IMG_AT_STORE) /* an image id is no name: then nothing is mounted */
                (void)!img_ref_parse(src->name, &k->origin, NULL);
        if (k->o->all_tags || k->o->tag_filter) {
                r = copy_tags(k, err);
        } else {
                r = bd_end_resolve(k->src, &root, err);
                if (r == 0)
                        r = copy_one(k, &root, NULL, err);
        }
        return r == 0 ? write_out(k, err) : r;
}

static void copy_done(struct copy *k)
{
        img_ref_done(&k->origin);
        img_descs_free(&k->descs);
        strv_done(&k->names);
        map_done(&k->seen);
}

int bd_copy(struct bd_ctx *c, const struct img_place *src, const struct img_place *dst,
            const struct bd_copy_opts *o, struct bd_copieds *ret, struct bld_err *err)
{
        struct copy k = {.c = c, .o = o, .from = src, .dst = dst, .out = ret};
        int r;

        map_init(&k.seen, NULL);
        r = run(&k, src, err);
        bd_end_free(k.src);
        copy_done(&k);
        return r;
}

int bd_put(struct bd_end *from, const struct img_desc *d, const struct img_place *dst,
           const struct bd_copy_opts *o, struct bd_copieds *ret, struct bld_err *err)
{
        struct copy k = {
                .c = bd_end_ctx(from), .o = o, .from = dst, .dst = dst, .src = from, .out = ret};
        int r;

        map_init(&k.seen, NULL);
        r = put(&k, from, d, NULL, err);
        if (r == 0)
                r = write_out(&k, err);
        copy_done(&k);
        return r;
}
