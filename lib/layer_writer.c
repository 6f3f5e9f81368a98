/* A layer written entry by entry. What no layer can hold, or what readers would take for something
 * else, is refused before a byte of it is written: the writer stays as it was. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/map.h"
#include "lib/layer_priv.h"

/* What readers take. */
#define PATH_BYTES_MAX 4096u
#define NAME_BYTES_MAX 255u
#define LINK_BYTES_MAX 4095u
#define OPAQUE_BYTES (sizeof("/.wh..wh..opq") - 1)
#define XATTRS_MAX 4096u
#define XATTRS_BYTES_MAX (512u << 10)
#define DEV_MAX 07777777u
#define WH_PREFIX ".wh."

/* What is known of a path. */
enum {
        P_IMPLIED = 1, /* something in it was named, it was not */
        P_DIR = 2,
        P_FILE = 4, /* whatever else a hard link may name */
        P_GONE = 8,
        P_OPAQUE = 16 /* besides */
};

struct bld_layer_writer {
        struct bld_output out;
        const struct bld_watch *watch;
        struct ly_pack *pack;
        struct ly_writer *tar;
        struct map paths; /* path -> P_* */
        uint64_t left;    /* of the data of the current file */
        uint64_t done;    /* bytes of data */
        bool ended;
        int failed; /* writing did, and every later call says so */
        struct bld_err why;
};

static int fail(struct bld_layer_writer *w, int r, struct bld_err *err)
{
        if (!w->failed)
                w->failed = r;
        err_copy(err, &w->why);
        return w->failed;
}

/* May more be written? */
static int ready(struct bld_layer_writer *w, struct bld_err *err)
{
        if (w->failed)
                return fail(w, w->failed, err);
        if (w->ended)
                return err_set(err, BLD_E_USAGE, "the layer was ended");
        return lib_watch_check(w->watch, err);
}

/* ---- opening ---- */

static int out_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct bld_layer_writer *w = user;
        int e;

        if (!w->out.write)
                return fd_write_all(w->out.fd, p, n, err);
        e = w->out.write(w->out.user, p, n);
        return e ? err_sys(err, e > 0 ? e : EIO, "write a layer") : 0;
}

static void writer_close_p(struct bld_layer_writer **w)
{
        bld_layer_writer_close(*w);
}

static int open_stages(struct bld_layer_writer *w, const struct bld_layer_create_opts *o,
                       struct bld_err *err)
{
        const struct ly_pack_opts po = {.codec = lib_codec_of(o->codec),
                                        .level = o->level,
                                        .reproducible = o->reproducible,
                                        .threads = o->threads};
        const struct ly_writer_opts wo = {
                .clamp = o->clamp, .clamp_sec = o->clamp_sec, .all_xattrs = o->all_xattrs};
        const struct ly_sink out = {.write = out_write, .user = w};
        struct ly_sink tar;
        int r = ly_pack_new(&out, &po, &w->pack, err);

        if (r < 0)
                return r;
        tar = ly_pack_sink(w->pack);
        return ly_writer_new(&tar, &wo, &w->tar, err);
}

int bld_layer_writer_open(const struct bld_output *out, const struct bld_layer_create_opts *o,
                          struct bld_layer_writer **ret, struct bld_err *err)
{
        AUTO(writer_close_p) struct bld_layer_writer *w = mem_zalloc(1, sizeof(*w));
        struct bld_layer_create_opts own;
        int r;

        if (!w)
                return err_nomem(err, "layer writer");
        map_init(&w->paths, NULL);
        r = lib_opts_copy(&own, sizeof(own), o, "bld_layer_writer_open", err);
        if (r == 0)
                r = lib_known(own.codec <= BLD_LAYER_TAR, own.codec, "codec", err);
        if (r == 0)
                r = lib_opts_copy(&w->out, sizeof(w->out), out, "bld_output", err);
        if (r == 0 && (!out || (!w->out.write && fcntl(w->out.fd, F_GETFD) < 0)))
                r = err_set(err, BLD_E_USAGE, "there is nowhere to write a layer to");
        if (r == 0)
                r = lib_watch_known(own.watch, err);
        if (r == 0)
                r = open_stages(w, &own, err);
        if (r < 0)
                return r;
        w->watch = own.watch;
        *ret = TAKE_PTR(&w);
        return 0;
}

