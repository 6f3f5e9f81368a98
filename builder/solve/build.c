/* One build, from command line to image: sources, plan, keys, solve, finish. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/num.h"
#include "builder/plan/check.h"
#include "builder/solve/finish_priv.h"
#include "builder/solve/run_opts_priv.h"
#include "builder/solve/place_priv.h"
#include "builder/source/git_priv.h"
#include "builder/plan/plan_priv.h"
#include "builder/solve/start_priv.h"

struct session {
        struct bd_ctx c; /* the caller's, with what this build keeps open */
        struct build b;
        struct source src;
        struct remote_auth auth;
        struct df_file *file;
        struct graph g;
        struct resolver *resolver;
        struct bld_build_result *ret;
        struct run_allow allow;
        struct outputs out;
        char *epoch; /* source-date-epoch= of an output, or NULL */
        struct lint lint;
        struct bd_check *check; /* only look; NULL: build */
        struct outline *outline;
        struct img_platform *cache_platforms; /* of the images, for inline caches */
};

/* ---- options ---- */

/* --compression, else the first output that says one: steps pack their layers only once. */
static int parse_compression(struct build *b, const struct outputs *out, struct bld_err *err)
{
        const char *name = b->o->compression;
        char said[16] = "";

        b->level = b->o->compression_level;
        for (size_t i = 0; i < out->n && !name; i++) {
                if (!out->v[i].compression)
                        continue;
                (void)str_copy(said, sizeof(said), out->v[i].compression);
                name = said;
                b->level = b->level ? b->level : out->v[i].compression_level;
        }
        if (!name || strcmp(name, "gzip") == 0)
                b->codec = LY_CODEC_GZIP;
        else if (strcmp(name, "zstd") == 0)
                b->codec = LY_CODEC_ZSTD;
        else if (strcmp(name, "none") == 0 || strcmp(name, "uncompressed") == 0)
                b->codec = LY_CODEC_NONE;
        else
                return err_try(err,
                               err_set(err, BLD_E_USAGE, "unknown compression \"%.50s\"", name),
                               "--compression gzip, zstd or none");
        if (b->codec == LY_CODEC_ZSTD && b->o->docker_format)
                return err_set(err, BLD_E_USAGE, "--format docker cannot carry zstd layers");
        return 0;
}

/* What outputs say about the build itself. */
static int output_options(struct session *s, const struct outputs *out, struct bld_err *err)
{
        struct build *b = &s->b;

        b->keep_times = b->o->keep_times;
        b->push_to = out->push && !b->o->no_push_check ? &out->push_to : NULL;
        for (size_t i = 0; i < out->n; i++) {
                b->keep_times = b->keep_times || out->v[i].keep_times;
                if (out->v[i].epoch && !s->epoch) {
                        s->epoch = mem_strdup(out->v[i].epoch);
                        if (!s->epoch)
                                return err_nomem(err, "outputs");
                }
                if (out->v[i].remove_others && !s->allow.delete_local)
                        return err_try(err,
                                       err_set(err, BLD_E_POLICY,
                                               "output: mode=delete removes what %s holds, which "
                                               "is not allowed",
                                               out->v[i].dest),
                                       "--allow buildx.local.delete");
        }
        return 0;
}

/* Build argument BUILDKIT_MULTI_PLATFORM: an index also around one image. */
static int parse_multi(struct build *b, struct bld_err *err)
{
        const struct plan_opts args = {.build_args = &b->o->build_args};
        const char *value = plan_build_arg(&args, "BUILDKIT_MULTI_PLATFORM");

        if (!value || !*value || parse_go_bool(value, &b->multi_platform))
                return 0;
        return err_set(err, BLD_E_INVALID,
                       "invalid boolean value for BUILDKIT_MULTI_PLATFORM: %.100s", value);
}

