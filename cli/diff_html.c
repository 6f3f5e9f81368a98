/* --html FILE: the difference as one page (docs/diff.md). What can be told in a few lines is HTML
 * that needs no script; the tree of changes and the maps are drawn from a data block by
 * cli/page/diff.js. Nothing an image says gets into the page but through cli/page.h. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/diff_html.h"
#include "cli/page.h"

#define DATA_VERSION 1
#define ROWS_MAX 5000u  /* of one table */
#define LINES_MAX 2000u /* changes told without a script */

struct page {
        const struct diff_result *r;
        struct html_sums sums;
        struct out *o;
        bool files; /* were compared */
};

/* ---- pieces ---- */

static void put_str(struct page *p, const char *s)
{
        sb_str(&p->o->buf, s);
}

/* "50,000", with the bare number for programs. */
static void put_count(struct page *p, uint64_t n, const char *id)
{
        char digits[24], grouped[32];
        size_t len, out = 0;

        (void)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
        len = strlen(digits);
        for (size_t i = 0; i < len; i++) {
                if (i && (len - i) % 3 == 0)
                        grouped[out++] = ',';
                grouped[out++] = digits[i];
        }
        grouped[out] = '\0';
        sb_fmt(&p->o->buf, "<data value=\"%llu\"", (unsigned long long)n);
        if (id)
                sb_fmt(&p->o->buf, " id=\"%s\"", id);
        sb_fmt(&p->o->buf, ">%s</data>", grouped);
}

static void put_size(struct page *p, uint64_t n, const char *id)
{
        char text[24];

        format_size(n, text);
        sb_fmt(&p->o->buf, "<data value=\"%llu\"", (unsigned long long)n);
        if (id)
                sb_fmt(&p->o->buf, " id=\"%s\"", id);
        sb_fmt(&p->o->buf, ">%s</data>", text);
}

static void put_signed(struct page *p, uint64_t before, uint64_t after)
{
        char text[24];

        format_size(after > before ? after - before : before - after, text);
        sb_fmt(&p->o->buf, "%s%s",
               after > before   ? "+"
               : after < before ? "\xe2\x88\x92"
                                : "\xc2\xb1",
               text);
}

static void put_plural(struct page *p, uint64_t n, const char *one, const char *many)
{
        put_count(p, n, NULL);
        sb_fmt(&p->o->buf, " %s", n == 1 ? one : many);
}

/* ---- head ---- */

static uint64_t changes(const struct page *p)
{
        uint64_t n = 0;

        for (size_t k = 0; k < HTML_KINDS; k++)
                n += p->sums.n[k];
        return n;
}

static void put_title(const struct page *p, struct sb *title)
{
        page_name(title, bld_image_name(p->r->a));
        sb_str(title, " \xe2\x86\x92 ");
        page_name(title, bld_image_name(p->r->b));
        sb_str(title, " \xe2\x80\x93 bld diff");
}

static void put_image(struct page *p, const char *letter, const struct bld_image *im)
{
        const char *digest = bld_image_digest(im);

        sb_fmt(&p->o->buf, "<div><dt>%s</dt><dd><bdi class=\"name\">", letter);
        page_name(&p->o->buf, bld_image_name(im));
        put_str(p, "</bdi>");
        if (digest) {
                put_str(p, "<code class=\"digest\">");
                page_name(&p->o->buf, digest);
                put_str(p, "</code>");
        }
        put_str(p, "</dd></div>\n");
}

static void put_clause(struct page *p, size_t *left, bool *first, uint64_t n, const char *one,
                       const char *many)
{
        if (!n)
                return;
        --*left;
        put_str(p, *first ? "" : *left ? ", " : " and ");
        put_plural(p, n, one, many);
        *first = false;
}

static size_t settings_of(const struct diff_result *r)
{
        return r->config ? bld_config_diff_count(r->config) : 0;
}

