/* Layers as folders a sandbox can mount: unpacked once per view, by the keeper's children. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/map.h"
#include "base/path.h"
#include "base/sys.h"
#include "builder/op/op_priv.h"

enum ly_tree_form snapshot_form(const struct build *b)
{
        const struct rt_env *env = rt_keeper_env(b->keeper);

        return env->native       ? LY_TREE_PLAIN
               : env->user_xattr ? LY_TREE_OVERLAY_USER
                                 : LY_TREE_OVERLAY_TRUSTED;
}

void snapshot_discard(struct build *b, const char *path)
{
        /* Mostly there is nothing, or only what is ours: then no child has to be forked for it. */
        if (path_remove_tree(cas_root_fd(b->c->cas), path, NULL) < 0)
                (void)!rt_remove_tree(b->keeper, path, NULL);
}

/* ---- a tar stream from this thread into a child of the keeper ---- */

struct unpack_call {
        struct build *b;
        struct sb args, answer;
        int pipe_read;
        int r;
        struct bld_err err;
};

static void *call_unpack(void *p)
{
        struct unpack_call *u = p;

        u->r = rt_call(u->b->keeper, VERB_UNPACK, sb_text(&u->args), u->args.len, &u->pipe_read, 1,
                       &u->b->cancel, &u->answer, &u->err);
        /* The child is gone: a producer still writing must see a broken pipe, not wait. */
        fd_close(&u->pipe_read);
        return NULL;
}

static int unpack_args(const char *dest, enum ly_tree_form form, struct sb *out,
                       struct bld_err *err)
{
        AUTO_JS struct js *a = js_obj();
        int r = js_set_str(a, "dest", dest) | js_set_i64(a, "form", form);

        return r < 0 ? err_nomem(err, "unpack") : js_write(a, JS_COMPACT, out, err);
}

static int read_stats(const struct sb *answer, struct ly_apply_stats *ret)
{
        AUTO_JS struct js *a = NULL;
        int64_t v = 0;

        if (js_parse(sb_text(answer), answer->len, &a, NULL) < 0)
                return -1;
        memset(ret, 0, sizeof(*ret));
        if (js_get_i64(a, "entries", &v))
                ret->entries = (uint64_t)v;
        if (js_get_i64(a, "bytes", &v))
                ret->bytes = (uint64_t)v;
        if (js_get_i64(a, "disk", &v))
                ret->disk_bytes = (uint64_t)v;
        return 0;
}

int snapshot_unpack(struct build *b, const char *dest, enum ly_tree_form form, tar_producer produce,
                    void *user, struct ly_apply_stats *ret, struct bld_err *err)
{
        struct unpack_call u = {
                .b = b, .args = SB_INIT(65536), .answer = SB_INIT(65536), .pipe_read = -1};
        struct bld_err own = BLD_ERR_INIT;
        AUTO_FD int out = -1;
        int ends[2], r, failed;
        pthread_t t;

        r = unpack_args(dest, form, &u.args, err);
        if (r == 0 && pipe2(ends, O_CLOEXEC) < 0)
                r = err_sys(err, errno, "pipe");
        if (r < 0) {
                sb_done(&u.args);
                return r;
        }
        (void)fcntl(ends[1], F_SETPIPE_SZ, 1 << 20); /* fewer switches; refused is fine */
        u.pipe_read = ends[0];
        out = ends[1];
        failed = pthread_create(&t, NULL, call_unpack, &u);
        if (failed) {
                fd_close(&u.pipe_read);
                sb_done(&u.args);
                return err_sys(err, failed, "start a thread");
        }
        struct ly_sink sink = ly_sink_fd(out);

        r = produce(user, &sink, &own);
        fd_close(&out); /* end of the stream */
        (void)pthread_join(t, NULL);
        /* The first cause: a child that failed breaks the producer's pipe, a producer that failed
         * leaves the child half a stream. */
        if (r < 0 && own.sys != EPIPE) {
                err_copy(err, &own);
        } else if (u.r < 0) {
                err_copy(err, &u.err);
                r = u.r;
        } else if (r < 0) {
                err_copy(err, &own);
        } else if (ret && read_stats(&u.answer, ret) < 0) {
                r = err_set(err, BLD_E_BUG, "unpack: answer");
        }
        sb_done(&u.args);
        sb_done(&u.answer);
        return r;
}

