/* --load: the image that was built, given to a docker daemon. */
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/num.h"
#include "cli/build.h"

int build_load_read(const char *s, bool *ret, struct bld_err *err)
{
        int r;

        *ret = s && (!*s || strcmp(s, "docker") == 0);
        if (!s || *ret || parse_go_bool(s, ret))
                return 0;
        r = err_set(err, BLD_E_USAGE, "--load=%.50s: only a docker daemon is served", s);
        return err_try(err, r, "--load=docker; for others bld save -o FILE NAME");
}

/* name NULL: nameless. */
static int load_one(struct build_report *b, const char *name, struct bld_err *err)
{
        struct cli_progress progress = {.c = b->c, .quiet = b->in->quiet};
        struct bld_copy_opts o = {.size = sizeof(o),
                                  .in_fd = -1,
                                  .out_fd = -1,
                                  .progress = cli_progress,
                                  .user = &progress};
        AUTO_SB struct sb from = SB_INIT(1024), to = SB_INIT(8192);
        AUTO_JS struct js *list = js_arr();
        char *json = NULL;
        const char *id;
        int r;

        sb_fmt(&from, "store:%s", b->result->digest);
        sb_fmt(&to, "docker-daemon:%s", name ? name : b->result->digest);
        r = sb_check(&to, "name", err);
        if (r == 0)
                r = bld_copy(b->c->b, sb_text(&from), sb_text(&to), &o, &json, err);
        cli_progress_end(&progress);
        if (r == 0)
                r = list ? cli_moved_take(json, list, err) : err_nomem(err, "list");
        else
                bld_free(json);
        if (r < 0)
                return err_wrap(err, r, "--load");
        id = js_len(list) ? js_get_str(js_at(list, 0), "id") : NULL;
        if (id)
                (void)str_copy(b->loaded_id, sizeof(b->loaded_id), id);
        return 0;
}

int build_load(struct build_report *b, struct bld_err *err)
{
        const struct strv *tags = &b->a->tags;
        int r = 0;

        if (!b->result->digest[0])
                return err_set(err, BLD_E_USAGE, "--load: this build made no image");
        if (tags->n == 0)
                return load_one(b, NULL, err);
        for (size_t i = 0; r == 0 && i < tags->n; i++)
                r = load_one(b, tags->v[i], err);
        return r;
}
