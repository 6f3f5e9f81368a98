#include "base/err.h"
#include "layer/tar_priv.h"

#define NS_PER_SEC 1000000000

void tar_parser_init(struct tar_parser *t, enum tar_flavour flavour, const struct ly_limits *lim)
{
        *t = (struct tar_parser){.flavour = flavour};
        if (lim)
                t->lim = *lim;
        if (!t->lim.bytes)
                t->lim.bytes = LY_LAYER_BYTES_MAX;
        if (!t->lim.entries)
                t->lim.entries = LY_LAYER_ENTRIES_MAX;
        sb_init(&t->meta, LY_PAX_MAX + TAR_BLOCK + 1);
}

void tar_parser_done(struct tar_parser *t)
{
        ly_entry_done(&t->e);
        tar_ext_done(&t->ext);
        ly_extents_done(&t->extents);
        sb_done(&t->meta);
}

/* The body that follows a header: n bytes and the padding to a block. */
static void begin_body(struct tar_parser *t, enum tar_state state, uint64_t n)
{
        t->left = n;
        t->skip = (TAR_BLOCK - n % TAR_BLOCK) % TAR_BLOCK;
        t->state = state;
}

static int begin_meta(struct tar_parser *t, char kind, uint64_t size, struct bld_err *err)
{
        if (size > LY_PAX_MAX)
                return err_set(err, BLD_E_LIMIT, "extended tar header of %llu bytes (limit %u)",
                               (unsigned long long)size, LY_PAX_MAX);
        t->meta_kind = kind;
        sb_reset(&t->meta);
        begin_body(t, TAR_S_META, size);
        return 0;
}

static int long_name(struct tar_parser *t, char **dst, struct bld_err *err)
{
        /* PAX, if both are there, is the more exact. */
        if (*dst)
                return 0;
        *dst = mem_strdup(sb_text(&t->meta));
        return *dst ? 0 : err_nomem(err, "tar name");
}

static int end_meta(struct tar_parser *t, struct bld_err *err)
{
        t->state = TAR_S_HEADER;
        if (t->meta_kind == 'x' && t->meta.len)
                return tar_pax_parse(t, err);
        if (t->meta_kind == 'L')
                return long_name(t, &t->ext.path, err);
        if (t->meta_kind == 'K')
                return long_name(t, &t->ext.link, err);
        return 0;
}

/* Old GNU sparse files, type 'S': four pairs here, more in the following blocks. */
static int gnu_sparse(struct tar_parser *t, struct bld_err *err)
{
        if (!tar_number(t->block + 483, 12, &t->ext.sparse_size))
                return err_set(err, BLD_E_CORRUPT, "malformed size of a sparse file in a tar");
        t->ext.has_sparse_size = true;
        t->ext.sparse = true;
        t->extents.n = 0;
        return tar_sparse_block(t, t->block + 386, 4, err);
}

/* What is stored must be what the map says, inside the size it says. */
static int sparse_check(struct tar_parser *t, struct bld_err *err)
{
        uint64_t sum = 0, end = 0;

        for (size_t i = 0; i < t->extents.n; i++) {
                sum += t->extents.v[i].len;
                end = t->extents.v[i].off + t->extents.v[i].len;
        }
        if (sum != t->left || end > t->ext.sparse_size || t->ext.sparse_open)
                return err_set(err, BLD_E_CORRUPT,
                               "the map of sparse file %.200s does not fit its data", t->e.path);
        return 0;
}

static int malformed(struct tar_parser *t, const char *what, struct bld_err *err)
{
        return err_set(err, BLD_E_CORRUPT, "tar entry \"%.200s\": %s", t->e.path ? t->e.path : "?",
                       what);
}

/* Names that are not content (image-spec layer.md, "Whiteouts"). */
static int classify_whiteout(struct tar_parser *t, struct bld_err *err)
{
        char *slash = strrchr(t->e.path, '/');
        char *base = slash ? slash + 1 : t->e.path;

        /* aufs kept its own files under these names: nothing for us. */
        for (char *p = t->e.path; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL) {
                if (p == base || !str_has_prefix(p, WH_PREFIX))
                        continue;
                if (!str_has_prefix(p, WH_META))
                        return malformed(t, "a whiteout as a folder", err);
                t->hidden = true;
                return 0;
        }
        if (!str_has_prefix(base, WH_PREFIX))
                return 0;
        if (str_eq(base, WH_OPAQUE)) {
                t->e.type = LY_OPAQUE;
                *(slash ? slash : base) = 0;
        } else if (str_has_prefix(base, WH_META)) {
                t->hidden = true;
        } else {
                const char *rest = base + strlen(WH_PREFIX);

                if (!*rest || str_eq(rest, ".") || str_eq(rest, ".."))
                        return malformed(t, "a whiteout without a name", err);
                t->e.type = LY_WHITEOUT;
                memmove(base, rest, strlen(rest) + 1);
        }
        return 0;
}

