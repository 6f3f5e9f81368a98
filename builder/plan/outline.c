#include "builder/plan/outline_priv.h"

#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"

/* ---- collecting ---- */

static void item_done(struct outline_item *i)
{
        free(i->name);
        free(i->value);
        free(i->description);
        strv_done(&i->deps);
}

void outline_done(struct outline *o)
{
        for (size_t i = 0; i < o->items.n; i++)
                item_done(&o->items.v[i]);
        outline_items_done(&o->items);
}

static struct outline_item *find(struct outline *o, enum outline_kind kind, const char *name)
{
        for (size_t i = 0; i < o->items.n; i++)
                if (o->items.v[i].kind == kind && strcmp(o->items.v[i].name, name) == 0)
                        return &o->items.v[i];
        return NULL;
}

/* "NAME what it is": the words behind the name; NULL when no comment begins with it. */
static const char *description(const struct df_instr *in, const char *name)
{
        size_t n = strlen(name);

        for (size_t i = 0; n > 0 && i < in->comments.n; i++)
                if (strncmp(in->comments.v[i], name, n) == 0 && in->comments.v[i][n] == ' ')
                        return in->comments.v[i] + n + 1;
        return NULL;
}

static bool set_text(char **slot, const char *text)
{
        free(*slot);
        *slot = text ? mem_strdup(text) : NULL;
        return *slot || !text;
}

/* The item of that name, at this instruction from now on; NULL when memory is out. */
static struct outline_item *place(struct outline *o, enum outline_kind kind, const char *name,
                                  const struct df_instr *in)
{
        struct outline_item *it = find(o, kind, name);

        if (!it) {
                it = outline_items_push(&o->items);
                if (it)
                        it->name = mem_strdup(name);
                if (!it || !it->name) {
                        o->items.n -= it != NULL;
                        o->failed = BLD_E_NOMEM;
                        return NULL;
                }
                it->kind = kind;
        }
        it->line = in->line;
        it->end_line = in->end_line;
        return it;
}

static struct outline_item *place_arg(struct outline *o, const struct df_instr *in,
                                      const char *name, const char *value)
{
        struct outline_item *it = place(o, OUTLINE_ARG, name, in);

        if (it &&
            (!set_text(&it->value, value) || !set_text(&it->description, description(in, name))))
                o->failed = BLD_E_NOMEM;
        return it;
}

void outline_global(struct outline *o, const struct df_instr *in, const char *name,
                    const char *value, const struct strv *deps)
{
        struct outline_item *it = o ? place_arg(o, in, name, value) : NULL;

        /* What a later default of the same name builds on stays needed. */
        for (size_t i = 0; it && i < deps->n; i++)
                if (strcmp(deps->v[i], name) != 0 && !strv_has(&it->deps, deps->v[i]) &&
                    strv_add(&it->deps, deps->v[i]) < 0)
                        o->failed = BLD_E_NOMEM;
}

/* A default refers to what stands above it only, so this ends: `used` is set first. */
static void use(struct outline *o, const char *name)
{
        struct outline_item *it = find(o, OUTLINE_ARG, name);

        if (!it || it->used)
                return;
        it->used = true;
        for (size_t i = 0; i < it->deps.n; i++)
                use(o, it->deps.v[i]);
}

void outline_use(struct outline *o, const struct strv *names)
{
        for (size_t i = 0; o && i < names->n; i++)
                use(o, names->v[i]);
}

void outline_arg(struct outline *o, const struct df_instr *in, const char *name, const char *value,
                 bool inherited)
{
        if (!o)
                return;
        if (!inherited && !place_arg(o, in, name, value))
                return;
        use(o, name);
}

void outline_mount(struct outline *o, unsigned line, enum outline_kind kind, const char *id,
                   bool required)
{
        const struct df_instr in = {.line = line, .end_line = line};
        struct outline_item *it = o ? place(o, kind, id, &in) : NULL;

        if (it) {
                it->used = true;
                it->required = it->required || required;
        }
}

/* ---- writing ---- */

struct js *outline_location(unsigned line, unsigned end_line)
{
        AUTO_JS struct js *loc = js_obj(), *ranges = js_arr(), *range = js_obj();
        AUTO_JS struct js *start = js_obj(), *end = js_obj();
        int r = js_set_i64(start, "line", line);

        r = r < 0 ? r : js_set_i64(end, "line", MAX(line, end_line));
        r = r < 0 ? r : js_set(range, "start", TAKE_PTR(&start));
        r = r < 0 ? r : js_set(range, "end", TAKE_PTR(&end));
        r = r < 0 ? r : js_push(ranges, TAKE_PTR(&range));
        r = r < 0 ? r : js_set(loc, "ranges", TAKE_PTR(&ranges));
        return r < 0 ? NULL : TAKE_PTR(&loc);
}