/* ---- one layer ---- */

struct layer_job {
        struct build *b;
        const struct vertex *step;
        const struct bd_layers *layers;
        size_t index;
        char id[DIGEST_HEX_MAX];
        bool ready;
        int r;
        struct bld_err err;
        /* for the producer */
        const struct ly_toc *toc; /* set: the layer is completed from those below */
        struct ly_toc *made;
        struct digest diff_id;
};

static ssize_t read_blob(void *user, void *p, size_t n, struct bld_err *err)
{
        struct ly_source s = ly_source_fd(*(int *)user);

        return s.read(s.user, p, n, err);
}

static bool hides_all(const struct ly_toc *toc)
{
        for (size_t i = 0; i < toc->n; i++)
                if (toc->v[i].e.type == LY_OPAQUE && !*toc->v[i].e.path)
                        return true;
        return false;
}

static const struct ly_entry *top_entry(const struct ly_toc *toc, const char *name)
{
        for (size_t i = 0; i < toc->n; i++)
                if (strcmp(toc->v[i].e.path, name) == 0)
                        return &toc->v[i].e;
        return NULL;
}

/* An opaque root cannot be said to an overlay: each name below is hidden by itself. */
static int produce_hidden(const struct layer_job *j, const struct ly_view *below,
                          const struct ly_sink *tar, struct bld_err *err)
{
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        struct ly_writer_opts wo = {.all_xattrs = true};
        size_t n = 0;
        const struct ly_node *const *kids = ly_view_children(below, ly_view_root(below), &n);
        int r = ly_writer_new(tar, &wo, &w, err);

        for (size_t i = 0; i < n && r == 0; i++) {
                AUTO_FREE char *name = mem_strdup(kids[i]->name);
                const struct ly_entry *own = name ? top_entry(j->toc, name) : NULL;
                struct ly_entry e = {.path = name, .type = own ? LY_OPAQUE : LY_WHITEOUT};

                if (!name)
                        return err_nomem(err, "layer");
                if (!own || own->type == LY_DIR)
                        r = ly_writer_entry(w, &e, err);
        }
        return r; /* no trailer: the layer's own entries follow */
}

/* The paths a layer has itself, links aside. */
static int own_paths(const struct ly_toc *toc, struct map *ret, struct bld_err *err)
{
        map_init(ret, NULL);
        for (size_t i = 0; i < toc->n; i++) {
                const struct ly_entry *e = &toc->v[i].e;

                if (e->type != LY_HARDLINK && map_set(ret, e->path, ret) < 0) {
                        map_done(ret);
                        return err_nomem(err, "layer");
                }
        }
        return 0;
}

/* Hard links to files of layers below: some builders write them, and who applies layers on top of
 * each other in one folder never notices. 1/0. */
static int links_below(const struct ly_toc *toc, struct bld_err *err)
{
        struct map own;
        bool found = false;
        int r = own_paths(toc, &own, err);

        if (r < 0)
                return r;
        for (size_t i = 0; i < toc->n && !found; i++)
                found = toc->v[i].e.type == LY_HARDLINK && !map_get(&own, toc->v[i].e.link);
        map_done(&own);
        return found;
}

static int to_writer(void *user, const void *p, size_t n, struct bld_err *err)
{
        return ly_writer_data(user, p, n, err);
}

static int copy_entry(struct ly_reader *in, struct ly_writer *out, const struct ly_entry *e,
                      struct bld_err *err)
{
        char buf[65536];
        ssize_t n;
        int r = ly_writer_entry(out, e, err);

        while (r == 0 && e->type == LY_FILE && (n = ly_reader_data(in, buf, sizeof(buf), err)) != 0)
                r = n < 0 ? (int)n : ly_writer_data(out, buf, (size_t)n, err);
        return r;
}