static int entry_type(struct tar_parser *t, const struct tar_header *h, const char *name,
                      struct bld_err *err)
{
        switch (h->type) {
        case 0:
                t->e.type = str_has_suffix(name, "/") ? LY_DIR : LY_FILE;
                return 0;
        case '0':
        case '7':
        case 'S':
                t->e.type = LY_FILE;
                return 0;
        case '1':
                t->e.type = LY_HARDLINK;
                return 0;
        case '2':
                t->e.type = LY_SYMLINK;
                return 0;
        case '3':
                t->e.type = LY_CHAR;
                return 0;
        case '4':
                t->e.type = LY_BLOCK;
                return 0;
        case '5':
        case 'D':
                t->e.type = LY_DIR;
                return 0;
        case '6':
                t->e.type = LY_FIFO;
                return 0;
        default:
                return err_set(err, BLD_E_CORRUPT, "tar entry \"%.200s\" of unknown type 0x%02x",
                               name, (unsigned char)h->type);
        }
}

static int entry_link(struct tar_parser *t, const struct tar_header *h, struct bld_err *err)
{
        const char *link = t->ext.link ? t->ext.link : h->link;
        int r;

        if (t->e.type == LY_SYMLINK) {
                if (!*link || strlen(link) >= LY_LINK_MAX)
                        return malformed(t, "bad symlink target", err);
                t->e.link = mem_strdup(link);
                return t->e.link ? 0 : err_nomem(err, "tar entry");
        }
        if (t->e.type != LY_HARDLINK)
                return 0;
        r = tar_clean(link, t->flavour, &t->e.link, err);
        if (r < 0)
                return r;
        return *t->e.link ? 0 : malformed(t, "bad hard link target", err);
}

static int entry_numbers(struct tar_parser *t, const struct tar_header *h, struct bld_err *err)
{
        uint64_t uid = t->ext.has_uid ? t->ext.uid : h->uid;
        uint64_t gid = t->ext.has_gid ? t->ext.gid : h->gid;

        if (uid >= UINT32_MAX || gid >= UINT32_MAX)
                return malformed(t, "owner beyond 32 bits", err);
        if (h->major > UINT32_MAX || h->minor > UINT32_MAX)
                return malformed(t, "device number beyond 32 bits", err);
        if (h->mtime > INT64_MAX / NS_PER_SEC || h->mtime < INT64_MIN / NS_PER_SEC)
                return malformed(t, "time out of range", err);
        t->e.uid = (uint32_t)uid;
        t->e.gid = (uint32_t)gid;
        t->e.mode = (unsigned)(h->mode & 07777);
        t->e.mtime_ns = t->ext.has_mtime ? t->ext.mtime_ns : h->mtime * NS_PER_SEC;
        t->e.dev_major = (uint32_t)h->major;
        t->e.dev_minor = (uint32_t)h->minor;
        return 0;
}

static int entry_size(struct tar_parser *t, uint64_t stored, struct bld_err *err)
{
        uint64_t size = stored;

        if (t->e.type != LY_FILE)
                return 0;
        t->sparse = t->ext.sparse;
        if (t->sparse) {
                if (!t->ext.has_sparse_size)
                        return malformed(t, "sparse file without a size", err);
                size = t->ext.sparse_size;
        }
        /* Holes cost nothing in the tar and everything on the disk. */
        if (size > INT64_MAX || ADD_OVERFLOWS(t->logical, size, &t->logical) ||
            t->logical > t->lim.bytes)
                return err_set(err, BLD_E_LIMIT, "tar unpacks to more than %llu bytes",
                               (unsigned long long)t->lim.bytes);
        t->e.size = size;
        return 0;
}

static int build_entry(struct tar_parser *t, const struct tar_header *h, uint64_t stored,
                       struct bld_err *err)
{
        const char *name = h->path;
        int r;

