/* The tree in the page's data: both trees as one, in the order of a sorted walk, written as it
 * goes. Every change is a row, as far as LIMITs allow; of what did not change, only what is large
 * enough to be seen in a map, and the rest as one row of its folder. A folder's row is written when
 * the first thing in it is.
 *
 * A row: [depth, name, kind, types, size before, size after, mode, layer, [details...]], members at
 * the end left out when there is nothing; of the rest of a folder: [depth, null, files, changes not
 * shown, size before, size after]. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/vec.h"
#include "cli/diff_html.h"
#include "cli/page.h"

#define SHOWN_MAX 100000u             /* changes */
#define DATA_MAX ((uint64_t)48 << 20) /* bytes of rows; what comes after is summed up */
#define VISIBLE 1500u                 /* an unchanged thing is shown from that part of all on */

const char html_letters[HTML_KINDS] = {
        [0] = ' ',
        [BLD_CHANGE_ADDED] = 'A',
        [BLD_CHANGE_DELETED] = 'D',
        [BLD_CHANGE_MODIFIED] = 'M',
        [BLD_CHANGE_TYPE] = 'T',
        [BLD_CHANGE_METADATA] = 'm',
};

/* Bytes a name stands for: a file's, once. */
static uint64_t weight(const struct bld_tree_node *n)
{
        return n->type == BLD_LAYER_FILE && !n->first_name ? n->file_size : 0;
}

/* ---- sums ---- */

static int sum_tree(const struct bld_tree *t, size_t prefix, size_t *files, uint64_t *bytes,
                    bool *any_shared, struct bld_err *err)
{
        struct bld_tree_node n = {.size = sizeof(n)};

        for (size_t i = 0; i < bld_tree_count(t); i++) {
                int r = bld_tree_node(t, i, &n, err);

                if (r < 0)
                        return r;
                *files += n.type != BLD_LAYER_DIR;
                *bytes += weight(&n);
                *any_shared = *any_shared || n.layer < prefix;
        }
        return 0;
}

static uint64_t change_bytes(const struct diff_sides *s)
{
        uint64_t a = s->has_before ? weight(&s->before) : 0,
                 b = s->has_after ? weight(&s->after) : 0;

        switch (s->change->kind) {
        case BLD_CHANGE_DELETED:
                return a;
        case BLD_CHANGE_METADATA:
                return 0;
        case BLD_CHANGE_ADDED:
        case BLD_CHANGE_MODIFIED:
        case BLD_CHANGE_TYPE:
                break;
        }
        return b;
}

static int is_quiet(const struct bld_diff *d, size_t i, bool *ret, struct bld_err *err)
{
        const struct bld_change *c = bld_diff_change(d, i);
        struct diff_group g = {.n = 0};
        int r = c->kind == BLD_CHANGE_METADATA ? diff_group_at(d, i, &g, err) : 0;

        *ret = g.quiet;
        return r;
}

int html_sum(const struct diff_result *r, struct html_sums *ret, struct bld_err *err)
{
        int e = sum_tree(bld_diff_tree_a(r->files), r->cost.prefix, &ret->files_a, &ret->bytes_a,
                         &ret->any_shared, err);

        e = e < 0 ? e
                  : sum_tree(bld_diff_tree_b(r->files), r->cost.prefix, &ret->files_b,
                             &ret->bytes_b, &ret->any_shared, err);
        for (size_t i = 0; e == 0 && i < bld_diff_count(r->files); i++) {
                struct diff_sides s;
                bool quiet;

                e = is_quiet(r->files, i, &quiet, err);
                e = e < 0 ? e : diff_sides(r->files, i, &s, err);
                if (e < 0)
                        break;
                if (quiet) {
                        ret->quiet++;
                        continue;
                }
                ret->n[s.change->kind]++;
                ret->bytes[s.change->kind] += change_bytes(&s);
        }
        return e;
}

/* ---- which changes are shown ---- */

static uint64_t prominence(const struct diff_sides *s)
{
        uint64_t a = s->has_before ? weight(&s->before) : 0,
                 b = s->has_after ? weight(&s->after) : 0;

        return MAX(a, b);
}

static int by_size(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? 1 : x > y ? -1 : 0;
}

/* Of more than SHOWN_MAX the largest: those above *ret, and *ret_ties of that size. */
static int choose(const struct bld_diff *d, uint64_t *ret, size_t *ret_ties, struct bld_err *err)
{
        size_t n = bld_diff_count(d);
        AUTO_FREE uint64_t *v = n > SHOWN_MAX ? mem_zalloc(n, sizeof(*v)) : NULL;

        *ret = 0;
        *ret_ties = SHOWN_MAX;
        if (n <= SHOWN_MAX)
                return 0;
        if (!v)
                return err_nomem(err, "page");
        for (size_t i = 0; i < n; i++) {
                struct diff_sides s;
                int r = diff_sides(d, i, &s, err);

                if (r < 0)
                        return r;
                v[i] = prominence(&s);
        }
        qsort(v, n, sizeof(*v), by_size);
        *ret = v[SHOWN_MAX - 1];
        for (size_t i = 0; i < SHOWN_MAX && v[i] > *ret; i++)
                --*ret_ties;
        return 0;
}

