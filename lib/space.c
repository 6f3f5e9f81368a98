/* How much room the store takes, and taking it back. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "bld/image.h"
#include "lib/session_priv.h"
#include "lib/space_priv.h"
#include "runtime/runtime.h"

int bld_du(struct bld *b, char **ret_json, struct bld_err *err)
{
        static const char *const names[CAS_SPACE_KINDS] = {
                [CAS_SPACE_BLOBS] = "blobs",   [CAS_SPACE_SNAPSHOTS] = "snapshots",
                [CAS_SPACE_MOUNTS] = "mounts", [CAS_SPACE_BUILDS] = "builds",
                [CAS_SPACE_OTHER] = "other",
        };
        AUTO_JS struct js *o = js_obj();
        AUTO_JS struct js *kinds = js_obj();
        struct cas_usage u;
        int r = o && kinds ? 0 : err_nomem(err, "usage");

        if (r == 0)
                r = cas_usage(b->cas, &u, err);
        if (r < 0)
                return r;
        r = js_set_i64(o, "total", (int64_t)u.total_bytes);
        for (size_t i = 0; r == 0 && i < CAS_SPACE_KINDS; i++) {
                struct js *k = js_obj();

                r = k ? js_set_i64(k, "bytes", (int64_t)u.bytes[i]) : BLD_E_NOMEM;
                if (r == 0)
                        r = js_set_i64(k, "count", (int64_t)u.count[i]);
                if (r < 0)
                        js_free(k);
                else
                        r = js_set(kinds, names[i], k);
        }
        if (r == 0)
                r = js_set(o, "kinds", js_ref(kinds));
        if (r == 0)
                r = js_set_i64(o, "reclaimable", (int64_t)u.reclaimable_bytes);
        return r == 0 ? lib_json_text(o, ret_json, err) : err_nomem(err, "usage");
}

int bld_disk(struct bld *b, uint64_t *ret_size, uint64_t *ret_free, struct bld_err *err)
{
        return cas_disk(b->cas, ret_size, ret_free, err);
}

static int by_last_use(const void *a, const void *b)
{
        const struct cas_item *x = a, *y = b;

        return x->last_use_ns != y->last_use_ns ? (x->last_use_ns < y->last_use_ns ? -1 : 1)
                                                : strcmp(x->id, y->id);
}

static struct js *item_row(const struct cas_item *it)
{
        AUTO_JS struct js *o = js_obj();
        char used[RFC3339_MAX];
        int r = o ? js_set_str(o, "id", it->id) : BLD_E_NOMEM;

        format_rfc3339(it->last_use_ns / 1000000000, 0, used);
        r = r < 0 ? r : js_set_str(o, "type", space_type_name(it->kind));
        r = r < 0 ? r : js_set_i64(o, "bytes", (int64_t)it->bytes);
        r = r < 0 ? r : js_set_str(o, "lastUsed", used);
        r = r < 0 ? r : js_set_bool(o, "inUse", it->held);
        r = r < 0 ? r : js_set_bool(o, "shared", it->shared);
        r = r < 0 ? r : js_set_bool(o, "reclaimable", !it->held);
        return r < 0 ? NULL : TAKE_PTR(&o);
}

int bld_du_items(struct bld *b, const struct bld_list *filters, char **ret_json,
                 struct bld_err *err)
{
        AUTO(cas_items_free) struct cas_items list = {NULL, 0, 0};
        AUTO(space_filter_done) struct space_filter f = {.until_sec = 0};
        AUTO_JS struct js *arr = js_arr();
        int64_t now = time_now_ns() / 1000000000;
        int r = arr ? 0 : err_nomem(err, "list of the store");

        if (r == 0)
                r = space_filter_parse(filters, &f, err);
        if (r == 0)
                r = cas_item_list(b->cas, &list, err);
        if (r < 0)
                return r;
        if (list.n)
                qsort(list.v, list.n, sizeof(*list.v), by_last_use);
        for (size_t i = 0; i < list.n; i++) {
                const struct cas_item *it = &list.v[i];
                struct js *row;

                if (!space_filter_match(&f, it) ||
                    (f.until_sec && it->last_use_ns / 1000000000 >= now - f.until_sec))
                        continue;
                row = item_row(it);
                if (!row || js_push(arr, row) < 0)
                        return err_nomem(err, "list of the store");
        }
        return lib_json_text(arr, ret_json, err);
}

/* Snapshots of a user namespace belong to its ids: only a keeper inside it can delete them. It is
 * started for the first such folder, not before. */
struct pruner {
        struct bld *b;
        struct rt_keeper *keeper;
        struct space_filter filter;
};

static int remove_mapped(void *user, const char *relpath, struct bld_err *err)
{
        struct pruner *m = user;
        struct rt_keeper_opts o = {
                .store_fd = cas_root_fd(m->b->cas),
                .level = RT_AUTO,
                .helper = m->b->helper,
                .cancel = &m->b->cancel,
        };
        int r = m->keeper ? 0 : rt_keeper_start(&o, &m->keeper, err);

        return r == 0 ? rt_remove_tree(m->keeper, relpath, err) : r;
}

static bool matches(void *user, const struct cas_item *it)
{
        const struct pruner *m = user;

        return space_filter_match(&m->filter, it);
}

static int prune(struct pruner *m, const struct bld_prune_opts *own, struct cas_prune_result *res,
                 struct bld_err *err)
{
        int64_t until = MAX(own->until_sec, m->filter.until_sec);
        bool named = until || own->filters.n;
        struct cas_prune_opts o = {
                .all = own->all || named,
                .keep_mounts = !own->all && !m->filter.names_mounts,
                .dry_run = own->dry_run,
                .keep_bytes = own->keep_bytes,
                .max_used_bytes = own->max_used_bytes,
                .min_free_bytes = own->min_free_bytes,
                .until_sec = until ? time_now_ns() / 1000000000 - until : 0,
                .match = m->filter.terms.n ? matches : NULL,
                .remove = remove_mapped,
                .user = m,
        };

        return cas_prune(m->b->cas, &o, res, err);
}

int bld_prune(struct bld *b, const struct bld_prune_opts *opts, char **ret_json,
              struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj();
        struct bld_prune_opts own;
        struct cas_prune_result res = {0};
        struct pruner m = {.b = b};
        int r = j ? lib_opts_copy(&own, sizeof(own), opts, "prune", err) : err_nomem(err, "prune");

        if (r == 0)
                r = space_filter_parse(&own.filters, &m.filter, err);
        if (r < 0)
                return r;
        r = prune(&m, &own, &res, err);
        rt_keeper_stop(m.keeper);
        space_filter_done(&m.filter);
        if (r < 0)
                return r;
        r = js_set_i64(j, "freed", (int64_t)res.freed_bytes);
        if (r == 0)
                r = js_set_i64(j, "blobs", (int64_t)res.blobs);
        if (r == 0)
                r = js_set_i64(j, "results", (int64_t)res.results);
        if (r == 0)
                r = js_set_i64(j, "snapshots", (int64_t)res.snapshots);
        if (r == 0)
                r = js_set_i64(j, "images", (int64_t)res.images);
        if (r == 0)
                r = js_set_i64(j, "other", (int64_t)res.other);
        return r == 0 ? lib_json_text(j, ret_json, err) : err_nomem(err, "prune");
}
