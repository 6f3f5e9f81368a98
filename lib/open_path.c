/* Paths: folders as layouts or as trees, files as archives of images or as layers, by content. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "base/sb.h"
#include "base/sys.h"
#include "image/image.h"
#include "lib/layer_priv.h"
#include "lib/open_state_priv.h"

#define DIR_PREFIX "dir:"
#define DOCUMENT_MAX (16u << 20)

bool lib_is_path(const char *ref)
{
        return ref[0] == '/' || str_has_prefix(ref, "./") || str_has_prefix(ref, "../") ||
               str_eq(ref, ".") || str_eq(ref, "..") || str_has_prefix(ref, DIR_PREFIX);
}

/* ---- what a file holds ---- */

/* Names an image's archive may have at its top; the first that is none of them decides. */
static bool is_archive_name(const char *path)
{
        size_t hex = strspn(path, "0123456789abcdef");

        return str_eq(path, "") || str_eq(path, "blobs") || str_has_prefix(path, "blobs/") ||
               str_eq(path, "index.json") || str_eq(path, "oci-layout") ||
               str_eq(path, "manifest.json") || str_eq(path, "repositories") ||
               (hex == 64 && strchr("/.", path[64]));
}

static bool is_proof(const char *path, const struct sb *text)
{
        AUTO_JS struct js *j = NULL;

        if (js_parse(sb_text(text), text->len, &j, NULL) < 0)
                return false;
        if (str_eq(path, "oci-layout"))
                return js_get_str(j, "imageLayoutVersion") != NULL;
        return js_get_str(js_at(j, 0), "Config") != NULL;
}

static int read_document(struct ly_reader *in, struct sb *out, struct bld_err *err)
{
        char buf[16384];
        ssize_t k;

        while ((k = ly_reader_data(in, buf, sizeof(buf), err)) > 0)
                sb_add(out, buf, (size_t)k);
        return k < 0 ? (int)k : sb_check(out, "archive of an image", err);
}

/* 1 the archive of an image, 0 some other tar, or what breaks while it is looked at. */
static int is_image_archive(struct ly_reader *in, struct bld_err *err)
{
        const struct ly_entry *e = NULL;
        int r;

        while ((r = ly_reader_next(in, &e, err)) > 0) {
                AUTO_SB struct sb text = SB_INIT(DOCUMENT_MAX);

                if (!is_archive_name(e->path))
                        return 0;
                if (e->type != LY_FILE || e->size > DOCUMENT_MAX ||
                    (!str_eq(e->path, "oci-layout") && !str_eq(e->path, "manifest.json")))
                        continue;
                r = read_document(in, &text, err);
                if (r < 0)
                        return r;
                if (is_proof(e->path, &text))
                        return 1;
        }
        return r;
}

static int sniff(int fd, const struct ly_limits *lim, struct bld_err *err)
{
        struct lib_pread at = {.fd = fd};
        struct ly_source file = lib_pread_source(&at), tar;
        AUTO(ly_pull_free_p) struct ly_pull *pull = NULL;
        AUTO(ly_reader_free_p) struct ly_reader *in = NULL;
        int r = ly_pull_new(&file, lim, &pull, err);

        if (r < 0)
                return r;
        tar = ly_pull_source(pull);
        r = ly_reader_new(&tar, lim, &in, err);
        return r < 0 ? r : is_image_archive(in, err);
}

/* ---- opening ---- */

static int open_layer(int fd, const char *path, const struct stat *st,
                      const struct bld_image_open_opts *o, struct bld_image **ret,
                      struct bld_err *err)
{
        struct bld_image *im;
        unsigned char magic[8];
        ssize_t k = sys_pread(fd, magic, sizeof(magic), 0);
        int r;

        if (k < 0)
                return err_sys(err, errno, "read %s", path);
        r = lib_image_new(path, 1, o, &im, err);
        if (r < 0)
                return r;
        im->v[0].info.media_type = ly_codec_media_type(ly_codec_sniff(magic, (size_t)k));
        im->v[0].info.blob_size = (uint64_t)st->st_size;
        im->file = fd;
        im->from_file = true;
        *ret = im;
        return 0;
}