void bld_layer_writer_close(struct bld_layer_writer *w)
{
        if (!w)
                return;
        ly_writer_free(w->tar);
        ly_pack_free(w->pack);
        map_done(&w->paths);
        free(w);
}

/* ---- what is refused ---- */

/* "a/b": relative, clean, no name a layer gives a meaning of its own. "" is the root. */
static int check_path(const char *path, const char *what, struct bld_err *err)
{
        const char *why = NULL;

        if (!path)
                return err_set(err, BLD_E_INVALID, "an entry without a %s", what);
        if (path[0] == '/')
                why = "is absolute";
        else if (strlen(path) > PATH_BYTES_MAX)
                why = "is too long";
        for (const char *p = path; !why && *path; p++) {
                size_t n = strcspn(p, "/");

                if (n == 0 || (n == 1 && p[0] == '.'))
                        why = "is not clean";
                else if (n == 2 && p[0] == '.' && p[1] == '.')
                        why = "leads upwards";
                else if (n > NAME_BYTES_MAX)
                        why = "has a name that is too long";
                else if (str_has_prefix(p, WH_PREFIX))
                        why = "has a name that means a whiteout";
                p += n;
                if (!*p)
                        break;
        }
        return why ? err_set(err, BLD_E_INVALID, "the %s \"%.200s\" %s", what, path, why) : 0;
}

static int bad(const struct bld_layer_entry *e, const char *why, struct bld_err *err)
{
        return err_set(err, BLD_E_INVALID, "\"%.300s\" %s", e->path, why);
}

static bool fits(const struct bld_layer_entry *e)
{
        size_t path = strlen(e->path);

        if (e->type == BLD_LAYER_WHITEOUT)
                return path + strlen(WH_PREFIX) <= PATH_BYTES_MAX;
        return e->type != BLD_LAYER_OPAQUE || path + OPAQUE_BYTES <= PATH_BYTES_MAX;
}

static int check_members(const struct bld_layer_entry *e, struct bld_err *err)
{
        bool link = e->type == BLD_LAYER_SYMLINK || e->type == BLD_LAYER_HARDLINK;
        bool dev = e->type == BLD_LAYER_CHAR || e->type == BLD_LAYER_BLOCK;

        if ((unsigned)e->type > BLD_LAYER_OPAQUE)
                return bad(e, "has no type that exists", err);
        if (!*e->path && e->type != BLD_LAYER_DIR && e->type != BLD_LAYER_OPAQUE)
                return err_set(err, BLD_E_INVALID, "the root can only be a folder");
        if (e->mode > 07777)
                return bad(e, "has a mode with more than permission bits", err);
        if (e->file_size && e->type != BLD_LAYER_FILE)
                return bad(e, "is no file, but has a size", err);
        if (e->file_size > INT64_MAX)
                return bad(e, "is too large", err);
        if (link != (e->link != NULL))
                return bad(e, link ? "is a link to nothing" : "is no link, but has a target", err);
        if (link && (!*e->link || strlen(e->link) > LINK_BYTES_MAX))
                return bad(e, "has a target that is empty or too long", err);
        if (!fits(e))
                return bad(e, "has a path that is too long for a whiteout", err);
        if (!dev && (e->dev_major || e->dev_minor))
                return bad(e, "is no device, but has numbers of one", err);
        if (e->dev_major > DEV_MAX || e->dev_minor > DEV_MAX)
                return bad(e, "has a device number that is too large", err);
        if (e->nxattrs && (e->type >= BLD_LAYER_WHITEOUT || e->type == BLD_LAYER_HARDLINK))
                return bad(e, "can have no extended attributes", err);
        return 0;
}

static int check_xattrs(const struct bld_layer_entry *e, const struct bld_layer_xattr *x,
                        struct bld_err *err)
{
        size_t sum = 0;

