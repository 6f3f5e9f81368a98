/* The small pieces: tags, digests, documents, blobs, referrers of a registry (or of any place). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/input.h"
#include "base/sys.h"
#include "bld/registry.h"
#include "builder/transport.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"
#include "registry/registry.h"

static int client(struct bld *b, struct reg_client **ret, struct bld_err *err)
{
        return b->ctx.registry(b->ctx.user, ret, err);
}

static void digest_out(const struct digest *d, char ret[160])
{
        char text[DIGEST_STR_MAX];

        digest_format(d, text);
        (void)str_copy(ret, 160, text);
}

/* A place that must be a registry's. */
static int remote_place(const char *s, struct img_place *ret, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        int r = lib_place(s, IMG_AT_REGISTRY, &p, err);

        if (r == 0 && p.at != IMG_AT_REGISTRY)
                r = err_set(err, BLD_E_USAGE, "\"%.200s\" is not in a registry", s);
        if (r < 0)
                return r;
        *ret = p;
        memset(&p, 0, sizeof(p));
        return 0;
}

/* ---- lists ---- */

static int strings_json(struct strv *a, char **ret, struct bld_err *err)
{
        AUTO_JS struct js *arr = NULL;

        strv_sort(a);
        arr = js_from_strv(a);
        return arr ? lib_json_text(arr, ret, err) : err_nomem(err, "list");
}

int bld_tags(struct bld *b, const char *repo, char **ret_json, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        AUTO_STRV struct strv tags = {.v = NULL};
        int r = lib_place(repo, IMG_AT_REGISTRY, &p, err);

        if (r == 0)
                r = bd_place_tags(&b->ctx, &p, &tags, err);
        return r == 0 ? strings_json(&tags, ret_json, err) : r;
}

int bld_catalog(struct bld *b, const char *host, char **ret_json, struct bld_err *err)
{
        AUTO_STRV struct strv names = {.v = NULL};
        struct reg_client *reg = NULL;
        int r = client(b, &reg, err);

        if (str_has_prefix(host, "docker://"))
                host += strlen("docker://");
        if (r == 0)
                r = reg_catalog(reg, host, &names, err);
        return r == 0 ? strings_json(&names, ret_json, err) : r;
}

static int referrer_row(const struct img_desc *d, struct js *arr)
{
        AUTO_JS struct js *o = js_obj();
        AUTO_JS struct js *a = js_obj();
        char text[DIGEST_STR_MAX];
        int r = o && a ? 0 : BLD_E_NOMEM;

        digest_format(&d->digest, text);
        if (r == 0)
                r = js_set_str(o, "digest", text);
        if (r == 0)
                r = js_set_str(o, "mediaType", d->media_type);
        if (r == 0)
                r = js_set(o, "artifactType",
                           d->artifact_type ? js_new_str(d->artifact_type) : js_new_null());
        if (r == 0)
                r = js_set_i64(o, "size", (int64_t)d->size);
        for (size_t i = 0; r == 0 && i < d->annotations.n; i++)
                r = js_set_str(a, d->annotations.v[i].key, d->annotations.v[i].value);
        if (r == 0)
                r = js_set(o, "annotations", js_ref(a));
        return r == 0 ? js_push(arr, js_ref(o)) : r;
}

int bld_referrers(struct bld *b, const char *ref, const char *artifact_type, char **ret_json,
                  struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        AUTO(img_descs_free) struct img_descs list = {.v = NULL};
        AUTO_JS struct js *arr = js_arr();
        int r = arr ? lib_place(ref, IMG_AT_REGISTRY, &p, err) : err_nomem(err, "referrers");

        if (r == 0)
                r = bd_place_referrers(&b->ctx, &p, artifact_type, &list, err);
        for (size_t i = 0; r == 0 && i < list.n; i++)
                if (referrer_row(&list.v[i], arr) < 0)
                        r = err_nomem(err, "referrers");
        return r == 0 ? lib_json_text(arr, ret_json, err) : r;
}

/* ---- documents ---- */

static int document(struct bld *b, const char *ref, const char *platform, struct sb *out,
                    struct img_desc *ret, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        struct img_platform want;
        bool one = platform && platform[0];
        int r = img_place_parse(ref, &p, err);

        if (r == 0 && one)
                r = lib_platform(platform, &want, err);
        return r == 0 ? bd_open_document(&b->ctx, &p, b->o.offline, one ? &want : NULL, out, ret,
                                         err)
                      : r;
}

