/* The tables of `bld diff --html`: configuration, packages, layers. */
#include <string.h>

#include "base/err.h"
#include "cli/diff_html.h"
#include "cli/page.h"

#define ROWS_MAX 5000u /* of one table */

static void begin_table(struct html_page *p, const char *id, const char *title, uint64_t n,
                        const char *heads)
{
        sb_fmt(&p->o->buf, "<section id=\"%s\">\n<h2>%s <small>", id, title);
        html_count(p, n, NULL);
        sb_fmt(&p->o->buf,
               "</small></h2>\n<div "
               "class=\"scroll\"><table>\n<thead><tr>%s</tr></thead>\n<tbody>\n",
               heads);
}

static void end_table(struct html_page *p, uint64_t n)
{
        html_str(p, "</tbody></table></div>\n");
        if (n > ROWS_MAX) {
                html_str(p, "<p class=\"more\">and ");
                html_count(p, n - ROWS_MAX, NULL);
                html_str(p, " more</p>\n");
        }
        html_str(p, "</section>\n");
}

static void put_sign(struct html_page *p, bool before, bool after)
{
        char c = !before ? 'A' : !after ? 'D' : 'M';

        sb_fmt(&p->o->buf, "<td><b class=\"k k%c\">%c</b></td>", c, c);
}

static void put_cell(struct html_page *p, const char *class, const char *value)
{
        sb_fmt(&p->o->buf, "<td class=\"%s\">", class);
        if (value) {
                html_str(p, "<bdi>");
                page_value(&p->o->buf, value);
                html_str(p, "</bdi>");
        } else {
                html_str(p, "<span class=\"no\">\xe2\x80\x93</span>");
        }
        html_str(p, "</td>");
}

/* Of an entry of the history, the step. */
static void put_step(struct html_page *p, const char *json)
{
        AUTO_FREE char *step = json ? diff_step(json) : NULL;

        put_cell(p, "v", step ? step : json);
}

static void put_values(struct html_page *p, const struct bld_config_change *c)
{
        if (strcmp(c->field, "history") != 0) {
                put_cell(p, "v", c->before);
                put_cell(p, "v", c->after);
                return;
        }
        put_step(p, c->before);
        if (c->before && c->after && diff_same_step(c->before, c->after))
                html_str(p, "<td class=\"v\"><span class=\"no\">the same step, other "
                            "details</span></td>");
        else
                put_step(p, c->after);
}

int html_config(struct html_page *p, struct bld_err *err)
{
        size_t n = html_settings(p->r);
        int r = 0;

        if (!n)
                return 0;
        begin_table(p, "config", "Configuration", n,
                    "<th></th><th>Setting</th><th>A</th><th>B</th>");
        for (size_t i = 0; r == 0 && i < MIN(n, ROWS_MAX); i++) {
                const struct bld_config_change *c = bld_config_diff_change(p->r->config, i);

                html_str(p, "<tr>");
                put_sign(p, c->before, c->after);
                html_str(p, "<td class=\"key\"><bdi>");
                page_value(&p->o->buf, c->field);
                html_str(p, "</bdi>");
                if (c->key) {
                        html_str(p, " <bdi>");
                        page_value(&p->o->buf, c->key);
                        html_str(p, "</bdi>");
                }
                html_str(p, "</td>");
                put_values(p, c);
                html_str(p, "</tr>\n");
                r = out_flow(p->o, err);
        }
        end_table(p, n);
        return r;
}

int html_packages(struct html_page *p, struct bld_err *err)
{
        size_t n = p->r->packages.n;
        int r = 0;

        if (!n)
                return 0;
        begin_table(p, "packages", "Packages", n,
                    "<th></th><th>Package</th><th>A</th><th>B</th><th class=\"n\">Size</th>");
        for (size_t i = 0; r == 0 && i < MIN(n, ROWS_MAX); i++) {
                const struct bld_package *a = p->r->packages.v[i].before;
                const struct bld_package *b = p->r->packages.v[i].after, *any = b ? b : a;

                html_str(p, "<tr>");
                put_sign(p, a, b);
                html_str(p, "<td class=\"key\"><bdi>");
                page_value(&p->o->buf, any->name);
                sb_fmt(&p->o->buf, "</bdi> <small>%s", any->manager);
                if (a && b && a->arch && b->arch && strcmp(a->arch, b->arch) != 0) {
                        html_str(p, ", ");
                        page_value(&p->o->buf, a->arch);
                        html_str(p, " \xe2\x86\x92 ");
                        page_value(&p->o->buf, b->arch);
                }
                html_str(p, "</small></td>");
                put_cell(p, "v", a ? a->version : NULL);
                put_cell(p, "v", b ? b->version : NULL);
                html_str(p, "<td class=\"n\">");
                if ((a && a->installed) || (b && b->installed))
                        html_signed(p, a ? a->installed : 0, b ? b->installed : 0);
                html_str(p, "</td></tr>\n");
                r = out_flow(p->o, err);
        }
        end_table(p, n);
        return r;
}

