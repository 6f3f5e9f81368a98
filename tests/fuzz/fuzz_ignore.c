/* The first line is a path, the rest an ignore file; every line is also tried as a glob. */
#include <string.h>

#include "base/err.h"
#include "parser/ignore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What excludes a folder and lets nothing below come back excludes all that is below. */
static void check_walk(const struct ignore *ig, const char *path)
{
        char *dir = mem_strdup(path), *slash;

        if (!dir)
                return;
        for (slash = strchr(dir, '/'); slash; slash = strchr(slash + 1, '/')) {
                if (slash == dir || slash[-1] == '/' || !slash[1])
                        break;
                *slash = '\0';
                if (strcmp(dir, ".") != 0 && ignore_match(ig, dir, NULL) &&
                    !ignore_may_include_below(ig, dir) && !ignore_match(ig, path, NULL))
                        abort();
                *slash = '/';
        }
        free(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text = mem_strndup((const char *)data, size), *rest = text, *path, *line;
        struct bld_err err = BLD_ERR_INIT;
        struct ignore *ig = NULL;

        if (!text)
                return 0;
        path = strsep(&rest, "\n");
        if (rest && ignore_parse(rest, strlen(rest), "ignore", &ig, &err) == 0) {
                (void)ignore_match(ig, path, NULL);
                check_walk(ig, path);
                ignore_free(ig);
        } else if (rest && !err.msg[0]) {
                abort();
        }
        while (rest && (line = strsep(&rest, "\n"))) {
                (void)!glob_match(line, path, NULL);
                if (ignore_from_pattern(line, &ig, NULL) == 0) {
                        (void)ignore_match(ig, path, NULL);
                        ignore_free(ig);
                }
                (void)glob_has_wildcard(line);
        }
        free(text);
        return 0;
}