/* The linked file itself, under the link's name. */
static int copy_linked(struct bd_tree *lower, struct ly_writer *out, const struct ly_entry *link,
                       struct bld_err *err)
{
        const struct ly_node *n = ly_view_get(bd_tree_view(lower), link->link);
        struct ly_entry e;
        int r;

        if (!n || !n->t || n->t->e.type != LY_FILE)
                return err_set(err, BLD_E_CORRUPT, "hard link \"%s\" to \"%s\", which is not there",
                               link->path, link->link);
        e = n->t->e;
        e.path = link->path;
        r = ly_writer_entry(out, &e, err);
        return r == 0 && e.size ? bd_tree_read(lower, n, &(struct ly_sink){to_writer, out}, err)
                                : r;
}

/* The layer's tar with links to files below replaced by the files: *fd is the new one. */
static int follow_links(struct layer_job *j, struct bd_tree *lower, int *fd, struct bld_err *err)
{
        AUTO(ly_reader_free_p) struct ly_reader *in = NULL;
        AUTO(ly_writer_free_p) struct ly_writer *out = NULL;
        struct ly_writer_opts wo = {.all_xattrs = true};
        struct ly_source source = ly_source_fd(*fd);
        const struct ly_entry *e;
        AUTO_FD int made = -1;
        struct ly_sink sink;
        struct map own;
        int r = own_paths(j->toc, &own, err);

        if (r < 0)
                return r;
        made = sys_openat(cas_root_fd(j->b->c->cas), "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (made < 0)
                r = err_sys(err, errno, "make room for a layer");
        sink = ly_sink_fd(made);
        if (r == 0)
                r = ly_reader_new(&source, NULL, &in, err);
        if (r == 0)
                r = ly_writer_new(&sink, &wo, &out, err);
        while (r == 0 && (r = ly_reader_next(in, &e, err)) == 1)
                r = e->type == LY_HARDLINK && !map_get(&own, e->link)
                            ? copy_linked(lower, out, e, err)
                            : copy_entry(in, out, e, err);
        if (r == 0)
                r = ly_writer_end(out, err);
        if (r == 0 && lseek(made, 0, SEEK_SET) < 0)
                r = err_sys(err, errno, "read a layer again");
        map_done(&own);
        if (r == 0) {
                fd_close(fd);
                *fd = take_fd(&made);
        }
        return r;
}

/* A layer that does not stand alone: folders it leaves out take the attributes they have below. */
static int produce_completed(struct layer_job *j, const struct ly_sink *tar, struct bld_err *err)
{
        const struct bd_layers below = {.v = j->layers->v, .n = j->index}, none = {0};
        AUTO(bd_tree_free_p) struct bd_tree *lower = NULL, *empty = NULL;
        const struct bd_layer *l = &j->layers->v[j->index];
        bool all = hides_all(j->toc);
        AUTO_FD int fd = -1;
        struct ly_source in;
        int r = bd_tree_open(j->b->c, &below, &lower, err);

        if (r == 0)
                r = bd_tree_open(j->b->c, &none, &empty, err);
        if (r == 0)
                r = layer_plain(j->b, l, &fd, err);
        if (r == 0)
                r = links_below(j->toc, err);
        if (r == 1)
                r = follow_links(j, lower, &fd, err);
        if (r == 0 && all)
                r = produce_hidden(j, bd_tree_view(lower), tar, err);
        if (r < 0)
                return r;
        j->diff_id = l->diff_id; /* layer_plain() has looked */
        in = ly_source_fd(fd);
        return ly_complete(&in, bd_tree_view(all ? empty : lower), tar, err);
}

static int produce_layer(void *user, const struct ly_sink *tar, struct bld_err *err)
{
        struct layer_job *j = user;
        const struct bd_layer *l = &j->layers->v[j->index];
        AUTO_FD int fd = -1;
        uint64_t size;
        int r;

        if (j->toc)
                return produce_completed(j, tar, err);
        r = cas_blob_open(j->b->c->cas, &l->desc.digest, &fd, err);
        if (r < 0)
                return r;
        return ly_unpack_stream(&(struct ly_source){read_blob, &fd}, tar, NULL, &j->diff_id, &size,
                                &j->made, err);
}

static int unpack_once(struct layer_job *j, struct bld_err *err)
{
        struct build *b = j->b;
        AUTO(cas_tmp_free_p) struct cas_tmp *tmp = NULL;
        struct ly_apply_stats st = {0};
        int r = cas_tmp_new(b->c->cas, &tmp, err);

        if (r == 0)
                r = snapshot_unpack(b, cas_tmp_path(tmp), snapshot_form(b), produce_layer, j, &st,
                                    err);
        if (r == 0 && !digest_eq(&j->diff_id, &j->layers->v[j->index].diff_id))
                r = err_set(err, BLD_E_CORRUPT,
                            "layer %zu does not unpack to the content its image promises",
                            j->index + 1);
        if (r == 0 && !j->toc && j->index > 0 && (j->made->missing_parents || hides_all(j->made)))
                r = 1; /* once more, with what is below in view */
        if (r == 0)
                r = cas_snapshot_publish(b->c->cas, cas_tmp_path(tmp),
                                         rt_keeper_env(b->keeper)->view, j->id, st.disk_bytes,
                                         st.entries, err);
        /* What is left, if anything, may belong to mapped ids. */
        if (tmp)
                snapshot_discard(b, cas_tmp_path(tmp));
        return r;
}

static void chain_hex(const struct layer_job *j, char out[DIGEST_HEX_MAX])
{
        struct digest *ids = mem_zalloc(j->index + 1, sizeof(*ids)), chain;

        out[0] = '\0';
        if (!ids)
                return;
        for (size_t i = 0; i <= j->index; i++)
                ids[i] = j->layers->v[i].diff_id;
        img_chain_id(ids, j->index + 1, &chain);
        digest_hex(&chain, out);
        free(ids);
}

/* 1 when the snapshot is there, under the diff ID or, for layers that lean on those below, under
 * the chain ID; j->id is set. */
static int look(struct layer_job *j, struct bld_err *err)
{
        const char *view = rt_keeper_env(j->b->keeper)->view;
        int r;

        digest_hex(&j->layers->v[j->index].diff_id, j->id);
        r = cas_lease_snapshot(j->b->record, view, j->id, err);
        if (r != 0)
                return r;
        if (j->index > 0) {
                chain_hex(j, j->id);
                r = cas_lease_snapshot(j->b->record, view, j->id, err);
                if (r != 0)
                        return r;
        }
        digest_hex(&j->layers->v[j->index].diff_id, j->id);
        return 0;
}

/* One that came from a registry comes again, in the same build. */
static int fetch_again(const struct layer_job *j, struct bld_err *err)
{
        const struct bd_layer *l = &j->layers->v[j->index];
        struct bld_err why = BLD_ERR_INIT;
        int r;

        if (!l->source.domain)
                return BLD_E_CORRUPT;
        r = bd_fetch_blob(j->b->c, &l->source, &l->desc, NULL, NULL, &why);
        if (r < 0)
                return BLD_E_CORRUPT;
        err_clear(err);
        return 0;
}

static int make_layer(struct layer_job *j, struct bld_err *err)
{
        const struct bd_layer *l = &j->layers->v[j->index];
        AUTO(cas_key_unlock_p) struct cas_lock *lock = NULL;
        struct hasher h;
        struct digest key;
        int r = bd_fetch_blob(j->b->c, l->source.domain ? &l->source : NULL, &l->desc, NULL, NULL,
                              err);

        if (r < 0)
                return r;
        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, rt_keeper_env(j->b->keeper)->view);
        hasher_field_str(&h, j->id);
        hasher_end(&h, &key);
        r = cas_key_lock(j->b->c->cas, &key, cas_build_id(j->b->record), true, &j->b->cancel, &lock,
                         NULL, err);
        if (r == 0)
                r = look(j, err); /* somebody may just have made it */
        if (r != 0)
                return r < 0 ? r : 0;
        r = unpack_once(j, err);
        if (r == BLD_E_CORRUPT && j->index > 0 &&
            (j->made || bd_toc_get(j->b->c, l, &j->made, NULL) == 0) &&
            links_below(j->made, NULL) == 1) {
                err_clear(err);
                r = 1;
        }
        if (r == 1) {
                chain_hex(j, j->id);
                j->toc = j->made;
                r = unpack_once(j, err);
        }
        if (r == BLD_E_CORRUPT)
                r = bd_blame_blob(j->b->c, &l->desc.digest, r, err);
        if (r == BLD_E_CORRUPT && fetch_again(j, err) == 0)
                r = unpack_once(j, err);
        if (r == 0)
                r = bd_toc_put(j->b->c, &l->diff_id, j->made, err);
        if (r == 0 &&
            cas_lease_snapshot(j->b->record, rt_keeper_env(j->b->keeper)->view, j->id, err) == 0)
                r = err_set(err, BLD_E_CORRUPT, "a snapshot vanished right after it was made");
        return r;
}