static int parse_options(struct session *s, struct bld_err *err)
{
        const struct bld_build_opts *o = s->b.o;
        struct outputs *out = &s->out;
        int r;

        r = outputs_parse(o, out, err);
        if (r == 0)
                r = parse_compression(&s->b, out, err);
        if (r == 0)
                r = named_parse(&o->build_contexts, &s->b.named, err);
        if (r == 0)
                r = run_opts_parse(&s->b, &s->allow, err);
        if (r == 0)
                r = output_options(s, out, err);
        if (r == 0)
                r = resources_parse(o, &s->b.resources, err);
        if (r == 0)
                r = parse_multi(&s->b, err);
        if (r == 0 && o->isolation)
                r = rt_level_parse(o->isolation, &s->b.isolation, err);
        if (r == 0)
                r = rc_specs_parse(o, &s->b.cache_specs, err);
        if (r == 0)
                r = secrets_new(&o->secrets, &s->b.secrets, err);
        if (r == 0)
                r = ssh_agents_new(&o->ssh, &s->b.ssh, err);
        s->auth = (struct remote_auth){.secrets = s->b.secrets, .ssh = s->b.ssh};
        return r;
}

/* ---- the Dockerfile ---- */

static int parse_file(struct session *s, struct bld_err *err)
{
        const struct plan_opts args = {.build_args = &s->b.o->build_args};
        struct df_err_pos at = {0};
        int r = frontend_check(&s->b, &s->src.text, &at.pos, err);

        if (r < 0) { /* what follows may be in any language */
                place_at(&s->ret->place, &s->src, &at.pos);
                return r;
        }
        r = df_parse(sb_text(&s->src.text), s->src.text.len, &s->file, &at, err);
        if (r < 0) {
                place_at(&s->ret->place, &s->src, &at.pos);
                return r;
        }
        r = lint_init(&s->lint, s->file, plan_build_arg(&args, "BUILDKIT_DOCKERFILE_CHECK"), err);
        if (r < 0)
                return r;
        s->lint.ignore = s->src.ignore;
        if (s->check) {
                s->lint.never = s->check->never;
                s->lint.base.experimental |= s->check->experimental;
        }
        r = df_check(s->file, &at, err);
        if (r < 0)
                place_at(&s->ret->place, &s->src, &at.pos);
        lint_file(&s->lint, r < 0 ? at.pos.line : 0);
        return r;
}

/* What the checks found, in the order of the file; and the end of a build that may have none. */
static int report_checks(struct session *s, int r, struct bld_err *err)
{
        lint_sort(&s->lint);
        for (size_t i = 0; i < s->lint.found.n; i++) {
                const struct lint_finding *f = &s->lint.found.v[i];
                AUTO_SB struct sb text = SB_INIT(4u << 20);

                sb_fmt(&text, "%s: %s", lint_rules[f->rule].name, f->text);
                events_warning(s->b.events, f->line, sb_text(&text));
                s->ret->warnings++;
        }
        return r < 0 ? r : lint_verdict(&s->lint, err);
}

/* ---- plan ---- */

static enum plan_named plan_named(const void *named, const char *name,
                                  const struct img_platform *platform, const char **ret_folder)
{
        switch (named_find(named, name, platform, ret_folder)) {
        case NAMED_FOLDER:
                return PLAN_NAMED_FOLDER;
        case NAMED_EMPTY:
                return PLAN_NAMED_EMPTY;
        case NAMED_GIT:
                return PLAN_NAMED_GIT;
        case NAMED_HTTP:
                return PLAN_NAMED_HTTP;
        case NAMED_IMAGE:
        case NAMED_LAYOUT:
        case NAMED_STORE:
                return PLAN_NAMED_IMAGE;
        case NAMED_NONE:
                break;
        }
        return PLAN_NAMED_NONE;
}

static void plan_warning(void *user, unsigned line, const char *text)
{
        struct session *s = user;

        events_warning(s->b.events, line, text);
        s->ret->warnings++;
}

/* Out of reach of the network a file can still be checked, but for what its bases say. */
static int check_without(struct session *s, const char *name, const struct img_platform *platform,
                         struct bd_image *ret, struct bld_err *err)
{
        char text[1200];

        (void)snprintf(text, sizeof(text),
                       "%.200s could not be looked up, so it was not checked "
                       "what it defines: %.*s",
                       name, (int)strcspn(err->msg, "\n"), err->msg);
        if (s->b.c->note)
                s->b.c->note(s->b.c->user, text);
        err_clear(err);
        memset(ret, 0, sizeof(*ret));
        img_config_init(&ret->config);
        ret->config.platform = *platform;
        return 0;
}

