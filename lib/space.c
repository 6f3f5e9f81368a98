/* How much room the store takes, and taking it back. */
#include <string.h>

#include "base/err.h"
#include "bld/image.h"
#include "lib/session_priv.h"
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

/* Snapshots of a user namespace belong to its ids: only a keeper inside it can delete them. It is
 * started for the first such folder, not before. */
struct remover {
        struct bld *b;
        struct rt_keeper *keeper;
};

static int remove_mapped(void *user, const char *relpath, struct bld_err *err)
{
        struct remover *m = user;
        struct rt_keeper_opts o = {
                .store_fd = cas_root_fd(m->b->cas),
                .level = RT_AUTO,
                .helper = m->b->helper,
                .cancel = &m->b->cancel,
        };
        int r = m->keeper ? 0 : rt_keeper_start(&o, &m->keeper, err);

        return r == 0 ? rt_remove_tree(m->keeper, relpath, err) : r;
}

int bld_prune(struct bld *b, const struct bld_prune_opts *opts, char **ret_json,
              struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj();
        struct bld_prune_opts own;
        struct cas_prune_result res;
        struct remover m = {.b = b};
        int r = j ? lib_opts_copy(&own, sizeof(own), opts, "prune", err) : err_nomem(err, "prune");

        if (r < 0)
                return r;
        struct cas_prune_opts o = {
                .all = own.all,
                .dry_run = own.dry_run,
                .keep_bytes = own.keep_bytes,
                .max_used_bytes = own.max_used_bytes,
                .min_free_bytes = own.min_free_bytes,
                .until_sec = own.until_sec,
                .remove = remove_mapped,
                .user = &m,
        };
        memset(&res, 0, sizeof(res));
        r = cas_prune(b->cas, &o, &res, err);
        rt_keeper_stop(m.keeper);
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
                r = js_set_i64(j, "other", (int64_t)res.other);
        return r == 0 ? lib_json_text(j, ret_json, err) : err_nomem(err, "prune");
}
