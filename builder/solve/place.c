#include "builder/solve/place_priv.h"

#include <string.h>

/* The start of the character that a byte of the line belongs to. */
static size_t char_start(const char *line, size_t at)
{
        while (at > 0 && ((unsigned char)line[at] & 0xc0) == 0x80)
                at--;
        return at;
}

/* A line that is too long is shown around the column, with dots where its end is missing. */
static void put_source(struct bld_place *p, const char *line, size_t len)
{
        static const char dots[] = "...";
        const size_t room = sizeof(p->source) - 1, shown = room - (sizeof(dots) - 1), before = 100;
        size_t from = 0, to = len;

        if (len > room) {
                if (p->col > before)
                        from = char_start(line, MIN(p->col - 1 - before, len - shown));
                to = from + shown < len ? char_start(line, from + shown) : len;
        }
        memcpy(p->source, line + from, to - from);
        (void)str_copy(p->source + (to - from), sizeof(dots), to < len ? dots : "");
        p->source_from = (unsigned)from;
}

void place_at(struct bld_place *p, const struct source *src, const struct df_pos *pos)
{
        const char *text = sb_text(&src->text);

        if (!pos->line || p->line)
                return;
        (void)str_copy(p->file, sizeof(p->file), src->dockerfile_name);
        p->line = pos->line;
        p->col = pos->col;
        p->len = pos->len;
        /* It may not have parsed, so the line is found by hand. */
        if (str_has_prefix(text, "\xef\xbb\xbf"))
                text += 3;
        for (unsigned line = 1; *text && line < pos->line; line++) {
                text += strcspn(text, "\n");
                text += *text == '\n';
        }
        put_source(p, text, strcspn(text, "\r\n"));
}

void place_vertex(struct bld_place *p, const struct source *src, const struct vertex *v)
{
        struct df_pos pos = v->pos;

        if (!pos.line)
                pos.line = v->line;
        place_at(p, src, &pos);
        (void)str_copy(p->stage, sizeof(p->stage), v->stage ? v->stage : "");
        (void)str_copy(p->step, sizeof(p->step), v->step ? v->step : "");
}
