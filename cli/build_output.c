#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/num.h"
#include "cli/build.h"
#include "cli/exit.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/text.h"

#define DIGEST_SHOWN 19u /* "sha256:" and 12 digits */

static void add_text(const struct term *t, struct sb *out, const char *s, size_t n)
{
        (void)text_add(out, s, n, TEXT_WIDE, term_text_flags(t) & ~(unsigned)TEXT_SGR);
}

static void label(const struct term *t, struct sb *out, const char *name, enum term_style style)
{
        sb_fmt(out, "%s%-8s%s", term_style(t, style), name, term_style(t, S_RESET));
}

static void built_lines(const struct build_report *b, struct sb *out)
{
        const struct bld_build_result *r = b->result;
        const struct term *t = &b->c->err;
        const struct strv *tags = &b->a->tags;
        char size[24];

        if (!r->digest[0])
                return;
        format_size(r->image_bytes + r->document_bytes, size);
        for (size_t i = 0; i < MAX(tags->n, 1u); i++) {
                label(t, out, i ? "" : "built", S_GREEN);
                if (tags->n) {
                        add_text(t, out, tags->v[i], strlen(tags->v[i]));
                        sb_str(out, "  ");
                }
                if (i == 0) {
                        add_text(t, out, r->digest, MIN(strlen(r->digest), DIGEST_SHOWN));
                        sb_fmt(out, "  %s (%u layer%s new, %u reused)", size, r->layers_new,
                               r->layers_new == 1 ? "" : "s", r->layers_reused);
                }
                sb_char(out, '\n');
        }
}

static void pushed_lines(const struct build_report *b, struct sb *out)
{
        const struct bld_build_result *r = b->result;
        const struct term *t = &b->c->err;
        const struct strv *tags = &b->a->tags;
        char up[24], there[24];

        if (!b->a->push)
                return;
        format_size(r->pushed_bytes, up);
        format_size(r->push_skipped_bytes, there);
        for (size_t i = 0; i < tags->n; i++) {
                label(t, out, "pushed", S_GREEN);
                add_text(t, out, tags->v[i], strlen(tags->v[i]));
                if (i == 0)
                        sb_fmt(out, "   %s uploaded, %s already there", up, there);
                sb_char(out, '\n');
        }
}

static void loaded_lines(const struct build_report *b, struct sb *out)
{
        const struct term *t = &b->c->err;

        if (!b->loaded_id[0])
                return;
        label(t, out, "loaded", S_GREEN);
        sb_str(out, "into docker as ");
        add_text(t, out, b->loaded_id, MIN(strlen(b->loaded_id), DIGEST_SHOWN));
        sb_char(out, '\n');
}

static void wrote_lines(const struct build_report *b, struct sb *out)
{
        const struct term *t = &b->c->err;

        for (size_t i = 0; i < b->a->outputs.n; i++) {
                const char *dest = strstr(b->a->outputs.v[i], "dest=");

                if (!dest)
                        continue;
                label(t, out, "wrote", S_GREEN);
                add_text(t, out, dest + 5, strcspn(dest + 5, ","));
                sb_char(out, '\n');
        }
}

static void time_line(const struct build_report *b, struct sb *out)
{
        const struct bld_build_result *r = b->result;
        const struct term *t = &b->c->err;
        char total[24], slow[24], push[24];

        format_elapsed(r->total_ms, total);
        label(t, out, "time", S_BOLD);
        sb_str(out, total);
        if (r->slowest[0] && r->slowest_ms >= 100) {
                format_elapsed(r->slowest_ms, slow);
                sb_str(out, "   slowest: ");
                (void)text_add_middle(out, r->slowest, strlen(r->slowest), 40,
                                      term_text_flags(t) & ~(unsigned)TEXT_SGR);
                sb_fmt(out, " (%s)", slow);
        }
        if (r->push_ms) {
                format_elapsed(r->push_ms, push);
                sb_fmt(out, "%spush (%s)", r->slowest[0] && r->slowest_ms >= 100 ? ", " : "   ",
                       push);
        }
        sb_char(out, '\n');
}

