/* --progress=rawjson: the solve-status stream that programs reading BuildKit's output expect. One
 * object per line with vertexes, statuses, logs or warnings; data, short and detail are base64. */
#include <string.h>

#include "base/num.h"
#include "cli/view.h"

struct raw {
        struct sb out;
};

static struct raw *raw_of(struct view *v)
{
        struct raw *r = view_state(v);

        if (!r->out.max)
                sb_init(&r->out, 64u << 20);
        return r;
}

static void str_member(struct sb *out, const char *key, const char *value)
{
        sb_fmt(out, "\"%s\":", key);
        text_json(out, value, strlen(value));
}

static void time_member(struct sb *out, const char *key, int64_t ns)
{
        char text[RFC3339_MAX];

        format_rfc3339(ns / 1000000000, ns % 1000000000, text);
        sb_fmt(out, ",\"%s\":\"%s\"", key, text);
}

/* Readers join everything on the digest; a step without a key yet is known by its name. */
static const char *vertex_of(const struct step *st)
{
        return st->digest ? st->digest : st->id;
}

static void vertex(struct sb *out, const struct bld_event *ev, const struct step *st)
{
        sb_str(out, "{\"vertexes\":[{");
        str_member(out, "digest", vertex_of(st));
        if (ev->inputs && ev->inputs[0]) {
                sb_str(out, ",\"inputs\":[");
                for (size_t i = 0; ev->inputs[i]; i++) {
                        sb_str(out, i ? "," : "");
                        text_json(out, ev->inputs[i], strlen(ev->inputs[i]));
                }
                sb_char(out, ']');
        }
        sb_str(out, ",\"name\":");
        {
                AUTO_SB struct sb name = SB_INIT(1u << 20);

                sb_fmt(&name, "[%s] %s", st->id, st->name ? st->name : "");
                text_json(out, sb_text(&name), name.len);
        }
        if (ev->type != BLD_EV_STEP_PLAN)
                time_member(out, "started", st->started_ns);
        if (st->state > STEP_RUNNING)
                time_member(out, "completed", ev->time_ns);
        if (st->state == STEP_CACHED)
                sb_str(out, ",\"cached\":true");
        if (st->state == STEP_FAILED) {
                sb_char(out, ',');
                str_member(out, "error", ev->text ? ev->text : "failed");
        }
        sb_str(out, "}]}\n");
}

static void log_record(struct sb *out, const struct bld_event *ev, const struct step *st)
{
        sb_str(out, "{\"logs\":[{");
        str_member(out, "vertex", vertex_of(st));
        sb_fmt(out, ",\"stream\":%d,\"data\":\"", ev->stream == 2 ? 2 : 1);
        text_base64(out, ev->data, ev->len);
        sb_char(out, '"');
        time_member(out, "timestamp", ev->time_ns);
        sb_str(out, "}]}\n");
}

static void status(struct sb *out, const struct bld_event *ev, const char *vertex_id,
                   int64_t started_ns)
{
        sb_str(out, "{\"statuses\":[{");
        str_member(out, "id", ev->text ? ev->text : "status");
        sb_char(out, ',');
        str_member(out, "vertex", vertex_id);
        sb_char(out, ',');
        str_member(out, "name", ev->text ? ev->text : "status");
        if (ev->total)
                sb_fmt(out, ",\"total\":%llu", (unsigned long long)ev->total);
        sb_fmt(out, ",\"current\":%llu", (unsigned long long)ev->done);
        time_member(out, "timestamp", ev->time_ns);
        time_member(out, "started", started_ns);
        if (ev->total && ev->done >= ev->total)
                time_member(out, "completed", ev->time_ns);
        sb_str(out, "}]}\n");
}

static void warning(struct sb *out, const struct bld_event *ev, const struct step *st)
{
        const char *text = ev->text ? ev->text : "";

        sb_str(out, "{\"warnings\":[{");
        str_member(out, "vertex", st ? vertex_of(st) : "");
        sb_str(out, ",\"level\":1,\"short\":\"");
        text_base64(out, text, strlen(text));
        sb_char(out, '"');
        if (ev->line)
                sb_fmt(out,
                       ",\"range\":[{\"start\":{\"line\":%u,\"character\":0},"
                       "\"end\":{\"line\":%u,\"character\":0}}]",
                       ev->line, ev->line);
        sb_str(out, "}]}\n");
}

static void raw_event(struct view *v, const struct bld_event *ev, struct step *st)
{
        struct raw *r = raw_of(v);

        switch (ev->type) {
        case BLD_EV_STEP_PLAN:
        case BLD_EV_STEP_START:
        case BLD_EV_STEP_CACHED:
        case BLD_EV_STEP_DONE:
        case BLD_EV_STEP_ERROR:
                if (st)
                        vertex(&r->out, ev, st);
                break;
        case BLD_EV_STEP_STATUS:
                if (st)
                        status(&r->out, ev, vertex_of(st), st->started_ns);
                break;
        case BLD_EV_STEP_LOG:
                if (st)
                        log_record(&r->out, ev, st);
                break;
        case BLD_EV_WARNING:
                warning(&r->out, ev, st);
                break;
        case BLD_EV_TRANSFER:
                status(&r->out, ev, "push", ev->time_ns - ev->elapsed_ms * 1000000);
                break;
        case BLD_EV_BUILD_START:
        case BLD_EV_BUILD_END:
                break;
        }
        view_write(v, &r->out);
        sb_reset(&r->out);
}

/* Notes of bld itself have no place in this stream. */
static void raw_note(struct view *v, const char *kind, const char *text)
{
        (void)v;
        (void)kind;
        (void)text;
}

static void raw_end(struct view *v)
{
        sb_done(&raw_of(v)->out);
}

const struct view_ops view_rawjson_ops = {
        .state_size = sizeof(struct raw),
        .event = raw_event,
        .note = raw_note,
        .end = raw_end,
};
