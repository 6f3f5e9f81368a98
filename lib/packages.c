#include "lib/packages_priv.h"

#include "base/err.h"

struct bld_packages {
        struct pkg_list list;
        struct bld_package *v; /* one for each of the list, whose texts they borrow */
};

void bld_packages_free(struct bld_packages *p)
{
        if (!p)
                return;
        pkg_list_done(&p->list);
        free(p->v);
        free(p);
}
DEFINE_AUTO_PTR(struct bld_packages, bld_packages_free);

static struct bld_package shown(const struct pkg *p)
{
        return (struct bld_package){.manager = p->manager,
                                    .name = p->name,
                                    .version = p->version,
                                    .arch = p->arch,
                                    .source = p->source,
                                    .source_version = p->source_version,
                                    .installed = p->installed};
}

int lib_packages_new(struct pkg_list *l, struct bld_packages **ret, struct bld_err *err)
{
        AUTO(bld_packages_free_p) struct bld_packages *p = mem_zalloc(1, sizeof(*p));

        if (!p)
                return err_nomem(err, "list of packages");
        p->v = mem_zalloc(l->n, sizeof(*p->v));
        if (!p->v)
                return err_nomem(err, "list of packages");
        pkg_list_sort(l);
        for (size_t i = 0; i < l->n; i++)
                p->v[i] = shown(l->v[i]);
        p->list = *l;
        *l = (struct pkg_list){0};
        *ret = TAKE_PTR(&p);
        return 0;
}

int bld_packages_parse(const char *manager, const void *p, size_t n, struct bld_packages **ret,
                       struct bld_err *err)
{
        AUTO_PKG_LIST struct pkg_list l = {0};
        int r;

        if (str_eq(manager, "dpkg"))
                r = pkg_parse_dpkg(p, n, &l, err);
        else if (str_eq(manager, "apk"))
                r = pkg_parse_apk(p, n, &l, err);
        else if (str_eq(manager, "rpm"))
                r = pkg_parse_rpm(p, n, &l, err);
        else
                r = err_set(err, BLD_E_USAGE, "no package manager \"%s\": dpkg, apk or rpm",
                            manager ? manager : "");
        return r < 0 ? r : lib_packages_new(&l, ret, err);
}

size_t bld_packages_count(const struct bld_packages *p)
{
        return p->list.n;
}

const struct bld_package *bld_packages_at(const struct bld_packages *p, size_t i)
{
        return i < p->list.n ? &p->v[i] : NULL;
}

/* ---- comparing ---- */

struct change {
        const struct bld_packages *a, *b;
        bld_package_change_fn each;
        void *user;
};

static int tell(void *user, const struct pkg *before, const struct pkg *after)
{
        const struct change *c = user;

        return c->each(c->user, before ? &c->a->v[before->index] : NULL,
                       after ? &c->b->v[after->index] : NULL)
                       ? 1
                       : 0;
}

int bld_packages_compare(const struct bld_packages *a, const struct bld_packages *b,
                         bld_package_change_fn each, void *user)
{
        struct change c = {.a = a, .b = b, .each = each, .user = user};

        return pkg_list_compare(&a->list, &b->list, tell, &c);
}