static void put_verdict(struct page *p)
{
        const struct diff_result *r = p->r;
        uint64_t paths = changes(p), layers = 0, settings = settings_of(r);
        uint64_t packages = r->packages.n;
        size_t left;
        bool first = true;

        for (size_t i = 0; i < r->layers.n; i++)
                layers += r->layers.v[i].differs;
        left = (size_t) !!paths + !!settings + !!packages + !!layers;
        sb_fmt(&p->o->buf, "<p id=\"verdict\" data-differ=\"%s\">", r->differ ? "true" : "false");
        if (!r->differ)
                put_str(p, r->ask->ignored ? "Nothing differs but what was ignored."
                                           : "Nothing differs.");
        else if (!left)
                put_str(p, "Only times of folders differ.");
        else {
                uint64_t all = paths + settings + packages + layers;

                put_clause(p, &left, &first, paths, "path", "paths");
                put_clause(p, &left, &first, settings, "setting", "settings");
                put_clause(p, &left, &first, packages, "package", "packages");
                put_clause(p, &left, &first, layers, "layer", "layers");
                put_str(p, all == 1 ? " differs." : " differ.");
        }
        if (r->has_cost) {
                put_str(p, " A machine that has A transfers ");
                put_size(p, r->cost.bytes, NULL);
                put_str(p, " for B.");
        }
        put_str(p, "</p>\n");
}

static void put_figures(struct page *p)
{
        const struct html_sums *s = &p->sums;
        const struct bld_pull_cost *c = &p->r->cost;

        put_str(p, "<dl class=\"figures\">\n");
        if (p->files) {
                put_str(p, "<div><dt>Files, unpacked</dt><dd>");
                put_size(p, s->bytes_a, "bytes-a");
                put_str(p, " <i>\xe2\x86\x92</i> ");
                put_size(p, s->bytes_b, "bytes-b");
                put_str(p, "</dd><dd>");
                put_signed(p, s->bytes_a, s->bytes_b);
                put_str(p, ", ");
                put_count(p, s->files_a, "files-a");
                put_str(p, " <i>\xe2\x86\x92</i> ");
                put_count(p, s->files_b, "files-b");
                put_str(p, " files</dd></div>\n");
        }
        if (p->r->has_cost) {
                put_str(p, "<div><dt>Pull of B where A is</dt><dd>");
                put_size(p, c->bytes, "pull");
                put_str(p, "</dd><dd>of ");
                put_size(p, c->total, "pull-total");
                put_str(p, "</dd></div>\n<div><dt>Layers of B</dt><dd>");
                put_count(p, c->shared, "layers-shared");
                put_str(p, " shared, ");
                put_count(p, c->changed, "layers-changed");
                put_str(p, " changed</dd><dd>");
                if (c->same_tar) {
                        put_count(p, c->same_tar, NULL);
                        put_str(p, " only compressed otherwise");
                } else {
                        put_plural(p, bld_image_layers(p->r->a), "layer", "layers");
                        put_str(p, " in A");
                }
                put_str(p, "</dd></div>\n");
        }
        put_str(p, "</dl>\n");
}

static const struct {
        const char *name, *text;
} kinds[HTML_KINDS] = {
        [BLD_CHANGE_ADDED] = {"added", "added"},
        [BLD_CHANGE_DELETED] = {"deleted", "deleted"},
        [BLD_CHANGE_MODIFIED] = {"modified", "modified"},
        [BLD_CHANGE_TYPE] = {"type", "of another type"},
        [BLD_CHANGE_METADATA] = {"metadata", "attributes only"},
};

static void put_kinds(struct page *p)
{
        if (!p->files)
                return;
        put_str(p, "<ul class=\"kinds\">\n");
        for (size_t k = 1; k < HTML_KINDS; k++) {
                char id[24];

                (void)snprintf(id, sizeof(id), "n-%s", kinds[k].name);
                sb_fmt(&p->o->buf, "<li%s><b class=\"k k%c\">%c</b> ",
                       p->sums.n[k] ? "" : " class=\"none\"", html_letters[k], html_letters[k]);
                put_count(p, p->sums.n[k], id);
                sb_fmt(&p->o->buf, " %s", kinds[k].text);
                if (p->sums.bytes[k]) {
                        put_str(p, " <small>");
                        put_size(p, p->sums.bytes[k], NULL);
                        put_str(p, "</small>");
                }
                put_str(p, "</li>\n");
        }
        put_str(p, "</ul>\n");
}

