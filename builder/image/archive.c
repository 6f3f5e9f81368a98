/* Destinations of exporters, and the archive form of an image layout. */
#include "builder/image/archive_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"
#include "builder/image/move_priv.h"

#define COPY_BYTES (256u << 10)
#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"

/* ---- destinations ---- */

int bd_temp_name(const char *path, const char *suffix, char **ret, struct bld_err *err)
{
        uint64_t tag = 0;
        size_t n = strlen(path);

        while (n > 1 && path[n - 1] == '/')
                n--;
        if (getrandom(&tag, sizeof(tag), 0) != (ssize_t)sizeof(tag))
                return err_sys(err, errno, "getrandom");
        if (asprintf(ret, "%.*s.%016llx%s", (int)n, path, (unsigned long long)tag, suffix) < 0) {
                *ret = NULL;
                return err_nomem(err, "name of a temporary file");
        }
        return 0;
}

static int no_space(struct bld_err *err, int errnum, const char *path)
{
        return err_sys(err, errnum, "write %s", path ? path : "the output");
}

int bd_dest_open(struct bd_ctx *c, const char *dest, int out_fd, struct bd_dest *ret,
                 struct bld_err *err)
{
        struct bd_dest d = {.fd = -1, .cancel = c->cancel};
        struct stat st;
        int r;

        if (strcmp(dest, "-") == 0) {
                if (out_fd < 0)
                        return err_set(err, BLD_E_USAGE, "there is no standard output to write to");
                d.fd = out_fd;
                *ret = d;
                return 0;
        }
        d.path = dest;
        d.owned = true;
        if (stat(dest, &st) == 0 && S_ISDIR(st.st_mode))
                return err_set(err, BLD_E_INVALID, "%s is a folder, not a file to write", dest);
        if (stat(dest, &st) == 0 && !S_ISREG(st.st_mode)) {
                d.fd = sys_openat(AT_FDCWD, dest, O_WRONLY | O_CLOEXEC | O_NOCTTY, 0);
                if (d.fd < 0)
                        return err_sys(err, errno, "open %s", dest);
                *ret = d;
                return 0;
        }
        r = bd_temp_name(dest, ".tmp", &d.tmp, err);
        if (r < 0)
                return r;
        d.fd = sys_openat(AT_FDCWD, d.tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                          0666);
        if (d.fd < 0) {
                r = err_sys(err, errno, "create %s", dest);
                free(d.tmp);
                return r;
        }
        *ret = d;
        return 0;
}

static int dest_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct bd_dest *d = user;
        const char *at = p;
        int r = cancel_check(d->cancel, err);

        while (r == 0 && n > 0) {
                ssize_t k = sys_write(d->fd, at, n);

                if (k < 0)
                        return no_space(err, errno, d->path);
                at += k;
                n -= (size_t)k;
        }
        return r;
}

struct ly_sink bd_dest_sink(struct bd_dest *d)
{
        return (struct ly_sink){.write = dest_write, .user = d};
}

static int sync_parent(const char *path, struct bld_err *err)
{
        AUTO_FREE char *dir = path_dir(path);
        AUTO_FD int fd = -1;

        if (!dir)
                return err_nomem(err, path);
        fd = sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (fd < 0 || sys_fsync(fd) < 0)
                return err_sys(err, errno, "sync folder of %s", path);
        return 0;
}

int bd_dest_commit(struct bd_dest *d, struct bld_err *err)
{
        if (!d->owned)
                return 0;
        if (d->tmp && sys_fsync(d->fd) < 0)
                return no_space(err, errno, d->path);
        if (close(take_fd(&d->fd)) < 0)
                return no_space(err, errno, d->path);
        if (!d->tmp)
                return 0;
        if (sys_rename(AT_FDCWD, d->tmp, AT_FDCWD, d->path) < 0)
                return err_sys(err, errno, "rename to %s", d->path);
        free(d->tmp);
        d->tmp = NULL;
        return sync_parent(d->path, err);
}

void bd_dest_done(struct bd_dest *d)
{
        if (d->owned)
                fd_close(&d->fd);
        if (d->tmp) {
                (void)sys_unlinkat(AT_FDCWD, d->tmp, 0); /* nobody else knows the name */
                free(d->tmp);
        }
        memset(d, 0, sizeof(*d));
        d->fd = -1;
}