int bld_digest(struct bld *b, const char *ref, const char *platform, char ret_digest[160],
               struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        int r = document(b, ref, platform, NULL, &d, err);

        if (r == 0)
                digest_out(&d.digest, ret_digest);
        return r;
}

int bld_manifest_get(struct bld *b, const char *ref, const char *platform, char **ret,
                     size_t *ret_len, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        size_t len;
        char *s;
        int r = document(b, ref, platform, &text, &d, err);

        if (r < 0)
                return r;
        len = text.len;
        s = sb_take(&text);
        if (!s)
                return err_nomem(err, "document");
        *ret = s;
        *ret_len = len;
        return 0;
}

int bld_manifest_put(struct bld *b, const char *ref, const char *media_type, const void *text,
                     size_t len, char ret_digest[160], struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        struct reg_client *reg = NULL;
        struct digest d;
        struct hasher h;
        int r = remote_place(ref, &p, err);

        if (r < 0)
                return r;
        if (!media_type)
                media_type = img_guess_media_type(text, len);
        if (!media_type)
                return err_set(err, BLD_E_INVALID,
                               "the document does not look like a manifest or an index");
        hasher_init(&h, digest_is_set(&p.ref.digest) ? p.ref.digest.algo : DIGEST_SHA256);
        hasher_add(&h, text, len);
        hasher_end(&h, &d);
        if (digest_is_set(&p.ref.digest) && !digest_eq(&d, &p.ref.digest)) {
                char have[DIGEST_STR_MAX];

                digest_format(&d, have);
                return err_set(err, BLD_E_INVALID, "the document has the digest %s", have);
        }
        r = client(b, &reg, err);
        if (r == 0)
                r = reg_manifest_put(reg, &p.ref, media_type, text, len, err);
        if (r == 0)
                digest_out(&d, ret_digest);
        return r;
}

int bld_tag_remote(struct bld *b, const char *ref, const char *tag, char ret_digest[160],
                   struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL}, to = {.text = NULL};
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        struct reg_client *reg = NULL;
        AUTO_FREE char *full = NULL;
        int r = remote_place(ref, &p, err);

        if (r < 0)
                return r;
        /* a bare tag is one of the same repository */
        if (!strpbrk(tag, ":/@") &&
            asprintf(&full, "%s/%s:%s", p.ref.domain, p.ref.path, tag) < 0) {
                full = NULL;
                return err_nomem(err, "tag");
        }
        r = remote_place(full ? full : tag, &to, err);
        if (r == 0 && (!str_eq(p.ref.domain, to.ref.domain) || !str_eq(p.ref.path, to.ref.path))) {
                r = err_set(err, BLD_E_USAGE, "\"%.200s\" is another repository", tag);
                return err_try(err, r, "bld copy %s %s", ref, tag);
        }
        if (r == 0)
                r = bd_open_document(&b->ctx, &p, false, NULL, &text, &d, err);
        if (r == 0)
                r = client(b, &reg, err);
        if (r == 0)
                r = reg_manifest_put(reg, &to.ref, d.media_type, sb_text(&text), text.len, err);
        if (r == 0)
                digest_out(&d.digest, ret_digest);
        return r;
}

/* ---- blobs ---- */

struct blob_out {
        int fd;
        bool rewinds;
};

static int out_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        const struct blob_out *o = user;

        return fd_write_all(o->fd, p, n, err);
}

static int out_rewind(void *user, struct bld_err *err)
{
        const struct blob_out *o = user;

        if (!o->rewinds || ftruncate(o->fd, 0) < 0 || lseek(o->fd, 0, SEEK_SET) < 0)
                return err_set(err, BLD_E_NETWORK,
                               "the download has to start again, but its first bytes are written");
        return 0;
}

/* The size comes with the answer; asking first also says what is not there. */
static int blob_size(struct reg_client *reg, const struct img_ref *ref, struct img_desc *d,
                     struct bld_err *err)
{
        char text[DIGEST_STR_MAX];
        int r = reg_blob_size(reg, ref, &d->digest, &d->size, err);

        if (r != 0)
                return MIN(r, 0);
        digest_format(&d->digest, text);
        return err_set(err, BLD_E_NOT_FOUND, "blob %s not found in %s/%s", text, ref->domain,
                       ref->path);
}

