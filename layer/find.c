/* One path, looked for from the top of a chain of layers while they are read.
 *
 * Each layer read so far is remembered as a table of its paths. A component of the path is looked
 * up from the uppermost layer down; the first that names it, or removes it, decides. What is not
 * plain sailing is an entry whose folder its own layer does not name as one ("loose"): if that
 * folder is a link in a layer below, the entry lies where the link leads. Folders of loose entries
 * are therefore held against the layers below before an answer is given; layers of today's builders
 * have none. Nor do they replace their own entries: where one is seen to, no answer is given. */
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "layer/arena_priv.h"
#include "layer/layer.h"

#define LINKS_MAX 40 /* as the kernel */

enum frec_kind { F_NOTHING, F_IMPLIED, F_DIR, F_LINK, F_HARD, F_FILE, F_OTHER };

struct frec {
        const char *path;
        enum frec_kind kind;
        const char *link;
        size_t index;
        bool gone;   /* removed from the layers below */
        bool opaque; /* what it holds is */
        bool loose;
        bool used; /* something came that is in it */
        bool late; /* a folder named after that */
};
VEC_DEFINE(frecs, const struct frec *);

struct flayer {
        struct map at; /* path -> frec */
        struct frecs loose;
        size_t n; /* entries so far */
        bool done;
};

struct ly_find {
        struct arena mem;
        struct flayer *layers;
        size_t nlayers;
        size_t reading; /* the layer that is read; those above are done */
        bool follow;
        struct sb at;   /* what was walked: exists, and is a folder */
        struct sb rest; /* components to come */
        struct sb next; /* at and the next component */
        unsigned links;
        /* The path whose lookup wants more; NULL: none does. */
        const char *wait;
        enum ly_find_state state;
        struct ly_found found;
        bool settled; /* found says so */
        bool loop;    /* or the links go in a circle */
        bool odd;     /* a layer contradicts itself */
};

void ly_find_free(struct ly_find *f)
{
        if (!f)
                return;
        for (size_t i = 0; f->layers && i < f->nlayers; i++) {
                map_done(&f->layers[i].at);
                frecs_done(&f->layers[i].loose);
        }
        free(f->layers);
        arena_done(&f->mem);
        sb_done(&f->at);
        sb_done(&f->rest);
        sb_done(&f->next);
        free(f);
}

int ly_find_new(size_t nlayers, const char *path, bool follow, struct ly_find **ret,
                struct bld_err *err)
{
        AUTO(ly_find_free_p) struct ly_find *f = mem_zalloc(1, sizeof(*f));
        int r;

        if (!f)
                return err_nomem(err, "search");
        f->at = f->rest = f->next = SB_INIT(1u << 20);
        f->nlayers = nlayers;
        f->follow = follow;
        f->reading = nlayers ? nlayers - 1 : 0;
        f->layers = mem_zalloc(nlayers, sizeof(*f->layers));
        if (!f->layers)
                return err_nomem(err, "search");
        for (size_t i = 0; i < nlayers; i++)
                map_init(&f->layers[i].at, NULL);
        sb_str(&f->rest, path);
        r = sb_check(&f->rest, "the path", err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&f);
        return 0;
}

/* ---- what layers say ---- */

static struct frec *rec_get(const struct flayer *l, const char *path, size_t n)
{
        return map_getn(&l->at, path, n);
}

static struct frec *rec_make(struct ly_find *f, struct flayer *l, const char *path, size_t n)
{
        struct frec *k = rec_get(l, path, n);

        if (k)
                return k;
        k = arena_alloc(&f->mem, sizeof(*k));
        if (k)
                k->path = arena_strndup(&f->mem, path, n);
        return k && k->path && map_setn(&l->at, path, n, k) == 0 ? k : NULL;
}

static size_t parent_len(const char *path, size_t n)
{
        const char *slash = memrchr(path, '/', n);

        return slash ? (size_t)(slash - path) : 0;
}

/* The folder path[0..n) and those above it: there although nothing names them, or, above what is
 * removed, only known by name. */
static bool imply(struct ly_find *f, struct flayer *l, const char *path, size_t n,
                  enum frec_kind kind)
{
        while (n) {
                struct frec *k = rec_make(f, l, path, n);

                if (!k)
                        return false;
                k->used = true;
                if (k->kind == F_NOTHING)
                        k->kind = kind;
                n = parent_len(path, n);
        }
        return true;
}

