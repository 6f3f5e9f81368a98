/* Characters and memory, shared by the files of parser/. */
#ifndef PARSER_TEXT_PRIV_H
#define PARSER_TEXT_PRIV_H

#include "base/base.h"
#include "base/sb.h"

/* ---- an arena: everything a tree points to lives and dies with it ---- */

struct df_arena;

struct df_arena *df_arena_new(void);
void df_arena_free(struct df_arena *a);
/* Zeroed, aligned for any type. NULL when memory is out. */
void *df_arena_alloc(struct df_arena *a, size_t n, size_t size);
char *df_arena_str(struct df_arena *a, const char *s, size_t n);

/* ---- UTF-8 ---- */

/* Bytes that are no UTF-8 decode one by one to this plus the byte: no character class holds them,
 * and they can be written back as they were. */
#define U8_BAD 0x200000u

/* Decode the character at s (n >= 1 bytes); its length in bytes, at least 1. */
size_t u8_decode(const char *s, size_t n, uint32_t *ret);
/* Encode; understands U8_BAD. Length, at most 4. */
size_t u8_encode(uint32_t c, char out[4]);

struct uc_range {
        uint32_t lo, hi;
};
extern const struct uc_range uc_letters[], uc_digits[], uc_printable[];
extern const size_t uc_letters_n, uc_digits_n, uc_printable_n;

bool uc_is_space(uint32_t c);
bool uc_is_letter(uint32_t c);
bool uc_is_digit(uint32_t c);
bool uc_is_print(uint32_t c);

/* The white space that separates arguments; narrower than uc_is_space(). */
static inline bool is_blank_byte(char c)
{
        return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

struct text {
        const char *s;
        size_t n;
};

/* Bytes of white space at the start and at the end of s. */
size_t text_skip_space(const char *s, size_t n);
size_t text_space_tail(const char *s, size_t n);

/* Append s in C-like quotes, as Go's %q prints it. With `nul_as_c080` the pair C0 80 stands for
 * U+0000 (see json_array.c). */
void text_quote(struct sb *b, const char *s, size_t n, bool nul_as_c080);

/* A printable copy of s in quotes for a message, cut to a readable length. */
#define TEXT_EXCERPT_MAX 256
const char *text_excerpt(const char *s, size_t n, char out[TEXT_EXCERPT_MAX]);

bool text_eq_fold(const char *s, size_t n, const char *ascii);
void text_lower(char *s); /* ASCII */

#endif