/* What the reader must know to read the rest right. */
static void put_notes(struct page *p)
{
        const struct diff_ask *ask = p->r->ask;

        put_str(p, "<ul class=\"notes\">\n");
        if (ask->ignored) {
                put_str(p, "<li>Differences that do not count: ");
                page_value(&p->o->buf, ask->ignored);
                put_str(p, ".</li>\n");
        }
        if (ask->only.n || ask->exclude.n)
                put_str(p, "<li>Not all paths were compared (--path, --exclude); the others are "
                           "shown as unchanged.</li>\n");
        if (p->files && p->r->cost.prefix && !p->sums.any_shared) {
                put_str(p, "<li>Of what the ");
                put_plural(p, p->r->cost.prefix, "layer", "layers");
                put_str(p, " hold that both begin with, nothing is in these numbers and maps; "
                           "--shared=read reads them.</li>\n");
        }
        if (p->r->unsure) {
                put_str(p, "<li>");
                put_count(p, p->r->unsure, "unsure");
                put_str(p, " marked ? may also be changes of what shared layers hold, or none; "
                           "--shared=read tells.</li>\n");
        }
        if (p->sums.quiet) {
                put_str(p, "<li>Not told: ");
                put_count(p, p->sums.quiet, "quiet");
                sb_fmt(&p->o->buf,
                       " folder%s whose time%s changed because of what did in %s.</li>\n",
                       p->sums.quiet == 1 ? "" : "s", p->sums.quiet == 1 ? "" : "s",
                       p->sums.quiet == 1 ? "it" : "them");
        }
        put_str(p, "</ul>\n");
}

static void put_head(struct page *p)
{
        put_str(p, "<header>\n<p class=\"eyebrow\">bld diff</p>\n<h1><bdi>");
        page_name(&p->o->buf, bld_image_name(p->r->a));
        put_str(p, "</bdi> <span>\xe2\x86\x92</span> <bdi>");
        page_name(&p->o->buf, bld_image_name(p->r->b));
        put_str(p, "</bdi></h1>\n");
        put_verdict(p);
        put_str(p, "<dl class=\"images\">\n");
        put_image(p, "A", p->r->a);
        put_image(p, "B", p->r->b);
        put_str(p, "</dl>\n");
        put_figures(p);
        put_kinds(p);
        put_notes(p);
        put_str(p, "</header>\n");
}

/* ---- tables ---- */

static void begin_table(struct page *p, const char *id, const char *title, uint64_t n,
                        const char *heads)
{
        sb_fmt(&p->o->buf, "<section id=\"%s\">\n<h2>%s <small>", id, title);
        put_count(p, n, NULL);
        sb_fmt(&p->o->buf,
               "</small></h2>\n<div "
               "class=\"scroll\"><table>\n<thead><tr>%s</tr></thead>\n<tbody>\n",
               heads);
}

static void end_table(struct page *p, uint64_t n)
{
        put_str(p, "</tbody></table></div>\n");
        if (n > ROWS_MAX) {
                put_str(p, "<p class=\"more\">and ");
                put_count(p, n - ROWS_MAX, NULL);
                put_str(p, " more</p>\n");
        }
        put_str(p, "</section>\n");
}

static void put_sign(struct page *p, bool before, bool after)
{
        char c = !before ? 'A' : !after ? 'D' : 'M';

        sb_fmt(&p->o->buf, "<td><b class=\"k k%c\">%c</b></td>", c, c);
}

static void put_cell(struct page *p, const char *class, const char *value)
{
        sb_fmt(&p->o->buf, "<td class=\"%s\">", class);
        if (value) {
                put_str(p, "<bdi>");
                page_value(&p->o->buf, value);
                put_str(p, "</bdi>");
        } else {
                put_str(p, "<span class=\"no\">\xe2\x80\x93</span>");
        }
        put_str(p, "</td>");
}

/* Of an entry of the history, the step. */
static void put_step(struct page *p, const char *json)
{
        AUTO_FREE char *step = json ? diff_step(json) : NULL;

        put_cell(p, "v", step ? step : json);
}

static void put_values(struct page *p, const struct bld_config_change *c)
{
        if (strcmp(c->field, "history") != 0) {
                put_cell(p, "v", c->before);
                put_cell(p, "v", c->after);
                return;
        }
        put_step(p, c->before);
        if (c->before && c->after && diff_same_step(c->before, c->after))
                put_str(p, "<td class=\"v\"><span class=\"no\">the same step, other "
                           "details</span></td>");
        else
                put_step(p, c->after);
}