/* ---- rows ---- */

/* Two nodes of one path, or one. */
struct pair {
        const char *path;
        const struct bld_tree_node *a, *b; /* NULL: not there */
        size_t change;                     /* index; BLD_NO_NODE */
};

/* A folder on the way to where the walk is. */
struct level {
        size_t a, b; /* nodes; BLD_NO_NODE */
        size_t change;
        bool written;
        size_t files, hidden; /* of what has no row */
        uint64_t bytes_a, bytes_b;
};
VEC_DEFINE(levels, struct level);

struct walk {
        const struct diff_result *r;
        const struct bld_tree *ta, *tb;
        struct html_sums *sums;
        struct out *o;
        struct levels levels; /* [0] is the root */
        uint64_t least;       /* bytes of an unchanged thing that is shown */
        uint64_t chosen;      /* changes above that are shown */
        size_t ties;
        uint64_t written; /* bytes */
        bool comma;
};

static int node_of(const struct bld_tree *t, size_t i, struct bld_tree_node *ret,
                   struct bld_err *err)
{
        ret->size = sizeof(*ret);
        return bld_tree_node(t, i, ret, err);
}

static char type_letter(const struct bld_tree_node *n)
{
        static const char letters[] = {
                [BLD_LAYER_FILE] = 'f',     [BLD_LAYER_DIR] = 'd',      [BLD_LAYER_SYMLINK] = 'l',
                [BLD_LAYER_HARDLINK] = 'f', [BLD_LAYER_CHAR] = 'c',     [BLD_LAYER_BLOCK] = 'b',
                [BLD_LAYER_FIFO] = 'p',     [BLD_LAYER_WHITEOUT] = 'w', [BLD_LAYER_OPAQUE] = 'o',
        };

        return n ? letters[n->type] : '-';
}

static void begin_detail(struct sb *out, bool *any, const char *label)
{
        sb_fmt(out, "%s[\"%s\"", *any ? "," : ",[", label);
        *any = true;
}

static void put_numbers(struct sb *out, bool *any, const char *label, unsigned a, unsigned b)
{
        begin_detail(out, any, label);
        sb_fmt(out, ",\"%u\",\"%u\"]", a, b);
}

static void put_word(struct sb *out, bool *any, const char *word)
{
        begin_detail(out, any, word);
        sb_char(out, ']');
}

static void put_attributes(struct sb *out, bool *any, const struct pair *p, unsigned what)
{
        if ((what & BLD_DIFF_CONTENT) && !(what & BLD_DIFF_SIZE))
                put_word(out, any, "content");
        if (what & BLD_DIFF_MODE) {
                begin_detail(out, any, "mode");
                sb_fmt(out, ",\"%04o\",\"%04o\"]", p->a->mode, p->b->mode);
        }
        if (what & BLD_DIFF_UID)
                put_numbers(out, any, "uid", p->a->uid, p->b->uid);
        if (what & BLD_DIFF_GID)
                put_numbers(out, any, "gid", p->a->gid, p->b->gid);
        if (what & BLD_DIFF_XATTRS)
                put_word(out, any, "xattrs");
        if (what & BLD_DIFF_LINKS)
                put_word(out, any, "hard links");
        if (what & BLD_DIFF_MTIME)
                put_word(out, any, "mtime");
}

static void put_link(struct sb *out, const struct bld_tree_node *n)
{
        const char *to = n && n->link ? n->link : "";

        sb_char(out, ',');
        page_json_name(out, to, strlen(to));
}

static void put_device(struct sb *out, const struct bld_tree_node *n)
{
        if (n && (n->type == BLD_LAYER_CHAR || n->type == BLD_LAYER_BLOCK))
                sb_fmt(out, ",\"%u:%u\"", n->dev_major, n->dev_minor);
        else
                sb_str(out, ",\"\"");
}

static bool is_type(const struct bld_tree_node *n, enum bld_layer_type t)
{
        return n && n->type == t;
}

