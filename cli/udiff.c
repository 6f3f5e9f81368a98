/* Myers' algorithm in linear space ("An O(ND) Difference Algorithm and Its Variations", 1986) on
 * numbered lines. Lines that only one text has are set apart first: they are changes whatever else
 * is, and most of what makes texts differ. */
#include "cli/udiff.h"

#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "base/vec.h"

#define LINES_MAX ((size_t)1 << 29)
#define NOWHERE INT32_MIN
/* Edits looked through before a stretch is split at the best point found so far. */
#define PATIENCE 400

struct line {
        const char *p;
        size_t n; /* with its newline */
        uint32_t id;
        bool changed;
};

VEC_DEFINE(lines, struct line);

/* What the search works on: numbers of lines, and which line each is. */
struct seq {
        uint32_t *id, *at;
        int32_t n;
};

struct search {
        struct seq a, b;
        struct lines *la, *lb;
        int32_t *fwd, *back; /* furthest x on each diagonal, from either end; centre at `mid` */
        int32_t mid;
};

static int split(const char *p, size_t n, struct lines *out, struct bld_err *err)
{
        while (n) {
                const char *nl = memchr(p, '\n', n);
                size_t len = nl ? (size_t)(nl - p) + 1 : n;
                struct line *l = out->n < LINES_MAX ? lines_push(out) : NULL;

                if (!l)
                        return out->n < LINES_MAX
                                       ? err_nomem(err, "lines")
                                       : err_set(err, BLD_E_LIMIT, "a text has too many lines");
                l->p = p;
                l->n = len;
                p += len;
                n -= len;
        }
        return 0;
}

/* ---- equal lines get equal numbers ---- */

struct ids {
        struct id_slot {
                const struct line *line; /* NULL: free */
                uint64_t hash;
                uint32_t id;
        } * slots;
        size_t mask;
        uint32_t n;
};

static uint32_t id_of(struct ids *t, const struct line *l)
{
        uint64_t h = hash64(l->p, l->n);
        size_t i = (size_t)h & t->mask;

        for (; t->slots[i].line; i = (i + 1) & t->mask)
                if (t->slots[i].hash == h && t->slots[i].line->n == l->n &&
                    memcmp(t->slots[i].line->p, l->p, l->n) == 0)
                        return t->slots[i].id;
        t->slots[i] = (struct id_slot){l, h, t->n};
        return t->n++;
}

static int number(struct lines *a, struct lines *b, uint32_t *ret_ids, struct bld_err *err)
{
        struct ids t = {.mask = 63};
        AUTO_FREE void *mem = NULL;

        while (t.mask < 2 * (a->n + b->n))
                t.mask = 2 * t.mask + 1;
        mem = mem_zalloc(t.mask + 1, sizeof(*t.slots));
        if (!mem)
                return err_nomem(err, "lines");
        t.slots = mem;
        for (size_t i = 0; i < a->n; i++)
                a->v[i].id = id_of(&t, &a->v[i]);
        for (size_t i = 0; i < b->n; i++)
                b->v[i].id = id_of(&t, &b->v[i]);
        *ret_ids = t.n;
        return 0;
}

/* ---- the search ---- */

/* Keep the lines that the other text has as well; the others are changes. */
static void sift(struct lines *l, const unsigned char *other, struct seq *out)
{
        for (size_t i = 0; i < l->n; i++) {
                if (!other[l->v[i].id]) {
                        l->v[i].changed = true;
                        continue;
                }
                out->id[out->n] = l->v[i].id;
                out->at[out->n++] = (uint32_t)i;
        }
}

struct box {
        int32_t x0, x1, y0, y1;
};

/* The furthest x on diagonal k one edit after the neighbours; NOWHERE when that leaves the box. */
static int32_t step(const int32_t *far, int32_t k, int32_t nx, int32_t ny)
{
        int32_t x = far[k - 1] == NOWHERE || far[k - 1] == nx ? NOWHERE : far[k - 1] + 1;
        int32_t y = far[k + 1] == NOWHERE || far[k + 1] - k > ny ? NOWHERE : far[k + 1];

        return MAX(x, y);
}

/* The search from one end of a box: lines are p[0], p[dir], p[2 * dir], ... */
struct end {
        int32_t *far; /* furthest x on each diagonal x - y, after d edits */
        int32_t d;
        const uint32_t *p, *q;
        ptrdiff_t dir;
};