static int plan_fetch(void *user, const char *url, const struct digest *want,
                      struct copy_source *src, struct bld_err *err)
{
        struct session *s = user;
        struct http_file f = {0};
        int r = http_fetch(s->b.c, s->b.secrets, url, want, &f, err);

        if (r < 0)
                return r;
        src->blob = f.digest;
        src->len = f.size;
        src->mtime_sec = f.mtime_sec;
        src->path = TAKE_PTR(&f.name);
        http_file_done(&f);
        r = cas_lease_blob(s->b.record, &src->blob, err);
        return r == 0 ? err_set(err, BLD_E_CORRUPT, "a download vanished from the store")
                      : MIN(r, 0);
}

static int plan_git_url(void *user, const struct giturl *u, struct vx_git *ret, struct bld_err *err)
{
        struct session *s = user;

        return git_resolve(s->b.c, &s->auth, u, ret, err);
}

static int plan_resolve(void *user, const char *name, const struct img_platform *platform,
                        struct bd_image *ret, struct bld_err *err)
{
        struct session *s = user;
        int r = resolver_image(s->resolver, name, platform, ret, err);

        if (r < 0 && s->check && (r == BLD_E_NETWORK || r == BLD_E_TIMEOUT))
                return check_without(s, name, platform, ret, err);
        return r;
}

static int read_platform(const char *text, struct img_platform *ret, struct bld_err *err)
{
        img_platform_host(ret);
        if (strcmp(text, "local") == 0)
                return 0;
        return img_platform_parse(text, ret, err) < 0 ? err_recode(err, BLD_E_USAGE) : 0;
}

/* platform: NULL when none was asked for. */
static int plan_platform(struct session *s, const struct img_platform *platform,
                         struct bld_err *err)
{
        const struct bld_build_opts *o = s->b.o;
        struct plan_opts po = {.file = s->file,
                               .targets = &o->targets,
                               .build_args = &o->build_args,
                               .epoch = s->b.epoch_given ? s->b.epoch : NULL,
                               .no_cache_filter = &o->no_cache_filter,
                               .labels = &o->labels,
                               .from = o->from,
                               .drop_labels = o->drop_labels,
                               .strict_args = o->strict_args,
                               .host_names = &s->b.host_names,
                               .network = o->network ? o->network : "default",
                               .no_cache = o->no_cache,
                               .ulimits = &s->b.ulimits,
                               .allow_insecure = s->allow.insecure,
                               .allow_host_network = s->allow.host_network,
                               .allow_device = s->allow.device,
                               .have_context = s->src.context_path != NULL,
                               .resolve = plan_resolve,
                               .warn = plan_warning,
                               .fetch = plan_fetch,
                               .git = plan_git_url,
                               .user = s,
                               .find_named = plan_named,
                               .named = s->b.named,
                               .lint = &s->lint,
                               .outline = s->outline,
                               .all_stages = s->check && !s->outline};
        struct df_pos at = {0};
        int r = 0;

        img_platform_host(&po.host);
        po.platform = platform ? *platform : po.host;
        po.platform_given = platform != NULL;
        r = plan_build(&po, &s->g, &at, err);
        if (r < 0)
                place_at(&s->ret->place, &s->src, &at);
        return r;
}

/* Bases are where a graph starts: what they yield is known as soon as they are resolved. */
static int image_results(struct session *s, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < s->g.v.n && r == 0; i++) {
                struct vertex *v = s->g.v.v[i];
                const struct bd_image *im = &v->u.image;

                if (v->kind != VX_IMAGE)
                        continue;
                if (im->manifest.layers.n != im->config.ndiff_ids)
                        return err_set(err, BLD_E_CORRUPT,
                                       "%s has %zu layers and %zu diff IDs; an image must have as "
                                       "many of both",
                                       v->name, im->manifest.layers.n, im->config.ndiff_ids);
                for (size_t k = 0; k < im->manifest.layers.n && r == 0; k++) {
                        struct bd_layer *l = bd_layers_push(&v->result.layers);

                        if (!l || img_desc_copy(&im->manifest.layers.v[k], &l->desc) < 0)
                                return err_nomem(err, "base image");
                        l->diff_id = im->config.diff_ids[k];
                        l->reused = true;
                        if (im->source.domain)
                                r = img_ref_copy(&im->source, &l->source, err);
                }
                if (r == 0)
                        r = result_seal(&v->result, err);
        }
        return r;
}

