/* --html FILE: the difference as one page (docs/diff.md). What can be told in a few lines is HTML
 * that needs no script; the tree of changes and the maps are drawn from a data block by
 * cli/page/diff.js. Nothing an image says gets into the page but through cli/page.h. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/diff_html.h"
#include "cli/page.h"

#define DATA_VERSION 1
#define LINES_MAX 2000u /* changes told without a script */

/* ---- pieces ---- */

void html_str(struct html_page *p, const char *s)
{
        sb_str(&p->o->buf, s);
}

void html_count(struct html_page *p, uint64_t n, const char *id)
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

void html_size(struct html_page *p, uint64_t n, const char *id)
{
        char text[24];

        format_size(n, text);
        sb_fmt(&p->o->buf, "<data value=\"%llu\"", (unsigned long long)n);
        if (id)
                sb_fmt(&p->o->buf, " id=\"%s\"", id);
        sb_fmt(&p->o->buf, ">%s</data>", text);
}

void html_signed(struct html_page *p, uint64_t before, uint64_t after)
{
        char text[24];

        format_size(after > before ? after - before : before - after, text);
        sb_fmt(&p->o->buf, "%s%s",
               after > before   ? "+"
               : after < before ? "\xe2\x88\x92"
                                : "\xc2\xb1",
               text);
}

static void put_plural(struct html_page *p, uint64_t n, const char *one, const char *many)
{
        html_count(p, n, NULL);
        sb_fmt(&p->o->buf, " %s", n == 1 ? one : many);
}

/* ---- head ---- */

static uint64_t changes(const struct html_page *p)
{
        uint64_t n = 0;

        for (size_t k = 0; k < HTML_KINDS; k++)
                n += p->sums.n[k];
        return n;
}

static void put_title(const struct html_page *p, struct sb *title)
{
        page_name(title, bld_image_name(p->r->a));
        sb_str(title, " \xe2\x86\x92 ");
        page_name(title, bld_image_name(p->r->b));
        sb_str(title, " \xe2\x80\x93 bld diff");
}

static void put_image(struct html_page *p, const char *letter, const struct bld_image *im)
{
        const char *digest = bld_image_digest(im);

        sb_fmt(&p->o->buf, "<div><dt>%s</dt><dd><bdi class=\"name\">", letter);
        page_name(&p->o->buf, bld_image_name(im));
        html_str(p, "</bdi>");
        if (digest) {
                html_str(p, "<code class=\"digest\">");
                page_name(&p->o->buf, digest);
                html_str(p, "</code>");
        }
        html_str(p, "</dd></div>\n");
}

static void put_clause(struct html_page *p, size_t *left, bool *first, uint64_t n, const char *one,
                       const char *many)
{
        if (!n)
                return;
        --*left;
        html_str(p, *first ? "" : *left ? ", " : " and ");
        put_plural(p, n, one, many);
        *first = false;
}

size_t html_settings(const struct diff_result *r)
{
        return r->config ? bld_config_diff_count(r->config) : 0;
}

static void put_verdict(struct html_page *p)
{
        const struct diff_result *r = p->r;
        uint64_t paths = changes(p), layers = 0, settings = html_settings(r);
        uint64_t packages = r->packages.n;
        size_t left;
        bool first = true;

        for (size_t i = 0; i < r->layers.n; i++)
                layers += r->layers.v[i].differs;
        left = (size_t) !!paths + !!settings + !!packages + !!layers;
        sb_fmt(&p->o->buf, "<p id=\"verdict\" data-differ=\"%s\">", r->differ ? "true" : "false");
        if (!r->differ)
                html_str(p, r->ask->ignored ? "Nothing differs but what was ignored."
                                            : "Nothing differs.");
        else if (!left)
                html_str(p, "Only times of folders differ.");
        else {
                uint64_t all = paths + settings + packages + layers;

                put_clause(p, &left, &first, paths, "path", "paths");
                put_clause(p, &left, &first, settings, "setting", "settings");
                put_clause(p, &left, &first, packages, "package", "packages");
                put_clause(p, &left, &first, layers, "layer", "layers");
                html_str(p, all == 1 ? " differs." : " differ.");
        }
        if (r->has_cost) {
                html_str(p, " A machine that has A transfers ");
                html_size(p, r->cost.bytes, NULL);
                html_str(p, " for B.");
        }
        html_str(p, "</p>\n");
}