/* ---- what goes in ---- */

void bd_blob_path(const struct digest *d, char out[BD_BLOB_PATH_MAX])
{
        char hex[DIGEST_HEX_MAX];

        digest_hex(d, hex);
        (void)snprintf(out, BD_BLOB_PATH_MAX, "blobs/%s/%s", digest_algo_name(d->algo), hex);
}

void bd_blob_list_done(struct bd_blob_list *l)
{
        img_descs_free(&l->docs);
        img_descs_free(&l->blobs);
}

static int add_new(struct map *seen, const struct img_descs *from, bool configs,
                   struct img_descs *to, struct bld_err *err)
{
        for (size_t i = 0; i < from->n; i++) {
                char text[DIGEST_STR_MAX];
                struct img_desc *d;

                if (img_mt_is_config(from->v[i].media_type) != configs)
                        continue;
                digest_format(&from->v[i].digest, text);
                if (map_get(seen, text))
                        continue;
                d = img_descs_push(to);
                if (!d || img_desc_copy(&from->v[i], d) < 0 || map_set(seen, text, seen) < 0)
                        return err_nomem(err, "list of blobs");
        }
        return 0;
}

static int list_make(struct bd_ctx *c, const struct bd_saved *v, size_t n, struct map *seen,
                     struct bd_blob_list *l, struct bld_err *err)
{
        /* Readers of a stream like documents first, then configs, then layers. */
        for (int configs = 1; configs >= 0; configs--) {
                for (size_t i = 0; i < n; i++) {
                        AUTO(bd_closure_done) struct bd_closure x = {.docs = {.v = NULL}};
                        int r = bd_closure_make(c, v[i].desc, 0, &x, err);

                        if (r == 0 && configs)
                                r = add_new(seen, &x.docs, false, &l->docs, err);
                        if (r == 0)
                                r = add_new(seen, &x.blobs, configs, &l->blobs, err);
                        if (r < 0)
                                return r;
                }
        }
        return bd_fetch_missing(c, &l->blobs, NULL, NULL, NULL, err);
}

int bd_blob_list_make(struct bd_ctx *c, const struct bd_saved *v, size_t n,
                      struct bd_blob_list *ret, struct bld_err *err)
{
        struct bd_blob_list l = {.docs = {.v = NULL}};
        struct map seen;
        int r;

        map_init(&seen, NULL);
        r = list_make(c, v, n, &seen, &l, err);
        map_done(&seen);
        if (r < 0) {
                bd_blob_list_done(&l);
                return r;
        }
        *ret = l;
        return 0;
}

/* A root descriptor as an entry: what a former layout called it is left behind. */
static struct img_desc *add_entry(const struct img_desc *d, struct img_descs *to)
{
        struct img_desc *n = img_descs_push(to);

        if (!n || img_desc_copy(d, n) < 0)
                return NULL;
        img_kvs_free(&n->annotations);
        n->annotations = (struct img_kvs){.v = NULL};
        for (size_t i = 0; i < d->annotations.n; i++) {
                const struct img_kv *kv = &d->annotations.v[i];

                if (strcmp(kv->key, BD_ANN_REF_NAME) == 0 ||
                    strcmp(kv->key, BD_ANN_IMAGE_NAME) == 0 || str_has_prefix(kv->key, "bld."))
                        continue;
                if (img_kvs_set(&n->annotations, kv->key, kv->value) < 0)
                        return NULL;
        }
        return n;
}

static int add_named(const struct img_desc *d, const char *name, struct img_descs *to,
                     struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO_FREE char *full = NULL;
        struct img_desc *n;
        int r = img_ref_parse(name, &ref, err);

        if (r < 0)
                return r;
        full = img_ref_format(&ref, IMG_REF_DEFAULT_TAG | IMG_REF_NO_DIGEST);
        n = add_entry(d, to);
        if (!full || !n || img_kvs_set(&n->annotations, BD_ANN_IMAGE_NAME, full) < 0 ||
            img_kvs_set(&n->annotations, BD_ANN_REF_NAME, ref.tag ? ref.tag : "latest") < 0)
                return err_nomem(err, "index of a layout");
        return 0;
}