static int plan_all(struct session *s, struct bld_err *err)
{
        const struct bld_list *p = &s->b.o->platforms;
        AUTO_STRV struct strv seen = {0};
        int r = p->n == 0 ? plan_platform(s, NULL, err) : 0;

        for (size_t i = 0; i < p->n && r == 0; i++) {
                struct img_platform platform;
                char text[128];

                r = read_platform(p->v[i], &platform, err);
                if (r < 0)
                        return r;
                img_platform_format(&platform, text);
                if (strv_has(&seen, text)) /* said twice, perhaps in two ways */
                        continue;
                if (strv_add(&seen, text) < 0)
                        return err_nomem(err, "platforms");
                lint_next_platform(&s->lint);
                r = plan_platform(s, &platform, err);
        }
        return r;
}

int build_open_local(struct build *b, const struct vertex *v, struct fs **ret, struct bld_err *err)
{
        if (*v->u.local)
                return fs_open_local(v->u.local, named_ignore(b->named, v->u.local), NULL, ret,
                                     err);
        if (!b->context_path)
                return err_try(err,
                               err_set(err, BLD_E_INVALID,
                                       "there is no build context: the Dockerfile came from "
                                       "standard input"),
                               "bld build -f - FOLDER, with the context in FOLDER");
        if (b->context_tree) /* as the keys saw it */
                return fs_share(b->context_tree, ret, err);
        return fs_open_local(b->context_path, b->ignore, b->index, ret, err);
}

/* ---- results for people ---- */

static void describe(struct session *s, const struct solve_stats *st)
{
        struct bld_build_result *r = s->ret;
        const struct vertex *m = st->first_miss, *slow = st->slowest;

        r->steps = st->steps;
        r->steps_cached = st->cached;
        r->steps_imported = st->imported;
        if (m) {
                (void)snprintf(r->first_miss, sizeof(r->first_miss), "%s  %s:%u", m->step,
                               s->src.dockerfile_name, m->line);
                explain_miss(&s->b, m, r->first_miss_why, sizeof(r->first_miss_why));
        }
        if (slow) {
                (void)snprintf(r->slowest, sizeof(r->slowest), "%s %.120s", slow->step, slow->name);
                r->slowest_ms = (slow->ended_ns - slow->started_ns) / 1000000;
        }
        if (s->b.keeper)
                (void)str_copy(r->isolation, sizeof(r->isolation), rt_keeper_env(s->b.keeper)->why);
        /* What is done now, or stands below a hit, is what the next miss is compared with. */
        for (size_t i = 0; i < s->g.v.n && st->steps; i++) {
                const struct vertex *v = s->g.v.v[i];

                if (v->planned && v->kind != VX_IMAGE && v->kind != VX_LOCAL && v->kind != VX_GIT &&
                    (v->state == VX_DONE || v->state == VX_IDLE))
                        explain_store(&s->b, v);
        }
}

static void failed_step(struct session *s, const struct solve_stats *st)
{
        struct bld_place *p = &s->ret->place;

        if (!st->failed)
                return;
        place_vertex(p, &s->src, st->failed);
        p->run_status = st->run_status;
        /* A step that failed before it ran has written none. */
        if (st->log_path[0] && faccessat(cas_build_dirfd(s->b.record), st->log_path, F_OK, 0) == 0)
                (void)snprintf(p->log_path, sizeof(p->log_path), "%s/builds/%s/%s",
                               cas_root(s->b.c->cas), cas_build_id(s->b.record), st->log_path);
}

/* ---- the stages of a build ---- */

static int open_sources(struct session *s, struct bld_err *err)
{
        struct build *b = &s->b;
        int r = source_open(b->c, b->o, &s->auth, &s->src, err);

        if (r < 0)
                return r;
        b->context_path = s->src.context_path;
        b->ignore = s->src.ignore;
        b->dockerfile = s->src.dockerfile_name;
        if (b->context_path && !s->src.tmp)
                r = stat_index_open(b->c->cas, b->context_path, &b->index, err);
        if (r == 0)
                r = cas_build_begin(b->c->cas, &b->record, err);
        if (r == 0)
                r = events_new(b->o->event, b->o->user, cas_build_dirfd(b->record),
                               s->src.dockerfile_name, &b->events, err);
        if (r == 0)
                r = resolver_new(b->c, b->o, b->named, &s->resolver, err);
        if (r < 0)
                return r;
        (void)str_copy(s->ret->id, sizeof(s->ret->id), cas_build_id(b->record));
        events_post(b->events, BLD_EV_BUILD_START, NULL, s->ret->id, 0, 0);
        return 0;
}