        if (e->nxattrs > XATTRS_MAX)
                return bad(e, "has too many extended attributes", err);
        if (e->nxattrs && !x)
                return bad(e, "lacks its extended attributes", err);
        for (size_t i = 0; i < e->nxattrs; i++) {
                if (!x[i].name || !x[i].name[0] || strchr(x[i].name, '=') ||
                    strlen(x[i].name) > NAME_BYTES_MAX)
                        return bad(e, "has an extended attribute with a name no tar can hold", err);
                if (x[i].len && !x[i].value)
                        return bad(e, "has an extended attribute without a value", err);
                for (size_t k = 0; k < i; k++)
                        if (strcmp(x[i].name, x[k].name) == 0)
                                return bad(e, "has an extended attribute twice", err);
                if (ADD_OVERFLOWS(sum, strlen(x[i].name), &sum) ||
                    ADD_OVERFLOWS(sum, x[i].len, &sum) || sum > XATTRS_BYTES_MAX)
                        return bad(e, "has too many extended attributes", err);
        }
        return 0;
}

static unsigned known(const struct bld_layer_writer *w, const char *path, size_t n)
{
        return (unsigned)(uintptr_t)map_getn(&w->paths, path, n);
}

/* Is the path free, its folder one, and the file of a hard link there? */
static int check_place(const struct bld_layer_writer *w, const struct bld_layer_entry *e,
                       struct bld_err *err)
{
        unsigned have = known(w, e->path, strlen(e->path));

        if (e->type == BLD_LAYER_OPAQUE) {
                if (have & P_OPAQUE)
                        return bad(e, "was made opaque before", err);
                if (have & ~(unsigned)(P_DIR | P_IMPLIED))
                        return bad(e, "is no folder", err);
        } else if (have & P_IMPLIED) {
                return bad(e, "comes after what is in it", err);
        } else if (have) {
                return bad(e, "comes twice", err);
        }
        for (const char *p = strrchr(e->path, '/'); p;
             p = memrchr(e->path, '/', (size_t)(p - e->path))) {
                have = known(w, e->path, (size_t)(p - e->path));
                if (have & (P_FILE | P_GONE))
                        return bad(e, "is in something that is no folder", err);
                if (have)
                        break;
        }
        if (e->type != BLD_LAYER_HARDLINK)
                return 0;
        have = known(w, e->link, strlen(e->link));
        return have & P_FILE ? 0 : bad(e, "links to what no earlier entry is", err);
}

static int learn(struct bld_layer_writer *w, const char *path, size_t n, unsigned what)
{
        return map_setn(&w->paths, path, n, (void *)(uintptr_t)what);
}

static unsigned kind(enum bld_layer_type t)
{
        if (t == BLD_LAYER_DIR)
                return P_DIR;
        return t == BLD_LAYER_WHITEOUT ? P_GONE : P_FILE;
}

static int note(struct bld_layer_writer *w, const struct bld_layer_entry *e, struct bld_err *err)
{
        size_t n = strlen(e->path);
        unsigned have = known(w, e->path, n);
        int r;

        if (e->type == BLD_LAYER_OPAQUE)
                r = learn(w, e->path, n, (have ? have : P_IMPLIED) | P_OPAQUE);
        else
                r = learn(w, e->path, n, kind(e->type));
        while (r == 0 && n > 0) {
                const char *slash = memrchr(e->path, '/', n);

                n = slash ? (size_t)(slash - e->path) : 0;
                if (known(w, e->path, n))
                        break;
                r = learn(w, e->path, n, P_IMPLIED);
        }
        return r < 0 ? err_nomem(err, "layer writer") : 0;
}

/* ---- writing ---- */

static enum ly_type inner_type(enum bld_layer_type t)
{
        static const enum ly_type types[] = {
                [BLD_LAYER_FILE] = LY_FILE,       [BLD_LAYER_DIR] = LY_DIR,
                [BLD_LAYER_SYMLINK] = LY_SYMLINK, [BLD_LAYER_HARDLINK] = LY_HARDLINK,
                [BLD_LAYER_CHAR] = LY_CHAR,       [BLD_LAYER_BLOCK] = LY_BLOCK,
                [BLD_LAYER_FIFO] = LY_FIFO,       [BLD_LAYER_WHITEOUT] = LY_WHITEOUT,
                [BLD_LAYER_OPAQUE] = LY_OPAQUE,
        };

