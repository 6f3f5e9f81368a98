/* What is in the files that differ. All contents are read with one pass over the layers, in the
 * order those come; texts wait in an unlinked file until their turn, so that memory does not grow
 * with what differs. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sys.h"
#include "cli/diff.h"
#include "cli/magic.h"
#include "cli/udiff.h"

#define CONTEXT 3u

struct side {
        size_t node; /* BLD_NO_NODE: no file */
        uint64_t size;
        uint64_t at; /* of a text, in the spool */
        bool text;
        char kind[48]; /* of what is no text, or too long */
        unsigned char sha256[32];
};

struct diff_content {
        struct side *before, *after; /* by change */
        size_t n;
        uint64_t max;
        int spool;
        uint64_t end;
};

void diff_content_free(struct diff_content *c)
{
        if (!c)
                return;
        free(c->before);
        free(c->after);
        fd_close(&c->spool);
        free(c);
}

/* ---- reading ---- */

struct reading {
        struct diff_content *c;
        struct side *now; /* the file whose bytes come */
        struct hasher h;
        unsigned char head[MAGIC_BYTES];
        size_t nhead;
        bool nul;
        struct bld_err err;
};

static int by_node(const void *key, const void *member)
{
        size_t a = *(const size_t *)key, b = (*(struct side *const *)member)->node;

        return a < b ? -1 : a > b;
}

struct wanted {
        struct side **v; /* by node */
        size_t n;
};

struct pass {
        struct reading r;
        const struct wanted *w;
};

static int begin(struct pass *p, size_t node)
{
        struct reading *r = &p->r;
        struct side *const *at = bsearch(&node, p->w->v, p->w->n, sizeof(*p->w->v), by_node);

        if (!at)
                return err_set(&r->err, BLD_E_BUG, "a file came that nobody asked for");
        r->now = *at;
        r->now->at = r->c->end;
        r->now->text = r->now->size <= r->c->max;
        r->nhead = 0;
        r->nul = false;
        hasher_init(&r->h, DIGEST_SHA256);
        return 0;
}

static int add(struct reading *r, const void *p, size_t n)
{
        size_t k = MIN(n, sizeof(r->head) - r->nhead);
        struct side *s = r->now;

        memcpy(r->head + r->nhead, p, k);
        r->nhead += k;
        hasher_add(&r->h, p, n);
        r->nul = r->nul || memchr(p, '\0', n);
        if (r->nul && s->text) {
                s->text = false;
                r->c->end = s->at;
        }
        if (!s->text)
                return 0;
        if (lseek(r->c->spool, (off_t)r->c->end, SEEK_SET) < 0)
                return err_sys(&r->err, errno, "seek in a temporary file");
        r->c->end += n;
        return fd_write_all(r->c->spool, p, n, &r->err);
}

static void finish(struct reading *r)
{
        struct digest d;

        hasher_end(&r->h, &d);
        memcpy(r->now->sha256, d.b, sizeof(r->now->sha256));
        if (r->nul)
                magic_name(r->head, r->nhead, r->now->kind);
        else
                (void)snprintf(r->now->kind, sizeof(r->now->kind), "text");
        r->now = NULL;
}

static int take(void *user, size_t node, const void *bytes, size_t n)
{
        struct pass *p = user;

        if (!p->r.now && begin(p, node) < 0)
                return 1;
        if (n)
                return add(&p->r, bytes, n) < 0;
        finish(&p->r);
        return 0;
}

static int compare_sides(const void *a, const void *b)
{
        return by_node(&(*(struct side *const *)a)->node, b);
}

static int read_side(struct diff_content *c, struct side *sides, struct bld_tree *t,
                     const struct bld_watch *watch, struct bld_err *err)
{
        AUTO_FREE size_t *nodes = mem_zalloc(c->n + 1, sizeof(*nodes));
        AUTO_FREE struct side **v = mem_zalloc(c->n + 1, sizeof(*v));
        struct wanted w = {v, 0};
        struct pass p = {.r = {.c = c}, .w = &w};
        int r;

        if (!nodes || !v)
                return err_nomem(err, "list of files");
        for (size_t i = 0; i < c->n; i++)
                if (sides[i].node != BLD_NO_NODE)
                        v[w.n++] = &sides[i];
        qsort(v, w.n, sizeof(*v), compare_sides);
        for (size_t i = 0; i < w.n; i++)
                nodes[i] = v[i]->node;
        r = w.n ? bld_tree_read_many(t, nodes, w.n, take, &p, watch, err) : 0;
        if (r == 1) {
                err_copy(err, &p.r.err);
                return p.r.err.code;
        }
        return r;
}

/* ---- what is to be read ---- */

