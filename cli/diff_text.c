/* The difference for people: a line for each thing, in columns; and for scripts, names alone. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/diff_text.h"
#include "cli/text.h"

#define NAME_COLUMN 9u

/* ---- pieces ---- */

const char *diff_arrow(const struct diff_page *p)
{
        return p->o->term.tty && !p->o->term.utf8 ? "->" : "\xe2\x86\x92";
}

static void styled(struct diff_page *p, enum term_style s, const char *text)
{
        sb_fmt(&p->o->buf, "%s%s%s", term_style(&p->o->term, s), text,
               term_style(&p->o->term, S_RESET));
}

void diff_tag(struct diff_page *p, const char *text)
{
        sb_char(&p->o->buf, ' ');
        styled(p, S_CYAN, text);
        sb_fmt(&p->o->buf, "%*s", (int)(NAME_COLUMN - 1 - strlen(text)), "");
}

void diff_value(struct diff_page *p, const char *s)
{
        AUTO_SB struct sb flat = SB_INIT((size_t)1 << 26);
        unsigned flags = term_text_flags(&p->o->term) & ~(unsigned)TEXT_SGR;
        size_t width = p->o->term.tty ? MAX(p->o->term.cols, 40u) / 2 : TEXT_WIDE;

        if (text_hides(s, strlen(s))) {
                text_name(&flat, s, strlen(s));
                s = "";
        }
        for (; *s; s++)
                if (*s == '\n')
                        sb_str(&flat, "\\n");
                else
                        sb_char(&flat, *s);
        (void)text_add_middle(&p->o->buf, sb_text(&flat), flat.len, width,
                              p->o->term.tty ? flags : 0);
}

/* A path as it is shown, in p->cell; its width. */
static size_t name_of(struct diff_page *p, const char *path)
{
        AUTO_SB struct sb full = SB_INIT((size_t)1 << 20);

        sb_fmt(&full, "/%s", path);
        sb_reset(&p->cell);
        text_name(&p->cell, sb_text(&full), full.len);
        return text_width(sb_text(&p->cell), p->cell.len, 0);
}

static void put_name(struct diff_page *p, const char *path)
{
        (void)name_of(p, path);
        sb_add(&p->o->buf, sb_text(&p->cell), p->cell.len);
}

static const char *type_name(enum bld_layer_type t)
{
        switch (t) {
        case BLD_LAYER_FILE:
        case BLD_LAYER_HARDLINK:
                return "file";
        case BLD_LAYER_DIR:
                return "folder";
        case BLD_LAYER_SYMLINK:
                return "symlink";
        case BLD_LAYER_CHAR:
                return "character device";
        case BLD_LAYER_BLOCK:
                return "block device";
        case BLD_LAYER_FIFO:
                return "fifo";
        case BLD_LAYER_WHITEOUT:
        case BLD_LAYER_OPAQUE:
                break;
        }
        return "whiteout";
}

static bool is_device(const struct bld_tree_node *n)
{
        return n->type == BLD_LAYER_CHAR || n->type == BLD_LAYER_BLOCK;
}

/* ---- one file ---- */

static void put_kind(struct diff_page *p, const struct diff_sides *s)
{
        static const struct {
                const char *letter;
                enum term_style style;
        } kinds[] = {
                [BLD_CHANGE_ADDED] = {"A", S_GREEN},     [BLD_CHANGE_DELETED] = {"D", S_RED},
                [BLD_CHANGE_MODIFIED] = {"M", S_YELLOW}, [BLD_CHANGE_TYPE] = {"T", S_CYAN},
                [BLD_CHANGE_METADATA] = {"m", S_DIM},
        };
        const struct bld_tree_node *n = diff_node(s);

        sb_char(&p->o->buf, ' ');
        styled(p, kinds[s->change->kind].style, kinds[s->change->kind].letter);
        sb_str(&p->o->buf, s->change->unsure ? "?" : " ");
        if (s->has_after && n->type != BLD_LAYER_SYMLINK && !n->implied)
                sb_fmt(&p->o->buf, "%04o  ", n->mode);
        else
                sb_str(&p->o->buf, "      ");
}

