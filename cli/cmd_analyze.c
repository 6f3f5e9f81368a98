#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/num.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "cli/exit.h"
#include "cli/out.h"
#include "cli/rules.h"
#include "cli/table.h"
#include "cli/text.h"

#define RULES_FILE ".dive-ci"
#define RULES_MAX ((size_t)64 << 10)
#define TOP 20u

struct analyze_args {
        struct cli_common common;
        const char *format, *platform, *file, *top;
        const char *limit[RULES]; /* of the flags */
        bool ci;
};

#define A(field) offsetof(struct analyze_args, field)
static const struct opt analyze_opts[] = {
        {"ci", 0, OPT_BOOL, A(ci), NULL, "apply the rules of " RULES_FILE ", or dive's own ($CI)",
         "Flags"},
        {"ci-config", 0, OPT_STR, A(file), "FILE", "the same as --rules", NULL},
        {"format", 0, OPT_STR, A(format), "F", "text, json or a template (text)", NULL},
        {"highest-wasted", 0, OPT_STR, A(limit[RULE_WASTED]), "SIZE",
         "at most so many bytes wasted", NULL},
        {"highest-wasted-percent", 0, OPT_STR, A(limit[RULE_SHARE]), "R",
         "at most this share of what was added to the base (0.1)", NULL},
        {"lowest-efficiency", 0, OPT_STR, A(limit[RULE_EFFICIENCY]), "R",
         "at least this score (0.9)", NULL},
        {"max-layers", 0, OPT_STR, A(limit[RULE_LAYERS]), "N", "at most so many layers", NULL},
        {"max-size", 0, OPT_STR, A(limit[RULE_SIZE]), "SIZE", "at most so many bytes to pull",
         NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "of an image for several", NULL},
        {"rules", 0, OPT_STR, A(file), "FILE", "rules as in " RULES_FILE, NULL},
        {"top", 0, OPT_STR, A(top), "N", "paths to list (20; json: all)", NULL},
        {0},
};

static const char *const flags[RULES] = {
        [RULE_EFFICIENCY] = "--lowest-efficiency",
        [RULE_WASTED] = "--highest-wasted",
        [RULE_SHARE] = "--highest-wasted-percent",
        [RULE_SIZE] = "--max-size",
        [RULE_LAYERS] = "--max-layers",
};

struct analyze {
        const struct analyze_args *args;
        struct bld_image *im;
        struct bld_analysis *a;
        struct rules rules;
        uint64_t top, blob_bytes;
        bool failed;
};

static void analyze_done(struct analyze *z)
{
        bld_analysis_free(z->a);
        bld_image_close(z->im);
}

/* ---- rules ---- */

/* As dive has it: CI=true is --ci. */
static bool in_ci(const struct cli *c)
{
        const char *bld = getenv("BLD_CI"), *e = getenv("CI");

        if (c->o->no_ci || (bld && strcmp(bld, "none") == 0))
                return false;
        return e && (strcmp(e, "true") == 0 || strcmp(e, "1") == 0 || strcmp(e, "yes") == 0);
}

/* 1 read, 0 there is none. */
static int read_file(struct analyze *z, const char *path, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(RULES_MAX);
        AUTO_FD int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
        char buf[4096];
        ssize_t n;
        int r;

        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0)
                return err_sys(err, errno, "open %s", path);
        while ((n = sys_read(fd, buf, sizeof(buf))) > 0 && !text.failed)
                sb_add(&text, buf, (size_t)n);
        if (n < 0)
                return err_sys(err, errno, "read %s", path);
        if (sb_check(&text, path, err) < 0)
                return err_recode(err, BLD_E_USAGE);
        r = rules_read(&z->rules, sb_text(&text), text.len, path, err);
        return r < 0 ? r : 1;
}

