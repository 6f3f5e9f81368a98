#include <string.h>

#include "parser/parser.h"
#include "parser/text_priv.h"

#define DISTANCE_MAX 2 /* more is no typing mistake */
#define WORD_MAX 64

static size_t to_chars(const char *s, bool fold, uint32_t out[WORD_MAX])
{
        size_t n = strlen(s), k = 0;

        for (size_t i = 0; i < n && k < WORD_MAX; k++) {
                i += u8_decode(s + i, n - i, &out[k]);
                if (fold && out[k] >= 'A' && out[k] <= 'Z')
                        out[k] |= 0x20;
        }
        return k;
}

/* Levenshtein distance, one row at a time. */
static size_t distance(const uint32_t *a, size_t na, const uint32_t *b, size_t nb)
{
        size_t row[WORD_MAX + 1];

        for (size_t j = 0; j <= nb; j++)
                row[j] = j;
        for (size_t i = 1; i <= na; i++) {
                size_t diagonal = row[0];

                row[0] = i;
                for (size_t j = 1; j <= nb; j++) {
                        size_t change = diagonal + (a[i - 1] != b[j - 1]);

                        diagonal = row[j];
                        row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
                }
        }
        return row[nb];
}

/* Is b what comes of a when two neighbours change places? */
static bool is_swap(const uint32_t *a, const uint32_t *b, size_t n)
{
        size_t i = 0;

        while (i < n && a[i] == b[i])
                i++;
        return n - i >= 2 && a[i] == b[i + 1] && a[i + 1] == b[i] &&
               memcmp(a + i + 2, b + i + 2, (n - i - 2) * sizeof(*a)) == 0;
}

const char *df_suggest(const char *word, const char *const *options, size_t n, bool fold)
{
        uint32_t a[WORD_MAX], b[WORD_MAX];
        size_t best = DISTANCE_MAX + 1, na, nb, d;
        const char *found = NULL;
        bool swapped = false;

        if (strlen(word) >= WORD_MAX)
                return NULL;
        na = to_chars(word, fold, a);
        for (size_t i = 0; i < n; i++) {
                if (strlen(options[i]) >= WORD_MAX)
                        continue;
                nb = to_chars(options[i], fold, b);
                d = distance(a, na, b, nb);
                if (d == 0)
                        return NULL;
                /* Two letters in the wrong order are the likelier slip than two wrong letters. */
                if (d < best || (d == best && found && na == nb && !swapped && is_swap(a, b, na))) {
                        best = d;
                        found = options[i];
                        swapped = na == nb && is_swap(a, b, na);
                }
        }
        return found;
}
