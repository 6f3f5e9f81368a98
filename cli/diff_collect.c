/* Everything `bld diff` finds out, whatever form it is told in. */
#include <string.h>

#include "base/err.h"
#include "cli/diff.h"

void diff_result_done(struct diff_result *r)
{
        diff_packages_done(&r->packages);
        bld_packages_free(r->packages_a);
        bld_packages_free(r->packages_b);
        diff_layers_done(&r->layers);
        bld_config_diff_free(r->config);
        if (r->whole != r->files)
                bld_diff_free(r->whole);
        bld_diff_free(r->files);
}

/* ---- files ---- */

static int compare(const struct diff_result *r, enum bld_diff_shared shared, bool filtered,
                   struct bld_diff **ret, struct bld_err *err)
{
        struct bld_diff_opts o = {.size = sizeof(o),
                                  .ignore = r->ask->ignore_files,
                                  .shared = shared,
                                  .watch = r->ask->watch};

        if (filtered) {
                o.only = r->ask->only;
                o.exclude = r->ask->exclude;
        }
        return bld_diff(r->a, r->b, &o, ret, err);
}

static size_t count_unsure(const struct bld_diff *d)
{
        size_t n = 0;

        for (size_t i = 0; i < bld_diff_count(d); i++)
                n += bld_diff_change(d, i)->unsure;
        return n;
}

/* Again, with the layers that both images share: only then every answer is sure. */
static int read_shared(struct diff_result *r, bool filtered, struct bld_diff **d,
                       struct bld_err *err)
{
        bld_diff_free(*d);
        *d = NULL;
        return compare(r, BLD_DIFF_SHARED_READ, filtered, d, err);
}

/* "Different" must be true: where nothing sure says so, what is unsure is made sure. */
static int compare_files(struct diff_result *r, struct bld_err *err)
{
        const struct diff_ask *ask = r->ask;
        size_t differing = r->config ? bld_config_diff_count(r->config) : 0;
        int ret = compare(r, ask->shared, true, &r->files, err);

        if (ret < 0)
                return ret;
        r->unsure = count_unsure(r->files);
        if (!r->unsure || ask->shared_given)
                return 0;
        differing += bld_diff_count(r->files) - r->unsure;
        if (differing && !ask->exact)
                return 0;
        ret = read_shared(r, true, &r->files, err);
        r->unsure = ret < 0 ? 0 : count_unsure(r->files);
        return ret;
}

/* ---- packages ---- */

static int take_package(void *user, const struct bld_package *before,
                        const struct bld_package *after)
{
        struct diff_package *p = diff_packages_push(user);

        if (!p)
                return 1;
        p->before = before;
        p->after = after;
        return 0;
}

/* Are both the same path, or one below the other? */
static bool related(const char *a, const char *b)
{
        size_t n = strlen(a), m = strlen(b);

        return strncmp(a, b, MIN(n, m)) == 0 && (n == m || (n < m ? b[n] : a[m]) == '/');
}

/* May a change there be one of what dpkg, apk or rpm keep? A link on the way to it counts. */
static bool is_database(const char *path)
{
        static const char *const folders[] = {
                "var/lib/dpkg",         "lib/apk",       "usr/lib/apk", "var/lib/rpm",
                "usr/lib/sysimage/rpm", "usr/share/rpm",
        };

        for (size_t i = 0; i < ARRAY_LEN(folders); i++)
                if (related(path, folders[i]))
                        return true;
        return false;
}

/* Did a database change? Of one that is the same in both images nothing needs to be read, and one
 * in a layer that was not read cannot be. */
static bool databases_changed(const struct bld_diff *d, bool *ret_unsure)
{
        bool changed = false;

        *ret_unsure = false;
        for (size_t i = 0; i < bld_diff_count(d); i++) {
                const struct bld_change *c = bld_diff_change(d, i);

                if (c->kind == BLD_CHANGE_METADATA || !is_database(c->path))
                        continue;
                changed = true;
                *ret_unsure = *ret_unsure || c->unsure;
        }
        return changed;
}