/* Readers go by ref.name, which is the tag: where two entries have one tag, the later one is named
 * in full. */
int bd_index_unique(struct img_descs *list, struct bld_err *err)
{
        for (size_t i = 1; i < list->n; i++) {
                struct img_kvs *a = &list->v[i].annotations;
                const char *name = img_kvs_get(a, BD_ANN_REF_NAME);
                const char *full = img_kvs_get(a, BD_ANN_IMAGE_NAME);

                for (size_t k = 0; name && full && k < i; k++) {
                        if (!str_eq(name, img_kvs_get(&list->v[k].annotations, BD_ANN_REF_NAME)))
                                continue;
                        if (img_kvs_set(a, BD_ANN_REF_NAME, full) < 0)
                                return err_nomem(err, "index of a layout");
                        break;
                }
        }
        return 0;
}

int bd_index_entries(const struct bd_saved *v, size_t n, struct img_descs *ret, struct bld_err *err)
{
        for (size_t i = 0; i < n; i++) {
                int r = 0;

                if ((!v[i].names || v[i].names->n == 0) && (!v[i].tags || v[i].tags->n == 0) &&
                    !add_entry(v[i].desc, ret))
                        return err_nomem(err, "index of a layout");
                for (size_t k = 0; v[i].tags && k < v[i].tags->n; k++) {
                        struct img_desc *d = add_entry(v[i].desc, ret);

                        if (!d ||
                            img_kvs_set(&d->annotations, BD_ANN_REF_NAME, v[i].tags->v[k]) < 0)
                                return err_nomem(err, "index of a layout");
                }
                for (size_t k = 0; r == 0 && v[i].names && k < v[i].names->n; k++)
                        r = add_named(v[i].desc, v[i].names->v[k], ret, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- the archive ---- */

struct archive {
        struct bd_ctx *c;
        struct ly_writer *w;
        int64_t mtime_ns;
        char *buf; /* COPY_BYTES */
};

static int put_folder(struct archive *a, char *path, struct bld_err *err)
{
        struct ly_entry e = {.path = path, .type = LY_DIR, .mode = 0755, .mtime_ns = a->mtime_ns};

        return ly_writer_entry(a->w, &e, err);
}

static int put_bytes(struct archive *a, char *path, const void *p, size_t n, struct bld_err *err)
{
        struct ly_entry e = {
                .path = path, .type = LY_FILE, .mode = 0644, .size = n, .mtime_ns = a->mtime_ns};
        int r = ly_writer_entry(a->w, &e, err);

        return r < 0 || n == 0 ? r : ly_writer_data(a->w, p, n, err);
}

static int put_blob(struct archive *a, const struct img_desc *d, struct bld_err *err)
{
        char path[BD_BLOB_PATH_MAX];
        struct ly_entry e = {.path = path,
                             .type = LY_FILE,
                             .mode = 0644,
                             .size = d->size,
                             .mtime_ns = a->mtime_ns};
        AUTO_FD int fd = -1;
        uint64_t left = d->size;
        struct digest have;
        struct hasher h;
        int r = cas_blob_open(a->c->cas, &d->digest, &fd, err);

        bd_blob_path(&d->digest, path);
        hasher_init(&h, d->digest.algo);
        if (r == 0)
                r = ly_writer_entry(a->w, &e, err);
        while (r == 0 && left > 0) {
                ssize_t k = sys_read(fd, a->buf, MIN(left, COPY_BYTES));

                if (k < 0)
                        return err_sys(err, errno, "read %s", path);
                if (k == 0)
                        return err_set(err, BLD_E_CORRUPT, "%s of the store is cut short", path);
                hasher_add(&h, a->buf, (size_t)k);
                r = ly_writer_data(a->w, a->buf, (size_t)k, err);
                left -= (uint64_t)k;
        }
        hasher_end(&h, &have);
        if (r == 0 && !digest_eq(&have, &d->digest)) /* says so, and moves it aside */
                r = cas_blob_verify(a->c->cas, &d->digest, err);
        return r;
}

static int put_index(struct archive *a, const struct bd_saved *v, size_t n, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        char path[] = "index.json";
        int r = bd_index_entries(v, n, &ix.manifests, err);

        if (r == 0)
                r = bd_index_unique(&ix.manifests, err);
        ix.media_type = mem_strdup(MT_OCI_INDEX);
        if (r == 0 && !ix.media_type)
                return err_nomem(err, path);
        if (r == 0)
                r = img_index_encode(&ix, &text, err);
        return r < 0 ? r : put_bytes(a, path, sb_text(&text), text.len, err);
}

static int put_docker(struct archive *a, const struct bd_saved *v, size_t n, struct bld_err *err)
{
        AUTO_SB struct sb manifest = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_SB struct sb repositories = SB_INIT(IMG_MANIFEST_MAX);
        char path[] = "manifest.json", path2[] = "repositories";
        int r = bd_docker_documents(a->c, v, n, &manifest, &repositories, err);

        if (r == 0)
                r = put_bytes(a, path, sb_text(&manifest), manifest.len, err);
        if (r == 0 && repositories.len)
                r = put_bytes(a, path2, sb_text(&repositories), repositories.len, err);
        return r;
}

static int put_folders(struct archive *a, const struct bd_blob_list *l, struct bld_err *err)
{
        char blobs[] = "blobs", sha256[] = "blobs/sha256", sha512[] = "blobs/sha512";
        bool has512 = false;
        int r = put_folder(a, blobs, err);

        for (size_t i = 0; i < l->docs.n; i++)
                has512 = has512 || l->docs.v[i].digest.algo == DIGEST_SHA512;
        for (size_t i = 0; i < l->blobs.n; i++)
                has512 = has512 || l->blobs.v[i].digest.algo == DIGEST_SHA512;
        if (r == 0)
                r = put_folder(a, sha256, err);
        if (r == 0 && has512)
                r = put_folder(a, sha512, err);
        return r;
}

static int write_archive(struct archive *a, const struct bd_saved *v, size_t n, bool docker,
                         const struct bd_blob_list *l, struct bld_err *err)
{
        char layout[] = "oci-layout";
        int r = put_bytes(a, layout, LAYOUT_TEXT, strlen(LAYOUT_TEXT), err);

        if (r == 0)
                r = put_index(a, v, n, err);
        if (r == 0 && docker)
                r = put_docker(a, v, n, err);
        if (r == 0)
                r = put_folders(a, l, err);
        for (size_t i = 0; r == 0 && i < l->docs.n; i++)
                r = put_blob(a, &l->docs.v[i], err);
        for (size_t i = 0; r == 0 && i < l->blobs.n; i++)
                r = put_blob(a, &l->blobs.v[i], err);
        return r == 0 ? ly_writer_end(a->w, err) : r;
}

static int save_archive(struct bd_ctx *c, const struct bd_saved *v, size_t n,
                        const struct bd_save_opts *o, const struct bd_blob_list *l,
                        struct bld_err *err)
{
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        AUTO_FREE char *buf = mem_alloc(COPY_BYTES);
        AUTO(bd_dest_done) struct bd_dest dest = {.fd = -1};
        struct archive a = {.c = c, .mtime_ns = time_ns(o->mtime_sec, 0), .buf = buf};
        struct ly_sink sink;
        int r;

        if (!buf)
                return err_nomem(err, "archive");
        r = bd_dest_open(c, o->dest, o->out_fd, &dest, err);
        if (r < 0)
                return r;
        sink = bd_dest_sink(&dest);
        r = ly_writer_new(&sink, NULL, &w, err);
        a.w = w;
        if (r == 0)
                r = write_archive(&a, v, n, o->docker, l, err);
        return r == 0 ? bd_dest_commit(&dest, err) : r;
}

int bd_save(struct bd_ctx *c, const struct bd_saved *v, size_t n, const struct bd_save_opts *o,
            struct bld_err *err)
{
        AUTO(bd_blob_list_done) struct bd_blob_list l = {.docs = {.v = NULL}};
        int r;

        if (!o->dest || !o->dest[0])
                return err_set(err, BLD_E_USAGE, "there is no destination to write the image to");
        if (o->as_dir)
                return bd_write_layout_dir(c, v, n, o->dest, err);
        r = bd_blob_list_make(c, v, n, &l, err);
        return r == 0 ? save_archive(c, v, n, o, &l, err) : r;
}