static void put_layer(struct html_page *p, const struct bld_layer_info *a,
                      const struct bld_layer_info *b, const char *state)
{
        const struct bld_layer_info *any = b ? b : a;
        const char *digest;

        if (!any)
                return;
        digest = any->digest ? any->digest : any->diff_id;
        sb_fmt(&p->o->buf, "<tr class=\"%s\">", a && b ? "both" : "one");
        if (a)
                sb_fmt(&p->o->buf, "<td class=\"n\">%zu</td>", a->number);
        else
                html_str(p, "<td class=\"n\"><span class=\"no\">\xe2\x80\x93</span></td>");
        if (b)
                sb_fmt(&p->o->buf, "<td class=\"n\">%zu</td>", b->number);
        else
                html_str(p, "<td class=\"n\"><span class=\"no\">\xe2\x80\x93</span></td>");
        sb_fmt(&p->o->buf, "<td>%s</td><td class=\"n\">", state);
        html_size(p, any->blob_size, NULL);
        html_str(p, "</td>");
        put_cell(p, "v", any->created_by);
        html_str(p, "<td><code class=\"digest\">");
        if (digest)
                page_name(&p->o->buf, digest);
        html_str(p, "</code></td></tr>\n");
}

static bool same_text(const char *a, const char *b)
{
        return a && b && strcmp(a, b) == 0;
}

static const struct bld_layer_info *find_layer(const struct bld_image *im,
                                               const struct bld_layer_info *l)
{
        size_t n = bld_image_layers(im);

        for (size_t i = 0; i < n; i++) {
                const struct bld_layer_info *o = bld_image_layer(im, i);

                if (same_text(l->digest, o->digest) || same_text(l->diff_id, o->diff_id))
                        return o;
        }
        return NULL;
}

static size_t count_blobs(const struct diff_result *r)
{
        size_t n = bld_image_layers(r->b);

        for (size_t i = 0; i < bld_image_layers(r->a); i++)
                n += !find_layer(r->b, bld_image_layer(r->a, i));
        return n;
}

/* By digests alone, when their entries were not compared. */
static void put_blobs(struct html_page *p)
{
        size_t na = bld_image_layers(p->r->a), nb = bld_image_layers(p->r->b);

        for (size_t i = 0; i < MIN(na, ROWS_MAX); i++) {
                const struct bld_layer_info *l = bld_image_layer(p->r->a, i);

                if (!find_layer(p->r->b, l))
                        put_layer(p, l, NULL, "only in A");
        }
        for (size_t i = 0; i < MIN(nb, ROWS_MAX); i++) {
                const struct bld_layer_info *l = bld_image_layer(p->r->b, i);
                const struct bld_layer_info *o = find_layer(p->r->a, l);

                put_layer(p, o, l,
                          !o                                ? "only in B"
                          : same_text(o->digest, l->digest) ? "shared"
                                                            : "compressed otherwise");
        }
}

int html_layers(struct html_page *p, struct bld_err *err)
{
        const struct diff_layers *v = &p->r->layers;
        size_t n = v->n ? v->n : count_blobs(p->r);

        if (!v->n && !p->r->has_cost)
                return 0;
        begin_table(p, "layers", "Layers", n,
                    "<th class=\"n\">A</th><th class=\"n\">B</th><th></th><th class=\"n\">Size</th>"
                    "<th>Made by</th><th>Digest</th>");
        if (!v->n)
                put_blobs(p);
        for (size_t i = 0; i < MIN(v->n, ROWS_MAX); i++)
                put_layer(p, v->v[i].before, v->v[i].after, diff_layer_name(v->v[i].kind));
        end_table(p, n);
        return out_flow(p->o, err);
}