static int read_packages(struct diff_result *r, struct bld_err *err)
{
        int ret = bld_packages_read(bld_diff_tree_a(r->whole), &r->packages_a, err);

        ret = ret < 0 ? ret : bld_packages_read(bld_diff_tree_b(r->whole), &r->packages_b, err);
        if (ret < 0)
                return ret;
        return bld_packages_compare(r->packages_a, r->packages_b, take_package, &r->packages) == 0
                       ? 0
                       : err_nomem(err, "list of packages");
}

/* Asked for, or told because it costs nothing. */
static int compare_packages(struct diff_result *r, struct bld_err *err)
{
        const struct diff_ask *ask = r->ask;
        bool asked = (ask->modes & DIFF_PACKAGES) != 0;
        bool filtered = ask->only.n || ask->exclude.n, unsure;
        int ret = 0;

        if (!asked && (ask->chosen || filtered || !r->files))
                return 0;
        r->whole = filtered ? NULL : r->files;
        if (!r->whole)
                ret = compare(r, ask->shared, false, &r->whole, err);
        if (ret < 0 || !databases_changed(r->whole, &unsure))
                return ret;
        if (unsure && !asked)
                return 0;
        if (unsure && !ask->shared_given) {
                if (r->whole == r->files) {
                        ret = read_shared(r, false, &r->files, err);
                        r->whole = r->files;
                        r->unsure = ret < 0 ? 0 : count_unsure(r->files);
                } else {
                        ret = read_shared(r, false, &r->whole, err);
                }
        }
        return ret < 0 ? ret : read_packages(r, err);
}

/* ---- all ---- */

static bool has_digests(const struct bld_image *im)
{
        size_t n = bld_image_layers(im);

        for (size_t i = 0; i < n; i++)
                if (!bld_image_layer(im, i)->digest)
                        return false;
        return n > 0;
}

static int compare_configs(struct cli *c, struct diff_result *r, struct bld_err *err)
{
        const struct bld_image *without = !bld_image_config(r->a, NULL)   ? r->a
                                          : !bld_image_config(r->b, NULL) ? r->b
                                                                          : NULL;

        if (!without)
                return bld_config_diff(r->a, r->b, r->ask->ignore_config, &r->config, err);
        if (r->ask->chosen)
                cli_note(c, "note", "%.200s has no configuration to compare",
                         bld_image_name(without));
        return 0;
}

static bool differ(const struct diff_result *r)
{
        if (r->files && (r->ask->modes & DIFF_FILES) && bld_diff_count(r->files))
                return true;
        if (r->config && bld_config_diff_count(r->config))
                return true;
        for (size_t i = 0; i < r->layers.n; i++)
                if (r->layers.v[i].differs)
                        return true;
        return (r->ask->modes & DIFF_PACKAGES) && r->packages.n;
}

int diff_collect(struct cli *c, const struct diff_ask *ask, struct bld_image *a,
                 struct bld_image *b, struct diff_result *ret, struct bld_err *err)
{
        int r = 0;

        *ret = (struct diff_result){.a = a, .b = b, .ask = ask};
        ret->cost.size = sizeof(ret->cost);
        if (ask->modes & DIFF_CONFIG)
                r = compare_configs(c, ret, err);
        if (r == 0 && has_digests(a) && has_digests(b)) {
                r = bld_pull_cost(a, b, &ret->cost, err);
                ret->has_cost = r == 0;
        }
        if (r == 0 && (ask->modes & DIFF_FILES))
                r = compare_files(ret, err);
        if (r == 0)
                r = compare_packages(ret, err);
        if (r == 0 && (ask->modes & DIFF_LAYERS))
                r = diff_layers_compare(ask, a, b, &ret->layers, err);
        ret->differ = r == 0 && differ(ret);
        return r;
}
