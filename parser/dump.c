/* Text forms of a tree for tests and for people who learn how a file is read. */
#include <string.h>

#include "base/sb.h"
#include "parser/parser.h"
#include "parser/text_priv.h"

#define DUMP_MAX ((size_t)256 << 20)

static void put_str(struct sb *out, const char *s, bool json)
{
        sb_char(out, ' ');
        text_quote(out, s, strlen(s), json);
}

static void put_flags(struct sb *out, const struct df_instr *in)
{
        for (size_t i = 0; i < in->nflags; i++) {
                AUTO_SB struct sb f = SB_INIT(DUMP_MAX);

                sb_str(&f, "--");
                sb_str(&f, in->flags[i].name);
                if (in->flags[i].value) {
                        sb_char(&f, '=');
                        sb_str(&f, in->flags[i].value);
                }
                sb_str(out, i ? " " : " [");
                text_quote(out, sb_text(&f), f.len, false);
                if (f.failed)
                        out->failed = f.failed;
        }
        if (in->nflags)
                sb_char(out, ']');
}

static void put_pair(struct sb *out, const struct df_instr *in, const struct df_pair *p)
{
        if (in->kind != DF_ARG) {
                put_str(out, p->key, false);
                put_str(out, p->value, false);
                put_str(out, in->legacy_pair ? "" : "=", false);
        } else if (p->value) {
                AUTO_SB struct sb s = SB_INIT(DUMP_MAX);

                sb_str(&s, p->key);
                sb_char(&s, '=');
                sb_str(&s, p->value);
                sb_char(out, ' ');
                text_quote(out, sb_text(&s), s.len, false);
                if (s.failed)
                        out->failed = s.failed;
        } else {
                put_str(out, p->key, false);
        }
}

static void put_instr(struct sb *out, const struct df_instr *in)
{
        for (const char *s = in->word; *s; s++)
                sb_char(out, *s >= 'A' && *s <= 'Z' ? (char)(*s + 32) : *s);
        put_flags(out, in);
        if (in->kind == DF_UNKNOWN)
                sb_str(out, " \"\"");
        for (size_t i = 0; i < in->nargs; i++)
                put_str(out, in->args[i].text, in->args_json);
        for (size_t i = 0; i < in->cmd.argv.n; i++)
                put_str(out, in->cmd.argv.v[i], in->cmd.json);
        for (size_t i = 0; i < in->npairs; i++)
                put_pair(out, in, &in->pairs[i]);
        if (in->sub) {
                sb_str(out, " (");
                put_instr(out, in->sub);
                sb_char(out, ')');
        }
}

int df_dump(const struct df_file *f, struct sb *out, struct bld_err *err)
{
        for (size_t i = 0; i < f->n; i++) {
                sb_char(out, '(');
                put_instr(out, &f->v[i]);
                sb_str(out, ")\n");
        }
        return sb_check(out, "dump", err);
}

static void put_json(struct sb *out, const char *s, size_t n)
{
        sb_char(out, '"');
        for (size_t i = 0; i < n;) {
                uint32_t c;
                size_t k = u8_decode(s + i, n - i, &c);

                if (c >= U8_BAD)
                        sb_str(out, "\\ufffd");
                else if (c == '\n')
                        sb_str(out, "\\n");
                else if (c == '\t')
                        sb_str(out, "\\t");
                else if (c < 0x20)
                        sb_fmt(out, "\\u%04x", c);
                else if (c == '"' || c == '\\')
                        sb_fmt(out, "\\%c", (int)c);
                else
                        sb_add(out, s + i, k);
                i += k;
        }
        sb_char(out, '"');
}

static void put_heredoc(struct sb *out, const struct df_heredoc *h)
{
        sb_str(out, "{\"name\":");
        put_json(out, h->name, strlen(h->name));
        sb_str(out, ",\"content\":");
        put_json(out, h->content, h->content_len);
        sb_fmt(out, ",\"expand\":%s,\"chomp\":%s,\"fd\":%u}", h->expand ? "true" : "false",
               h->chomp ? "true" : "false", h->fd);
}

int df_dump_heredocs(const struct df_file *f, struct sb *out, struct bld_err *err)
{
        sb_char(out, '[');
        for (size_t i = 0; i < f->n; i++) {
                sb_str(out, i ? ",[" : "[");
                for (size_t k = 0; k < f->v[i].nheredocs; k++) {
                        if (k)
                                sb_char(out, ',');
                        put_heredoc(out, &f->v[i].heredocs[k]);
                }
                sb_char(out, ']');
        }
        sb_str(out, "]\n");
        return sb_check(out, "dump", err);
}

void df_quote(struct sb *b, const char *s)
{
        text_quote(b, s, strlen(s), false);
}