static int put_config(struct page *p, struct bld_err *err)
{
        size_t n = settings_of(p->r);
        int r = 0;

        if (!n)
                return 0;
        begin_table(p, "config", "Configuration", n,
                    "<th></th><th>Setting</th><th>A</th><th>B</th>");
        for (size_t i = 0; r == 0 && i < MIN(n, ROWS_MAX); i++) {
                const struct bld_config_change *c = bld_config_diff_change(p->r->config, i);

                put_str(p, "<tr>");
                put_sign(p, c->before, c->after);
                put_str(p, "<td class=\"key\"><bdi>");
                page_value(&p->o->buf, c->field);
                put_str(p, "</bdi>");
                if (c->key) {
                        put_str(p, " <bdi>");
                        page_value(&p->o->buf, c->key);
                        put_str(p, "</bdi>");
                }
                put_str(p, "</td>");
                put_values(p, c);
                put_str(p, "</tr>\n");
                r = out_flow(p->o, err);
        }
        end_table(p, n);
        return r;
}

static int put_packages(struct page *p, struct bld_err *err)
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

                put_str(p, "<tr>");
                put_sign(p, a, b);
                put_str(p, "<td class=\"key\"><bdi>");
                page_value(&p->o->buf, any->name);
                sb_fmt(&p->o->buf, "</bdi> <small>%s", any->manager);
                if (a && b && a->arch && b->arch && strcmp(a->arch, b->arch) != 0) {
                        put_str(p, ", ");
                        page_value(&p->o->buf, a->arch);
                        put_str(p, " \xe2\x86\x92 ");
                        page_value(&p->o->buf, b->arch);
                }
                put_str(p, "</small></td>");
                put_cell(p, "v", a ? a->version : NULL);
                put_cell(p, "v", b ? b->version : NULL);
                put_str(p, "<td class=\"n\">");
                if ((a && a->installed) || (b && b->installed))
                        put_signed(p, a ? a->installed : 0, b ? b->installed : 0);
                put_str(p, "</td></tr>\n");
                r = out_flow(p->o, err);
        }
        end_table(p, n);
        return r;
}

