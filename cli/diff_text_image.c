/* What differs between two images besides files, as lines for people. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/diff_text.h"
#include "cli/text.h"

/* ---- config ---- */

/* Of an entry of the history, the step. */
static void put_step(struct diff_page *p, const char *json)
{
        AUTO_FREE char *step = diff_step(json);

        diff_value(p, step ? step : json);
}

/* "history  #2 RUN a → RUN b" */
static void put_history_change(struct diff_page *p, const struct bld_config_change *c)
{
        struct sb *out = &p->o->buf;

        diff_tag(p, "config");
        sb_fmt(out, "history  %s", !c->before ? "+" : !c->after ? "-" : "");
        if (c->key) {
                sb_char(out, '#');
                diff_value(p, c->key);
                sb_char(out, ' ');
        }
        if (c->before)
                put_step(p, c->before);
        if (c->before && c->after && diff_same_step(c->before, c->after)) {
                sb_str(out, "  (other details)");
        } else if (c->after) {
                if (c->before)
                        sb_fmt(out, " %s ", diff_arrow(p));
                put_step(p, c->after);
        }
        sb_char(out, '\n');
}

static void put_config_change(struct diff_page *p, const struct bld_config_change *c)
{
        struct sb *out = &p->o->buf;
        const char *sign = !c->before ? "+" : !c->after ? "-" : "";

        diff_tag(p, "config");
        diff_value(p, c->field);
        sb_fmt(out, "  %s", sign);
        if (c->key) {
                diff_value(p, c->key);
                sb_char(out, '=');
        }
        if (c->before)
                diff_value(p, c->before);
        if (c->before && c->after)
                sb_fmt(out, " %s ", diff_arrow(p));
        if (c->after)
                diff_value(p, c->after);
        sb_char(out, '\n');
}

int diff_put_config(struct diff_page *p, struct bld_err *err)
{
        const struct bld_config_diff *d = p->r->config;
        size_t history = 0;
        int r = 0;

        for (size_t i = 0; r == 0 && i < bld_config_diff_count(d); i++) {
                const struct bld_config_change *c = bld_config_diff_change(d, i);

                if (p->r->ask->stat && strcmp(c->field, "history") == 0) {
                        history++;
                        continue;
                }
                if (strcmp(c->field, "history") == 0)
                        put_history_change(p, c);
                else
                        put_config_change(p, c);
                r = out_flow(p->o, err);
        }
        if (history) {
                diff_tag(p, "config");
                sb_fmt(&p->o->buf, "history  %zu differ%s\n", history, history == 1 ? "s" : "");
        }
        return r;
}

/* ---- packages ---- */

int diff_put_packages(struct diff_page *p, struct bld_err *err)
{
        const struct diff_packages *v = &p->r->packages;
        struct sb *out = &p->o->buf;
        size_t width = 0;
        int r = 0;

        for (size_t i = 0; i < v->n; i++) {
                const char *name = (v->v[i].after ? v->v[i].after : v->v[i].before)->name;

                width = MAX(width, MIN(text_width(name, strlen(name), 0), NAME_WIDTH_MAX));
        }
        for (size_t i = 0; r == 0 && i < v->n; i++) {
                const struct bld_package *x = v->v[i].before, *y = v->v[i].after, *any = y ? y : x;
                size_t used;

                diff_tag(p, "pkg");
                used = text_add(out, any->name, strlen(any->name), TEXT_WIDE, 0);
                sb_fmt(out, "%*s%s", (int)(2 + (width > used ? width - used : 0)), "",
                       !x   ? "+"
                       : !y ? "-"
                            : "");
                if (x)
                        diff_value(p, x->version);
                if (x && y)
                        sb_fmt(out, " %s ", diff_arrow(p));
                if (y)
                        diff_value(p, y->version);
                if (x && y && strcmp(x->version, y->version) == 0 && x->arch && y->arch) {
                        sb_str(out, "  ");
                        diff_value(p, x->arch);
                        sb_fmt(out, " %s ", diff_arrow(p));
                        diff_value(p, y->arch);
                }
                sb_char(out, '\n');
                r = out_flow(p->o, err);
        }
        return r;
}

/* ---- layers ---- */

/* The tag of a name; NULL: it has none. */
static const char *tag_of(const struct bld_image *im)
{
        const char *name = bld_image_name(im);
        size_t n = cli_repository_len(name);

        if (name[n] != ':' || strchr(name, '@') || strchr(name, '#') || strchr(name + n, '/') ||
            !name[n + 1])
                return NULL;
        return name + n + 1;
}

/* Two tags of one repository tell the images apart: "v1→v2". */
static bool short_names(const struct diff_result *r, const char **ret_a, const char **ret_b)
{
        const char *a = tag_of(r->a), *b = tag_of(r->b);
        size_t n = cli_repository_len(bld_image_name(r->a));

        if (!a || !b || strcmp(a, b) == 0 || n != cli_repository_len(bld_image_name(r->b)) ||
            strncmp(bld_image_name(r->a), bld_image_name(r->b), n) != 0)
                return false;
        *ret_a = a;
        *ret_b = b;
        return true;
}

void diff_put_cost(struct diff_page *p)
{
        const struct bld_pull_cost *c = &p->r->cost;
        const char *a = "A", *b = "B";
        char size[24];

        (void)short_names(p->r, &a, &b);
        format_size(c->bytes, size);
        diff_tag(p, "layers");
        sb_fmt(&p->o->buf, "%zu shared, %zu changed", c->shared, c->changed);
        if (c->same_tar)
                sb_fmt(&p->o->buf, " (%zu only compressed otherwise)", c->same_tar);
        sb_str(&p->o->buf, "; pull cost ");
        diff_value(p, a);
        sb_str(&p->o->buf, diff_arrow(p));
        diff_value(p, b);
        sb_fmt(&p->o->buf, ": %s\n", size);
}

static void put_blob(struct diff_page *p, const struct bld_layer_info *l)
{
        const char *digest = l->digest ? l->digest : l->diff_id ? l->diff_id : "no digest";
        const char *colon = strchr(digest, ':');
        char size[24];

        format_size(l->blob_size, size);
        sb_fmt(&p->o->buf, "#%zu %.12s", l->number, colon ? colon + 1 : digest);
        if (l->digest)
                sb_fmt(&p->o->buf, " %s", size);
}

int diff_put_layers(struct diff_page *p, struct bld_err *err)
{
        const struct diff_layers *v = &p->r->layers;
        int r = 0;

        for (size_t i = 0; r == 0 && i < v->n; i++) {
                const struct diff_layer *l = &v->v[i];

                if (l->kind == DIFF_LAYER_SAME && l->before->number == l->after->number)
                        continue;
                diff_tag(p, "layer");
                if (l->before)
                        put_blob(p, l->before);
                if (l->before && l->after)
                        sb_fmt(&p->o->buf, " %s ", diff_arrow(p));
                if (l->after)
                        put_blob(p, l->after);
                sb_fmt(&p->o->buf, "  %s\n", diff_layer_name(l->kind));
                r = out_flow(p->o, err);
        }
        return r;
}
