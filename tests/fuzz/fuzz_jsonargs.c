/* JSON arrays of instructions: for ASCII text, jansson and our reader must be of one opinion. */
#include <jansson.h>
#include <string.h>

#include "base/err.h"
#include "parser/lex_priv.h"
#include "parser/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
        if (!ok)
                abort();
}

/* What the two may see differently: bytes beyond ASCII, halves of surrogate pairs, and a NUL behind
 * a number, which jansson loses. */
static bool comparable(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (s[i] == '\0' || (unsigned char)s[i] >= 0x80)
                        return false;
        for (const char *p = s; (p = memmem(p, (size_t)(s + n - p), "\\u", 2)); p += 2)
                if (s + n - p > 3 && (p[2] | 0x20) == 'd' && strchr("89abcdefABCDEF", p[3]))
                        return false;
        return n > 0 && s[0] == '[';
}

static void check_element(const struct df_json_elem *e, const json_t *want, const char *s, size_t n)
{
        const char *text = json_string_value(want);
        size_t len = json_string_length(want), o = 0;

        must(e->len >= 2 && e->off + e->len <= n);
        must(s[e->off] == '"' && s[e->off + e->len - 1] == '"');
        for (size_t i = 0; i < len; i++) {
                if (text[i]) {
                        must(e->text[o++] == text[i]);
                        continue;
                }
                must(memcmp(e->text + o, "\xc0\x80", 2) == 0);
                o += 2;
        }
        must(e->text[o] == '\0');
}

static bool only_strings(const json_t *j)
{
        for (size_t i = 0; i < json_array_size(j); i++)
                if (!json_is_string(json_array_get(j, i)))
                        return false;
        return true;
}

static void compare(int r, const struct df_json_elem *v, size_t k, const char *s, size_t n)
{
        json_t *want = json_loadb(s, n, JSON_ALLOW_NUL, NULL);

        if (want && only_strings(want)) {
                must(r == 1 && k == json_array_size(want));
                for (size_t i = 0; i < k; i++)
                        check_element(&v[i], json_array_get(want, i), s, n);
        } else if (want) {
                must(r == BLD_E_INVALID);
        } else {
                must(r != 1); /* numbers out of range and deep nesting: not strings anyway */
        }
        json_decref(want);
}

/* The same text as the arguments of an instruction. */
static void as_instruction(int r, const struct df_json_elem *v, size_t k, const char *s, size_t n)
{
        AUTO_SB struct sb file = SB_INIT(16u << 20);
        struct df_file *f = NULL;

        if (n == 0 || s[0] != '[' || s[n - 1] != ']' || memchr(s, '\n', n) || memchr(s, '\r', n) ||
            memchr(s, '\0', n)) /* no file has that */
                return;
        sb_str(&file, "CMD ");
        sb_add(&file, s, n);
        must(!file.failed);
        if (df_parse(sb_text(&file), file.len, &f, NULL, NULL) < 0)
                must(r == BLD_E_INVALID);
        else if (f->n == 1 && r >= 0)
                must(f->v[0].cmd.json == (r == 1));
        for (size_t i = 0; f && r == 1 && i < k; i++)
                must(f->v[0].cmd.argv.n == k && strcmp(f->v[0].cmd.argv.v[i], v[i].text) == 0);
        df_free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *s = (const char *)data;
        struct df_arena *a = df_arena_new();
        struct bld_err err = BLD_ERR_INIT;
        struct df_json_elem *v = NULL;
        size_t k = 0;
        int r;

        if (!a)
                return 0;
        r = df_json_array(a, s, size, &v, &k, &err);
        must(r >= 0 || (err.code == r && err.msg[0]));
        if (comparable(s, size))
                compare(r, v, k, s, size);
        as_instruction(r, v, k, s, size);
        df_arena_free(a);
        return 0;
}
