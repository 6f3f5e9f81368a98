/* "Why was this step not a hit": what a step was made of last time, against now. Two kinds of
 * record: the last word on a step, a few digests, said again only when it changes; and the list of
 * files behind a content digest, written once. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "builder/solve/solve_priv.h"

#define EXPLAIN_KIND "expl"
#define FILES_MAX 4000u

/* The same step of the same Dockerfile in the same context. */
static void explain_key(const struct build *b, const struct vertex *v, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-explain-v1");
        hasher_field_str(&h, b->context_path);
        hasher_field_str(&h, b->o->dockerfile);
        hasher_field_str(&h, v->step);
        hasher_end(&h, ret);
}

static void files_key(const struct vertex *v, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-explain-files-v1");
        hasher_field(&h, v->content.b, digest_len(v->content.algo));
        hasher_end(&h, ret);
}

static struct js *hex(const struct digest *d)
{
        char text[DIGEST_STR_MAX];

        digest_format(d, text);
        return js_new_str(text);
}

struct listing {
        struct fs *f;
        struct js *files; /* path -> digest */
        size_t n;
};

static int list_tree(struct listing *x, struct fs_node *n, int depth)
{
        AUTO_SB struct sb path = SB_INIT(65536);
        char text[DIGEST_STR_MAX];

        if (x->n >= FILES_MAX || depth > 200)
                return 0;
        if (n->type == LY_FILE) {
                if (fs_path(n, &path, NULL) < 0 || fs_digest(x->f, n, NULL) < 0)
                        return -1;
                digest_format(&n->digest, text);
                x->n++;
                /* A name that is not UTF-8 is left out of the explanation. */
                (void)js_set_str(x->files, sb_text(&path), text + 7);
        }
        if (n->type == LY_DIR && fs_children(x->f, n, NULL) < 0)
                return -1;
        for (size_t i = 0; n->type == LY_DIR && i < n->nchildren; i++)
                if (list_tree(x, n->children[i], depth + 1) < 0)
                        return -1;
        return 0;
}

/* The context's files a COPY selects, by content; NULL where there are none. */
static struct js *list_files(struct build *b, const struct vertex *v)
{
        AUTO(fs_free_p) struct fs *f = NULL;
        struct fs_picks picks = {0};
        struct listing x = {0};
        int r = 0;

        if (v->kind != VX_COPY || v->ninputs < 2 || !v->inputs[1] ||
            v->inputs[1]->kind != VX_LOCAL || build_open_local(b, v->inputs[1], &f, NULL) < 0)
                return NULL;
        x.f = f;
        x.files = js_obj();
        for (size_t i = 0; i < v->u.copy.nsrc && r == 0; i++)
                if (v->u.copy.src[i].kind == COPY_PATH)
                        r = fs_select(f, v->u.copy.src[i].path, i, v->u.copy.parents, &picks, NULL);
        for (size_t i = 0; i < picks.n && r == 0 && x.files; i++)
                r = list_tree(&x, picks.v[i].node, 0);
        fs_picks_free(&picks);
        if (r < 0) {
                js_free(x.files);
                return NULL;
        }
        return x.files;
}

/* The first file that came, went or changed; false when the lists are the same. */
static bool differing_file(const struct js *old, const struct js *now, char *out, size_t size)
{
        for (void *it = js_iter(now); it; it = js_iter_next(now, it)) {
                const char *had = js_get_str(old, js_iter_key(it));

                if (had && str_eq(had, js_str(js_iter_value(it))))
                        continue;
                (void)snprintf(out, size, "%.200s %s", js_iter_key(it), had ? "changed" : "is new");
                return true;
        }
        for (void *it = js_iter(old); it; it = js_iter_next(old, it)) {
                if (js_get_str(now, js_iter_key(it)))
                        continue;
                (void)snprintf(out, size, "%.200s is gone", js_iter_key(it));
                return true;
        }
        return false;
}