static void put_sizes(struct diff_page *p, const struct diff_sides *s)
{
        const struct bld_tree_node *x = &s->before, *y = &s->after;
        struct sb *out = &p->o->buf;
        char a[24], b[24];

        if (s->change->kind == BLD_CHANGE_METADATA || s->change->kind == BLD_CHANGE_TYPE)
                return;
        if (diff_node(s)->type != BLD_LAYER_FILE || !(s->has_before || s->has_after))
                return;
        format_size(x->file_size, a);
        format_size(y->file_size, b);
        if (!s->has_before || !s->has_after)
                sb_str(out, s->has_after ? b : a);
        else if (strcmp(a, b) != 0)
                sb_fmt(out, "%s %s %s", a, diff_arrow(p), b);
        else if (x->file_size == y->file_size)
                sb_str(out, b);
        else
                sb_fmt(out, "%s (%+lld B)", b, (long long)(y->file_size - x->file_size));
}

static void put_detail_sep(struct diff_page *p, bool *first)
{
        sb_str(&p->o->buf, !*first ? ", " : p->o->buf.len > p->details ? "  " : "");
        *first = false;
}

/* "mode 0644→0755, uid 0→10, mtime" */
static void put_attributes(struct diff_page *p, const struct diff_sides *s, bool *first)
{
        const struct bld_tree_node *x = &s->before, *y = &s->after;
        unsigned what = s->change->what;
        struct sb *out = &p->o->buf;

        if (s->change->kind == BLD_CHANGE_MODIFIED && (what & BLD_DIFF_CONTENT) &&
            !(what & BLD_DIFF_SIZE)) {
                put_detail_sep(p, first);
                sb_str(out, "content");
        }
        if (s->change->kind == BLD_CHANGE_METADATA && !what) {
                put_detail_sep(p, first);
                sb_str(out, "what else was in it may be gone");
        }
        if (what & BLD_DIFF_MODE) {
                put_detail_sep(p, first);
                sb_fmt(out, "mode %04o%s%04o", x->mode, diff_arrow(p), y->mode);
        }
        if (what & BLD_DIFF_UID) {
                put_detail_sep(p, first);
                sb_fmt(out, "uid %u%s%u", x->uid, diff_arrow(p), y->uid);
        }
        if (what & BLD_DIFF_GID) {
                put_detail_sep(p, first);
                sb_fmt(out, "gid %u%s%u", x->gid, diff_arrow(p), y->gid);
        }
        if (what & BLD_DIFF_XATTRS) {
                put_detail_sep(p, first);
                sb_str(out, "xattrs");
        }
        if (what & BLD_DIFF_LINKS) {
                put_detail_sep(p, first);
                sb_str(out, "hard links");
        }
        if (what & BLD_DIFF_MTIME) {
                put_detail_sep(p, first);
                sb_str(out, "mtime");
        }
}

/* Where a symlink leads, what a device is. */
static void put_target(struct diff_page *p, const struct bld_tree_node *n)
{
        if (n->type == BLD_LAYER_SYMLINK)
                text_name(&p->o->buf, n->link ? n->link : "", n->link ? strlen(n->link) : 0);
        else if (is_device(n))
                sb_fmt(&p->o->buf, "%s %u:%u", type_name(n->type), n->dev_major, n->dev_minor);
        else
                sb_str(&p->o->buf, type_name(n->type));
}

static void put_nature(struct diff_page *p, const struct diff_sides *s, bool *first)
{
        const struct bld_tree_node *n = diff_node(s);
        struct sb *out = &p->o->buf;

        if (s->change->kind == BLD_CHANGE_METADATA)
                return;
        if (s->change->kind != BLD_CHANGE_TYPE &&
            (n->type == BLD_LAYER_FILE || n->type == BLD_LAYER_DIR))
                return;
        put_detail_sep(p, first);
        if (s->change->kind == BLD_CHANGE_TYPE)
                sb_fmt(out, "%s %s ", type_name(s->before.type), diff_arrow(p));
        else if (s->has_before && s->has_after) {
                put_target(p, &s->before);
                sb_fmt(out, " %s ", diff_arrow(p));
        } else if (n->type == BLD_LAYER_SYMLINK)
                sb_fmt(out, "%s ", diff_arrow(p));
        put_target(p, n);
}

static void put_rename(struct diff_page *p, const struct diff_sides *s, bool *first)
{
        if (s->change->renamed == BLD_NO_NODE)
                return;
        put_detail_sep(p, first);
        sb_str(&p->o->buf, s->has_after ? "was " : "now ");
        put_name(p, bld_diff_change(p->r->files, s->change->renamed)->path);
}

