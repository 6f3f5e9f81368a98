#include "cli/page.h"

#include <string.h>

#include "base/digest.h"
#include "cli/text.h"

#define TEXT_MAX ((size_t)1 << 26) /* of one name or value, before it is cut */

/* A file's bytes and their number. The Makefile names the files as prerequisites. */
#define EMBED(symbol, file)                                             \
        __asm__(".pushsection .rodata\n"                                \
                ".hidden " #symbol ", " #symbol "_size\n"               \
                ".global " #symbol ", " #symbol "_size\n" #symbol ":\n" \
                ".incbin \"" file "\"\n"                                \
                "0:\n"                                                  \
                ".balign 8\n" #symbol "_size:\n"                        \
                ".quad 0b - " #symbol "\n"                              \
                ".popsection\n");                                       \
        extern const char symbol[];                                     \
        extern const uint64_t symbol##_size

EMBED(embedded_diff_js, "cli/page/diff.js");
EMBED(embedded_diff_css, "cli/page/diff.css");
EMBED(embedded_diff_html, "cli/page/diff.html");

struct page_asset page_diff_script(void)
{
        return (struct page_asset){embedded_diff_js, (size_t)embedded_diff_js_size};
}

struct page_asset page_diff_style(void)
{
        return (struct page_asset){embedded_diff_css, (size_t)embedded_diff_css_size};
}

struct page_asset page_diff_body(void)
{
        return (struct page_asset){embedded_diff_html, (size_t)embedded_diff_html_size};
}

/* 'sha256-...', as a policy names what it allows (CSP, section 2.3.1). */
static void put_source(struct sb *out, struct page_asset a)
{
        struct digest d;

        digest_of(a.text, a.n, &d);
        sb_str(out, "'sha256-");
        text_base64(out, d.b, digest_len(d.algo));
        sb_char(out, '\'');
}

void page_begin(struct sb *out, const char *title, struct page_asset style,
                struct page_asset script)
{
        sb_str(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                    "style-src ");
        put_source(out, style);
        sb_str(out, "; script-src ");
        put_source(out, script);
        sb_fmt(out,
               "; base-uri 'none'; form-action 'none'\">\n"
               "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
               "<meta name=\"color-scheme\" content=\"light dark\">\n"
               "<meta name=\"referrer\" content=\"no-referrer\">\n"
               "<title>%s</title>\n<style>",
               title);
        sb_add(out, style.text, style.n);
        sb_str(out, "</style>\n</head>\n<body>\n");
}

void page_end(struct sb *out, struct page_asset script)
{
        sb_str(out, "<script>");
        sb_add(out, script.text, script.n);
        sb_str(out, "</script>\n</body>\n</html>\n");
}

void page_text(struct sb *out, const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                switch (s[i]) {
                case '&':
                        sb_str(out, "&amp;");
                        break;
                case '<':
                        sb_str(out, "&lt;");
                        break;
                case '>':
                        sb_str(out, "&gt;");
                        break;
                case '"':
                        sb_str(out, "&quot;");
                        break;
                case '\'':
                        sb_str(out, "&#39;");
                        break;
                default:
                        sb_char(out, s[i]);
                }
}

/* What was made in a buffer of its own, with its failure. */
static void hand_over(struct sb *out, const struct sb *from)
{
        if (from->failed)
                out->failed = from->failed;
}

static void clean_name(struct sb *out, const char *s, size_t n)
{
        AUTO_SB struct sb name = SB_INIT(TEXT_MAX);

        text_name(&name, s, n);
        (void)text_add_middle(out, sb_text(&name), name.len, PAGE_NAME_MAX, 0);
        hand_over(out, &name);
}

static void clean_value(struct sb *out, const char *s)
{
        AUTO_SB struct sb flat = SB_INIT(TEXT_MAX);

        for (; *s; s++)
                if (*s == '\n')
                        sb_str(&flat, "\\n");
                else
                        sb_char(&flat, *s);
        (void)text_add_middle(out, sb_text(&flat), flat.len, PAGE_VALUE_MAX, 0);
        hand_over(out, &flat);
}

static void json_of(struct sb *out, const struct sb *text)
{
        AUTO_SB struct sb json = SB_INIT(TEXT_MAX);

        text_json(&json, sb_text(text), text->len);
        for (size_t i = 0; i < json.len; i++)
                if (json.buf[i] == '<')
                        sb_str(out, "\\u003c");
                else
                        sb_char(out, json.buf[i]);
        hand_over(out, &json);
}

void page_name(struct sb *out, const char *s)
{
        AUTO_SB struct sb text = SB_INIT(TEXT_MAX);

        clean_name(&text, s, strlen(s));
        page_text(out, sb_text(&text), text.len);
        hand_over(out, &text);
}

void page_value(struct sb *out, const char *s)
{
        AUTO_SB struct sb text = SB_INIT(TEXT_MAX);

        clean_value(&text, s);
        page_text(out, sb_text(&text), text.len);
        hand_over(out, &text);
}

void page_json_name(struct sb *out, const char *s, size_t n)
{
        AUTO_SB struct sb text = SB_INIT(TEXT_MAX);

        clean_name(&text, s, n);
        json_of(out, &text);
        hand_over(out, &text);
}

void page_json_value(struct sb *out, const char *s)
{
        AUTO_SB struct sb text = SB_INIT(TEXT_MAX);

        clean_value(&text, s);
        json_of(out, &text);
        hand_over(out, &text);
}
