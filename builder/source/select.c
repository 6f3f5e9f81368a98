/* What the sources of a COPY pick out of a tree, and the digest of it (docs/dockerfile.md, "COPY").
 */
#include <string.h>

#include "base/err.h"
#include "base/path.h"
#include "builder/source/fs_priv.h"

#define WALK_DEPTH_MAX 250

void fs_picks_free(struct fs_picks *a)
{
        for (size_t i = 0; i < a->n; i++)
                free(a->v[i].name);
        fs_picks_done(a);
}

static int pick(struct fs_picks *out, struct fs_node *node, const char *name, size_t src,
                bool matched, struct bld_err *err)
{
        struct fs_pick *p = fs_picks_push(out);

        if (!p)
                return err_nomem(err, "selected files");
        p->node = node;
        p->src = src;
        p->group = out->n;
        p->matched = matched;
        p->is_tree = node->type == LY_DIR;
        p->name = mem_strdup(name);
        return p->name ? 0 : err_nomem(err, "selected files");
}

static const char *tree_name(const struct fs *f)
{
        return fs_is_local(f) ? "build context" : "stage or image it comes from";
}

static int not_found(struct fs *f, const char *path, struct bld_err *err)
{
        unsigned line = 0;

        (void)err_set(err, BLD_E_INVALID, "no file matches \"%s\": not found in the %s", path,
                      tree_name(f));
        if (fs_is_ignored(f, path, &line)) {
                const char *pattern = ignore_pattern(fs_ignore(f), line);
                const char *name = ignore_name(fs_ignore(f));

                (void)err_why(err, 0, "%s:%u pattern \"%s\" removes it", name, line,
                              pattern ? pattern : "");
                return err_try(err, BLD_E_INVALID, "add \"!%s\" after line %u of %s", path, line,
                               name);
        }
        return BLD_E_INVALID;
}

/* A wildcard's match is followed as a source written out would be. */
static int dangling(struct fs *f, struct fs_node *link, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(65536);
        int r = fs_path(link, &path, err);

        if (r < 0)
                return r;
        return err_set(err, BLD_E_INVALID, "\"%s\" is a link to \"%s\", not found in the %s",
                       sb_text(&path), link->link, tree_name(f));
}

/* Every path below dir that the rest of a pattern matches, component by component ('*' never
 * matches a '/'), in lexical order. */
static int match_below(struct fs *f, struct fs_node *dir, const char *rest, size_t src,
                       struct fs_picks *out, struct bld_err *err)
{
        size_t len = strcspn(rest, "/");
        const char *tail = rest[len] ? rest + len + 1 : NULL;
        AUTO_FREE char *part = mem_strndup(rest, len);
        int r = part ? fs_children(f, dir, err) : err_nomem(err, "pattern");

        if (r == 0 && dir->nchildren == 0) /* a bad pattern is one, even with nothing to match */
                r = glob_match(part, "", err);
        for (size_t i = 0; i < dir->nchildren && r >= 0; i++) {
                struct fs_node *n = dir->children[i], *target = n;

                r = glob_match(part, n->name, err);
                if (r <= 0)
                        continue;
                if (tail) { /* links are no folders to a pattern */
                        if (n->type == LY_DIR)
                                r = match_below(f, n, tail, src, out, err);
                        continue;
                }
                if (n->type == LY_SYMLINK) {
                        r = fs_resolve(f, dir, n->name, true, &target, err);
                        if (r == 0 && !target)
                                r = dangling(f, n, err);
                        if (r < 0)
                                continue;
                }
                r = pick(out, target, n->name, src, true, err);
        }
        return r < 0 ? r : 0;
}

static int select_wildcard(struct fs *f, const char *path, size_t src, struct fs_picks *out,
                           struct bld_err *err)
{
        struct fs_node *dir = fs_root(f);
        const char *p = path;

        for (;;) {
                size_t len = strcspn(p, "/");
                AUTO_FREE char *part = mem_strndup(p, len);
                int r;

                if (!part)
                        return err_nomem(err, "pattern");
                if (!p[len] || glob_has_wildcard(part))
                        return match_below(f, dir, p, src, out, err);
                r = fs_resolve(f, dir, part, true, &dir, err);
                if (r < 0)
                        return r;
                if (!dir || dir->type != LY_DIR)
                        return 0; /* no match is fine with a wildcard */
                p += len + 1;
        }
}

/* missing_ok: nothing there is nothing to copy. */
static int select_paths(struct fs *f, const char *pattern, size_t src, bool missing_ok,
                        struct fs_picks *out, struct bld_err *err)
{
        /* Rooted, so that cleaning takes every ".." away that would climb out. */
        AUTO_FREE char *clean = path_join("/", pattern);
        struct fs_node *n = NULL;
        int r;

