#include <stdio.h>

#include "base/err.h"
#include "layer/tar_priv.h"

#define NS_PER_SEC 1000000000
#define OUT_BUF (128u << 10)
#define BIG_WRITE (64u << 10) /* from here on data goes past the buffer */
#define OCTAL_SIZE_MAX ((uint64_t)077777777777)
#define OCTAL_ID_MAX 07777777u
#define CAP_NAME "security.capability"

struct ly_writer {
        struct ly_sink out;
        struct ly_writer_opts o;
        uint64_t left; /* of the current file's data */
        unsigned pad;  /* after it */
        struct sb pax;
        size_t fill;
        unsigned char buf[OUT_BUF];
};

int ly_writer_new(const struct ly_sink *out, const struct ly_writer_opts *o, struct ly_writer **ret,
                  struct bld_err *err)
{
        struct ly_writer *w = mem_zalloc(1, sizeof(*w));

        if (!w)
                return err_nomem(err, "tar writer");
        w->out = *out;
        if (o)
                w->o = *o;
        sb_init(&w->pax, LY_PAX_MAX);
        *ret = w;
        return 0;
}

void ly_writer_free(struct ly_writer *w)
{
        if (!w)
                return;
        sb_done(&w->pax);
        free(w);
}

static int flush(struct ly_writer *w, struct bld_err *err)
{
        size_t n = w->fill;

        w->fill = 0;
        return n ? w->out.write(w->out.user, w->buf, n, err) : 0;
}

static int put(struct ly_writer *w, const void *p, size_t n, struct bld_err *err)
{
        int r;

        if (w->fill + n > OUT_BUF || n >= BIG_WRITE) {
                r = flush(w, err);
                if (r < 0)
                        return r;
        }
        if (n >= BIG_WRITE)
                return w->out.write(w->out.user, p, n, err);
        memcpy(w->buf + w->fill, p, n);
        w->fill += n;
        return 0;
}

static int put_zeros(struct ly_writer *w, size_t n, struct bld_err *err)
{
        static const unsigned char zeros[2 * TAR_BLOCK];

        return n ? put(w, zeros, n, err) : 0;
}

/* ---- headers ---- */

static void octal(char *p, size_t n, uint64_t v)
{
        p[--n] = 0;
        while (n) {
                p[--n] = (char)('0' + (v & 7));
                v >>= 3;
        }
}

static void seal(unsigned char h[TAR_BLOCK])
{
        unsigned sum = 0;

        memset(h + 148, ' ', 8);
        for (size_t i = 0; i < TAR_BLOCK; i++)
                sum += h[i];
        octal((char *)h + 148, 7, sum); /* six digits, NUL, blank */
}

static bool ascii(const char *s)
{
        for (; *s; s++)
                if ((unsigned char)*s >= 0x80)
                        return false;
        return true;
}

/* Put the name into name[100] and prefix[155]; false when it does not fit. */
static bool split_name(unsigned char h[TAR_BLOCK], const char *name)
{
        size_t n = strlen(name), cut;

        if (n <= 100) {
                memcpy(h, name, n);
                return true;
        }
        if (n > 100 + 1 + 155)
                return false;
        /* The first slash that leaves at most 100 bytes, of which one at least. */
        for (cut = n - 101; cut < n - 1 && name[cut] != '/'; cut++)
                ;
        if (cut >= n - 1 || !cut || cut > 155)
                return false;
        memcpy(h + 345, name, cut);
        memcpy(h, name + cut + 1, n - cut - 1);
        return true;
}

/* "<len> key=value\n", where len counts its own digits. */
static void pax_add(struct ly_writer *w, const char *key, const void *v, size_t n)
{
        size_t body = strlen(key) + n + 3, len = body + 1;
        char num[24];

        for (;;) {
                size_t digits = (size_t)snprintf(num, sizeof(num), "%zu", len);

                if (body + digits == len)
                        break;
                len = body + digits;
        }
        sb_fmt(&w->pax, "%s %s=", num, key);
        sb_add(&w->pax, v, n);
        sb_char(&w->pax, '\n');
}

