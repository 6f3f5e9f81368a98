/* "# syntax=": which frontend is to read the file. */
#include <string.h>

#include "base/err.h"
#include "builder/plan/plan_priv.h"
#include "builder/solve/start_priv.h"

/* docker/dockerfile and docker/dockerfile-upstream of any registry, tag and digest. */
static bool is_builtin(const char *s)
{
        static const char *const names[] = {"docker/dockerfile", "docker/dockerfile-upstream"};

        if (strcmp(s, "dockerfile.v0") == 0)
                return true;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                size_t n = strlen(names[i]);

                for (const char *at = strstr(s, names[i]); at; at = strstr(at + 1, names[i]))
                        if ((at == s || at[-1] == '/') &&
                            (at[n] == '\0' || at[n] == ':' || at[n] == '@'))
                                return true;
        }
        return false;
}

/* A named context of the frontend's name takes its place. */
static const char *replaced(const struct build *b, const char *name)
{
        struct img_platform host;
        const char *value = NULL;

        img_platform_host(&host);
        return named_find(b->named, name, &host, &value) == NAMED_IMAGE ? value : name;
}

/* The line that says so. */
static unsigned line_of(const struct sb *text, const char *name)
{
        const char *s = sb_text(text), *at = strstr(s, name);
        unsigned line = 1;

        for (; at && s < at; s++)
                line += *s == '\n';
        return at ? line : 0;
}

int frontend_check(const struct build *b, const struct sb *dockerfile, struct df_pos *ret_pos,
                   struct bld_err *err)
{
        const struct plan_opts o = {.build_args = &b->o->build_args};
        const char *given = plan_build_arg(&o, "BUILDKIT_SYNTAX");
        AUTO_FREE char *name = NULL;
        int r = 0;

        if (given && *given) {
                name = mem_strndup(given, strcspn(given, " "));
                r = name ? 0 : err_nomem(err, "frontend");
        } else {
                r = df_syntax(sb_text(dockerfile), dockerfile->len, &name, err);
        }
        if (r < 0 || !name || is_builtin(replaced(b, name)))
                return r;
        if (!given || !*given)
                ret_pos->line = line_of(dockerfile, name);
        (void)err_set(err, BLD_E_INVALID, "unknown Dockerfile frontend \"%.200s\"", name);
        return err_why(err, BLD_E_INVALID,
                       "bld has the docker/dockerfile syntax built in and runs no other frontend");
}