        if (t->ext.path)
                name = t->ext.path;
        if (t->ext.sparse_name)
                name = t->ext.sparse_name;
        r = tar_clean(name, t->flavour, &t->e.path, err);
        if (!r)
                r = entry_type(t, h, name, err);
        if (!r)
                r = entry_link(t, h, err);
        if (!r)
                r = entry_numbers(t, h, err);
        if (r < 0)
                return r;
        t->hidden = false;
        if (t->flavour == TAR_LAYER) {
                /* overlay file systems take such a node for a whiteout, whoever made it. */
                if (t->e.type == LY_CHAR && !t->e.dev_major && !t->e.dev_minor)
                        t->e.type = LY_WHITEOUT;
                r = classify_whiteout(t, err);
                if (r < 0)
                        return r;
        }
        if (!*t->e.path && t->e.type != LY_DIR && t->e.type != LY_OPAQUE)
                return malformed(t, "not a folder, without a name", err);
        return entry_size(t, stored, err);
}

static void take_xattrs(struct tar_parser *t)
{
        t->e.xattrs = t->ext.xattrs.v;
        t->e.nxattrs = t->ext.xattrs.n;
        t->ext.xattrs = (struct ly_xattrs){0};
}

/* All that precedes the data is read. */
static int finish_entry(struct tar_parser *t, enum tar_event *ret_ev, struct bld_err *err)
{
        int r;

        t->data_off = t->off;
        t->state = TAR_S_DATA;
        if (t->sparse) {
                r = sparse_check(t, err);
                if (r < 0)
                        return r;
        }
        take_xattrs(t);
        tar_ext_done(&t->ext);
        if (++t->entries > t->lim.entries)
                return err_set(err, BLD_E_LIMIT, "tar with more than %llu entries",
                               (unsigned long long)t->lim.entries);
        /* The data of whatever is no file is passed over. */
        t->discard = t->hidden || t->e.type != LY_FILE;
        if (!t->hidden)
                *ret_ev = TAR_ENTRY;
        return 0;
}

static bool header_only(char type)
{
        return type && strchr("123456", type);
}

static int begin_entry(struct tar_parser *t, const struct tar_header *h, enum tar_event *ret_ev,
                       struct bld_err *err)
{
        uint64_t stored = t->ext.has_size ? t->ext.size : h->size;
        bool dir_by_name;
        int r;

        if (stored > INT64_MAX)
                return err_set(err, BLD_E_CORRUPT, "malformed size in a tar header");
        r = h->type == 'S' ? gnu_sparse(t, err) : 0;
        if (!r)
                r = build_entry(t, h, stored, err);
        if (r < 0)
                return r;
        dir_by_name = !h->type && t->e.type == LY_DIR;
        begin_body(t, TAR_S_DATA, header_only(h->type) || dir_by_name ? 0 : stored);
        if (!t->sparse)
                t->extents.n = 0;
        if (t->sparse && h->type == 'S' && t->block[482]) {
                t->state = TAR_S_SPARSE_EXT;
                return 0;
        }
        if (t->sparse && t->ext.sparse_1_0) {
                sb_reset(&t->meta);
                t->map_scanned = 0;
                t->map_lines = 0;
                t->state = TAR_S_SPARSE_MAP;
                return 0;
        }
        return finish_entry(t, ret_ev, err);
}

static bool pending(const struct tar_parser *t)
{
        return t->ext.path || t->ext.link || t->ext.sparse || t->ext.has_size || t->ext.xattrs.n ||
               t->ext.has_uid || t->ext.has_gid || t->ext.has_mtime;
}

static int on_header(struct tar_parser *t, enum tar_event *ret_ev, struct bld_err *err)
{
        struct tar_header h;
        int r = tar_header_decode(t->block, &h, err);

        if (r < 0)
                return r;
        ly_entry_done(&t->e);
        t->sparse = false;
        if (!r) {
                if (pending(t))
                        return err_set(err, BLD_E_CORRUPT, "extended tar header without an entry");
                t->state = TAR_S_ZERO;
                return 0;
        }
        if (h.type == 'X')
                h.type = 'x'; /* Solaris */
        if (h.type && strchr("xgLKV", h.type))
                return begin_meta(t, h.type, h.size, err);
        return begin_entry(t, &h, ret_ev, err);
}

static int on_sparse_ext(struct tar_parser *t, enum tar_event *ret_ev, struct bld_err *err)
{
        int r = tar_sparse_block(t, t->block, 21, err);

        if (r < 0 || t->block[504])
                return r;
        return finish_entry(t, ret_ev, err);
}

static int on_sparse_map(struct tar_parser *t, enum tar_event *ret_ev, struct bld_err *err)
{
        int r;

        if (t->left < TAR_BLOCK)
                return malformed(t, "map of a sparse file longer than its data", err);
        t->left -= TAR_BLOCK;
        if (t->meta.len + TAR_BLOCK > LY_PAX_MAX)
                return err_set(err, BLD_E_LIMIT, "map of a sparse file too long");
        sb_add(&t->meta, t->block, TAR_BLOCK);
        r = sb_check(&t->meta, "map of a sparse file", err);
        if (!r)
                r = tar_sparse_map(t, err);
        return r == 1 ? finish_entry(t, ret_ev, err) : r;
}