static void *layer_thread(void *p)
{
        struct layer_job *j = p;

        j->r = make_layer(j, &j->err);
        if (j->r < 0)
                (void)err_wrap(&j->err, j->r, "unpack layer %zu", j->index + 1);
        ly_toc_free(j->made);
        j->made = NULL;
        j->toc = NULL;
        return NULL;
}

#define UNPACK_AT_ONCE 4

/* Layers unpack side by side: each has a folder of its own. */
static int make_missing(struct layer_job *jobs, size_t n, struct bld_err *err)
{
        pthread_t threads[UNPACK_AT_ONCE];
        size_t i = 0;

        while (i < n) {
                size_t started = 0;
                int r = 0;

                for (; i < n && started < UNPACK_AT_ONCE && r == 0; i++) {
                        if (jobs[i].ready)
                                continue;
                        r = pthread_create(&threads[started], NULL, layer_thread, &jobs[i]);
                        if (r)
                                r = err_sys(err, r, "start a thread");
                        else
                                started++;
                }
                while (started-- > 0)
                        (void)pthread_join(threads[started], NULL);
                if (r < 0)
                        return r;
        }
        for (i = 0; i < n; i++) {
                if (jobs[i].r < 0) {
                        err_copy(err, &jobs[i].err);
                        return jobs[i].r;
                }
        }
        return 0;
}