static void put_figures(struct html_page *p)
{
        const struct html_sums *s = &p->sums;
        const struct bld_pull_cost *c = &p->r->cost;

        html_str(p, "<dl class=\"figures\">\n");
        if (p->files) {
                html_str(p, "<div><dt>Files, unpacked</dt><dd>");
                html_size(p, s->bytes_a, "bytes-a");
                html_str(p, " <i>\xe2\x86\x92</i> ");
                html_size(p, s->bytes_b, "bytes-b");
                html_str(p, "</dd><dd>");
                html_signed(p, s->bytes_a, s->bytes_b);
                html_str(p, ", ");
                html_count(p, s->files_a, "files-a");
                html_str(p, " <i>\xe2\x86\x92</i> ");
                html_count(p, s->files_b, "files-b");
                html_str(p, " files</dd></div>\n");
        }
        if (p->r->has_cost) {
                html_str(p, "<div><dt>Pull of B where A is</dt><dd>");
                html_size(p, c->bytes, "pull");
                html_str(p, "</dd><dd>of ");
                html_size(p, c->total, "pull-total");
                html_str(p, "</dd></div>\n<div><dt>Layers of B</dt><dd>");
                html_count(p, c->shared, "layers-shared");
                html_str(p, " shared, ");
                html_count(p, c->changed, "layers-changed");
                html_str(p, " changed</dd><dd>");
                if (c->same_tar) {
                        html_count(p, c->same_tar, NULL);
                        html_str(p, " only compressed otherwise");
                } else {
                        put_plural(p, bld_image_layers(p->r->a), "layer", "layers");
                        html_str(p, " in A");
                }
                html_str(p, "</dd></div>\n");
        }
        html_str(p, "</dl>\n");
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

static void put_kinds(struct html_page *p)
{
        if (!p->files)
                return;
        html_str(p, "<ul class=\"kinds\">\n");
        for (size_t k = 1; k < HTML_KINDS; k++) {
                char id[24];

                (void)snprintf(id, sizeof(id), "n-%s", kinds[k].name);
                sb_fmt(&p->o->buf, "<li%s><b class=\"k k%c\">%c</b> ",
                       p->sums.n[k] ? "" : " class=\"none\"", html_letters[k], html_letters[k]);
                html_count(p, p->sums.n[k], id);
                sb_fmt(&p->o->buf, " %s", kinds[k].text);
                if (p->sums.bytes[k]) {
                        html_str(p, " <small>");
                        html_size(p, p->sums.bytes[k], NULL);
                        html_str(p, "</small>");
                }
                html_str(p, "</li>\n");
        }
        html_str(p, "</ul>\n");
}

/* What the reader must know to read the rest right. */
static void put_notes(struct html_page *p)
{
        const struct diff_ask *ask = p->r->ask;

        html_str(p, "<ul class=\"notes\">\n");
        if (ask->ignored) {
                html_str(p, "<li>Differences that do not count: ");
                page_value(&p->o->buf, ask->ignored);
                html_str(p, ".</li>\n");
        }
        if (ask->only.n || ask->exclude.n)
                html_str(p, "<li>Not all paths were compared (--path, --exclude); the others are "
                            "shown as unchanged.</li>\n");
        if (p->files && p->r->cost.prefix && !p->sums.any_shared) {
                html_str(p, "<li>Of what the ");
                put_plural(p, p->r->cost.prefix, "layer", "layers");
                html_str(p, " hold that both begin with, nothing is in these numbers and maps; "
                            "--shared=read reads them.</li>\n");
        }
        if (p->r->unsure) {
                html_str(p, "<li>");
                html_count(p, p->r->unsure, "unsure");
                html_str(p, " marked ? may also be changes of what shared layers hold, or none; "
                            "--shared=read tells.</li>\n");
        }
        if (p->sums.quiet) {
                html_str(p, "<li>Not told: ");
                html_count(p, p->sums.quiet, "quiet");
                sb_fmt(&p->o->buf,
                       " folder%s whose time%s changed because of what did in %s.</li>\n",
                       p->sums.quiet == 1 ? "" : "s", p->sums.quiet == 1 ? "" : "s",
                       p->sums.quiet == 1 ? "it" : "them");
        }
        html_str(p, "</ul>\n");
}

static void put_head(struct html_page *p)
{
        html_str(p, "<header>\n<p class=\"eyebrow\">bld diff</p>\n<h1><bdi>");
        page_name(&p->o->buf, bld_image_name(p->r->a));
        html_str(p, "</bdi> <span>\xe2\x86\x92</span> <bdi>");
        page_name(&p->o->buf, bld_image_name(p->r->b));
        html_str(p, "</bdi></h1>\n");
        put_verdict(p);
        html_str(p, "<dl class=\"images\">\n");
        put_image(p, "A", p->r->a);
        put_image(p, "B", p->r->b);
        html_str(p, "</dl>\n");
        put_figures(p);
        put_kinds(p);
        put_notes(p);
        html_str(p, "</header>\n");
}

/* ---- files ---- */

static int put_line(struct html_page *p, const struct diff_group *g, struct bld_err *err)
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
        html_str(p, "</bdi></td><td class=\"n\">");
        if (g->n > 1 && g->shown == g->first) {
                put_plural(p, g->files, "file", "files");
                html_str(p, ", ");
                html_size(p, g->bytes, NULL);
        } else if (diff_node(&s)->type == BLD_LAYER_FILE) {
                if (s.has_before)
                        html_size(p, s.before.file_size, NULL);
                if (s.has_before && s.has_after)
                        html_str(p, " <i>\xe2\x86\x92</i> ");
                if (s.has_after)
                        html_size(p, s.after.file_size, NULL);
        }
        html_str(p, "</td></tr>\n");
        return out_flow(p->o, err);
}