static bool same(const struct js *old, const char *key, const struct digest *d)
{
        char text[DIGEST_STR_MAX];

        digest_format(d, text);
        return str_eq(js_get_str(old, key), text);
}

/* The record of that key; NULL when there is none. */
static struct js *recall(struct build *b, const struct digest *key)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX);
        struct js *j = NULL;

        if (cas_result_get(b->c->cas, key, EXPLAIN_KIND, &text, NULL) != 1 ||
            js_parse(sb_text(&text), text.len, &j, NULL) < 0)
                return NULL;
        return j;
}

static void remember(struct build *b, const struct digest *key, const struct js *j)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX);

        if (js_write(j, JS_COMPACT, &text, NULL) == 0)
                (void)!cas_result_put(b->c->cas, key, EXPLAIN_KIND, sb_text(&text), text.len, NULL,
                                      0, NULL);
}

static void explain_files(struct build *b, const struct vertex *v, const struct js *old, char *out,
                          size_t size)
{
        AUTO_JS struct js *had = NULL, *files = NULL;
        struct vertex then = {.kind = v->kind};
        const char *content = js_get_str(old, "content");
        struct digest key;

        if (content && digest_parse(content, &then.content, NULL) == 0) {
                files_key(&then, &key);
                had = recall(b, &key);
        }
        files = had ? list_files(b, v) : NULL;
        if (!files)
                (void)snprintf(out, size, "a file it selects changed");
        else if (!differing_file(had, files, out, size))
                (void)snprintf(out, size, "the mode or type of a file changed");
}

static void why_missed(struct build *b, const struct vertex *v, char *out, size_t size)
{
        AUTO_JS struct js *old = NULL;
        const struct vertex *in = v->ninputs ? v->inputs[0] : NULL;
        struct digest key;

        if (v->no_cache) {
                (void)snprintf(out, size, "of --no-cache");
                return;
        }
        explain_key(b, v, &key);
        old = recall(b, &key);
        if (!old)
                (void)snprintf(out, size, "it was never built here");
        else if (!same(old, "params", &v->params))
                (void)snprintf(out, size, "the instruction, or a variable it sees, changed");
        else if (in && !same(old, "below", &in->key))
                (void)snprintf(out, size, "%s changed",
                               in->kind == VX_IMAGE ? "the base image" : "the step before it");
        else if (!same(old, "content", &v->content))
                explain_files(b, v, old, out, size);
        else
                (void)snprintf(out, size, "its result is no longer in the store");
}

void explain_miss(struct build *b, const struct vertex *v, char *out, size_t size)
{
        size_t n;

        why_missed(b, v, out, size);
        n = strlen(out);
        if (v->remote_why && n < size)
                (void)snprintf(out + n, size - n, "; %s", v->remote_why);
}

static void store_files(struct build *b, const struct vertex *v)
{
        AUTO_JS struct js *files = NULL;
        struct digest key;
        int64_t when;

        if (!digest_is_set(&v->content))
                return;
        files_key(v, &key);
        if (cas_result_time(b->c->cas, &key, &when) == 1)
                return;
        files = list_files(b, v);
        if (files)
                remember(b, &key, files);
}

void explain_store(struct build *b, const struct vertex *v)
{
        AUTO_JS struct js *j = NULL, *old = NULL;
        const struct vertex *in = v->ninputs ? v->inputs[0] : NULL;
        struct digest key;
        int r;

        explain_key(b, v, &key);
        old = recall(b, &key);
        if (old && same(old, "params", &v->params) && same(old, "content", &v->content) &&
            (!in || same(old, "below", &in->key)))
                return;
        j = js_obj();
        r = js_set(j, "params", hex(&v->params)) | js_set(j, "content", hex(&v->content));
        if (in)
                r |= js_set(j, "below", hex(&in->key));
        if (r < 0)
                return;
        remember(b, &key, j);
        store_files(b, v);
}
