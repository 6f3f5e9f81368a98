#include "image/packages/packages.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/vec.h"
#include "image/image_priv.h"
#include "image/packages/pkg_priv.h"

/* ---- the list ---- */

void pkg_list_done(struct pkg_list *l)
{
        for (size_t i = 0; i < l->n; i++)
                free(l->v[i]);
        free(l->v);
        *l = (struct pkg_list){0};
}

static int check_text(const struct pkg_fields *f, const struct pkg_text *t, struct bld_err *err)
{
        if (t->n > PKG_FIELD_MAX)
                return err_set(err, BLD_E_CORRUPT,
                               "the %s database is damaged: a field of %zu bytes", f->manager,
                               t->n);
        for (size_t i = 0; i < t->n; i++)
                if ((unsigned char)t->p[i] < 0x20 || t->p[i] == 0x7f)
                        return err_set(err, BLD_E_CORRUPT,
                                       "the %s database is damaged: a control byte in a name",
                                       f->manager);
        return 0;
}

/* Appends t to the block at *at; NULL for what is absent. */
static const char *put_text(char **at, struct pkg_text t)
{
        char *s = *at;

        if (t.n == 0)
                return NULL;
        memcpy(s, t.p, t.n);
        s[t.n] = '\0';
        *at += t.n + 1;
        return s;
}

int pkg_list_add(struct pkg_list *l, const struct pkg_fields *f, struct bld_err *err)
{
        const struct pkg_text *const texts[] = {&f->name, &f->version, &f->arch, &f->source,
                                                &f->source_version};
        size_t size = sizeof(struct pkg);
        void *v = l->v;
        struct pkg *p;
        char *at;

        if (f->name.n == 0 || f->version.n == 0)
                return err_set(err, BLD_E_CORRUPT,
                               "the %s database is damaged: a package without a %s", f->manager,
                               f->name.n == 0 ? "name" : "version");
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                int r = check_text(f, texts[i], err);

                if (r < 0)
                        return r;
                size += texts[i]->n + 1;
        }
        if (l->n == PKG_LIST_MAX)
                return err_set(err, BLD_E_LIMIT, "more than %d packages", PKG_LIST_MAX);
        if (l->n == l->cap && !vec_grow(&v, &l->cap, l->n + 1, sizeof(struct pkg *)))
                return err_nomem(err, "list of packages");
        l->v = v;
        p = mem_alloc(size);
        if (!p)
                return err_nomem(err, "list of packages");
        at = (char *)(p + 1);
        *p = (struct pkg){.manager = f->manager, .installed = f->installed};
        p->name = put_text(&at, f->name);
        p->version = put_text(&at, f->version);
        p->arch = put_text(&at, f->arch);
        p->source = put_text(&at, f->source);
        p->source_version = put_text(&at, f->source_version);
        l->v[l->n++] = p;
        for (const char *s = (char *)(p + 1); s < at; s += strlen(s) + 1)
                if (!img_is_utf8(s))
                        return err_set(err, BLD_E_CORRUPT,
                                       "the %s database is damaged: a name that is not UTF-8",
                                       f->manager);
        return 0;
}

static int cmp_arch(const struct pkg *a, const struct pkg *b)
{
        return strcmp(a->arch ? a->arch : "", b->arch ? b->arch : "");
}

static int cmp_name(const struct pkg *a, const struct pkg *b)
{
        int r = strcmp(a->manager, b->manager);

        return r ? r : strcmp(a->name, b->name);
}

static int cmp_pkg(const void *va, const void *vb)
{
        const struct pkg *a = *(const struct pkg *const *)va, *b = *(const struct pkg *const *)vb;
        int r = cmp_name(a, b);

        if (!r)
                r = cmp_arch(a, b);
        return r ? r : strcmp(a->version, b->version);
}

void pkg_list_sort(struct pkg_list *l)
{
        if (l->n > 1)
                qsort(l->v, l->n, sizeof(struct pkg *), cmp_pkg);
        for (size_t i = 0; i < l->n; i++)
                l->v[i]->index = i;
}