static int open_file(struct bld *b, const char *path, int fd, const struct stat *st,
                     const struct bld_image_open_opts *o, struct bld_image **ret,
                     struct bld_err *err)
{
        const struct ly_limits lim = {.bytes = (uint64_t)1 << 42, .entries = o->max_entries};
        AUTO_FREE char *text = NULL;
        AUTO_FD int own = fd;
        struct bld_err why = BLD_ERR_INIT;
        int r = sniff(fd, &lim, &why);

        if (r < 0) {
                r = bd_file_fault(r, &why);
                err_copy(err, &why);
                return err_wrap(err, r, "%s is neither the archive of an image nor a layer", path);
        }
        if (r == 0) {
                r = open_layer(own, path, st, o, ret, err);
                if (r == 0)
                        (void)take_fd(&own);
                return r;
        }
        if (asprintf(&text, "oci-archive:%s", path) < 0) {
                text = NULL;
                return err_nomem(err, "path of an image");
        }
        return lib_open_place(b, text, o, ret, err);
}

static int open_folder(struct bld *b, const char *path, int fd, bool as_tree,
                       const struct bld_image_open_opts *o, struct bld_image **ret,
                       struct bld_err *err)
{
        AUTO_FREE char *text = NULL;
        AUTO_FD int own = fd;
        struct stat st;
        int r;

        if (!as_tree && fstatat(fd, "oci-layout", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode)) {
                if (asprintf(&text, "oci:%s", path) < 0) {
                        text = NULL;
                        return err_nomem(err, "path of an image");
                }
                return lib_open_place(b, text, o, ret, err);
        }
        r = lib_image_open_dir(own, o, ret, err);
        return r < 0 ? err_wrap(err, r, "%s", path) : 0;
}

/* A path that is not there may be one with the name of an image behind it: "./layout:v1". */
static int open_named(struct bld *b, const char *path, const struct bld_image_open_opts *o,
                      struct bld_image **ret, struct bld_err *err)
{
        const char *colon = strpbrk(path, ":@");
        AUTO_FREE char *front = colon ? mem_strndup(path, (size_t)(colon - path)) : NULL;
        AUTO_FREE char *text = NULL;
        struct stat st;

        if (!front || !*front || stat(front, &st) < 0)
                return err_set(err, BLD_E_NOT_FOUND, "%s does not exist", path);
        if (asprintf(&text, "%s:%s", S_ISDIR(st.st_mode) ? "oci" : "oci-archive", path) < 0) {
                text = NULL;
                return err_nomem(err, "path of an image");
        }
        return lib_open_place(b, text, o, ret, err);
}

/* What another program writes, as a shell's <(...) has it: an archive that is read once. */
static int open_pipe(struct bld *b, const char *path, int fd, const struct bld_image_open_opts *o,
                     struct bld_image **ret, struct bld_err *err)
{
        struct bld_image_open_opts own = *o;
        int flags = fcntl(fd, F_GETFL), r;

        if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
                return err_sys(err, errno, "open %s", path);
        own.in_fd = fd;
        r = lib_open_place(b, "oci-archive:-", &own, ret, err);
        return r < 0 ? err_wrap(err, r, "%s", path) : r;
}

int lib_open_path(struct bld *b, const char *path, const struct bld_image_open_opts *o,
                  struct bld_image **ret, struct bld_err *err)
{
        bool as_tree = str_has_prefix(path, DIR_PREFIX);
        AUTO_FD int fd = -1;
        struct stat st;

        path += as_tree ? strlen(DIR_PREFIX) : 0;
        fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
                return as_tree ? err_set(err, BLD_E_NOT_FOUND, "%s does not exist", path)
                               : open_named(b, path, o, ret, err);
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, errno, "open %s", path);
        if (S_ISDIR(st.st_mode))
                return open_folder(b, path, take_fd(&fd), as_tree, o, ret, err);
        if (as_tree)
                return err_set(err, BLD_E_INVALID, "%s is not a folder", path);
        if (S_ISFIFO(st.st_mode))
                return open_pipe(b, path, fd, o, ret, err);
        if (!S_ISREG(st.st_mode))
                return err_set(err, BLD_E_INVALID, "%s is neither a folder nor a file", path);
        return open_file(b, path, take_fd(&fd), &st, o, ret, err);
}