static void cache_warning(void *user, const char *text)
{
        const struct build *b = user;

        events_warning(b->events, 0, text);
}

static void cache_transfer(void *user, const char *what, uint64_t done, uint64_t total)
{
        const struct build *b = user;
        char text[64];

        (void)snprintf(text, sizeof(text), "cache %.50s", what);
        events_post(b->events, BLD_EV_TRANSFER, NULL, text, done, total);
}

/* Shared caches are there from when it is known what is to be made. */
static int open_cache(struct session *s, struct bld_err *err)
{
        struct build *b = &s->b;
        struct rcache_opts o = {.c = b->c,
                                .cancel = &b->cancel,
                                .specs = &b->cache_specs,
                                .ttl_ms = b->o->cache_ttl_ms,
                                .warn = cache_warning,
                                .transfer = cache_transfer,
                                .user = b};

        if (b->cache_specs.n == 0)
                return 0;
        s->cache_platforms = mem_zalloc(s->g.targets.n + 1, sizeof(*s->cache_platforms));
        if (!s->cache_platforms)
                return err_nomem(err, "cache");
        for (size_t i = 0; i < s->g.targets.n; i++)
                if (s->g.targets.v[i].is_image)
                        s->cache_platforms[o.nplatforms++] = s->g.targets.v[i].platform;
        o.platforms = s->cache_platforms;
        return rcache_new(&o, &b->cache, err);
}

/* What succeeded is worth keeping also when a later step failed. */
static int close_cache(struct session *s, int r, struct bld_err *err)
{
        struct bld_err own = BLD_ERR_INIT;
        int k;

        if (!rcache_exports(s->b.cache) || r == BLD_E_CANCELLED)
                return r;
        k = rcache_wait(s->b.cache, &s->ret->cache_stored, &own);
        if (r == 0 && k < 0)
                err_copy(err, &own);
        return r < 0 ? r : k;
}

static int run_session(struct session *s, struct bld_err *err)
{
        struct solve_stats st = {0};
        struct vertex *about = NULL;
        int r = parse_options(s, err);

        if (r == 0)
                r = open_sources(s, err);
        if (r == 0)
                r = parse_file(s, err);
        if (r == 0)
                r = epoch_find(&s->b, s->epoch, &s->src, s->resolver, s->file, err);
        if (r == 0)
                r = plan_all(s, err);
        r = report_checks(s, r, err);
        if (r == 0)
                r = outputs_check(&s->b, &s->out, &s->g, err);
        if (r == 0)
                r = image_results(s, err);
        if (r < 0)
                return r;
        r = solve_keys(&s->b, &s->g, &about, err);
        if (r < 0 && about)
                place_vertex(&s->ret->place, &s->src, about);
        if (r == 0)
                r = open_cache(s, err);
        if (r == 0) {
                r = solve_run(&s->b, &s->g, &st, err);
                failed_step(s, &st);
        }
        if (r == 0)
                r = finish_build(&s->b, &s->out, &s->g, s->ret, err);
        r = close_cache(s, r, err);
        build_record_write(&s->b, &s->g, r == 0 ? s->ret->digest : "");
        describe(s, &st);
        if (s->b.index)
                stat_index_save(s->b.index, s->b.c->cas);
        return r;
}

static void session_done(struct session *s, bool keep)
{
        struct build *b = &s->b;

        rt_keeper_stop(b->keeper);
        rcache_free(b->cache); /* before what its threads use: events, leases */
        free(s->cache_platforms);
        free(s->epoch);
        outputs_done(&s->out);
        if (b->events) {
                events_post(b->events, BLD_EV_BUILD_END, NULL, NULL, 0, 0);
                events_free(b->events);
        }
        if (b->record)
                cas_build_end(b->record, keep);
        fs_free(b->context_tree);
        graph_done(&s->g);
        lint_done(&s->lint);
        df_free(s->file);
        resolver_free(s->resolver);
        stat_index_free(b->index);
        source_done(&s->src);
        secrets_free(b->secrets);
        ssh_agents_free(b->ssh);
        named_free(b->named);
        run_opts_done(b);
        rc_specs_free(&b->cache_specs);
        cancel_done(&b->cancel);
        bd_trees_free(s->c.trees);
}