static int read_rules(struct cli *c, struct analyze *z, struct bld_err *err)
{
        const struct analyze_args *a = z->args;
        bool ci = a->ci || in_ci(c);
        int r = 0;

        if (ci || a->file) { /* dive's defaults */
                r = rules_set(&z->rules, RULE_EFFICIENCY, "0.9", false, "", err);
                r = r < 0 ? r : rules_set(&z->rules, RULE_WASTED, "disabled", false, "", err);
                r = r < 0 ? r : rules_set(&z->rules, RULE_SHARE, "0.1", false, "", err);
                r = r < 0 ? r : read_file(z, a->file ? a->file : RULES_FILE, err);
                if (r == 0 && a->file)
                        r = err_set(err, BLD_E_USAGE, "there is no file %.500s", a->file);
        }
        for (size_t i = 0; i < RULES && r >= 0; i++)
                if (a->limit[i])
                        r = rules_set(&z->rules, (enum rule_id)i, a->limit[i], true, flags[i], err);
        z->top = UINT64_MAX;
        r = r < 0 ? r : cli_number("top", a->top, UINT64_MAX, &z->top, err);
        return MIN(r, 0);
}

static double share_of(const struct analyze *z, enum rule_id id)
{
        return id == RULE_EFFICIENCY ? bld_analysis_efficiency(z->a)
                                     : bld_analysis_wasted_share(z->a);
}

static uint64_t count_of(const struct analyze *z, enum rule_id id)
{
        return id == RULE_WASTED ? bld_analysis_wasted(z->a)
               : id == RULE_SIZE ? z->blob_bytes
                                 : bld_image_layers(z->im);
}

static bool is_ratio(enum rule_id id)
{
        return id == RULE_EFFICIENCY || id == RULE_SHARE;
}

static bool broken(const struct analyze *z, enum rule_id id)
{
        const struct rule *k = &z->rules.v[id];

        if (!k->set || k->off)
                return false;
        if (id == RULE_EFFICIENCY)
                return share_of(z, id) < k->ratio;
        return is_ratio(id) ? share_of(z, id) > k->ratio : count_of(z, id) > k->n;
}

/* ---- text ---- */

static void put_percent(struct sb *out, double ratio)
{
        if (isfinite(ratio))
                sb_fmt(out, "%.2f %%", ratio * 100);
        else
                sb_str(out, "infinite");
}

static void put_size(struct sb *out, uint64_t n)
{
        char size[24];

        format_size(n, size);
        sb_str(out, size);
}

static void text_head(const struct analyze *z, struct sb *out)
{
        sb_str(out, "image:       ");
        text_name(out, bld_image_name(z->im), strlen(bld_image_name(z->im)));
        sb_str(out, "\nefficiency:  ");
        put_percent(out, bld_analysis_efficiency(z->a));
        sb_str(out, "\nwasted:      ");
        put_size(out, bld_analysis_wasted(z->a));
        sb_str(out, " of ");
        put_size(out, bld_analysis_bytes(z->a));
        sb_str(out, "; ");
        put_percent(out, bld_analysis_wasted_share(z->a));
        sb_str(out, " of what is above the first layer\n\n");
}

static void text_layers(const struct analyze *z, struct sb *out)
{
        sb_fmt(out, "%5s  %9s  %9s  %7s  %s\n", "LAYER", "SIZE", "WASTED", "FILES", "CREATED BY");
        for (size_t i = 0; i < bld_image_layers(z->im); i++) {
                const struct bld_layer_info *l = bld_image_layer(z->im, i);
                const struct bld_layer_use *u = bld_analysis_layer(z->a, i);
                const char *by = l->created_by ? l->created_by : "";
                char size[24], wasted[24];

                format_size(u->bytes, size);
                format_size(u->wasted, wasted);
                sb_fmt(out, "%5zu  %9s  %9s  %7llu  ", l->number, size, u->wasted ? wasted : "-",
                       (unsigned long long)u->files);
                (void)text_add_middle(out, by, strlen(by), 60, 0);
                sb_char(out, '\n');
        }
}

static void put_path(struct sb *out, const char *path)
{
        AUTO_SB struct sb full = SB_INIT((size_t)1 << 20);

        sb_fmt(&full, "/%s", path);
        text_name(out, sb_text(&full), full.len);
}

static void text_paths(const struct analyze *z, struct sb *out)
{
        size_t n = bld_analysis_count(z->a);
        size_t shown = (size_t)MIN((uint64_t)n, z->top == UINT64_MAX ? TOP : z->top);

        if (!shown)
                return;
        sb_fmt(out, "\n%5s  %9s  %s\n", "COUNT", "WASTED", "PATH");
        for (size_t i = 0; i < shown; i++) {
                const struct bld_waste *w = bld_analysis_at(z->a, i);
                char size[24];

                format_size(w->bytes, size);
                sb_fmt(out, "%5zu  %9s  ", w->count, size);
                put_path(out, w->path);
                sb_str(out, w->removed ? " (removed)\n" : "\n");
        }
        if (shown < n)
                sb_fmt(out, "%5s  %9s  %zu more (--top)\n", "", "", n - shown);
}