/* One more edit. The diagonal on which it meets the search from the other end, or NOWHERE. */
static int32_t advance(struct end *e, const struct end *o, int32_t nx, int32_t ny)
{
        int32_t d = ++e->d, low = MAX(-d, -ny), high = MIN(d, nx), delta = nx - ny;
        bool may_meet = ((delta ^ d ^ o->d) & 1) == 0;

        e->far[-d - 1] = e->far[d + 1] = NOWHERE;
        low += (low + d) & 1;
        high -= (high + d) & 1;
        for (int32_t k = low; k <= high; k += 2) {
                int32_t x = step(e->far, k, nx, ny), other = delta - k;

                if (x != NOWHERE)
                        while (x < nx && x - k < ny && e->p[x * e->dir] == e->q[(x - k) * e->dir])
                                x++;
                e->far[k] = x;
                if (may_meet && x != NOWHERE && other >= -o->d && other <= o->d &&
                    o->far[other] != NOWHERE && x + o->far[other] >= nx)
                        return k;
        }
        return NOWHERE;
}

/* The diagonal that got furthest. */
static int32_t furthest(const struct end *e, int32_t nx, int32_t ny)
{
        int32_t best = NOWHERE;

        for (int32_t k = MAX(-e->d, -ny); k <= MIN(e->d, nx); k++)
                if (((k ^ e->d) & 1) == 0 && e->far[k] != NOWHERE &&
                    (best == NOWHERE ||
                     2 * (int64_t)e->far[k] - k > 2 * (int64_t)e->far[best] - best))
                        best = k;
        return best;
}

/* A point on a shortest way through the box, or on a good one when that takes long to find. The
 * first lines of the box differ, and so do the last: two edits at least, one on either side. */
static void halfway(struct search *s, const struct box *b, int32_t *ret_x, int32_t *ret_y)
{
        int32_t nx = b->x1 - b->x0, ny = b->y1 - b->y0, k;
        struct end f = {s->fwd + s->mid, 0, s->a.id + b->x0, s->b.id + b->y0, 1};
        struct end r = {s->back + s->mid, 0, s->a.id + b->x1 - 1, s->b.id + b->y1 - 1, -1};

        f.far[0] = r.far[0] = 0;
        f.far[-1] = f.far[1] = r.far[-1] = r.far[1] = NOWHERE;
        do {
                k = advance(&f, &r, nx, ny);
                if (k != NOWHERE)
                        break;
                k = advance(&r, &f, nx, ny);
                if (k != NOWHERE) {
                        *ret_x = b->x1 - r.far[k];
                        *ret_y = b->y1 - (r.far[k] - k);
                        return;
                }
        } while (f.d < PATIENCE);
        if (k == NOWHERE)
                k = furthest(&f, nx, ny);
        *ret_x = b->x0 + f.far[k];
        *ret_y = b->y0 + f.far[k] - k;
}

static void trim(const struct search *s, struct box *b)
{
        while (b->x0 < b->x1 && b->y0 < b->y1 && s->a.id[b->x0] == s->b.id[b->y0]) {
                b->x0++;
                b->y0++;
        }
        while (b->x0 < b->x1 && b->y0 < b->y1 && s->a.id[b->x1 - 1] == s->b.id[b->y1 - 1]) {
                b->x1--;
                b->y1--;
        }
}

/* Recursion is as deep as halving the edits of a stretch allows: the first half never has more
 * than PATIENCE of them beyond a half, the second is the next round. */
static void compare(struct search *s, struct box b)
{
        for (;;) {
                int32_t x = b.x1, y = b.y1;

                trim(s, &b);
                if (b.x0 == b.x1 || b.y0 == b.y1)
                        break;
                halfway(s, &b, &x, &y);
                compare(s, (struct box){b.x0, x, b.y0, y});
                b.x0 = x;
                b.y0 = y;
        }
        for (int32_t x = b.x0; x < b.x1; x++)
                s->la->v[s->a.at[x]].changed = true;
        for (int32_t y = b.y0; y < b.y1; y++)
                s->lb->v[s->b.at[y]].changed = true;
}

static int mark(struct lines *a, struct lines *b, struct bld_err *err)
{
        size_t total = a->n + b->n, ids_n;
        struct search s = {.la = a, .lb = b};
        AUTO_FREE unsigned char *has = NULL;
        AUTO_FREE uint32_t *words = NULL;
        AUTO_FREE int32_t *far = NULL;
        uint32_t ids = 0;
        size_t diagonals;
        int r = number(a, b, &ids, err);

        if (r < 0)
                return r;
        ids_n = ids;
        has = mem_zalloc(2, ids_n + 1);
        words = mem_zalloc(2 * total + 1, sizeof(*words));
        if (!has || !words)
                return err_nomem(err, "lines");
        for (size_t i = 0; i < a->n; i++)
                has[a->v[i].id] = 1;
        for (size_t i = 0; i < b->n; i++)
                has[ids_n + b->v[i].id] = 1;
        s.a = (struct seq){words, words + a->n, 0};
        s.b = (struct seq){words + 2 * a->n, words + 2 * a->n + b->n, 0};
        sift(a, has + ids_n, &s.a);
        sift(b, has, &s.b);
        diagonals = MIN(2 * (size_t)PATIENCE, total) + 4;
        far = mem_zalloc(2 * (2 * diagonals + 1), sizeof(*far));
        if (!far)
                return err_nomem(err, "lines");
        s.fwd = far;
        s.back = far + 2 * diagonals + 1;
        s.mid = (int32_t)diagonals;
        compare(&s, (struct box){0, s.a.n, 0, s.b.n});
        return 0;
}