struct js *outline_text(const char *s)
{
        AUTO_SB struct sb safe = SB_INIT(8u << 20);
        struct js *j = js_new_str(s);

        if (j)
                return j;
        sb_escaped(&safe, s, strlen(s));
        return js_new_str(sb_text(&safe));
}

static int set_nonempty(struct js *j, const char *key, const char *text)
{
        return text && *text ? js_set(j, key, outline_text(text)) : 0;
}

static int push_item(struct js *list, const struct outline_item *it)
{
        AUTO_JS struct js *j = js_obj();
        int r = set_nonempty(j, it->kind == OUTLINE_CACHE ? "ID" : "name", it->name);

        r = r < 0 ? r : set_nonempty(j, "description", it->description);
        r = r < 0 ? r : set_nonempty(j, "value", it->value);
        if (r == 0 && it->required)
                r = js_set_bool(j, "required", true);
        r = r < 0 ? r : js_set(j, "location", outline_location(it->line, it->end_line));
        return r < 0 ? r : js_push(list, TAKE_PTR(&j));
}

static int by_line(const void *a, const void *b)
{
        const struct outline_item *x = a, *y = b;

        if (x->line != y->line)
                return x->line < y->line ? -1 : 1;
        return strcmp(x->name, y->name);
}

/* By name, else by number; NULL is the last stage. */
static const struct df_instr *find_stage(const struct df_file *f, const char *name)
{
        const struct df_instr *numbered = NULL;
        uint64_t want = UINT64_MAX, number = 0;

        if (name && !parse_u64(name, 0, UINT32_MAX, &want))
                want = UINT64_MAX;
        for (size_t i = 0; i < f->n; i++)
                if (f->v[i].kind == DF_FROM && number++ == want)
                        numbered = &f->v[i];
        for (size_t i = f->n; i-- > 0;) {
                const struct df_instr *in = &f->v[i];

                if (in->kind == DF_FROM &&
                    (!name || (in->as_name && strcasecmp(in->as_name, name) == 0)))
                        return in;
        }
        return numbered;
}

static int write_doc(const struct js *j, int r, struct sb *out, struct bld_err *err)
{
        r = r < 0 ? err_nomem(err, "JSON") : 0;
        if (r == 0)
                r = js_write(j, JS_INDENT, out, err);
        sb_char(out, '\n');
        return r;
}

int outline_json(struct outline *o, const struct df_file *f, const char *target, struct sb *out,
                 struct bld_err *err)
{
        static const char *const keys[OUTLINE_KINDS] = {"args", "secrets", "ssh", "cache"};
        const struct df_instr *from = find_stage(f, target);
        AUTO_JS struct js *j = js_obj();
        int r = o->failed ? o->failed : 0;

        if (o->items.n > 1)
                qsort(o->items.v, o->items.n, sizeof(*o->items.v), by_line);
        if (r == 0 && from && from->as_name) {
                r = js_set_str(j, "name", from->as_name);
                r = r < 0 ? r : set_nonempty(j, "description", description(from, from->as_name));
        }
        for (unsigned k = 0; k < OUTLINE_KINDS && r == 0; k++) {
                AUTO_JS struct js *list = js_arr();

                for (size_t i = 0; i < o->items.n && r == 0; i++)
                        if (o->items.v[i].kind == k && o->items.v[i].used)
                                r = push_item(list, &o->items.v[i]);
                if (r == 0 && js_len(list))
                        r = js_set(j, keys[k], TAKE_PTR(&list));
        }
        return write_doc(j, r, out, err);
}

static int push_target(struct js *list, const struct df_instr *in, bool last)
{
        AUTO_JS struct js *j = js_obj();
        int r = set_nonempty(j, "name", in->as_name);

        if (r == 0 && last)
                r = js_set_bool(j, "default", true);
        if (r == 0 && in->as_name)
                r = set_nonempty(j, "description", description(in, in->as_name));
        r = r < 0 ? r : set_nonempty(j, "base", in->nargs ? in->args[0].text : NULL);
        r = r < 0 ? r : set_nonempty(j, "platform", df_flag(in, "platform"));
        r = r < 0 ? r : js_set(j, "location", outline_location(in->line, in->end_line));
        return r < 0 || !j ? BLD_E_NOMEM : js_push(list, TAKE_PTR(&j));
}

int outline_targets_json(const struct df_file *f, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj(), *list = js_arr();
        const struct df_instr *last = find_stage(f, NULL);
        int r = 0;

        for (size_t i = 0; i < f->n && r == 0; i++)
                if (f->v[i].kind == DF_FROM)
                        r = push_target(list, &f->v[i], &f->v[i] == last);
        r = r < 0 ? r : js_set(j, "targets", TAKE_PTR(&list));
        return write_doc(j, r, out, err);
}