static void text_rule(const struct analyze *z, enum rule_id id, struct sb *out)
{
        const struct rule *k = &z->rules.v[id];

        if (k->off) {
                sb_fmt(out, "SKIP  %s (disabled)\n", rules_name(id));
                return;
        }
        sb_fmt(out, "%s  %s: ", broken(z, id) ? "FAIL" : "PASS", rules_name(id));
        if (is_ratio(id))
                sb_fmt(out, "%.4f, ", share_of(z, id));
        else if (id == RULE_LAYERS)
                sb_fmt(out, "%zu, ", bld_image_layers(z->im));
        else
                sb_fmt(out, "%llu bytes, ", (unsigned long long)count_of(z, id));
        sb_str(out, id == RULE_EFFICIENCY ? "at least " : "at most ");
        if (is_ratio(id))
                sb_fmt(out, "%g\n", k->ratio);
        else
                sb_fmt(out, "%llu\n", (unsigned long long)k->n);
}

static void text_report(const struct analyze *z, struct sb *out)
{
        bool any = false;

        text_head(z, out);
        text_layers(z, out);
        text_paths(z, out);
        for (size_t i = 0; i < RULES; i++) {
                if (!z->rules.v[i].set)
                        continue;
                sb_str(out, any ? "" : "\n");
                any = true;
                text_rule(z, (enum rule_id)i, out);
        }
}

/* ---- JSON ---- */

static void json_ratio(struct sb *out, const char *key, double v)
{
        if (isfinite(v))
                sb_fmt(out, "\"%s\":%.6g", key, v);
        else
                sb_fmt(out, "\"%s\":null", key);
}

static void json_text(struct sb *out, const char *key, const char *s)
{
        sb_fmt(out, "\"%s\":", key);
        if (s)
                text_json(out, s, strlen(s));
        else
                sb_str(out, "null");
}

static void json_layers(const struct analyze *z, struct sb *out)
{
        for (size_t i = 0; i < bld_image_layers(z->im); i++) {
                const struct bld_layer_info *l = bld_image_layer(z->im, i);
                const struct bld_layer_use *u = bld_analysis_layer(z->a, i);

                sb_fmt(out, "%s{\"number\":%zu,", i ? "," : "", l->number);
                json_text(out, "digest", l->digest);
                sb_fmt(out,
                       ",\"blobBytes\":%llu,\"bytes\":%llu,\"files\":%llu,"
                       "\"wastedBytes\":%llu,",
                       (unsigned long long)l->blob_size, (unsigned long long)u->bytes,
                       (unsigned long long)u->files, (unsigned long long)u->wasted);
                json_text(out, "createdBy", l->created_by);
                sb_char(out, '}');
        }
}

static void json_paths(const struct analyze *z, struct sb *out)
{
        for (size_t i = 0; i < bld_analysis_count(z->a) && i < z->top; i++) {
                const struct bld_waste *w = bld_analysis_at(z->a, i);
                AUTO_SB struct sb full = SB_INIT((size_t)1 << 20);

                sb_str(out, i ? ",{" : "{");
                sb_fmt(&full, "/%s", w->path);
                text_json_name(out, "path", sb_text(&full), full.len);
                sb_fmt(out, ",\"bytes\":%llu,\"count\":%zu,\"removed\":%s}",
                       (unsigned long long)w->bytes, w->count, w->removed ? "true" : "false");
        }
}

static void json_rules(const struct analyze *z, struct sb *out)
{
        const char *sep = "";

        for (size_t i = 0; i < RULES; i++) {
                const enum rule_id id = (enum rule_id)i;
                const struct rule *k = &z->rules.v[i];

                if (!k->set)
                        continue;
                sb_fmt(out, "%s{\"name\":\"%s\",\"status\":\"%s\",", sep, rules_name(id),
                       k->off          ? "disabled"
                       : broken(z, id) ? "failed"
                                       : "passed");
                sep = ",";
                if (is_ratio(id)) {
                        json_ratio(out, "value", share_of(z, id));
                        sb_char(out, ',');
                        json_ratio(out, "limit", k->ratio);
                } else {
                        sb_fmt(out, "\"value\":%llu,\"limit\":%llu",
                               (unsigned long long)count_of(z, id), (unsigned long long)k->n);
                }
                sb_char(out, '}');
        }
}