static int put_group(struct diff_page *p, const struct diff_group *g, struct bld_err *err)
{
        struct sb *out = &p->o->buf;
        size_t from, width;
        struct diff_sides s;
        bool first = true;
        char size[24];
        int r = diff_sides(p->r->files, g->shown, &s, err);

        if (r < 0)
                return r;
        put_kind(p, &s);
        width = name_of(p, s.change->path);
        sb_add(out, sb_text(&p->cell), p->cell.len);
        from = out->len;
        sb_fmt(out, "%*s", (int)(2 + (p->width > width ? p->width - width : 0)), "");
        p->details = out->len;
        if (g->n > 1 && g->shown == g->first) {
                format_size(g->bytes, size);
                sb_fmt(out, "%llu file%s, %s", (unsigned long long)g->files,
                       g->files == 1 ? "" : "s", size);
        } else {
                put_sizes(p, &s);
        }
        if (!p->r->ask->stat || s.change->kind == BLD_CHANGE_TYPE)
                put_nature(p, &s, &first);
        if (!p->r->ask->stat) {
                put_attributes(p, &s, &first);
                put_rename(p, &s, &first);
        }
        while (out->len > from && out->buf[out->len - 1] == ' ')
                sb_cut(out, out->len - 1);
        sb_char(out, '\n');
        return out_flow(p->o, err);
}

static int measure(struct diff_page *p, struct bld_err *err)
{
        struct diff_group g;

        for (size_t i = 0; i < bld_diff_count(p->r->files); i += g.n) {
                int r = diff_group_at(p->r->files, i, &g, err);
                size_t w;

                if (r < 0)
                        return r;
                if (g.quiet)
                        continue;
                w = name_of(p, bld_diff_change(p->r->files, g.shown)->path);
                p->width = MAX(p->width, MIN(w, NAME_WIDTH_MAX));
        }
        return 0;
}

static int put_files(struct diff_page *p, struct bld_err *err)
{
        struct diff_group g;
        int r = measure(p, err);

        for (size_t i = 0; r == 0 && i < bld_diff_count(p->r->files); i += g.n) {
                r = diff_group_at(p->r->files, i, &g, err);
                if (r == 0 && !g.quiet)
                        r = put_group(p, &g, err);
        }
        if (r == 0 && p->r->unsure) {
                diff_tag(p, "note");
                sb_fmt(&p->o->buf,
                       "%zu change%s marked ? depend%s on shared layers, not read: see --shared\n",
                       p->r->unsure, p->r->unsure == 1 ? "" : "s", p->r->unsure == 1 ? "s" : "");
        }
        return r;
}

/* ---- contents ---- */

/* A line of a difference; what others wrote must not command a terminal. */
static void put_diff_line(struct diff_page *p, const char *s, size_t n)
{
        enum term_style style = s[0] == '+'   ? S_GREEN
                                : s[0] == '-' ? S_RED
                                : s[0] == '@' ? S_CYAN
                                              : S_RESET;

        if (style != S_RESET)
                sb_str(&p->o->buf, term_style(&p->o->term, style));
        if (p->o->term.tty)
                (void)text_add(&p->o->buf, s, n, TEXT_WIDE,
                               term_text_flags(&p->o->term) & ~(unsigned)TEXT_SGR);
        else
                sb_add(&p->o->buf, s, n);
        if (style != S_RESET)
                sb_str(&p->o->buf, term_style(&p->o->term, S_RESET));
        sb_char(&p->o->buf, '\n');
}

static void side_name(struct sb *out, char side, const char *path, bool there)
{
        AUTO_SB struct sb full = SB_INIT((size_t)1 << 20), name = SB_INIT((size_t)1 << 20);
        const char *text;

        if (!there) {
                sb_str(out, "/dev/null");
                return;
        }
        sb_fmt(&full, "%c/%s", side, path);
        text_name(&name, sb_text(&full), full.len);
        text = sb_text(&name);
        if (text[0] != '"' && str_has_suffix(path, " ")) /* patch(1) would drop the blank */
                sb_fmt(out, "\"%s\"", text);
        else /* it takes a name with blanks to end at a tab */
                sb_fmt(out, text[0] != '"' && strchr(path, ' ') ? "%s\t" : "%s", text);
}

