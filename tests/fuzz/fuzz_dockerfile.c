/* Dockerfile text: parse, check, print, and read every trigger again. */
#include <string.h>

#include "base/err.h"
#include "base/sb.h"
#include "parser/expand.h"
#include "parser/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Positions lie in the file, and strings are whole. */
static void use_instr(const struct df_file *f, const struct df_instr *in)
{
        const struct df_heredoc *h;
        const char *line;
        size_t n;

        if (in->line == 0 || in->end_line < in->line || !df_source_line(f, in->end_line, &line, &n))
                abort();
        for (size_t i = 0; i < in->nargs; i++) {
                if (in->args[i].pos.line < in->line || in->args[i].pos.line > in->end_line ||
                    in->args[i].pos.col == 0)
                        abort();
                (void)!df_heredoc_find(in, in->args[i].text, &h, NULL);
        }
        (void)!df_check_instr(in, NULL, NULL);
        if (in->kind == DF_ONBUILD && in->trigger[0]) {
                struct df_file *t = NULL;

                if (df_parse_trigger(in->trigger, strlen(in->trigger), f->escape, &t, NULL) == 0)
                        df_free(t);
        }
        for (size_t i = 0; i < in->nheredocs; i++) {
                const struct df_env env = {0};
                char *body = NULL;

                if (df_expand_heredoc(&in->heredocs[i], &env, &body, &n, NULL) == 0)
                        free(body);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct bld_err err = BLD_ERR_INIT;
        struct sb out = SB_INIT(64u << 20);
        struct df_err_pos pos;
        struct df_file *f = NULL;

        if (df_parse((const char *)data, size, &f, &pos, &err) == 0) {
                (void)!df_check(f, &pos, NULL);
                (void)!df_dump(f, &out, NULL);
                (void)!df_dump_heredocs(f, &out, NULL);
                for (size_t i = 0; i < f->n; i++)
                        use_instr(f, &f->v[i]);
                df_free(f);
        } else if (!err.code || !err.msg[0]) {
                abort();
        }
        sb_done(&out);
        return 0;
}