static void want(struct side *s, const struct bld_tree_node *n, size_t node, bool there)
{
        s->node = BLD_NO_NODE;
        if (!there || n->type != BLD_LAYER_FILE)
                return;
        s->node = node;
        s->size = n->file_size;
}

static int choose(struct diff_content *c, const struct bld_diff *d, struct bld_err *err)
{
        for (size_t i = 0; i < c->n; i++) {
                struct diff_sides s;
                int r = diff_sides(d, i, &s, err);
                bool counts = s.change->kind == BLD_CHANGE_MODIFIED
                                      ? (s.change->what & BLD_DIFF_CONTENT) != 0
                                      : s.change->kind != BLD_CHANGE_METADATA;

                if (r < 0)
                        return r;
                want(&c->before[i], &s.before, s.change->before, counts && s.has_before);
                want(&c->after[i], &s.after, s.change->after, counts && s.has_after);
        }
        return 0;
}

static int open_spool(const char *root, int *ret, struct bld_err *err)
{
        AUTO_SB struct sb dir = SB_INIT((size_t)1 << 20);

        int r;

        sb_fmt(&dir, "%s/tmp", root);
        r = sb_check(&dir, "folder of the store", err);
        if (r < 0)
                return r;
        *ret = sys_openat(AT_FDCWD, sb_text(&dir), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        return *ret < 0 ? err_sys(err, errno, "make a temporary file in %s", sb_text(&dir)) : 0;
}

int diff_content_read(struct cli *cli, const struct diff_result *res, struct diff_content **ret,
                      struct bld_err *err)
{
        AUTO(diff_content_free_p) struct diff_content *c = mem_zalloc(1, sizeof(*c));
        int r;

        if (!c)
                return err_nomem(err, "contents");
        c->spool = -1;
        c->max = res->ask->content_max;
        c->n = bld_diff_count(res->files);
        c->before = mem_zalloc(c->n + 1, sizeof(*c->before));
        c->after = mem_zalloc(c->n + 1, sizeof(*c->after));
        if (!c->before || !c->after)
                return err_nomem(err, "contents");
        r = open_spool(bld_root(cli->b), &c->spool, err);
        r = r < 0 ? r : choose(c, res->files, err);
        r = r < 0 ? r : read_side(c, c->before, bld_diff_tree_a(res->files), res->ask->watch, err);
        r = r < 0 ? r : read_side(c, c->after, bld_diff_tree_b(res->files), res->ask->watch, err);
        if (r == 0)
                *ret = TAKE_PTR(&c);
        return r;
}

/* ---- telling ---- */

static void summary(const struct side *s, char out[160])
{
        char size[24], hex[13];

        out[0] = '\0';
        if (s->node == BLD_NO_NODE)
                return;
        for (size_t i = 0; i < 6; i++)
                (void)snprintf(hex + 2 * i, 3, "%02x", s->sha256[i]);
        format_size(s->size, size);
        (void)snprintf(out, 160, "%s, %s, sha256 %s", s->kind, size, hex);
}

static int load(struct diff_content *c, const struct side *s, char **ret, struct bld_err *err)
{
        size_t n = s->node == BLD_NO_NODE ? 0 : (size_t)s->size, got = 0;
        AUTO_FREE char *p = mem_alloc(n + 1);

        if (!p)
                return err_nomem(err, "contents");
        while (got < n) {
                ssize_t k = sys_pread(c->spool, p + got, n - got, (int64_t)(s->at + got));

                if (k <= 0)
                        return err_sys(err, k ? errno : EIO, "read a temporary file");
                got += (size_t)k;
        }
        *ret = TAKE_PTR(&p);
        return 0;
}

int diff_content_of(struct diff_content *c, size_t change, struct diff_content_sides *ret,
                    struct sb *out, struct bld_err *err)
{
        const struct side *x = &c->before[change], *y = &c->after[change];
        bool has_x = x->node != BLD_NO_NODE, has_y = y->node != BLD_NO_NODE;
        AUTO_FREE char *a = NULL, *b = NULL;
        int r;

        memset(ret, 0, sizeof(*ret));
        if (!has_x && !has_y)
                return 0;
        ret->sha256_before = has_x ? x->sha256 : NULL;
        ret->sha256_after = has_y ? y->sha256 : NULL;
        if ((has_x && !x->text) || (has_y && !y->text)) {
                ret->kind = DIFF_CONTENT_OTHER;
                summary(x, ret->before);
                summary(y, ret->after);
                return 0;
        }
        ret->kind = DIFF_CONTENT_TEXT;
        r = load(c, x, &a, err);
        r = r < 0 ? r : load(c, y, &b, err);
        if (r < 0)
                return r;
        return udiff(a, has_x ? (size_t)x->size : 0, b, has_y ? (size_t)y->size : 0, CONTEXT, out,
                     err);
}
