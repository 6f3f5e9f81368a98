/* A word and variables: the first line is the value of A, the second of B, the rest the word. */
#include <string.h>

#include "base/err.h"
#include "parser/expand.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct vars {
        char *a, *b;
};

static const char *lookup(void *user, const char *name)
{
        const struct vars *v = user;

        return strcmp(name, "A") == 0 ? v->a : strcmp(name, "B") == 0 ? v->b : NULL;
}

static void run(const char *word, char escape, struct vars *v)
{
        const struct df_env env = {.get = lookup, .user = v};
        struct bld_err err = BLD_ERR_INIT;
        struct strv words = {0};
        char *out = NULL;
        int r = df_expand_word(word, escape, &env, &out, &err);

        if (r < 0 && (err.code != r || !err.msg[0]))
                abort();
        /* Splitting changes where words end, never what is an error. */
        if ((df_expand_words(word, escape, &env, &words, NULL) < 0) != (r < 0))
                abort();
        for (size_t i = 0; i < words.n; i++)
                if (!words.v[i][0])
                        abort();
        strv_done(&words);
        free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text = mem_strndup((const char *)data, size), *rest = text;
        struct vars v = {NULL, NULL};

        if (!text)
                return 0;
        v.a = strsep(&rest, "\n");
        if (rest)
                v.b = strsep(&rest, "\n");
        if (rest) {
                run(rest, '\\', &v);
                run(rest, '`', &v);
        }
        free(text);
        return 0;
}