/* Is the folder one by this layer's own word, all the way up? */
static bool anchored(const struct flayer *l, const char *path, size_t n)
{
        const struct frec *k = n ? rec_get(l, path, n) : NULL;

        return n == 0 || (k && k->kind == F_DIR && !k->loose);
}

static enum frec_kind kind_of(enum ly_type t)
{
        switch (t) {
        case LY_FILE:
                return F_FILE;
        case LY_DIR:
                return F_DIR;
        case LY_SYMLINK:
                return F_LINK;
        case LY_HARDLINK:
                return F_HARD;
        case LY_CHAR:
        case LY_BLOCK:
        case LY_FIFO:
        case LY_WHITEOUT:
        case LY_OPAQUE:
                break;
        }
        return F_OTHER;
}

/* Does the entry take the place of another of its layer, or of a folder it puts things in? */
static bool contradicts(const struct frec *k, enum frec_kind kind)
{
        bool named = k->kind != F_NOTHING && k->kind != F_IMPLIED;

        return (named && k->kind != kind) || (k->used && kind != F_DIR);
}

static bool take_entry(struct ly_find *f, struct flayer *l, const struct ly_entry *e)
{
        bool removes = e->type == LY_WHITEOUT || e->type == LY_OPAQUE;
        size_t len = strlen(e->path);
        size_t in = e->type == LY_OPAQUE ? len : parent_len(e->path, len);
        struct frec *k = rec_make(f, l, e->path, len);
        const struct frec **at;

        if (!k || !imply(f, l, e->path, in, removes ? F_NOTHING : F_IMPLIED))
                return false;
        k->loose = k->loose || !anchored(l, e->path, in);
        if (e->type == LY_WHITEOUT) {
                k->gone = true;
        } else if (e->type == LY_OPAQUE) {
                k->opaque = true;
        } else {
                f->odd = f->odd || contradicts(k, kind_of(e->type));
                k->late = e->type == LY_DIR && k->kind < F_DIR && k->used;
                k->kind = kind_of(e->type);
                k->index = l->n;
                k->link = e->link ? arena_strndup(&f->mem, e->link, strlen(e->link)) : NULL;
                if (e->link && !k->link)
                        return false;
        }
        if (!k->loose)
                return true;
        at = frecs_push(&l->loose);
        if (at)
                *at = k;
        return at != NULL;
}

int ly_find_feed(struct ly_find *f, const struct ly_entry *e, struct bld_err *err)
{
        struct flayer *l = &f->layers[f->reading];

        if (!e) {
                l->done = true;
                f->reading -= f->reading > 0;
                f->wait = NULL;
                return 0;
        }
        if (!take_entry(f, l, e))
                return err_nomem(err, "search");
        l->n++;
        if (f->wait && strcmp(f->wait, e->path) == 0)
                f->wait = NULL;
        return 0;
}

/* ---- looking up ---- */

enum look { LOOK_MORE, LOOK_THERE, LOOK_DIR, LOOK_NONE, LOOK_UNSURE };

struct look_at {
        size_t layer;
        const struct frec *k; /* LOOK_THERE */
        bool removed;         /* LOOK_NONE */
};

/* Does this layer hide what those below have at the path? */
static bool hides(const struct flayer *l, const char *path, size_t n, bool *removed)
{
        const struct frec *k = rec_get(l, path, n);

        *removed = k && k->gone;
        while (!*removed && n) {
                n = parent_len(path, n);
                k = rec_get(l, path, n);
                if (!k)
                        continue;
                *removed = k->gone || k->opaque;
                if (k->kind != F_NOTHING && k->kind != F_IMPLIED && k->kind != F_DIR)
                        return true;
        }
        return *removed;
}

/* What the layers from `top` down make of a path whose folders are real ones. */
static enum look look(const struct ly_find *f, const char *path, size_t n, size_t top,
                      struct look_at *ret)
{
        bool implied = false;

        for (size_t i = top + 1; i-- > 0;) {
                const struct flayer *l = &f->layers[i];
                const struct frec *k = rec_get(l, path, n);
                bool named = k && k->kind != F_NOTHING && k->kind != F_IMPLIED;

                *ret = (struct look_at){.layer = i, .k = k};
                if (named && (!implied || k->kind == F_DIR))
                        return LOOK_THERE;
                if (named)
                        return LOOK_UNSURE; /* a folder by what is in it, and something else */
                if (!l->done)
                        return LOOK_MORE;
                implied = implied || (k && k->kind == F_IMPLIED);
                if (hides(l, path, n, &ret->removed))
                        break;
        }
        return implied ? LOOK_DIR : LOOK_NONE;
}