/* Where links lead, what devices are, under which other name the file is found. */
static void put_nature(struct sb *out, bool *any, const struct pair *p, const struct bld_diff *d,
                       const struct bld_change *c)
{
        const struct bld_tree_node *n = p->b ? p->b : p->a;
        bool told = c->kind != BLD_CHANGE_METADATA;

        if (told && (is_type(p->a, BLD_LAYER_SYMLINK) || is_type(p->b, BLD_LAYER_SYMLINK))) {
                begin_detail(out, any, "link");
                put_link(out, p->a);
                put_link(out, p->b);
                sb_char(out, ']');
        }
        if (told && (is_type(p->a, BLD_LAYER_CHAR) || is_type(p->a, BLD_LAYER_BLOCK) ||
                     is_type(p->b, BLD_LAYER_CHAR) || is_type(p->b, BLD_LAYER_BLOCK))) {
                begin_detail(out, any, "device");
                put_device(out, p->a);
                put_device(out, p->b);
                sb_char(out, ']');
        }
        if (n->first_name) {
                begin_detail(out, any, "hard link of");
                sb_str(out, ",\"\",");
                page_json_name(out, n->first_name, strlen(n->first_name));
                sb_char(out, ']');
        }
        if (c->renamed != BLD_NO_NODE) {
                const char *other = bld_diff_change(d, c->renamed)->path;

                begin_detail(out, any, p->b ? "was" : "now");
                sb_str(out, ",\"\",");
                page_json_name(out, other, strlen(other));
                sb_char(out, ']');
        }
}

static void begin_row(struct walk *w, size_t depth)
{
        sb_fmt(&w->o->buf, "%s\n[%zu,", w->comma ? "," : "", depth);
        w->comma = true;
}

/* depth: of the thing, 1 below the root. */
static int put_row(struct walk *w, const struct pair *p, size_t depth, struct bld_err *err)
{
        struct sb *out = &w->o->buf;
        const struct bld_diff *d = w->r->files;
        const struct bld_change *c =
                p->change == BLD_NO_NODE ? NULL : bld_diff_change(d, p->change);
        const struct bld_tree_node *n = p->b ? p->b : p->a;
        const char *slash = strrchr(p->path, '/'), *name = slash ? slash + 1 : p->path;
        size_t from = out->len;
        bool any = false;

        begin_row(w, depth);
        page_json_name(out, name, strlen(name));
        sb_fmt(out, ",\"%.*s%s\",\"%c%c\",%llu,%llu", c != NULL, c ? &html_letters[c->kind] : "",
               c && c->unsure ? "?" : "", type_letter(p->a), type_letter(p->b),
               (unsigned long long)(p->a ? weight(p->a) : 0),
               (unsigned long long)(p->b ? weight(p->b) : 0));
        if (c) {
                w->sums->shown++;
                sb_fmt(out, ",\"%04o\",%u", n->mode, n->layer);
                put_nature(out, &any, p, d, c);
                put_attributes(out, &any, p, p->a && p->b ? c->what : 0);
                if (any)
                        sb_char(out, ']');
        }
        sb_char(out, ']');
        w->written += out->len - from;
        return out_flow(w->o, err);
}

static int put_rest(struct walk *w, const struct level *l, size_t depth, struct bld_err *err)
{
        if (!l->files && !l->hidden)
                return 0;
        begin_row(w, depth);
        sb_fmt(&w->o->buf, "null,%zu,%zu,%llu,%llu]", l->files, l->hidden,
               (unsigned long long)l->bytes_a, (unsigned long long)l->bytes_b);
        return out_flow(w->o, err);
}

/* ---- the walk ---- */