static void cache_line(const struct build_report *b, struct sb *out)
{
        const struct bld_build_result *r = b->result;
        const struct term *t = &b->c->err;

        if (!r->steps)
                return;
        label(t, out, "cache", S_BOLD);
        sb_fmt(out, "%u/%u steps reused", r->steps_cached, r->steps);
        if (r->steps_imported)
                sb_fmt(out, ", %u result%s from a shared cache", r->steps_imported,
                       r->steps_imported == 1 ? "" : "s");
        if (r->cache_stored)
                sb_fmt(out, ", %u stored in one", r->cache_stored);
        if (r->first_miss[0]) {
                sb_str(out, "; first miss: ");
                add_text(t, out, r->first_miss, strlen(r->first_miss));
        }
        if (r->first_miss[0] && r->first_miss_why[0]) {
                sb_str(out, "  because ");
                add_text(t, out, r->first_miss_why, strlen(r->first_miss_why));
        }
        sb_char(out, '\n');
}

static void record_line(const struct build_report *b, struct sb *out)
{
        const struct term *t = &b->c->err;
        const char *root = bld_root(b->c->b);

        /* A build in which nothing ran leaves no record. */
        if (!b->result->id[0] || !root || b->result->steps_cached == b->result->steps)
                return;
        label(t, out, "record", S_BOLD);
        add_text(t, out, root, strlen(root));
        sb_fmt(out, "/builds/%s\n", b->result->id);
}

void build_summary(const struct build_report *b)
{
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        const struct bld_build_result *r = b->result;
        const struct term *t = &b->c->err;

        if (b->in->view == VIEW_NONE || b->in->view == VIEW_RAWJSON)
                return;
        built_lines(b, &out);
        pushed_lines(b, &out);
        loaded_lines(b, &out);
        wrote_lines(b, &out);
        time_line(b, &out);
        cache_line(b, &out);
        record_line(b, &out);
        if (r->warnings) {
                label(t, &out, "warn", S_YELLOW);
                sb_fmt(&out, "%u Dockerfile warning%s\n", r->warnings, r->warnings == 1 ? "" : "s");
        }
        if (b->c->level <= LOG_DEBUG && r->isolation[0]) {
                label(t, &out, "level", S_BOLD);
                add_text(t, &out, r->isolation, strlen(r->isolation));
                sb_char(&out, '\n');
        }
        (void)term_write(2, out.buf, out.len); /* said for people only */
}

/* ---- failure ---- */

static bool wants_run_status(const struct build_args *a)
{
        const char *e = getenv("BLD_EXIT_CODE_FROM_RUN");
        bool yes = false;

        return a->exit_code_from_run || (e && parse_go_bool(e, &yes) && yes);
}

static int failure_status(const struct build_report *b, const struct bld_err *err, int signal)
{
        int run = b->result->place.run_status;

        if (signal)
                return exit_status_of(err, false, signal);
        if (run && wants_run_status(b->a))
                return run;
        /* A RUN past --run-timeout is a failed step, not a network that is slow. */
        if (err->code == BLD_E_TIMEOUT && b->a->run_timeout && b->result->place.step[0])
                return EXIT_FAILED;
        return exit_status_of(err, false, 0);
}

int build_failure(const struct build_report *b, const struct bld_err *err)
{
        const struct bld_place *place = &b->result->place;
        const struct term *t = &b->c->err;
        struct report rep = {
                .err = err,
                .place = place,
                .platform = b->in->platforms.n == 1 ? b->in->platforms.v[0] : NULL,
                .debug = b->c->level <= LOG_DEBUG,
                /* Plain progress has just shown them. */
                .tail = b->in->view == VIEW_PLAIN ? 6 : TAIL_LINES,
        };
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        struct bld_err full = BLD_ERR_INIT;

        if (report_is_full(err)) {
                report_full(b->c, err, place->step, &full);
                rep.err = &full;
        }
        if (place->run_status)
                rep.step = steps_find(b->steps, place->step);
        if (b->c->json_log || b->in->view == VIEW_RAWJSON)
                report_json(&rep, &out);
        else
                report_format(t, &rep, &out);
        (void)term_write(2, out.buf, out.len); /* the exit status still tells */
        return failure_status(b, err, signals_caught());
}

/* ---- files ---- */

static const char *wanted_digest(const struct build_report *b)
{
        bool config = b->a->iid && strcmp(b->a->iid, "config") == 0;

        if (b->loaded_id[0] && !b->a->iid)
                return b->loaded_id;
        return config ? b->result->config_digest : b->result->digest;
}

static int write_file(const char *path, const char *text, size_t n, struct bld_err *err)
{
        int r = file_write(AT_FDCWD, path, text, n, 0644, FILE_IN_PLACE, err);

        return err_wrap(err, r, "write \"%s\"", path);
}