static int blob_stream(struct reg_client *reg, const struct img_ref *ref, struct img_desc *d,
                       int fd, bool rewinds, struct bld_err *err)
{
        struct blob_out o = {.fd = fd, .rewinds = rewinds};
        struct reg_sink sink = {.write = out_write, .rewind = out_rewind, .user = &o};

        return reg_blob_get(reg, ref, d, &sink, err);
}

int bld_blob_get(struct bld *b, const char *ref, const char *path, int out_fd, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        struct reg_client *reg = NULL;
        struct img_desc d = {.size = 0};
        struct bd_file_out *f = NULL;
        int fd = -1;
        int r = remote_place(ref, &p, err);

        if (r == 0 && !digest_is_set(&p.ref.digest))
                r = err_set(err, BLD_E_USAGE, "\"%.200s\" names no blob\ntry: REPOSITORY@DIGEST",
                            ref);
        if (r == 0)
                r = client(b, &reg, err);
        d.digest = p.ref.digest;
        if (r == 0)
                r = blob_size(reg, &p.ref, &d, err);
        if (r < 0)
                return r;
        if (!path || strcmp(path, "-") == 0)
                return blob_stream(reg, &p.ref, &d, out_fd, false, err);
        r = bd_file_out_open(&b->ctx, path, &f, &fd, err);
        if (r == 0)
                r = blob_stream(reg, &p.ref, &d, fd, true, err);
        if (r == 0)
                r = bd_file_out_commit(f, err);
        bd_file_out_free(f);
        return r;
}

struct blob_in {
        int fd;
};

static ssize_t in_pread(void *user, void *p, size_t n, uint64_t off, struct bld_err *err)
{
        const struct blob_in *in = user;
        ssize_t k = sys_pread(in->fd, p, n, (int64_t)off);

        return k < 0 ? err_sys(err, errno, "read the blob") : k;
}

/* Digest and size of a file; a pipe is copied to one without a name first. */
static int measure(struct bld *b, int *fd, struct img_desc *d, struct bld_err *err)
{
        AUTO_FREE char *buf = mem_alloc(256u << 10);
        AUTO_FD int copy = -1;
        struct hasher h;
        bool seeks = lseek(*fd, 0, SEEK_SET) == 0;

        if (!buf)
                return err_nomem(err, "blob");
        if (!seeks) {
                copy = sys_openat(cas_root_fd(b->cas), "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
                if (copy < 0)
                        return err_sys(err, errno, "make room for a blob");
        }
        hasher_init(&h, DIGEST_SHA256);
        for (;;) {
                ssize_t k = input_read(*fd, buf, 256u << 10, &b->cancel, err);
                int r;

                if (k < 0)
                        return err_wrap(err, (int)k, "the blob");
                if (k == 0)
                        break;
                hasher_add(&h, buf, (size_t)k);
                d->size += (uint64_t)k;
                r = copy >= 0 ? fd_write_all(copy, buf, (size_t)k, err) : 0;
                if (r < 0)
                        return r;
        }
        hasher_end(&h, &d->digest);
        if (copy >= 0) {
                fd_close(fd);
                *fd = take_fd(&copy);
        }
        return 0;
}

int bld_blob_put(struct bld *b, const char *repo, const char *path, int in_fd, char ret_digest[160],
                 struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        AUTO_FD int fd = -1;
        struct img_desc d = {.size = 0};
        struct blob_in in;
        struct reg_source src = {.pread = in_pread, .user = &in};
        struct reg_client *reg = NULL;
        int r = remote_place(repo, &p, err);

        if (r < 0)
                return r;
        fd = strcmp(path, "-") == 0 ? fcntl(in_fd, F_DUPFD_CLOEXEC, 3) : input_open(path);
        if (fd < 0)
                return err_set(err, BLD_E_INVALID, "open %s: %s", path, strerror(errno));
        r = measure(b, &fd, &d, err);
        if (r == 0 && digest_is_set(&p.ref.digest) && !digest_eq(&p.ref.digest, &d.digest))
                r = err_set(err, BLD_E_INVALID,
                            "the file does not have the digest it is put under");
        if (r == 0)
                r = client(b, &reg, err);
        in.fd = fd;
        if (r == 0)
                r = reg_blob_put(reg, &p.ref, &d, &src, NULL, NULL, err);
        if (r == 0)
                digest_out(&d.digest, ret_digest);
        return r;
}