/* ---- looking without building ---- */

static int look(struct session *s, struct bld_err *err)
{
        struct build *b = &s->b;
        int r = parse_options(s, err);

        if (r == 0)
                r = source_open(b->c, b->o, &s->auth, &s->src, err);
        b->context_path = s->src.context_path;
        b->ignore = s->src.ignore;
        if (r == 0)
                r = resolver_new(b->c, b->o, b->named, &s->resolver, err);
        if (r < 0)
                return r;
        /* What RUN may do is a question for the build. */
        s->allow = (struct run_allow){true, true, true, true};
        s->check->opened = true;
        r = parse_file(s, err);
        if (r < 0 && s->ret->place.line)
                return err_wrap(err, r, "dockerfile parse error on line %u", s->ret->place.line);
        if (r == 0)
                r = epoch_find(&s->b, s->epoch, &s->src, s->resolver, s->file, err);
        if (r == 0 && s->check->call != BD_CALL_TARGETS)
                r = plan_all(s, err);
        return r < 0 ? r : lint_verdict(&s->lint, err);
}

/* The findings or the document, whatever was wrong with the file. */
static int looked(struct session *s, int r, struct bld_err *err)
{
        struct bd_check *c = s->check;

        if (r < 0 && (!c->opened || c->call != BD_CALL_CHECK))
                return r;
        if (c->call == BD_CALL_TARGETS)
                return outline_targets_json(s->file, &c->doc, err);
        if (c->call == BD_CALL_OUTLINE)
                return outline_json(s->outline, s->file,
                                    s->b.o->targets.n ? s->b.o->targets.v[0] : NULL, &c->doc, err);
        if (r < 0) {
                c->ret->failed = true;
                err_copy(&c->ret->error, err);
                err_clear(err);
        }
        lint_sort(&s->lint);
        return bd_check_take(c, &s->lint, s->src.dockerfile_name, &s->src.text, err);
}

static void session_init(struct session *s, struct bd_ctx *c, const struct bld_build_opts *o,
                         struct bld_build_result *ret)
{
        memset(ret, 0, sizeof(*ret));
        *s = (struct session){.c = *c, .b = {.o = o, .isolation = RT_AUTO}, .ret = ret};
        s->c.trees = bd_trees_new(); /* without memory for it, each chain is read anew */
        s->b.c = &s->c;
        s->src.text = SB_INIT(0);
        graph_init(&s->g);
}

int bd_check(struct bd_ctx *c, struct bd_check *check, struct bld_err *err)
{
        AUTO_FREE struct bld_build_result *result = mem_zalloc(1, sizeof(*result));
        AUTO(outline_done) struct outline outline = {.failed = 0};
        struct session s;
        int r;

        if (!result)
                return err_nomem(err, "checks");
        session_init(&s, c, check->build, result);
        s.check = check;
        s.outline = check->call == BD_CALL_OUTLINE ? &outline : NULL;
        r = cancel_init(&s.b.cancel, err);
        if (r == 0)
                r = looked(&s, look(&s, err), err);
        check->ret->place = result->place;
        session_done(&s, false);
        return r;
}

int bd_build(struct bd_ctx *c, const struct bld_build_opts *o, struct bld_build_result *ret,
             struct bld_err *err)
{
        int64_t start = time_mono_ns();
        struct session s;
        bool ran;
        int r;

        session_init(&s, c, o, ret);
        r = cancel_init(&s.b.cancel, err);
        if (r == 0)
                r = run_session(&s, err);
        ret->total_ms = (time_mono_ns() - start) / 1000000;
        ran = r < 0 || ret->steps_cached < ret->steps;
        if (ran && s.b.record)
                ceiling_after_build(&s.b);
        /* A build in which nothing ran leaves nothing to look up. */
        session_done(&s, ran);
        return r;
}
