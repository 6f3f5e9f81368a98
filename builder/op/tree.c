/* Whole trees, where no overlay can be mounted: one folder per chain of layers. A step takes it,
 * changes it in place and leaves it as the tree of the chain with its own layer on top; who needs
 * the one that is gone unpacks it again. docs/runtime.md, "chroot". */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/sys.h"
#include "builder/op/op_priv.h"
#include "image/image.h"

static int chain_hex(const struct bd_layers *layers, size_t n, char out[DIGEST_HEX_MAX],
                     struct bld_err *err)
{
        AUTO_FREE struct digest *ids = mem_zalloc(n, sizeof(*ids));
        struct digest chain;

        if (!ids)
                return err_nomem(err, "chain of layers");
        for (size_t i = 0; i < n; i++)
                ids[i] = layers->v[i].diff_id;
        img_chain_id(ids, n, &chain);
        digest_hex(&chain, out);
        return 0;
}

/* 1 the tree of the first n layers is ours now, below the scratch folder. */
static int take(struct build *b, const struct bd_layers *layers, size_t n, const char *scratch,
                struct bld_err *err)
{
        static const char *const parts[] = {"fs", "baseline"};
        int root = cas_root_fd(b->c->cas);
        char id[DIGEST_HEX_MAX], taken[160], from[200], to[200];
        AUTO_FREE char *dir = NULL;
        int r = chain_hex(layers, n, id, err);

        if (r == 0)
                r = cas_lease_snapshot(b->record, rt_keeper_env(b->keeper)->view, id, err);
        if (r <= 0)
                return r;
        dir = cas_snapshot_path(rt_keeper_env(b->keeper)->view, id);
        if (!dir)
                return err_nomem(err, "tree");
        (void)snprintf(taken, sizeof(taken), "%s/taken", scratch);
        if (sys_rename(root, dir, root, taken) < 0)
                return errno == ENOENT ? 0 : err_sys(err, errno, "take the tree %s", dir);
        for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
                (void)snprintf(from, sizeof(from), "%s/%s", taken, parts[i]);
                (void)snprintf(to, sizeof(to), "%s/%s", scratch, parts[i]);
                if (sys_rename(root, from, root, to) < 0)
                        return err_sys(err, errno, "take the tree %s", dir);
        }
        return 1;
}

struct apply {
        struct build *b;
        const struct bd_layer *l;
};

static ssize_t read_fd(void *user, void *p, size_t n, struct bld_err *err)
{
        ssize_t got = sys_read(*(int *)user, p, n);

        return got < 0 ? err_sys(err, errno, "read a layer") : got;
}

static int produce(void *user, const struct ly_sink *tar, struct bld_err *err)
{
        struct apply *x = user;
        struct digest diff_id;
        AUTO_FD int fd = -1;
        uint64_t size;
        int r = cas_blob_open(x->b->c->cas, &x->l->desc.digest, &fd, err);

        if (r == 0)
                r = ly_unpack_stream(&(struct ly_source){read_fd, &fd}, tar, NULL, &diff_id, &size,
                                     NULL, err);
        if (r == 0 && !digest_eq(&diff_id, &x->l->diff_id))
                r = err_set(err, BLD_E_CORRUPT,
                            "a layer does not unpack to the content its image promises");
        return r;
}

static int apply_layer(struct build *b, const struct bd_layer *l, const char *scratch,
                       struct bld_err *err)
{
        struct apply x = {b, l};
        int r = bd_fetch_blob(b->c, l->source.domain ? &l->source : NULL, &l->desc, NULL, NULL,
                              err);

        return r == 0 ? snapshot_unpack(b, scratch, LY_TREE_PLAIN, produce, &x, NULL, err) : r;
}

/* Write down what the tree is, before a step changes it. */
static int record(struct build *b, const char *scratch, bool again, struct bld_err *err)
{
        AUTO_SB struct sb args = SB_INIT(4096), answer = SB_INIT(4096);
        AUTO_JS struct js *a = js_obj();
        int r = js_set_str(a, "dir", scratch) | js_set_bool(a, "again", again);

        if (r < 0)
                return err_nomem(err, "tree");
        r = js_write(a, JS_COMPACT, &args, err);
        return r < 0 ? r
                     : rt_call(b->keeper, VERB_RECORD, sb_text(&args), args.len, NULL, 0,
                               &b->cancel, &answer, err);
}

static int make_fs(struct build *b, const char *scratch, struct bld_err *err)
{
        char path[160];

        (void)snprintf(path, sizeof(path), "%s/fs", scratch);
        if (sys_mkdirat(cas_root_fd(b->c->cas), path, 0755) < 0 && errno != EEXIST)
                return err_sys(err, errno, "make %s", path);
        return 0;
}

int tree_ready(struct build *b, const struct vertex *step, const struct bd_layers *layers,
               const char *scratch, struct bld_err *err)
{
        size_t have = layers->n;
        int r = cas_view_prepare(b->c->cas, rt_keeper_env(b->keeper)->view, err);

        for (; r == 0 && have > 0; have--) {
                r = take(b, layers, have, scratch, err);
                if (r == 1)
                        break;
        }
        if (r < 0)
                return r;
        if (have > 0 && have == layers->n)
                return 0;
        events_post(b->events, BLD_EV_STEP_STATUS, step, "unpacking layers", 0, 0);
        r = make_fs(b, scratch, err);
        for (size_t i = have; i < layers->n && r == 0; i++) {
                r = apply_layer(b, &layers->v[i], scratch, err);
                if (r < 0)
                        r = err_wrap(err, r, "unpack layer %zu", i + 1);
        }
        return r == 0 ? record(b, scratch, have > 0, err) : r;
}

int tree_id(const struct bd_layers *layers, char out[DIGEST_HEX_MAX], struct bld_err *err)
{
        return chain_hex(layers, layers->n, out, err);
}