static void put_layer(struct page *p, const struct bld_layer_info *a,
                      const struct bld_layer_info *b, const char *state)
{
        const struct bld_layer_info *any = b ? b : a;
        const char *digest = any->digest ? any->digest : any->diff_id;

        sb_fmt(&p->o->buf, "<tr class=\"%s\">", a && b ? "both" : "one");
        if (a)
                sb_fmt(&p->o->buf, "<td class=\"n\">%zu</td>", a->number);
        else
                put_str(p, "<td class=\"n\"><span class=\"no\">\xe2\x80\x93</span></td>");
        if (b)
                sb_fmt(&p->o->buf, "<td class=\"n\">%zu</td>", b->number);
        else
                put_str(p, "<td class=\"n\"><span class=\"no\">\xe2\x80\x93</span></td>");
        sb_fmt(&p->o->buf, "<td>%s</td><td class=\"n\">", state);
        put_size(p, any->blob_size, NULL);
        put_str(p, "</td>");
        put_cell(p, "v", any->created_by);
        put_str(p, "<td><code class=\"digest\">");
        if (digest)
                page_name(&p->o->buf, digest);
        put_str(p, "</code></td></tr>\n");
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
static void put_blobs(struct page *p)
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

static int put_layers(struct page *p, struct bld_err *err)
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

/* ---- files ---- */

static int put_line(struct page *p, const struct diff_group *g, struct bld_err *err)
{
        struct diff_sides s;
        int r = diff_sides(p->r->files, g->shown, &s, err);
        char letter;

        if (r < 0)
                return r;
        letter = html_letters[s.change->kind];
        sb_fmt(&p->o->buf,
               "<tr><td><b class=\"k k%c\">%c</b></td><td class=\"n\">%04o</td><td><bdi>/", letter,
               letter, diff_node(&s)->mode);
        page_name(&p->o->buf, s.change->path);
        put_str(p, "</bdi></td><td class=\"n\">");
        if (g->n > 1 && g->shown == g->first) {
                put_plural(p, g->files, "file", "files");
                put_str(p, ", ");
                put_size(p, g->bytes, NULL);
        } else if (diff_node(&s)->type == BLD_LAYER_FILE) {
                if (s.has_before)
                        put_size(p, s.before.file_size, NULL);
                if (s.has_before && s.has_after)
                        put_str(p, " <i>\xe2\x86\x92</i> ");
                if (s.has_after)
                        put_size(p, s.after.file_size, NULL);
        }
        put_str(p, "</td></tr>\n");
        return out_flow(p->o, err);
}

/* For who runs no scripts: as the text has it. */
static int put_flat(struct page *p, struct bld_err *err)
{
        struct diff_group g;
        size_t lines = 0, n = bld_diff_count(p->r->files), i = 0;
        int r = 0;

        put_str(p, "<noscript><section>\n<h2>Files</h2>\n<div class=\"scroll\"><table><tbody>\n");
        for (; r == 0 && i < n && lines < LINES_MAX; i += g.n) {
                r = diff_group_at(p->r->files, i, &g, err);
                if (r < 0 || g.quiet)
                        continue;
                r = put_line(p, &g, err);
                lines++;
        }
        put_str(p, "</tbody></table></div>\n");
        if (r == 0 && i < n) {
                put_str(p, "<p class=\"more\">and ");
                put_count(p, n - i, NULL);
                put_str(p, " changes more, which this page shows with scripts only; <code>bld "
                           "diff</code> prints them.</p>\n");
        }
        put_str(p, "</section></noscript>\n");
        return r;
}

static void put_steps(struct page *p, const char *key, const struct bld_image *im)
{
        size_t n = bld_image_layers(im);

        sb_fmt(&p->o->buf, ",\n\"%s\":{\"name\":", key);
        page_json_name(&p->o->buf, bld_image_name(im), strlen(bld_image_name(im)));
        put_str(p, ",\"layers\":[");
        for (size_t i = 0; i < n; i++) {
                const char *by = bld_image_layer(im, i)->created_by;

                put_str(p, i ? "," : "");
                page_json_value(&p->o->buf, by ? by : "");
        }
        put_str(p, "]}");
}

static int put_data(struct page *p, struct bld_err *err)
{
        int r;

        sb_fmt(&p->o->buf,
               "<script type=\"application/json\" id=\"data\">{\"version\":%d,\"changes\":%llu",
               DATA_VERSION, (unsigned long long)changes(p));
        put_steps(p, "a", p->r->a);
        put_steps(p, "b", p->r->b);
        put_str(p, ",\n\"rows\":[");
        r = html_tree(p->r, &p->sums, p->o, err);
        put_str(p, "\n]}</script>\n");
        return r;
}

static int put_files(struct page *p, struct bld_err *err)
{
        struct page_asset body = page_diff_body();
        int r = 0;

        if (!bld_diff_count(p->r->files) && !p->sums.files_a && !p->sums.files_b)
                return 0;
        sb_add(&p->o->buf, body.text, body.n);
        if (bld_diff_count(p->r->files))
                r = put_flat(p, err);
        return r < 0 ? r : put_data(p, err);
}

int diff_write_html(const struct diff_result *res, struct out *o, struct bld_err *err)
{
        AUTO_SB struct sb title = SB_INIT((size_t)1 << 20);
        struct page p = {.r = res, .o = o};
        int r = 0;

        p.files = res->files && (res->ask->modes & DIFF_FILES);
        if (p.files)
                r = html_sum(res, &p.sums, err);
        if (r < 0)
                return r;
        put_title(&p, &title);
        page_begin(&o->buf, sb_text(&title), page_diff_style(), page_diff_script());
        put_str(&p, "<main>\n");
        put_head(&p);
        if (p.files)
                r = put_files(&p, err);
        r = r < 0 ? r : put_config(&p, err);
        r = r < 0 ? r : put_packages(&p, err);
        r = r < 0 ? r : put_layers(&p, err);
        put_str(&p, "<footer>Made by bld " BLD_VERSION
                    ". This page is whole in itself: it loads nothing.</footer>\n</main>\n");
        page_end(&o->buf, page_diff_script());
        return r < 0 ? r : sb_check(&title, "page", err);
}