/* Whether a loose entry lies where its path says: LOOK_THERE, MORE or UNSURE. */
static enum look judge_loose(struct ly_find *f, size_t layer, const struct frec *k, const char **at)
{
        const struct flayer *l = &f->layers[layer];
        size_t n = strlen(k->path);

        if (!k->opaque)
                n = parent_len(k->path, n);
        for (; n; n = parent_len(k->path, n)) {
                const struct frec *dir = rec_get(l, k->path, n);
                struct look_at below;
                enum look got;

                if (dir->kind == F_DIR && !dir->loose && !dir->late)
                        break;
                if (dir->kind > F_DIR)
                        return LOOK_UNSURE;
                if (layer == 0)
                        continue;
                got = look(f, k->path, n, layer - 1, &below);
                if (got == LOOK_MORE)
                        *at = dir->path;
                if (got == LOOK_MORE || got == LOOK_UNSURE)
                        return got;
                if (got == LOOK_THERE && below.k->kind != F_DIR)
                        return LOOK_UNSURE;
        }
        return LOOK_THERE;
}

static bool same_folder(const struct frec *a, const struct frec *b)
{
        size_t n = parent_len(a->path, strlen(a->path));

        return !a->opaque && !b->opaque && n == parent_len(b->path, strlen(b->path)) &&
               memcmp(a->path, b->path, n) == 0;
}

static enum look judge_all_loose(struct ly_find *f, const char **at)
{
        for (size_t i = f->nlayers; i-- > 0;) {
                const struct flayer *l = &f->layers[i];
                const struct frec *last = NULL;

                for (size_t j = 0; j < l->loose.n; j++) {
                        const struct frec *k = l->loose.v[j];
                        enum look got;

                        if (last && same_folder(last, k))
                                continue;
                        got = judge_loose(f, i, k, at);
                        if (got != LOOK_THERE)
                                return got;
                        last = k;
                }
        }
        return LOOK_THERE;
}

/* ---- walking ---- */

static int settle(struct ly_find *f, enum ly_find_state s, const char *path,
                  const struct look_at *at)
{
        f->state = s;
        f->found = (struct ly_found){.path = path};
        if (at) {
                f->found.layer = at->layer;
                f->found.removed = at->removed;
        }
        if (at && at->k) {
                f->found.index = at->k->index;
                f->found.is_dir = at->k->kind == F_DIR;
                f->found.is_file = at->k->kind == F_FILE;
        }
        f->settled = true;
        return 0;
}

/* to becomes from, whole or not at all. */
static int set_text(struct sb *to, const struct sb *from, struct bld_err *err)
{
        int r = sb_check(from, "the path", err);

        if (r < 0)
                return r;
        sb_reset(to);
        sb_add(to, sb_text(from), from->len);
        return sb_check(to, "the path", err);
}

static int follow(struct ly_find *f, const char *target, struct bld_err *err)
{
        AUTO_SB struct sb rest = SB_INIT(1u << 20);

        if (++f->links > LINKS_MAX) {
                f->loop = true;
                return settle(f, LY_FIND_NONE, sb_text(&f->next), NULL);
        }
        sb_fmt(&rest, "%s/%s", target, sb_text(&f->rest));
        if (*target == '/')
                sb_reset(&f->at);
        return set_text(&f->rest, &rest, err);
}

/* A hard link is what it names, as far as its own layer knows that. What comes after the link is
 * not meant, even if it has the name: the link is to what a layer below has there. */
static const struct frec *hard_target(const struct ly_find *f, size_t layer, const struct frec *k)
{
        while (k && k->kind == F_HARD) {
                const struct frec *to = rec_get(&f->layers[layer], k->link, strlen(k->link));

                if (to && (to->loose || to->kind <= F_DIR || to->index >= k->index))
                        return NULL;
                k = to;
        }
        return k;
}

/* Take the next component off what is to come: 1, 0 at the end. */
static int next_name(struct ly_find *f, struct bld_err *err)
{
        const char *p = sb_text(&f->rest);
        size_t skip = strspn(p, "/"), n = strcspn(p + skip, "/");
        AUTO_SB struct sb rest = SB_INIT(1u << 20);
        int r;

        if (n == 0)
                return 0;
        sb_reset(&f->next);
        sb_add(&f->next, p + skip, n);
        p += skip + n;
        sb_str(&rest, p + strspn(p, "/"));
        r = set_text(&f->rest, &rest, err);
        if (r == 0)
                r = sb_check(&f->next, "the path", err);
        return r < 0 ? r : 1;
}