static void json_report(const struct analyze *z, struct sb *out)
{
        sb_str(out, "{\"apiVersion\":\"bld/v1\",");
        json_text(out, "image", bld_image_name(z->im));
        sb_char(out, ',');
        json_text(out, "digest", bld_image_digest(z->im));
        sb_char(out, ',');
        json_ratio(out, "efficiency", bld_analysis_efficiency(z->a));
        sb_fmt(out, ",\"bytes\":%llu,\"blobBytes\":%llu,\"wastedBytes\":%llu,",
               (unsigned long long)bld_analysis_bytes(z->a), (unsigned long long)z->blob_bytes,
               (unsigned long long)bld_analysis_wasted(z->a));
        json_ratio(out, "userWastedPercent", bld_analysis_wasted_share(z->a));
        sb_str(out, ",\"layers\":[");
        json_layers(z, out);
        sb_str(out, "],\"paths\":[");
        json_paths(z, out);
        sb_str(out, "],\"rules\":[");
        json_rules(z, out);
        sb_fmt(out, "],\"passed\":%s}", z->failed ? "false" : "true");
}

/* ---- the command ---- */

static int print(const struct analyze *z, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT((size_t)1 << 30);
        AUTO_JS struct js *j = NULL;
        const char *f = z->args->format ? z->args->format : "text";
        int r;

        if (strcmp(f, "text") == 0)
                text_report(z, &text);
        else
                json_report(z, &text);
        r = sb_check(&text, "report", err);
        if (r < 0 || strcmp(f, "text") == 0)
                return r < 0 ? r : cli_write_out(text.buf, text.len, err);
        r = js_parse(sb_text(&text), text.len, &j, err);
        return r < 0 ? r : table_print_one(j, f, err);
}

static int check_format(const char *f, struct bld_err *err)
{
        if (!f || strcmp(f, "text") == 0 || strcmp(f, "json") == 0 || strstr(f, "{{"))
                return 0;
        return err_set(err, BLD_E_USAGE, "--format takes text, json or a template, not \"%.100s\"",
                       f);
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        AUTO(analyze_done) struct analyze z = {.args = args};
        struct cli_progress p = {.c = c};
        const struct bld_watch w = {.size = sizeof(w), .progress = cli_progress, .user = &p};
        const struct bld_image_open_opts o = {
                .size = sizeof(o), .platform = z.args->platform, .watch = &w, .in_fd = 0};
        int r = check_format(z.args->format, err);

        r = r < 0 ? r : read_rules(c, &z, err);
        r = r < 0 ? r : cli_open(c, err);
        r = r < 0 ? r : bld_image_open(c->b, pos->v[0], &o, &z.im, err);
        r = r < 0 ? r : bld_analyze(z.im, &w, &z.a, err);
        cli_progress_end(&p);
        if (r < 0)
                return r;
        for (size_t i = 0; i < bld_image_layers(z.im); i++)
                z.blob_bytes += bld_image_layer(z.im, i)->blob_size;
        for (size_t i = 0; i < RULES; i++)
                z.failed = z.failed || broken(&z, (enum rule_id)i);
        r = print(&z, err);
        return r < 0 ? r : z.failed ? EXIT_FAILED : 0;
}

const struct cli_cmd cmd_analyze = {
        .name = "analyze",
        .args = "[flags] IMAGE",
        .summary = "tell how well an image uses its layers, and hold it to rules",
        .details = "The score is dive's: what the paths of all layers take at least, by what they\n"
                   "take in all. Files written by several layers, or removed again, waste.\n",
        .examples = "bld analyze app:v1\nbld analyze --ci app:v1\n"
                    "bld analyze --max-size 300m --lowest-efficiency 0.95 app:v1\n",
        .exits = "1 a rule is broken,\n  3 damaged file, 6 no such image, 7 network",
        .see = "bld-files(1), bld-history(1)",
        .opts = analyze_opts,
        .registry = true,
        .args_size = sizeof(struct analyze_args),
        .min_args = 1,
        .max_args = 1,
        .names_input = true,
        .run = run,
};
