#include "cli/edit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/num.h"
#include "cli/table.h"

static int read_epoch(struct bld_edit_opts *o, struct bld_err *err)
{
        const char *s = getenv("SOURCE_DATE_EPOCH");
        uint64_t sec = 0;

        if (!s || !*s)
                return 0;
        if (!parse_u64(s, 0, INT64_MAX / 1000000000, &sec))
                return err_set(err, BLD_E_USAGE,
                               "SOURCE_DATE_EPOCH \"%.50s\" is not a number of seconds", s);
        o->has_epoch = true;
        o->epoch_sec = (int64_t)sec;
        return 0;
}

static int destination(const struct edit_args *a, struct edit_own *own, struct bld_edit_opts *o,
                       struct bld_err *err)
{
        int n;

        if ((a->repo != NULL) + (a->tag != NULL) > 1)
                return err_set(err, BLD_E_USAGE, "--repo and --tag exclude each other");
        if (a->output && a->repo)
                return err_set(err, BLD_E_USAGE, "--repo and --output exclude each other");
        o->untagged = a->repo != NULL;
        o->dst = a->repo ? a->repo : a->tag;
        if (!a->output)
                return 0;
        n = asprintf(&own->dst, "docker-archive:%s%s%s", a->output, a->tag ? ":" : "",
                     a->tag ? a->tag : "");
        if (n < 0) {
                own->dst = NULL;
                return err_nomem(err, "name");
        }
        o->dst = own->dst;
        return 0;
}

int edit_begin(struct cli *c, const struct edit_args *a, struct edit_own *own,
               struct bld_edit_opts *ret, struct bld_err *err)
{
        int r;

        own->progress = (struct cli_progress){.c = c, .quiet = a->quiet};
        own->watch = (struct bld_watch){
                .size = sizeof(own->watch), .progress = cli_progress, .user = &own->progress};
        *ret = (struct bld_edit_opts){.size = sizeof(*ret),
                                      .platform = a->platform,
                                      .codec = a->compression,
                                      .in_fd = 0,
                                      .watch = &own->watch};
        r = destination(a, own, ret, err);
        if (r == 0)
                r = read_epoch(ret, err);
        if (r == 0 && a->digest_file)
                r = cli_check_target("digest-file", a->digest_file, err);
        return r == 0 ? cli_open(c, err) : r;
}

void edit_own_done(struct edit_own *own)
{
        cli_progress_end(&own->progress);
        free(own->dst);
}

int edit_print(const struct edit_args *a, char *json, struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        AUTO_SB struct sb line = SB_INIT(8192);
        const char *digest;
        int r = take_json(json, &j, err);

        if (r < 0)
                return r;
        digest = js_get_str(j, "digest");
        if (a->digest_file)
                r = file_write(AT_FDCWD, a->digest_file, digest, strlen(digest), 0644,
                               FILE_IN_PLACE, err);
        if (r == 0 && a->format)
                return table_print_one(j, a->format, err);
        sb_fmt(&line, "%s\n", js_get_str(j, "ref"));
        return r == 0 ? cli_write_out(line.buf, line.len, err) : r;
}
