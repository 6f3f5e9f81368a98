/* Pages for browsers: one file that asks for nothing, and in which nothing runs but bld's own
 * script. Style and script are files in cli/page/, compiled in, and named in the page's policy by
 * their SHA-256. */
#ifndef CLI_PAGE_H
#define CLI_PAGE_H

#include "base/sb.h"

struct page_asset {
        const char *text;
        size_t n;
};
struct page_asset page_diff_script(void);
struct page_asset page_diff_style(void);
struct page_asset page_diff_body(void); /* what the script fills */

/* The document up to the beginning of its body. title: HTML. */
void page_begin(struct sb *out, const char *title, struct page_asset style,
                struct page_asset script);
/* The script, and the end. */
void page_end(struct sb *out, struct page_asset script);

/* Text as HTML, for elements and quoted attributes. */
void page_text(struct sb *out, const char *s, size_t n);
/* The same for what others wrote: a name, as text_name() shows it, and a value in one line without
 * what could deceive. Both are cut in the middle beyond PAGE_NAME_MAX and PAGE_VALUE_MAX columns.
 */
#define PAGE_NAME_MAX 1024u
#define PAGE_VALUE_MAX 2000u
void page_name(struct sb *out, const char *s);
void page_value(struct sb *out, const char *s);
/* The same as JSON strings for a data block, which no "</script>" ends. */
void page_json_name(struct sb *out, const char *s, size_t n);
void page_json_value(struct sb *out, const char *s);

#endif