static void pax_number(struct ly_writer *w, const char *key, int64_t v)
{
        char num[24];
        int n = snprintf(num, sizeof(num), "%lld", (long long)v);

        pax_add(w, key, num, (size_t)n);
}

static int put_pax(struct ly_writer *w, struct bld_err *err)
{
        unsigned char h[TAR_BLOCK] = {0};
        size_t n = w->pax.len;
        int r = sb_check(&w->pax, "extended tar header", err);

        if (r < 0 || !n)
                return r;
        memcpy(h, "././@PaxHeader", 14);
        octal((char *)h + 100, 8, 0);
        octal((char *)h + 108, 8, 0);
        octal((char *)h + 116, 8, 0);
        octal((char *)h + 124, 12, n);
        octal((char *)h + 136, 12, 0);
        h[156] = 'x';
        memcpy(h + 257, "ustar\00000", 8);
        seal(h);
        r = put(w, h, sizeof(h), err);
        if (!r)
                r = put(w, w->pax.buf, n, err);
        if (!r)
                r = put_zeros(w, (TAR_BLOCK - n % TAR_BLOCK) % TAR_BLOCK, err);
        return r;
}

/* ---- attributes ---- */

bool ly_xattr_wanted(const char *name, bool all)
{
        static const char *const never[] = {"trusted.overlay.", "user.overlay.", "user.bld."};

        if (str_eq(name, CAP_NAME))
                return true;
        if (!all || str_eq(name, "security.selinux") || str_eq(name, "system.nfs4_acl"))
                return false;
        for (size_t i = 0; i < ARRAY_LEN(never); i++)
                if (str_has_prefix(name, never[i]))
                        return false;
        return true;
}

/* Version 3 adds the root id of the user namespace that wrote it: a fact about the build host. */
bool ly_cap_v2(const unsigned char *p, size_t n, unsigned char out[20])
{
        bool v2 = n == 20 && p[3] == 2, v3 = n == 24 && p[3] == 3;

        if (!v2 && !v3)
                return false;
        memcpy(out, p, 20);
        out[3] = 2;
        return true;
}

static int xattr_order(const void *a, const void *b)
{
        const struct ly_xattr *const *x = a, *const *y = b;

        return strcmp((*x)->name, (*y)->name);
}

static int pax_xattr(struct ly_writer *w, const struct ly_entry *e, const struct ly_xattr *x,
                     struct bld_err *err)
{
        char key[300];
        unsigned char cap[20];

        if (!ly_xattr_wanted(x->name, w->o.all_xattrs))
                return 0;
        if (strchr(x->name, '=') || strlen(x->name) > LY_NAME_MAX)
                return err_set(err, BLD_E_INVALID,
                               "extended attribute \"%.100s\" of %.500s cannot be kept in a tar",
                               x->name, e->path);
        (void)snprintf(key, sizeof(key), "SCHILY.xattr.%s", x->name); /* fits: checked above */
        if (!str_eq(x->name, CAP_NAME)) {
                pax_add(w, key, x->value, x->len);
        } else if (ly_cap_v2(x->value, x->len, cap)) {
                pax_add(w, key, cap, sizeof(cap));
        }
        return 0;
}

static int pax_xattrs(struct ly_writer *w, const struct ly_entry *e, struct bld_err *err)
{
        AUTO_FREE const struct ly_xattr **sorted = NULL;
        int r = 0;

        if (!e->nxattrs)
                return 0;
        if (e->nxattrs > LY_XATTRS_MAX)
                return err_set(err, BLD_E_LIMIT,
                               "%.800s has %zu extended attributes (limit of a layer: %u)", e->path,
                               e->nxattrs, LY_XATTRS_MAX);
        sorted = mem_zalloc(e->nxattrs, sizeof(*sorted));
        if (!sorted)
                return err_nomem(err, "extended attributes");
        for (size_t i = 0; i < e->nxattrs; i++)
                sorted[i] = &e->xattrs[i];
        qsort(sorted, e->nxattrs, sizeof(*sorted), xattr_order);
        for (size_t i = 0; !r && i < e->nxattrs; i++)
                r = pax_xattr(w, e, sorted[i], err);
        return r;
}