/* ---- telling ---- */

struct hunk {
        size_t a0, a1, b0, b1; /* lines that differ */
};
VEC_DEFINE(hunks, struct hunk);

static size_t run_end(const struct lines *l, size_t i)
{
        while (i < l->n && l->v[i].changed)
                i++;
        return i;
}

/* Move a run that only one text has down while that reads the same: additions begin where what was
 * added begins, in texts of paragraphs. i, end: the run in l; j: the place in the other text. */
static void slide(struct lines *l, size_t *i, size_t *end, const struct lines *other, size_t *j)
{
        while (*end < l->n && !l->v[*end].changed && *j < other->n && !other->v[*j].changed &&
               l->v[*i].id == l->v[*end].id) {
                l->v[(*i)++].changed = false;
                l->v[(*end)++].changed = true;
                (*j)++;
        }
        *end = run_end(l, *end);
}

static int gather(struct lines *a, struct lines *b, struct hunks *out, struct bld_err *err)
{
        for (size_t i = 0, j = 0; i < a->n || j < b->n;) {
                size_t ie = run_end(a, i), je = run_end(b, j);
                struct hunk *h;

                if (ie == i && je == j) {
                        i++;
                        j++;
                        continue;
                }
                if (je == j)
                        slide(a, &i, &ie, b, &j);
                else if (ie == i)
                        slide(b, &j, &je, a, &i);
                ie = run_end(a, MAX(i, ie));
                je = run_end(b, MAX(j, je));
                h = hunks_push(out);
                if (!h)
                        return err_nomem(err, "lines");
                *h = (struct hunk){i, ie, j, je};
                i = ie;
                j = je;
        }
        return 0;
}

static void put_line(struct sb *out, char sign, const struct line *l)
{
        sb_char(out, sign);
        sb_add(out, l->p, l->n);
        if (l->p[l->n - 1] != '\n')
                sb_str(out, "\n\\ No newline at end of file\n");
}

/* "12,3" of a hunk's head: counted from 1, the line before when there are none. */
static void put_range(struct sb *out, char sign, size_t from, size_t to)
{
        sb_fmt(out, "%c%zu", sign, to > from ? from + 1 : from);
        if (to - from != 1)
                sb_fmt(out, ",%zu", to - from);
}

/* Hunks v[0..n) whose contexts touch. */
static void put_hunks(const struct lines *a, const struct lines *b, const struct hunk *v, size_t n,
                      size_t context, struct sb *out)
{
        size_t before = MIN(context, v[0].a0), after = MIN(context, a->n - v[n - 1].a1);
        size_t i = v[0].a0 - before;

        sb_str(out, "@@ ");
        put_range(out, '-', i, v[n - 1].a1 + after);
        sb_char(out, ' ');
        put_range(out, '+', v[0].b0 - before, v[n - 1].b1 + after);
        sb_str(out, " @@\n");
        for (size_t k = 0; k < n; k++) {
                for (; i < v[k].a0; i++)
                        put_line(out, ' ', &a->v[i]);
                for (; i < v[k].a1; i++)
                        put_line(out, '-', &a->v[i]);
                for (size_t j = v[k].b0; j < v[k].b1; j++)
                        put_line(out, '+', &b->v[j]);
        }
        for (size_t end = i + after; i < end; i++)
                put_line(out, ' ', &a->v[i]);
}

static int tell(struct lines *a, struct lines *b, size_t context, struct sb *out,
                struct bld_err *err)
{
        AUTO(hunks_done) struct hunks h = {0};
        int r = gather(a, b, &h, err);

        for (size_t i = 0, n; r == 0 && i < h.n; i += n) {
                for (n = 1; i + n < h.n; n++)
                        if (h.v[i + n].a0 - h.v[i + n - 1].a1 > 2 * context)
                                break;
                put_hunks(a, b, h.v + i, n, context, out);
        }
        return r < 0 ? r : sb_check(out, "the difference of two texts", err);
}

int udiff(const char *a, size_t na, const char *b, size_t nb, size_t context, struct sb *out,
          struct bld_err *err)
{
        AUTO(lines_done) struct lines la = {0};
        AUTO(lines_done) struct lines lb = {0};
        int r;

        if (na == nb && (na == 0 || memcmp(a, b, na) == 0))
                return 0;
        context = MIN(context, LINES_MAX);
        r = split(a, na, &la, err);
        r = r < 0 ? r : split(b, nb, &lb, err);
        r = r < 0 ? r : mark(&la, &lb, err);
        return r < 0 ? r : tell(&la, &lb, context, out, err);
}