static int on_block(struct tar_parser *t, enum tar_event *ret_ev, struct bld_err *err)
{
        t->fill = 0;
        switch (t->state) {
        case TAR_S_HEADER:
                return on_header(t, ret_ev, err);
        case TAR_S_SPARSE_EXT:
                return on_sparse_ext(t, ret_ev, err);
        case TAR_S_SPARSE_MAP:
                return on_sparse_map(t, ret_ev, err);
        case TAR_S_ZERO:
                if (t->block[0] || memcmp(t->block, t->block + 1, TAR_BLOCK - 1) != 0)
                        return err_set(err, BLD_E_CORRUPT, "data after the end of a tar");
                t->state = TAR_S_END;
                return 0;
        case TAR_S_META:
        case TAR_S_DATA:
        case TAR_S_END:
                break;
        }
        return err_set(err, BLD_E_BUG, "tar parser in a wrong state");
}

/* Body bytes of a header or file. Returns how many were taken. */
static size_t take_body(struct tar_parser *t, const unsigned char *p, size_t n)
{
        size_t take = (size_t)MIN((uint64_t)n, t->left);

        if (t->state == TAR_S_META)
                sb_add(&t->meta, p, take);
        t->left -= take;
        t->off += take;
        return take;
}

static size_t take_padding(struct tar_parser *t, size_t n)
{
        size_t take = (size_t)MIN((uint64_t)n, t->skip);

        t->skip -= take;
        t->off += take;
        return take;
}

static size_t take_block(struct tar_parser *t, const unsigned char *p, size_t n)
{
        size_t take = MIN(n, TAR_BLOCK - t->fill);

        memcpy(t->block + t->fill, p, take);
        t->fill += take;
        t->off += take;
        return take;
}

/* One state's share of the input; *ret_ev becomes anything but TAR_MORE to stop there. */
static int feed_some(struct tar_parser *t, const unsigned char *p, size_t n, size_t *used,
                     enum tar_event *ret_ev, const unsigned char **ret_data, size_t *ret_len,
                     struct bld_err *err)
{
        size_t take;
        int r = 0;

        if (t->state == TAR_S_DATA || t->state == TAR_S_META) {
                if (t->left) {
                        take = take_body(t, p, n);
                        *used += take;
                        if (t->state == TAR_S_DATA && !t->discard) {
                                *ret_data = p;
                                *ret_len = take;
                                *ret_ev = TAR_DATA;
                        }
                        return 0;
                }
                *used += take_padding(t, n);
                if (t->skip)
                        return 0;
                if (t->state == TAR_S_META) {
                        r = sb_check(&t->meta, "extended tar header", err);
                        return r < 0 ? r : end_meta(t, err);
                }
                t->state = TAR_S_HEADER;
                return 0;
        }
        *used += take_block(t, p, n);
        return t->fill == TAR_BLOCK ? on_block(t, ret_ev, err) : 0;
}

int tar_feed(struct tar_parser *t, const unsigned char *p, size_t n, size_t *ret_used,
             enum tar_event *ret_ev, const unsigned char **ret_data, size_t *ret_len,
             struct bld_err *err)
{
        *ret_used = 0;
        *ret_ev = TAR_MORE;
        while (*ret_used < n && *ret_ev == TAR_MORE) {
                int r;

                if (t->state == TAR_S_END) {
                        t->off += n - *ret_used;
                        *ret_used = n;
                        *ret_ev = TAR_END;
                        break;
                }
                r = feed_some(t, p + *ret_used, n - *ret_used, ret_used, ret_ev, ret_data, ret_len,
                              err);
                if (r < 0)
                        return r;
        }
        if (t->off > t->lim.bytes)
                return err_set(err, BLD_E_LIMIT, "tar of more than %llu bytes",
                               (unsigned long long)t->lim.bytes);
        return 0;
}

int tar_eof(const struct tar_parser *t, struct bld_err *err)
{
        bool between = t->state == TAR_S_HEADER || t->state == TAR_S_ZERO ||
                       (t->state == TAR_S_DATA && !t->left); /* umoci leaves out the padding */

        if (t->state == TAR_S_END || (between && !t->fill && !pending(t)))
                return 0;
        return err_set(err, BLD_E_CORRUPT, "tar ends in the middle of an entry");
}