/* ---- entries ---- */

/* The name as it stands in the tar, into out. */
static int tar_name(const struct ly_entry *e, struct sb *out, struct bld_err *err)
{
        const char *slash = strrchr(e->path, '/');
        const char *base = slash ? slash + 1 : e->path;

        if (e->type == LY_OPAQUE) {
                sb_fmt(out, "%s%s" WH_OPAQUE, e->path, *e->path ? "/" : "");
        } else if (e->type == LY_WHITEOUT) {
                sb_add(out, e->path, (size_t)(base - e->path));
                sb_fmt(out, WH_PREFIX "%s", base);
        } else if (str_has_prefix(base, WH_PREFIX)) {
                return err_set(err, BLD_E_INVALID,
                               "%.800s: names beginning with \".wh.\" cannot be kept in a layer",
                               e->path);
        } else {
                sb_fmt(out, "%s%s", *e->path ? e->path : ".", e->type == LY_DIR ? "/" : "");
        }
        if (out->len > LY_PATH_MAX + (e->type == LY_DIR)) /* no reader of ours would take it */
                return err_set(err, BLD_E_LIMIT, "name of %zu bytes for a tar (limit %u): %.500s",
                               out->len, LY_PATH_MAX, e->path);
        return sb_check(out, "tar name", err);
}

static int64_t floor_sec(int64_t ns)
{
        int64_t s = ns / NS_PER_SEC;

        return ns % NS_PER_SEC < 0 ? s - 1 : s;
}

static char type_flag(enum ly_type t)
{
        switch (t) {
        case LY_FILE:
        case LY_WHITEOUT:
        case LY_OPAQUE:
                return '0';
        case LY_DIR:
                return '5';
        case LY_SYMLINK:
                return '2';
        case LY_HARDLINK:
                return '1';
        case LY_CHAR:
                return '3';
        case LY_BLOCK:
                return '4';
        case LY_FIFO:
                return '6';
        }
        return '0';
}

static void put_numbers(struct ly_writer *w, unsigned char h[TAR_BLOCK], const struct ly_entry *e)
{
        bool wh = e->type == LY_WHITEOUT || e->type == LY_OPAQUE;
        bool dev = e->type == LY_CHAR || e->type == LY_BLOCK;
        int64_t mtime = wh ? 0 : floor_sec(e->mtime_ns);
        uint64_t size = e->type == LY_FILE ? e->size : 0;
        uint32_t uid = wh ? 0 : e->uid, gid = wh ? 0 : e->gid;

        if (w->o.clamp && mtime > w->o.clamp_sec && !wh)
                mtime = w->o.clamp_sec;
        if (size > OCTAL_SIZE_MAX)
                pax_number(w, "size", (int64_t)size);
        if (uid > OCTAL_ID_MAX)
                pax_number(w, "uid", uid);
        if (gid > OCTAL_ID_MAX)
                pax_number(w, "gid", gid);
        if (mtime < 0 || mtime > (int64_t)OCTAL_SIZE_MAX)
                pax_number(w, "mtime", mtime);
        octal((char *)h + 100, 8, wh ? 0 : e->mode & 07777);
        octal((char *)h + 108, 8, uid > OCTAL_ID_MAX ? 0 : uid);
        octal((char *)h + 116, 8, gid > OCTAL_ID_MAX ? 0 : gid);
        octal((char *)h + 124, 12, size > OCTAL_SIZE_MAX ? 0 : size);
        octal((char *)h + 136, 12,
              mtime < 0 || mtime > (int64_t)OCTAL_SIZE_MAX ? 0 : (uint64_t)mtime);
        octal((char *)h + 329, 8, dev ? e->dev_major : 0);
        octal((char *)h + 337, 8, dev ? e->dev_minor : 0);
}