        if (!clean)
                return err_nomem(err, "source path");
        if (glob_has_wildcard(clean + 1))
                return select_wildcard(f, clean + 1, src, out, err);
        r = fs_resolve(f, NULL, clean + 1, true, &n, err);
        if (r < 0)
                return r;
        if (!n)
                return missing_ok ? 0 : not_found(f, clean + 1, err);
        return pick(out, n, path_base(clean), src, false, err);
}

/* ---- --parents ---- */

struct parents_walk {
        struct fs *f;
        const struct ignore *pattern;
        const char *literal; /* the pattern up to its first wildcard, whole components */
        size_t src, group;
        struct fs_picks *out;
};

static int pick_parents(struct parents_walk *w, struct fs_node *n, const char *path, bool parent,
                        struct bld_err *err)
{
        int r = pick(w->out, n, path, w->src, true, err);
        struct fs_pick *p = r == 0 ? &w->out->v[w->out->n - 1] : NULL;

        if (!p)
                return r;
        p->group = w->group;
        p->by_name = true;
        p->parent = parent;
        p->is_tree = p->is_tree && !parent;
        return 0;
}

/* Can something below the folder match? Only on the way to the pattern's literal part, or in it. */
static bool may_match_below(const struct parents_walk *w, const char *path)
{
        size_t n = strlen(path), m = strlen(w->literal);

        return n < m ? w->literal[n] == '/' && strncmp(w->literal, path, n) == 0
                     : m == 0 ||
                               (strncmp(path, w->literal, m) == 0 && (!path[m] || path[m] == '/'));
}

/* Components before the first with a wildcard or an escape. Caller frees. */
static char *literal_part(const char *pattern)
{
        size_t n = strcspn(pattern, "*?[\\");

        if (!pattern[n])
                return mem_strdup(pattern);
        while (n > 0 && pattern[n - 1] != '/')
                n--;
        return mem_strndup(pattern, n ? n - 1 : 0);
}

static int walk_parents(struct parents_walk *w, struct fs_node *dir, struct sb *path, int depth,
                        bool *ret_any, struct bld_err *err)
{
        int r = fs_children(w->f, dir, err);

        if (depth > WALK_DEPTH_MAX)
                return err_set(err, BLD_E_LIMIT, "folders nested deeper than %d", WALK_DEPTH_MAX);
        for (size_t i = 0; i < dir->nchildren && r == 0; i++) {
                struct fs_node *n = dir->children[i];
                size_t base = path->len, at = w->out->n;
                bool below = false;

                if (base)
                        sb_char(path, '/');
                sb_str(path, n->name);
                r = sb_check(path, "path", err);
                if (r == 0 && ignore_match(w->pattern, sb_text(path), NULL)) {
                        r = pick_parents(w, n, sb_text(path), false, err);
                        *ret_any = true;
                } else if (r == 0 && n->type == LY_DIR && may_match_below(w, sb_text(path))) {
                        r = pick_parents(w, n, sb_text(path), true, err);
                        if (r == 0)
                                r = walk_parents(w, n, path, depth + 1, &below, err);
                        if (r == 0 && !below) /* nothing in it: it is no parent after all */
                                while (w->out->n > at)
                                        free(w->out->v[--w->out->n].name);
                        *ret_any = *ret_any || below;
                }
                sb_cut(path, base);
        }
        return r;
}

static int select_parents(struct fs *f, const char *text, size_t src, struct fs_picks *out,
                          struct bld_err *err)
{
        const char *pivot = strstr(text, "/./");
        AUTO_FREE char *root = path_cleann(text, pivot ? (size_t)(pivot - text) : 0);
        AUTO_FREE char *rooted = path_join("/", pivot ? pivot + 3 : text);
        AUTO_FREE char *literal = rooted ? literal_part(rooted + 1) : NULL;
        AUTO(ignore_free_p) struct ignore *all = NULL;
        struct fs_picks roots = {0};
        const char *pattern;
        bool any = false, wild;
        int r;

        if (!root || !literal)
                return err_nomem(err, "pattern");
        pattern = rooted + 1;
        wild = glob_has_wildcard(root) || glob_has_wildcard(pattern);
        r = ignore_from_pattern(*pattern ? pattern : "**", &all, err);
        if (r == 0 && strcmp(root, ".") == 0)
                r = pick(&roots, fs_root(f), "", src, false, err);
        else if (r == 0)
                r = select_paths(f, root, src, wild, &roots, err);
        for (size_t i = 0; i < roots.n && r == 0; i++) {
                AUTO_SB struct sb path = SB_INIT(65536);
                struct parents_walk w = {f, all, literal, src, out->n, out};

                if (roots.v[i].node->type == LY_DIR)
                        r = walk_parents(&w, roots.v[i].node, &path, 0, &any, err);
        }
        fs_picks_free(&roots);
        if (r == 0 && !any && !wild)
                return not_found(f, pattern, err);
        return r;
}