        return types[t];
}

static int put(struct bld_layer_writer *w, const struct bld_layer_entry *e,
               const struct bld_layer_xattr *x, struct bld_err *err)
{
        AUTO_FREE struct ly_xattr *attrs = mem_zalloc(MAX(e->nxattrs, 1), sizeof(*attrs));
        /* the writer only reads what it is given */
        const struct ly_entry in = {.path = (char *)(uintptr_t)e->path,
                                    .type = inner_type(e->type),
                                    .mode = e->mode,
                                    .uid = e->uid,
                                    .gid = e->gid,
                                    .size = e->file_size,
                                    .mtime_ns = e->mtime_ns,
                                    .link = (char *)(uintptr_t)e->link,
                                    .dev_major = e->dev_major,
                                    .dev_minor = e->dev_minor,
                                    .xattrs = attrs,
                                    .nxattrs = e->nxattrs};

        if (!attrs)
                return err_nomem(err, "extended attributes");
        for (size_t i = 0; i < e->nxattrs; i++)
                attrs[i] = (struct ly_xattr){.name = (char *)(uintptr_t)x[i].name,
                                             .value = (unsigned char *)(uintptr_t)x[i].value,
                                             .len = x[i].len};
        return ly_writer_entry(w->tar, &in, err);
}

int bld_layer_writer_entry(struct bld_layer_writer *w, const struct bld_layer_entry *e,
                           const struct bld_layer_xattr *x, struct bld_err *err)
{
        struct bld_layer_entry own;
        int r = ready(w, err);

        if (r == 0)
                r = lib_opts_copy(&own, sizeof(own), e, "bld_layer_entry", err);
        if (r == 0 && w->left)
                r = err_set(err, BLD_E_INVALID, "%llu bytes of the last file are missing",
                            (unsigned long long)w->left);
        if (r == 0)
                r = check_path(own.path, "path", err);
        if (r == 0)
                r = check_members(&own, err);
        if (r == 0)
                r = check_xattrs(&own, x, err);
        if (r == 0)
                r = check_place(w, &own, err);
        if (r < 0)
                return r;
        r = note(w, &own, &w->why);
        if (r == 0)
                r = put(w, &own, x, &w->why);
        if (r < 0)
                return fail(w, r, err);
        w->left = own.type == BLD_LAYER_FILE ? own.file_size : 0;
        return 0;
}

int bld_layer_writer_data(struct bld_layer_writer *w, const void *p, size_t n, struct bld_err *err)
{
        int r = ready(w, err);

        if (r < 0)
                return r;
        if (n > w->left)
                return err_set(err, BLD_E_INVALID,
                               "more data than the %llu bytes the file still has",
                               (unsigned long long)w->left);
        r = ly_writer_data(w->tar, p, n, &w->why);
        if (r < 0)
                return fail(w, r, err);
        w->left -= n;
        w->done += n;
        lib_watch_step(w->watch, "layer", w->done, 0);
        return 0;
}

int bld_layer_writer_end(struct bld_layer_writer *w, struct bld_layer_created *ret,
                         struct bld_err *err)
{
        struct ly_packed p;
        int r = lib_ret_check(ret, "bld_layer_writer_end", err);

        if (r == 0)
                r = ready(w, err);
        if (r == 0 && w->left)
                r = err_set(err, BLD_E_INVALID, "%llu bytes of the last file are missing",
                            (unsigned long long)w->left);
        if (r < 0)
                return r;
        r = ly_writer_end(w->tar, &w->why);
        if (r == 0)
                r = ly_pack_end(w->pack, &p, NULL, &w->why);
        if (r < 0)
                return fail(w, r, err);
        w->ended = true;
        lib_created_put(&p, ret);
        return 0;
}