/* A name that does not fit goes to PAX; the field then holds a readable beginning. */
static void put_names(struct ly_writer *w, unsigned char h[TAR_BLOCK], const char *name,
                      const char *link)
{
        size_t n = strlen(name), nlink = link ? strlen(link) : 0;

        if (!ascii(name) || !split_name(h, name)) {
                pax_add(w, "path", name, n);
                for (size_t i = 0; i < MIN(n, 100); i++)
                        h[i] = (unsigned char)name[i] < 0x80 ? (unsigned char)name[i] : '_';
        }
        if (nlink > 100 || (link && !ascii(link))) {
                pax_add(w, "linkpath", link, nlink);
                for (size_t i = 0; i < MIN(nlink, 100); i++)
                        h[157 + i] = (unsigned char)link[i] < 0x80 ? (unsigned char)link[i] : '_';
        } else if (link) {
                memcpy(h + 157, link, nlink);
        }
}

static int check_entry(const struct ly_writer *w, const struct ly_entry *e, struct bld_err *err)
{
        bool linked = e->type == LY_SYMLINK || e->type == LY_HARDLINK;

        if (w->left)
                return err_set(err, BLD_E_BUG, "tar entry %.500s before the last one's data",
                               e->path);
        if (linked && (!e->link || !*e->link))
                return err_set(err, BLD_E_INVALID, "link %.800s without a target", e->path);
        if (!*e->path && e->type != LY_DIR && e->type != LY_OPAQUE)
                return err_set(err, BLD_E_INVALID, "tar entry without a name");
        if (e->type == LY_FILE && e->size > INT64_MAX)
                return err_set(err, BLD_E_INVALID, "size of %.800s out of range", e->path);
        if ((e->type == LY_CHAR || e->type == LY_BLOCK) &&
            (e->dev_major > OCTAL_ID_MAX || e->dev_minor > OCTAL_ID_MAX))
                return err_set(err, BLD_E_INVALID, "device number of %.800s out of range", e->path);
        return 0;
}

int ly_writer_entry(struct ly_writer *w, const struct ly_entry *e, struct bld_err *err)
{
        bool linked = e->type == LY_SYMLINK || e->type == LY_HARDLINK;
        AUTO_SB struct sb name = SB_INIT(LY_PATH_MAX + 64);
        unsigned char h[TAR_BLOCK] = {0};
        int r = check_entry(w, e, err);

        if (!r)
                r = tar_name(e, &name, err);
        if (r < 0)
                return r;
        sb_reset(&w->pax);
        put_names(w, h, sb_text(&name), linked ? e->link : NULL);
        put_numbers(w, h, e);
        if (e->type != LY_WHITEOUT && e->type != LY_OPAQUE && e->type != LY_HARDLINK) {
                r = pax_xattrs(w, e, err);
                if (r < 0)
                        return r;
        }
        r = put_pax(w, err);
        if (r < 0)
                return r;
        h[156] = (unsigned char)type_flag(e->type);
        memcpy(h + 257, "ustar\00000", 8);
        seal(h);
        w->left = e->type == LY_FILE ? e->size : 0;
        w->pad = (unsigned)((TAR_BLOCK - w->left % TAR_BLOCK) % TAR_BLOCK);
        return put(w, h, sizeof(h), err);
}

int ly_writer_data(struct ly_writer *w, const void *p, size_t n, struct bld_err *err)
{
        int r;

        if (n > w->left)
                return err_set(err, BLD_E_BUG, "more data than the tar entry has");
        if (!n)
                return 0;
        r = put(w, p, n, err);
        if (r < 0)
                return r;
        w->left -= n;
        return w->left ? 0 : put_zeros(w, w->pad, err);
}

int ly_writer_end(struct ly_writer *w, struct bld_err *err)
{
        int r;

        if (w->left)
                return err_set(err, BLD_E_BUG, "tar ends before the last entry's data");
        r = put_zeros(w, 2 * (size_t)TAR_BLOCK, err);
        return r < 0 ? r : flush(w, err);
}
