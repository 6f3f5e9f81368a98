/* OCI image layouts: the archive, and the folder that may already hold other images. */
#include "builder/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "builder/image/archive_priv.h"
#include "builder/image/move_priv.h"

#define LAYOUT_NAME "oci-layout"
#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"
#define LOCK_NAME "index.json.lock"
#define COPY_BYTES (1u << 20)

int bd_emit_oci(struct bd_ctx *c, const struct bd_export *x, struct bld_err *err)
{
        struct bd_saved one = {.desc = x->desc, .names = x->names};
        struct bd_save_opts o = {.dest = x->dest,
                                 .out_fd = x->out_fd,
                                 .as_dir = x->as_dir,
                                 .mtime_sec = x->mtime_sec};

        return bd_save(c, &one, 1, &o, err);
}

/* ---- blobs into a folder ---- */

static int copy_bytes(int from, int to, const char *path, struct bld_err *err)
{
        AUTO_FREE char *buf = NULL;

        for (;;) { /* shares the blocks where the file system can */
                ssize_t k = copy_file_range(from, NULL, to, NULL, COPY_BYTES << 4, 0);

                if (k == 0)
                        return 0;
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS ||
                              errno == EOPNOTSUPP || errno == EBADF || errno == EPERM))
                        break;
                if (k < 0)
                        return err_sys(err, errno, "write %s", path);
        }
        buf = mem_alloc(COPY_BYTES);
        if (!buf)
                return err_nomem(err, path);
        for (;;) {
                ssize_t k = sys_read(from, buf, COPY_BYTES);
                int r;

                if (k < 0)
                        return err_sys(err, errno, "read a blob");
                if (k == 0)
                        return 0;
                r = fd_write_all(to, buf, (size_t)k, err);
                if (r < 0)
                        return err_wrap(err, r, "%s", path);
        }
}

static int write_blob(struct bd_ctx *c, int dir, const struct img_desc *d, const char *path,
                      const char *tmp, struct bld_err *err)
{
        AUTO_FD int from = -1;
        AUTO_FD int to = -1;
        struct stat st;
        int r = cas_blob_verify(c->cas, &d->digest, err); /* nothing damaged leaves the store */

        if (r == 0)
                r = cas_blob_open(c->cas, &d->digest, &from, err);
        if (r < 0)
                return r;
        to = sys_openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (to < 0)
                return err_sys(err, errno, "create %s", path);
        r = copy_bytes(from, to, path, err);
        if (r < 0)
                return r;
        if (fstat(to, &st) < 0 || sys_fsync(to) < 0)
                return err_sys(err, errno, "write %s", path);
        if ((uint64_t)st.st_size != d->size)
                return err_set(err, BLD_E_CORRUPT, "%s of the store has another size", path);
        if (close(take_fd(&to)) < 0)
                return err_sys(err, errno, "write %s", path);
        if (sys_rename(dir, tmp, dir, path) < 0)
                return err_sys(err, errno, "rename to %s", path);
        return 0;
}

static int put_blob(struct bd_ctx *c, int dir, const struct img_desc *d, struct bld_err *err)
{
        AUTO_FREE char *tmp = NULL;
        char path[BD_BLOB_PATH_MAX];
        struct stat st;
        int r = cancel_check(c->cancel, err);

        if (r < 0)
                return r;
        bd_blob_path(&d->digest, path);
        if (fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            (uint64_t)st.st_size == d->size)
                return 0;
        r = bd_temp_name(path, ".tmp", &tmp, err);
        if (r < 0)
                return r;
        r = write_blob(c, dir, d, path, tmp, err);
        if (r < 0)
                (void)sys_unlinkat(dir, tmp, 0); /* ours, or never made */
        return r;
}