/* Put the name taken behind what was walked; true when there is something to look up. */
static int enter_name(struct ly_find *f, struct bld_err *err)
{
        AUTO_SB struct sb name = SB_INIT(1u << 20);
        int r = set_text(&name, &f->next, err);

        if (r < 0)
                return r;
        if (strcmp(sb_text(&name), ".") == 0)
                return 0;
        if (strcmp(sb_text(&name), "..") == 0) {
                sb_cut(&f->at, parent_len(sb_text(&f->at), f->at.len));
                return 0;
        }
        sb_reset(&f->next);
        sb_fmt(&f->next, "%s%s%s", sb_text(&f->at), f->at.len ? "/" : "", sb_text(&name));
        r = sb_check(&f->next, "the path", err);
        return r < 0 ? r : 1;
}

/* The component in f->next was found to be that. 1 when the walk goes on. */
static int arrive(struct ly_find *f, enum look got, struct look_at *at, struct bld_err *err)
{
        bool last = f->rest.len == 0;
        int r;

        if (got == LOOK_UNSURE)
                return settle(f, LY_FIND_UNSURE, sb_text(&f->next), NULL);
        if (got == LOOK_NONE)
                return settle(f, LY_FIND_NONE, sb_text(&f->next), at);
        if (at->k && at->k->kind == F_HARD) {
                at->k = hard_target(f, at->layer, at->k);
                if (!at->k)
                        return settle(f, LY_FIND_UNSURE, sb_text(&f->next), NULL);
        }
        if (got == LOOK_THERE && at->k->kind == F_LINK && (!last || f->follow)) {
                r = follow(f, at->k->link, err);
                return r < 0 || f->settled ? r : 1;
        }
        if (got == LOOK_DIR || at->k->kind == F_DIR) {
                r = set_text(&f->at, &f->next, err);
                return r < 0 ? r : 1;
        }
        if (!last) { /* something that holds nothing */
                r = settle(f, LY_FIND_NONE, sb_text(&f->next), at);
                f->found.is_dir = true;
                return r;
        }
        return settle(f, LY_FIND_HERE, sb_text(&f->next), at);
}

static int walk(struct ly_find *f, struct bld_err *err)
{
        struct look_at at = {.layer = 0};
        enum look got;
        int r;

        for (;;) {
                /* It is kept while its look-up waits. */
                if (!f->next.len) {
                        r = next_name(f, err);
                        if (r < 0)
                                return r;
                        if (r == 0) {
                                r = settle(f, LY_FIND_HERE, sb_text(&f->at), NULL);
                                f->found.is_dir = true;
                                return r;
                        }
                        r = enter_name(f, err);
                        if (r < 0)
                                return r;
                        if (r == 0) {
                                sb_reset(&f->next);
                                continue;
                        }
                }
                got = f->nlayers ? look(f, sb_text(&f->next), f->next.len, f->nlayers - 1, &at)
                                 : LOOK_NONE;
                if (got == LOOK_MORE) {
                        f->wait = sb_text(&f->next);
                        return 0;
                }
                r = arrive(f, got, &at, err);
                if (r < 0 || f->settled)
                        return r;
                sb_reset(&f->next);
        }
}

int ly_find_state(struct ly_find *f, struct ly_found *ret, struct bld_err *err)
{
        enum look loose;
        int r;

        *ret = (struct ly_found){.layer = f->reading};
        if (f->wait)
                return LY_FIND_MORE;
        if (!f->settled) {
                r = walk(f, err);
                if (r < 0)
                        return r;
                if (!f->settled)
                        return LY_FIND_MORE;
        }
        if (f->state != LY_FIND_UNSURE) {
                loose = judge_all_loose(f, &f->wait);
                if (loose == LOOK_MORE)
                        return LY_FIND_MORE;
                if (loose == LOOK_UNSURE || f->odd)
                        f->state = LY_FIND_UNSURE;
        }
        if (f->loop && f->state != LY_FIND_UNSURE)
                return err_set(err, BLD_E_INVALID, "too many symbolic links at \"%.500s\"",
                               sb_text(&f->next));
        *ret = f->found;
        return (int)f->state;
}