int fs_select(struct fs *f, const char *pattern, size_t src, bool parents, struct fs_picks *out,
              struct bld_err *err)
{
        return parents ? select_parents(f, pattern, src, out, err)
                       : select_paths(f, pattern, src, false, out, err);
}

/* ---- digest of a selection ---- */

struct digest_walk {
        struct fs *f;
        const struct ignore *excludes;
        struct hasher h;
        uint64_t bytes;
};

/* Before hours are spent on reading holes. */
static int too_much(const struct fs_node *n, struct bld_err *err)
{
        return err_set(err, BLD_E_INVALID,
                       "with \"%s\" these are more than %llu GiB, the most that a layer can hold",
                       n->name, (unsigned long long)(LY_LAYER_BYTES_MAX >> 30));
}

static int digest_node(struct digest_walk *w, struct fs_node *n, const char *name,
                       struct bld_err *err)
{
        AUTO_FREE unsigned char *cap = NULL;
        size_t cap_len = 0;
        int r = 0;

        hasher_field_str(&w->h, name);
        hasher_field_u64(&w->h, n->type);
        hasher_field_u64(&w->h, n->mode);
        hasher_field_u64(&w->h, (uint64_t)n->uid << 32 | n->gid);
        hasher_field_str(&w->h, n->type == LY_SYMLINK ? n->link : NULL);
        if (n->type == LY_CHAR || n->type == LY_BLOCK)
                hasher_field_u64(&w->h, (uint64_t)n->dev_major << 32 | n->dev_minor);
        if (n->type == LY_FILE) {
                if (ADD_OVERFLOWS(w->bytes, n->size, &w->bytes) || w->bytes > LY_LAYER_BYTES_MAX)
                        return too_much(n, err);
                r = fs_digest(w->f, n, err);
                if (r == 0)
                        hasher_field(&w->h, n->digest.b, digest_len(n->digest.algo));
        }
        if (r == 0)
                r = fs_capability(w->f, n, &cap, &cap_len, err);
        if (r > 0)
                hasher_field(&w->h, cap, cap_len);
        return r < 0 ? r : 0;
}

/* With all below it. A folder that is left out may come along for something below that is not. */
static bool is_excluded(const struct digest_walk *w, const struct fs_node *n, const char *path)
{
        return w->excludes && ignore_match(w->excludes, path, NULL) &&
               !(n->type == LY_DIR && ignore_may_include_below(w->excludes, path));
}

/* What a copy leaves out (op_copy.c): a file found by a wildcard by its name, with --parents each
 * by its path, and never a folder written out. */
static bool is_left_out(const struct digest_walk *w, const struct fs_pick *k)
{
        return k->by_name ? is_excluded(w, k->node, k->name)
                          : k->matched && !k->is_tree && w->excludes &&
                                    ignore_match(w->excludes, k->name, NULL);
}

static int digest_tree(struct digest_walk *w, struct fs_node *dir, struct sb *path, int depth,
                       struct bld_err *err)
{
        int r = fs_children(w->f, dir, err);

        if (depth > WALK_DEPTH_MAX)
                return err_set(err, BLD_E_LIMIT, "folders nested deeper than %d", WALK_DEPTH_MAX);
        for (size_t i = 0; i < dir->nchildren && r == 0; i++) {
                struct fs_node *n = dir->children[i];
                size_t base = path->len;

                if (base)
                        sb_char(path, '/');
                sb_str(path, n->name);
                r = sb_check(path, "path", err);
                if (r == 0 && !is_excluded(w, n, sb_text(path))) {
                        r = digest_node(w, n, sb_text(path), err);
                        if (r == 0 && n->type == LY_DIR)
                                r = digest_tree(w, n, path, depth + 1, err);
                }
                sb_cut(path, base);
        }
        return r;
}

int fs_picks_digest(struct fs *f, const struct fs_picks *p, const struct ignore *excludes,
                    struct digest *ret, struct bld_err *err)
{
        struct digest_walk w = {.f = f, .excludes = excludes};
        int r = 0;

        hasher_init(&w.h, DIGEST_SHA256);
        hasher_field_str(&w.h, "selection");
        for (size_t i = 0; i < p->n && r == 0; i++) {
                AUTO_SB struct sb path = SB_INIT(65536);
                const struct fs_pick *k = &p->v[i];

                if (is_left_out(&w, k))
                        continue;
                hasher_field_u64(&w.h, k->src);
                if (k->by_name)
                        sb_str(&path, k->name);
                r = sb_check(&path, "path", err);
                if (r == 0)
                        r = digest_node(&w, k->node, k->name, err);
                if (r == 0 && k->is_tree)
                        r = digest_tree(&w, k->node, &path, 0, err);
        }
        hasher_end(&w.h, ret);
        return r;
}
