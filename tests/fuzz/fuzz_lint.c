/* The checks that need only the text, on anything that parses; and the list of stages. */
#include <string.h>

#include "base/err.h"
#include "base/sb.h"
#include "builder/plan/lint_priv.h"
#include "builder/plan/outline_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every finding stands in the file and has a rule and a text. */
static void use_findings(struct lint *l, const struct df_file *f)
{
        const char *line;
        size_t n;

        lint_sort(l);
        for (size_t i = 0; i < l->found.n; i++) {
                const struct lint_finding *x = &l->found.v[i];

                if (x->rule >= LINT_RULES || !x->text || x->end_line < x->line ||
                    !df_source_line(f, x->line, &line, &n))
                        abort();
        }
        (void)!lint_verdict(l, NULL);
}

static void use_file(const struct df_file *f)
{
        const char platform[] = "TARGETPLATFORM=linux/amd64";
        AUTO_STRV struct strv env = {0};
        struct sb out = SB_INIT(64u << 20);
        struct lint l;

        if (strv_add(&env, platform) < 0)
                return;
        if (lint_init(&l, f, NULL, NULL) == 0) {
                l.base.experimental = UINT32_MAX;
                lint_file(&l, 0);
                lint_default_args(&l, &env);
                lint_next_platform(&l);
                lint_file(&l, 3);
                use_findings(&l, f);
        }
        lint_done(&l);
        (void)!outline_targets_json(f, &out, NULL);
        sb_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct df_file *f = NULL;
        struct df_err_pos pos;

        if (df_parse((const char *)data, size, &f, &pos, NULL) == 0)
                use_file(f);
        df_free(f);
        return 0;
}
