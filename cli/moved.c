/* What push, pull and copy say in the end. */
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "cli/table.h"

int cli_moved_take(char *json, struct js *list, struct bld_err *err)
{
        AUTO_JS struct js *part = NULL;
        int r = json ? take_json(json, &part, err) : 0;

        for (size_t i = 0; r == 0 && part && i < js_len(part); i++)
                if (js_push(list, js_ref(js_at(part, i))) < 0)
                        r = err_nomem(err, "list");
        return r;
}

int cli_moved_print(struct cli *c, const struct cli_moved *m, const struct js *list,
                    struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(16u << 20);

        if (m->format)
                return table_print_one(list, m->format, err);
        for (size_t i = 0; i < js_len(list); i++) {
                const char *name = js_get_str(js_at(list, i), "name");
                const char *digest = js_get_str(js_at(list, i), "digest");
                const char *status = js_get_str(js_at(list, i), "status");
                bool moved = strcmp(status, "copied") == 0;

                if (m->quiet)
                        sb_fmt(&out, "%.*s@%s\n", (int)cli_repository_len(name), name, digest);
                else if (moved && m->dry_run)
                        sb_fmt(&out, "would %s  %s  %s\n", m->verb, name, digest);
                else
                        sb_fmt(&out, "%s  %s  %s\n", moved ? m->past : status, name, digest);
        }
        if (m->quiet)
                return cli_write_out(out.buf, out.len, err);
        cli_say(c, sb_text(&out));
        return 0;
}

int cli_moved_digests(const char *path, const struct js *list, struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(16u << 20);
        AUTO_STRV struct strv seen = {.v = NULL};

        for (size_t i = 0; i < js_len(list); i++) {
                const char *digest = js_get_str(js_at(list, i), "digest");

                if (strv_has(&seen, digest))
                        continue;
                if (strv_add(&seen, digest) < 0)
                        return err_nomem(err, "digests");
                sb_fmt(&out, "%s%s", out.len ? "\n" : "", digest);
        }
        return file_write(AT_FDCWD, path, sb_text(&out), out.len, 0644, FILE_IN_PLACE, err);
}