/* One line for each name: NAME[:TAG]@DIGEST. */
static int write_names(const struct build_report *b, const char *path, bool with_tag,
                       struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(1u << 20);

        for (size_t i = 0; i < b->a->tags.n; i++) {
                const char *ref = b->a->tags.v[i];
                size_t n = cli_repository_len(ref), full = strcspn(ref, "@");

                sb_add(&out, ref, n);
                if (with_tag)
                        sb_str(&out, n == full ? ":latest" : "");
                if (with_tag)
                        sb_add(&out, ref + n, full - n);
                sb_fmt(&out, "@%s\n", b->result->digest);
        }
        return write_file(path, sb_text(&out), out.len, err);
}

static int write_metadata(const struct build_report *b, struct bld_err *err)
{
        char *text = NULL;
        int r = bld_build_metadata(b->c->b, &b->in->o, b->result, &text, err);

        if (r < 0)
                return r;
        r = write_file(b->a->metadata_file, text, strlen(text), err);
        bld_free(text);
        return r;
}

int build_files(const struct build_report *b, struct bld_err *err)
{
        const struct build_args *a = b->a;
        const char *id = wanted_digest(b);
        int r = 0;

        if ((a->iidfile || a->digest_file) && !id[0])
                return err_set(err, BLD_E_USAGE, "this build made no image with %s digest",
                               a->iid ? "that" : "a");
        if (a->iidfile)
                r = write_file(a->iidfile, id, strlen(id), err);
        if (r == 0 && a->digest_file)
                r = write_file(a->digest_file, b->result->digest, strlen(b->result->digest), err);
        if (r == 0 && a->name_digest_file)
                r = write_names(b, a->name_digest_file, false, err);
        if (r == 0 && a->name_tag_digest_file)
                r = write_names(b, a->name_tag_digest_file, true, err);
        if (r == 0 && a->metadata_file)
                r = write_metadata(b, err);
        if (r == 0 && b->in->quiet && id[0]) {
                AUTO_SB struct sb line = SB_INIT(512);

                sb_fmt(&line, "%s\n", id);
                r = cli_write_out(line.buf, line.len, err);
        }
        return r;
}

static struct js *tail_list(const struct build_report *b)
{
        const struct step *st = steps_find(b->steps, b->result->place.step);
        struct js *list = js_arr();
        AUTO_SB struct sb clean = SB_INIT(1u << 16);
        const char *line;
        size_t len;

        for (size_t i = 0; st && list && tail_line(&st->tail, i, &line, &len); i++) {
                sb_reset(&clean);
                (void)text_add(&clean, line, len, TEXT_WIDE, 0);
                if (js_push_str(list, sb_text(&clean)) < 0)
                        break; /* fewer lines of context */
        }
        return list;
}

int build_failure_file(const struct build_report *b, const struct bld_err *why, struct bld_err *err)
{
        const struct bld_place *p = &b->result->place;
        AUTO_JS struct js *j = js_obj(), *e = js_obj();
        AUTO_SB struct sb out = SB_INIT(4u << 20), msg = SB_INIT(4096);
        int r;

        if (!b->a->metadata_file || !b->a->metadata_on_error)
                return 0;
        (void)text_add(&msg, why->msg, report_what(why), TEXT_WIDE, 0);
        r = js_set_i64(e, "code", why->code);
        r = r < 0 ? r : js_set_str(e, "message", sb_text(&msg));
        r = r < 0 ? r : js_set_str(e, "file", p->file);
        r = r < 0 ? r : js_set_i64(e, "line", p->line);
        r = r < 0 ? r : js_set_str(e, "step", p->step);
        r = r < 0 ? r : js_set_i64(e, "exitStatus", p->run_status);
        r = r < 0 ? r : js_set(e, "logTail", tail_list(b));
        r = r < 0 ? r : js_set_str(j, "bld.version", bld_version());
        r = r < 0 ? r : js_set_i64(j, "bld.schema", 1);
        r = r < 0 ? r : js_set_str(j, "bld.build.id", b->result->id);
        r = r < 0 ? r : js_set_str(j, "bld.status", "failed");
        r = r < 0 ? r : js_set(j, "bld.error", TAKE_PTR(&e));
        if (r < 0)
                return err_nomem(err, "metadata");
        r = js_write(j, JS_INDENT, &out, err);
        sb_char(&out, '\n');
        return r < 0 ? r : write_file(b->a->metadata_file, sb_text(&out), out.len, err);
}