/* ---- comparing ---- */

struct run {
        struct pkg *const *v;
        size_t n;
};

static void step(struct run *r)
{
        r->v++;
        r->n--;
}

/* Cuts off the packages that are called as the first one of either list is; true while there are
 * any. */
static bool cut_name(struct run *a, struct run *b, struct run *ret_a, struct run *ret_b)
{
        const struct pkg *like;

        if (a->n == 0 && b->n == 0)
                return false;
        if (a->n == 0 || (b->n > 0 && cmp_name(b->v[0], a->v[0]) < 0))
                like = b->v[0];
        else
                like = a->v[0];
        *ret_a = (struct run){.v = a->v};
        *ret_b = (struct run){.v = b->v};
        for (; a->n > 0 && cmp_name(a->v[0], like) == 0; step(a))
                ret_a->n++;
        for (; b->n > 0 && cmp_name(b->v[0], like) == 0; step(b))
                ret_b->n++;
        return true;
}

/* The packages of one side that the other does not have just so. */
struct rest {
        struct run own, other;
        const struct pkg *head; /* NULL at the end */
};

static void rest_next(struct rest *r)
{
        for (r->head = NULL; r->own.n > 0 && !r->head; step(&r->own)) {
                while (r->other.n > 0 && cmp_pkg(r->other.v, r->own.v) < 0)
                        step(&r->other);
                if (r->other.n > 0 && cmp_pkg(r->other.v, r->own.v) == 0)
                        step(&r->other);
                else
                        r->head = r->own.v[0];
        }
}

/* What two packages' worth of one name come to, in order: pairs of one architecture, and those that
 * found no other. It can be walked again where a list of them would have to be kept, so that
 * comparing allocates nothing and cannot fail. */
struct walk {
        struct rest a, b;
};

static struct walk walk_start(struct run a, struct run b)
{
        struct walk w = {.a = {.own = a, .other = b}, .b = {.own = b, .other = a}};

        rest_next(&w.a);
        rest_next(&w.b);
        return w;
}

static bool walk_next(struct walk *w, const struct pkg **ret_a, const struct pkg **ret_b)
{
        const struct pkg *a = w->a.head, *b = w->b.head;
        int c;

        if (!a && !b)
                return false;
        c = !a ? 1 : !b ? -1 : cmp_arch(a, b);
        *ret_a = c <= 0 ? a : NULL;
        *ret_b = c >= 0 ? b : NULL;
        if (*ret_a)
                rest_next(&w->a);
        if (*ret_b)
                rest_next(&w->b);
        return true;
}

/* The next package that only the side asked for has, or NULL. */
static const struct pkg *walk_alone(struct walk *w, bool side_b)
{
        const struct pkg *a, *b;

        while (walk_next(w, &a, &b)) {
                if (side_b && !a)
                        return b;
                if (!side_b && !b)
                        return a;
        }
        return NULL;
}

static int compare_name(struct run va, struct run vb, pkg_change_fn each, void *user)
{
        struct walk w = walk_start(va, vb), alone_a = w, alone_b = w;
        const struct pkg *a, *b;
        int r;

        while (walk_next(&w, &a, &b))
                if (a && b && (r = each(user, a, b)))
                        return r;
        do {
                a = walk_alone(&alone_a, false);
                b = walk_alone(&alone_b, true);
                if ((a || b) && (r = each(user, a, b)))
                        return r;
        } while (a || b);
        return 0;
}

int pkg_list_compare(const struct pkg_list *a, const struct pkg_list *b, pkg_change_fn each,
                     void *user)
{
        struct run ra = {.v = a->v, .n = a->n}, rb = {.v = b->v, .n = b->n}, na, nb;

        while (cut_name(&ra, &rb, &na, &nb)) {
                int r = compare_name(na, nb, each, user);

                if (r)
                        return r;
        }
        return 0;
}
