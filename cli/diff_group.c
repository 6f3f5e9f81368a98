/* Changes one by one, and those that are one line for people. */
#include <string.h>

#include "base/json.h"
#include "cli/diff.h"

int diff_sides(const struct bld_diff *d, size_t i, struct diff_sides *ret, struct bld_err *err)
{
        /* The getters of the trees take the result itself, which they do not change. */
        struct bld_diff *own = (struct bld_diff *)(uintptr_t)d;
        int r = 0;

        memset(ret, 0, sizeof(*ret));
        ret->change = bld_diff_change(d, i);
        ret->before.size = ret->after.size = sizeof(ret->after);
        ret->has_before = ret->change->before != BLD_NO_NODE;
        ret->has_after = ret->change->after != BLD_NO_NODE;
        if (ret->has_before)
                r = bld_tree_node(bld_diff_tree_a(own), ret->change->before, &ret->before, err);
        if (r == 0 && ret->has_after)
                r = bld_tree_node(bld_diff_tree_b(own), ret->change->after, &ret->after, err);
        return r;
}

const struct bld_tree_node *diff_node(const struct diff_sides *s)
{
        return s->has_after ? &s->after : &s->before;
}

static bool is_below(const char *path, const char *folder)
{
        size_t n = strlen(folder);

        return strncmp(path, folder, n) == 0 && path[n] == '/';
}

static const char *path_at(const struct bld_diff *d, size_t i)
{
        return i < bld_diff_count(d) ? bld_diff_change(d, i)->path : "";
}

static bool is_folder(const struct diff_sides *s)
{
        return diff_node(s)->type == BLD_LAYER_DIR;
}

/* Changes from `first` on that are below its path and of its kind; 0 when some are of another. */
static size_t run_below(const struct bld_diff *d, size_t first)
{
        const struct bld_change *f = bld_diff_change(d, first);
        size_t i = first + 1;

        for (; is_below(path_at(d, i), f->path); i++) {
                const struct bld_change *c = bld_diff_change(d, i);

                if (c->kind != f->kind || c->unsure != f->unsure)
                        return 0;
        }
        return i - first - 1;
}

static int add_up(const struct bld_diff *d, struct diff_group *g, bool *ret_chain,
                  struct bld_err *err)
{
        *ret_chain = true;
        for (size_t i = g->first + 1; i < g->first + g->n; i++) {
                struct diff_sides s;
                int r = diff_sides(d, i, &s, err);

                if (r < 0)
                        return r;
                *ret_chain = *ret_chain && is_below(path_at(d, i), path_at(d, i - 1));
                if (is_folder(&s))
                        continue;
                g->files++;
                if (!diff_node(&s)->first_name)
                        g->bytes += diff_node(&s)->file_size;
        }
        return 0;
}

int diff_group_at(const struct bld_diff *d, size_t i, struct diff_group *ret, struct bld_err *err)
{
        const struct bld_change *c = bld_diff_change(d, i);
        struct diff_sides s;
        bool chain;
        int r = diff_sides(d, i, &s, err);

        *ret = (struct diff_group){.first = i, .n = 1, .shown = i};
        if (r < 0 || !is_folder(&s))
                return r;
        if (c->kind == BLD_CHANGE_METADATA) {
                ret->quiet = c->what == BLD_DIFF_MTIME && is_below(path_at(d, i + 1), c->path);
                return 0;
        }
        if (c->kind != BLD_CHANGE_ADDED && c->kind != BLD_CHANGE_DELETED)
                return 0;
        ret->n += run_below(d, i);
        r = add_up(d, ret, &chain, err);
        if (r < 0 || !chain || ret->n == 1)
                return r;
        ret->shown = i + ret->n - 1;
        ret->files = 0;
        ret->bytes = 0;
        return 0;
}

char *diff_step(const char *json)
{
        AUTO_JS struct js *j = NULL;
        const char *step = NULL;

        if (js_parse(json, strlen(json), &j, NULL) == 0)
                step = js_get_str(j, "created_by");
        return step ? mem_strdup(step) : NULL;
}

bool diff_same_step(const char *a, const char *b)
{
        AUTO_FREE char *x = diff_step(a), *y = diff_step(b);

        return x && str_eq(x, y);
}