static int put_list(struct bd_ctx *c, int dir, const struct img_descs *list, struct bld_err *err)
{
        for (size_t i = 0; i < list->n; i++) {
                int r = put_blob(c, dir, &list->v[i], err);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int put_blobs(struct bd_ctx *c, int dir, const struct bd_blob_list *l, struct bld_err *err)
{
        static const char *const folders[] = {"blobs/sha256", "blobs/sha512"};
        bool used[2] = {true, false};
        int r = 0;

        for (size_t i = 0; i < l->blobs.n; i++)
                used[1] = used[1] || l->blobs.v[i].digest.algo == DIGEST_SHA512;
        for (size_t i = 0; i < l->docs.n; i++)
                used[1] = used[1] || l->docs.v[i].digest.algo == DIGEST_SHA512;
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(folders); i++)
                if (used[i])
                        r = path_mkdirs(dir, folders[i], 0755, err);
        if (r == 0)
                r = put_list(c, dir, &l->blobs, err);
        if (r == 0)
                r = put_list(c, dir, &l->docs, err);
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(folders); i++) {
                AUTO_FD int fd = -1;

                if (!used[i])
                        continue;
                fd = sys_openat(dir, folders[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
                if (fd < 0 || sys_fsync(fd) < 0)
                        r = err_sys(err, errno, "sync %s", folders[i]);
        }
        return r;
}

/* ---- index.json of a folder ---- */

static bool same_name(const struct img_desc *a, const struct img_desc *b)
{
        const char *fa = img_kvs_get(&a->annotations, BD_ANN_IMAGE_NAME);
        const char *fb = img_kvs_get(&b->annotations, BD_ANN_IMAGE_NAME);
        const char *ra = img_kvs_get(&a->annotations, BD_ANN_REF_NAME);
        const char *rb = img_kvs_get(&b->annotations, BD_ANN_REF_NAME);

        if (!ra && !rb && !fa && !fb)
                return digest_eq(&a->digest, &b->digest);
        /* app:v1 and web:v1 share a ref.name; neither may push the other out */
        if (fa && fb)
                return strcmp(fa, fb) == 0;
        return ra && rb && strcmp(ra, rb) == 0;
}

/* What the folder already lists, without what the new entries replace. */
static int keep_others(int dir, const struct img_descs *entries, struct img_descs *ret,
                       struct bld_err *err)
{
        AUTO(img_index_done) struct img_index old = {.media_type = NULL};
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        struct bld_err e = BLD_ERR_INIT;
        int r = file_read(dir, "index.json", &text, &e);

        if (r == BLD_E_NOT_FOUND)
                return 0;
        if (r == 0)
                r = img_index_decode(sb_text(&text), text.len, NULL, &old, &e);
        if (r < 0) {
                err_copy(err, &e);
                return err_wrap(err, r, "index.json of the layout");
        }
        for (size_t i = 0; i < old.manifests.n; i++) {
                struct img_desc *n;
                bool replaced = false;

                for (size_t k = 0; k < entries->n; k++)
                        replaced = replaced || same_name(&old.manifests.v[i], &entries->v[k]);
                if (replaced)
                        continue;
                n = img_descs_push(ret);
                if (!n || img_desc_copy(&old.manifests.v[i], n) < 0)
                        return err_nomem(err, "index of a layout");
        }
        return 0;
}

static int write_index(int dir, const struct bd_saved *v, size_t n, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO(img_descs_free) struct img_descs entries = {.v = NULL};
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_FD int lock = -1;
        int r = bd_index_entries(v, n, &entries, err);

        if (r < 0)
                return r;
        lock = sys_openat(dir, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (lock < 0)
                return err_sys(err, errno, "open " LOCK_NAME);
        r = fd_lock(lock, LOCK_EX, err);
        if (r == 0)
                r = keep_others(dir, &entries, &ix.manifests, err);
        for (size_t i = 0; r == 0 && i < entries.n; i++) {
                struct img_desc *d = img_descs_push(&ix.manifests);

                if (!d || img_desc_copy(&entries.v[i], d) < 0)
                        r = err_nomem(err, "index of a layout");
        }
        if (r == 0)
                r = bd_index_unique(&ix.manifests, err);
        ix.media_type = mem_strdup(MT_OCI_INDEX);
        if (r == 0 && !ix.media_type)
                r = err_nomem(err, "index of a layout");
        if (r == 0)
                r = img_index_encode(&ix, &text, err);
        if (r == 0)
                r = file_write(dir, "index.json", sb_text(&text), text.len, 0644, FILE_SYNC, err);
        return r;
}

/* Empty, or a layout: anything else is not ours to fill. */
static int check_folder(int dir, const char *dest, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(4096);
        int r = file_read(dir, LAYOUT_NAME, &text, NULL);

        if (r == 0 && strstr(sb_text(&text), "imageLayoutVersion"))
                return 0;
        if (faccessat(dir, "index.json", F_OK, 0) == 0 || r == 0)
                return err_set(err, BLD_E_INVALID, "%s is not an OCI image layout", dest);
        return file_write(dir, LAYOUT_NAME, LAYOUT_TEXT, strlen(LAYOUT_TEXT), 0644, FILE_SYNC, err);
}

int bd_write_layout_dir(struct bd_ctx *c, const struct bd_saved *v, size_t n, const char *dest,
                        struct bld_err *err)
{
        AUTO(bd_blob_list_done) struct bd_blob_list l = {.docs = {.v = NULL}};
        AUTO_FD int dir = -1;
        int r;

        if (strcmp(dest, "-") == 0)
                return err_set(err, BLD_E_USAGE, "a layout folder cannot go to standard output");
        r = bd_blob_list_make(c, v, n, &l, err);
        if (r == 0)
                r = path_mkdirs(AT_FDCWD, dest, 0777, err);
        if (r < 0)
                return r;
        dir = sys_openat(AT_FDCWD, dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (dir < 0)
                return err_sys(err, errno, "open %s", dest);
        r = check_folder(dir, dest, err);
        if (r == 0)
                r = put_blobs(c, dir, &l, err);
        /* last, so that the folder is a whole layout at every moment */
        return r == 0 ? write_index(dir, v, n, err) : r;
}