/* For who runs no scripts: as the text has it. */
static int put_flat(struct html_page *p, struct bld_err *err)
{
        struct diff_group g;
        size_t lines = 0, n = bld_diff_count(p->r->files), i = 0;
        int r = 0;

        html_str(p, "<noscript><section>\n<h2>Files</h2>\n<div class=\"scroll\"><table><tbody>\n");
        for (; r == 0 && i < n && lines < LINES_MAX; i += g.n) {
                r = diff_group_at(p->r->files, i, &g, err);
                if (r < 0 || g.quiet)
                        continue;
                r = put_line(p, &g, err);
                lines++;
        }
        html_str(p, "</tbody></table></div>\n");
        if (r == 0 && i < n) {
                html_str(p, "<p class=\"more\">and ");
                html_count(p, n - i, NULL);
                html_str(p, " changes more, which this page shows with scripts only; <code>bld "
                            "diff</code> prints them.</p>\n");
        }
        html_str(p, "</section></noscript>\n");
        return r;
}

static void put_steps(struct html_page *p, const char *key, const struct bld_image *im)
{
        size_t n = bld_image_layers(im);

        sb_fmt(&p->o->buf, ",\n\"%s\":{\"name\":", key);
        page_json_name(&p->o->buf, bld_image_name(im), strlen(bld_image_name(im)));
        html_str(p, ",\"layers\":[");
        for (size_t i = 0; i < n; i++) {
                const char *by = bld_image_layer(im, i)->created_by;

                html_str(p, i ? "," : "");
                page_json_value(&p->o->buf, by ? by : "");
        }
        html_str(p, "]}");
}

static int put_data(struct html_page *p, struct bld_err *err)
{
        int r;

        sb_fmt(&p->o->buf,
               "<script type=\"application/json\" id=\"data\">{\"version\":%d,\"changes\":%llu",
               DATA_VERSION, (unsigned long long)changes(p));
        put_steps(p, "a", p->r->a);
        put_steps(p, "b", p->r->b);
        html_str(p, ",\n\"rows\":[");
        r = html_tree(p->r, &p->sums, p->o, err);
        html_str(p, "\n]}</script>\n");
        return r;
}

static int put_files(struct html_page *p, struct bld_err *err)
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
        struct html_page p = {.r = res, .o = o};
        int r = 0;

        p.files = res->files && (res->ask->modes & DIFF_FILES);
        if (p.files)
                r = html_sum(res, &p.sums, err);
        if (r < 0)
                return r;
        put_title(&p, &title);
        page_begin(&o->buf, sb_text(&title), page_diff_style(), page_diff_script());
        html_str(&p, "<main>\n");
        put_head(&p);
        if (p.files)
                r = put_files(&p, err);
        r = r < 0 ? r : html_config(&p, err);
        r = r < 0 ? r : html_packages(&p, err);
        r = r < 0 ? r : html_layers(&p, err);
        html_str(&p, "<footer>Made by bld " BLD_VERSION
                     ". This page is whole in itself: it loads nothing.</footer>\n</main>\n");
        page_end(&o->buf, page_diff_script());
        return r < 0 ? r : sb_check(&title, "page", err);
}