/* Overlay refuses a folder given twice; the upper one of two equal layers hides the lower anyway.
 */
static bool covered(const struct layer_job *jobs, size_t n, size_t i)
{
        for (size_t k = i + 1; k < n; k++)
                if (strcmp(jobs[k].id, jobs[i].id) == 0)
                        return true;
        return false;
}

int snapshots_ready(struct build *b, const struct vertex *step, const struct bd_layers *layers,
                    struct strv *out, struct bld_err *err)
{
        const char *view = rt_keeper_env(b->keeper)->view;
        AUTO_FREE struct layer_job *jobs = mem_zalloc(layers->n, sizeof(*jobs));
        int r = jobs ? cas_view_prepare(b->c->cas, view, err) : err_nomem(err, "snapshots");
        size_t missing = 0;

        for (size_t i = 0; i < layers->n && r == 0; i++) {
                jobs[i] = (struct layer_job){.b = b, .step = step, .layers = layers, .index = i};
                r = look(&jobs[i], err);
                jobs[i].ready = r == 1;
                missing += r == 0;
                r = r < 0 ? r : 0;
        }
        if (r == 0 && missing) {
                events_post(b->events, BLD_EV_STEP_STATUS, step, "unpacking layers", 0, 0);
                r = make_missing(jobs, layers->n, err);
        }
        for (size_t i = 0; i < layers->n && r == 0; i++) {
                AUTO_FREE char *dir = cas_snapshot_path(view, jobs[i].id);

                if (covered(jobs, layers->n, i))
                        continue;
                if (!dir || strv_addf(out, "%s/fs", dir) < 0)
                        r = err_nomem(err, "snapshots");
        }
        return r;
}