static void put_heads(struct diff_page *p, const struct diff_sides *s)
{
        AUTO_SB struct sb line = SB_INIT((size_t)1 << 20);
        struct sb *out = &p->o->buf;

        sb_str(&line, "--- ");
        side_name(&line, 'a', s->change->path, s->has_before && s->before.type == BLD_LAYER_FILE);
        sb_str(&line, "\n+++ ");
        side_name(&line, 'b', s->change->path, s->has_after && s->after.type == BLD_LAYER_FILE);
        styled(p, S_BOLD, sb_text(&line));
        sb_char(out, '\n');
}

static int put_content(struct diff_page *p, size_t i, struct sb *hunks, struct bld_err *err)
{
        struct diff_content_sides c;
        struct diff_sides s;
        const char *at;
        int r;

        sb_reset(hunks);
        r = diff_content_of(p->content, i, &c, hunks, err);
        r = r < 0 ? r : diff_sides(p->r->files, i, &s, err);
        if (r < 0 || c.kind == DIFF_CONTENT_NONE)
                return r;
        if (c.kind == DIFF_CONTENT_OTHER) {
                sb_str(&p->o->buf, "Binary ");
                put_name(p, s.change->path);
                sb_fmt(&p->o->buf, ": %s%s%s%s%s\n", c.before, *c.before && *c.after ? " " : "",
                       *c.before && *c.after ? diff_arrow(p) : "", *c.before && *c.after ? " " : "",
                       c.after);
                return out_flow(p->o, err);
        }
        if (!hunks->len)
                return 0;
        put_heads(p, &s);
        at = sb_text(hunks);
        for (size_t left = hunks->len; left && r == 0;) {
                const char *nl = memchr(at, '\n', left);
                size_t n = nl ? (size_t)(nl - at) : left;

                put_diff_line(p, at, n);
                r = out_flow(p->o, err);
                at += n + (nl != NULL);
                left -= n + (nl != NULL);
        }
        return r;
}

static int put_contents(struct diff_page *p, struct bld_err *err)
{
        AUTO_SB struct sb hunks = SB_INIT((size_t)1 << 30);
        int r = 0;

        sb_char(&p->o->buf, '\n');
        for (size_t i = 0; r == 0 && i < bld_diff_count(p->r->files); i++)
                r = put_content(p, i, &hunks, err);
        return r;
}

/* ---- the page ---- */

static bool anything(const struct diff_result *r)
{
        return r->differ || r->packages.n || (r->has_cost && !r->ask->chosen && r->cost.changed);
}

int diff_write_text(const struct diff_result *res, struct diff_content *content, struct out *o,
                    struct bld_err *err)
{
        struct diff_page p = {.r = res, .o = o, .content = content};
        bool files = res->files && (res->ask->modes & DIFF_FILES);
        int r = 0;

        sb_init(&p.cell, (size_t)1 << 20);
        if (res->config)
                r = diff_put_config(&p, err);
        if (r == 0 && files)
                r = put_files(&p, err);
        r = r < 0 ? r : diff_put_packages(&p, err);
        r = r < 0 ? r : diff_put_layers(&p, err);
        if (r == 0 && res->has_cost && anything(res) &&
            (!res->ask->chosen || (res->ask->modes & DIFF_LAYERS)))
                diff_put_cost(&p);
        if (r == 0 && files && content && bld_diff_count(res->files))
                r = put_contents(&p, err);
        sb_done(&p.cell);
        return r;
}

int diff_write_names(const struct diff_result *res, bool status, struct out *o, struct bld_err *err)
{
        static const char letters[] = {
                [BLD_CHANGE_ADDED] = 'A', [BLD_CHANGE_DELETED] = 'D',  [BLD_CHANGE_MODIFIED] = 'M',
                [BLD_CHANGE_TYPE] = 'T',  [BLD_CHANGE_METADATA] = 'm',
        };
        struct diff_page p = {.r = res, .o = o};
        int r = 0;

        sb_init(&p.cell, (size_t)1 << 20);
        for (size_t i = 0; r == 0 && i < bld_diff_count(res->files); i++) {
                const struct bld_change *c = bld_diff_change(res->files, i);

                if (status)
                        sb_fmt(&o->buf, "%c%s\t", letters[c->kind], c->unsure ? "?" : "");
                put_name(&p, c->path);
                sb_char(&o->buf, '\n');
                r = out_flow(o, err);
        }
        sb_done(&p.cell);
        return r;
}