/* The rows of the folders that lead to where the walk is. */
static int open_folders(struct walk *w, struct bld_err *err)
{
        for (size_t i = 1; i < w->levels.n; i++) {
                struct level *l = &w->levels.v[i];
                struct bld_tree_node a, b;
                struct pair p = {.change = l->change};
                int r = 0;

                if (l->written)
                        continue;
                if (l->a != BLD_NO_NODE) {
                        r = node_of(w->ta, l->a, &a, err);
                        p.a = &a;
                        p.path = a.path;
                }
                if (r == 0 && l->b != BLD_NO_NODE) {
                        r = node_of(w->tb, l->b, &b, err);
                        p.b = &b;
                        p.path = b.path;
                }
                l->written = true;
                r = r < 0 ? r : put_row(w, &p, i, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The last folder is done: what has no row goes to a row of its own, or to the folder above. */
static int close_folder(struct walk *w, struct bld_err *err)
{
        struct level l = w->levels.v[w->levels.n - 1];
        bool large = MAX(l.bytes_a, l.bytes_b) >= w->least && w->written < DATA_MAX;
        int r = 0;

        if (!l.written && large && w->levels.n > 1)
                r = open_folders(w, err);
        if (r == 0 && (l.written || large || w->levels.n == 1)) {
                r = put_rest(w, &l, w->levels.n, err);
        } else {
                struct level *up = &w->levels.v[w->levels.n - 2];

                up->files += l.files;
                up->hidden += l.hidden;
                up->bytes_a += l.bytes_a;
                up->bytes_b += l.bytes_b;
        }
        w->levels.n--;
        return r;
}

/* Is this change among those that are shown? */
static bool is_chosen(struct walk *w, uint64_t size)
{
        if (w->written >= DATA_MAX)
                return false;
        if (size > w->chosen)
                return true;
        if (size < w->chosen || !w->ties)
                return false;
        w->ties--;
        return true;
}

static int visit(struct walk *w, struct pair *p, size_t ia, size_t ib, struct bld_err *err)
{
        uint64_t a = p->a ? weight(p->a) : 0, b = p->b ? weight(p->b) : 0, size = MAX(a, b);
        bool folder = is_type(p->a, BLD_LAYER_DIR) || is_type(p->b, BLD_LAYER_DIR), quiet = false;
        bool shown = p->change == BLD_NO_NODE && size >= w->least && w->written < DATA_MAX;
        struct level *up;
        int r = 0;

        if (p->change != BLD_NO_NODE) {
                r = is_quiet(w->r->files, p->change, &quiet, err);
                shown = r == 0 && !quiet && is_chosen(w, size);
        }
        if (r == 0 && shown)
                r = open_folders(w, err);
        if (r < 0)
                return r;
        up = &w->levels.v[w->levels.n - 1];
        if (!shown) {
                up->hidden += p->change != BLD_NO_NODE && !quiet;
                up->files += !folder;
                up->bytes_a += a;
                up->bytes_b += b;
        }
        if (folder) {
                struct level *l = levels_push(&w->levels);

                if (!l)
                        return err_nomem(err, "page");
                *l = (struct level){.a = ia,
                                    .b = ib,
                                    .change = shown ? p->change : BLD_NO_NODE,
                                    .written = shown};
        }
        return shown ? put_row(w, p, w->levels.n - folder, err) : 0;
}

/* In the order of a sorted walk; a slash is below every byte of a name. */
static int compare(const char *a, const char *b)
{
        size_t i = 0;
        int x, y;

        while (a[i] && a[i] == b[i])
                i++;
        x = a[i] == '/' ? 1 : a[i] ? (unsigned char)a[i] + 1 : 0;
        y = b[i] == '/' ? 1 : b[i] ? (unsigned char)b[i] + 1 : 0;
        return x - y;
}

static size_t depth_of(const char *path)
{
        size_t n = 1;

        for (; (path = strchr(path, '/')); path++)
                n++;
        return n;
}

static int walk(struct walk *w, struct bld_err *err)
{
        size_t na = bld_tree_count(w->ta), nb = bld_tree_count(w->tb), i = 0, j = 0, change = 0;
        struct bld_tree_node a, b;
        int r = 0;

        while (r == 0 && (i < na || j < nb)) {
                struct pair p = {.change = BLD_NO_NODE};
                const struct bld_change *c = bld_diff_change(w->r->files, change);
                int order = 0;

                if (i < na)
                        r = node_of(w->ta, i, &a, err);
                if (r == 0 && j < nb)
                        r = node_of(w->tb, j, &b, err);
                if (r < 0)
                        break;
                order = i == na ? 1 : j == nb ? -1 : compare(a.path, b.path);
                p.a = order <= 0 ? &a : NULL;
                p.b = order >= 0 ? &b : NULL;
                p.path = p.a ? a.path : b.path;
                if (c && ((p.a && c->before == i) || (p.b && c->after == j)))
                        p.change = change++;
                while (r == 0 && w->levels.n > depth_of(p.path))
                        r = close_folder(w, err);
                r = r < 0 ? r : visit(w, &p, p.a ? i : BLD_NO_NODE, p.b ? j : BLD_NO_NODE, err);
                i += order <= 0;
                j += order >= 0;
        }
        while (r == 0 && w->levels.n)
                r = close_folder(w, err);
        return r;
}

int html_tree(const struct diff_result *res, struct html_sums *sums, struct out *o,
              struct bld_err *err)
{
        struct walk w = {.r = res,
                         .ta = bld_diff_tree_a(res->files),
                         .tb = bld_diff_tree_b(res->files),
                         .sums = sums,
                         .o = o,
                         .least = MAX(MAX(sums->bytes_a, sums->bytes_b) / VISIBLE, 1u)};
        struct level *root = levels_push(&w.levels);
        int r = root ? choose(res->files, &w.chosen, &w.ties, err) : err_nomem(err, "page");

        if (root)
                *root = (struct level){
                        .a = BLD_NO_NODE, .b = BLD_NO_NODE, .change = BLD_NO_NODE, .written = true};
        sums->shown = 0;
        r = r < 0 ? r : walk(&w, err);
        levels_done(&w.levels);
        return r;
}
