#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include "cli/build.h"

void build_input_init(struct build_input *in)
{
        memset(in, 0, sizeof(*in));
        in->log_fd = in->raw_fd = -1;
        in->view_fd = 2;
}

void build_input_done(struct build_input *in)
{
        strv_done(&in->targets);
        strv_done(&in->build_args);
        strv_done(&in->platforms);
        strv_done(&in->no_cache_filter);
        strv_done(&in->resources);
        strv_done(&in->cache_from);
        strv_done(&in->cache_to);
        strv_done(&in->env);
        fd_close(&in->log_fd);
        fd_close(&in->raw_fd);
}

/* The flag, else the first variable that is set. */
static const char *or_env(const char *flag, const char *const *names, size_t n)
{
        for (size_t i = 0; i < n && !flag; i++) {
                const char *e = getenv(names[i]);

                flag = e && *e ? e : NULL;
        }
        return flag;
}
#define OR_ENV(flag, ...)                                \
        or_env(flag, (const char *const[]){__VA_ARGS__}, \
               ARRAY_LEN(((const char *const[]){__VA_ARGS__})))

static bool one_of(const char *s, const char *const *names, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(s, names[i]) == 0)
                        return true;
        return false;
}
#define ONE_OF(s, ...)                                \
        one_of(s, (const char *const[]){__VA_ARGS__}, \
               ARRAY_LEN(((const char *const[]){__VA_ARGS__})))

/* Values that may be given as one comma-separated word. */
static int split_all(const struct strv *from, struct strv *out, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < from->n && r == 0; i++)
                r = csv_split(from->v[i], out, err);
        return r == BLD_E_INVALID ? err_recode(err, BLD_E_USAGE) : r;
}

static const char *machine_arch(struct utsname *u)
{
        if (uname(u) < 0)
                return "amd64";
        if (strcmp(u->machine, "x86_64") == 0)
                return "amd64";
        return strcmp(u->machine, "aarch64") == 0 ? "arm64" : u->machine;
}

static int read_platforms(const struct build_args *a, struct strv *out, struct bld_err *err)
{
        const char *e = getenv("DOCKER_DEFAULT_PLATFORM");
        struct utsname u;
        int r = split_all(&a->platforms, out, err);

        if (r < 0 || out->n)
                return r;
        if (a->os || a->arch || a->variant)
                r = strv_addf(out, "%s/%s%s%s", a->os ? a->os : "linux",
                              a->arch ? a->arch : machine_arch(&u), a->variant ? "/" : "",
                              a->variant ? a->variant : "");
        else if (e && *e)
                r = strv_add(out, e);
        return r < 0 ? err_nomem(err, "platforms") : 0;
}

static int read_pull(const char *s, enum bld_pull *ret, struct bld_err *err)
{
        static const struct {
                const char *name;
                enum bld_pull pull;
        } names[] = {
                {"missing", BLD_PULL_MISSING}, {"always", BLD_PULL_ALWAYS},
                {"never", BLD_PULL_NEVER},     {"newer", BLD_PULL_NEWER},
                {"", BLD_PULL_ALWAYS},         {"true", BLD_PULL_ALWAYS},
                {"false", BLD_PULL_MISSING},
        };

        *ret = BLD_PULL_MISSING;
        for (size_t i = 0; s && i < ARRAY_LEN(names); i++)
                if (strcmp(names[i].name, s) == 0) {
                        *ret = names[i].pull;
                        return 0;
                }
        return s ? err_set(err, BLD_E_USAGE,
                           "--pull takes missing, always, newer or never, not \"%.50s\"", s)
                 : 0;
}

/* Seconds, an RFC 3339 time, or a name that the build looks up. A build argument counts more than
 * the environment. */
static const char *read_epoch(const char *flag, const struct strv *build_args, char out[24])
{
        const char *s = flag;
        int64_t sec, nsec;

        if (!s && !strv_env_get(build_args, "SOURCE_DATE_EPOCH"))
                s = OR_ENV(NULL, "SOURCE_DATE_EPOCH");
        if (flag && strcmp(flag, "git") == 0)
                return "context";
        if (!s || !parse_rfc3339(s, &sec, &nsec))
                return s;
        (void)snprintf(out, 24, "%lld", (long long)sec);
        return out;
}

static int read_level(const char *s, int *ret, struct bld_err *err)
{
        int64_t n;

        if (!s)
                return 0;
        if (!parse_i64(s, -1, 22, &n))
                return err_set(err, BLD_E_USAGE,
                               "--compression-level takes a number, not \"%.50s\"", s);
        *ret = n < 0 ? 0 : (int)n;
        return 0;
}

static int check_names(const struct build_args *a, const struct bld_build_opts *o,
                       struct bld_err *err)
{
        if (o->network && !ONE_OF(o->network, "default", "none", "host"))
                return err_set(err, BLD_E_USAGE,
                               "--network takes default, none or host, not \"%.50s\"", o->network);
        if (o->isolation &&
            !ONE_OF(o->isolation, "auto", "root", "userns", "solo", "chroot", "vroot", "none") &&
            !str_has_prefix(o->isolation, "oci="))
                return err_set(err, BLD_E_USAGE,
                               "--isolation takes auto, root, userns, solo, chroot or none, not "
                               "\"%.50s\"",
                               o->isolation);
        if (o->compression && !ONE_OF(o->compression, "gzip", "zstd", "none"))
                return err_set(err, BLD_E_USAGE,
                               "--compression takes gzip, zstd or none, not \"%.50s\"",
                               o->compression);
        if (a->iid && !ONE_OF(a->iid, "manifest", "config"))
                return err_set(err, BLD_E_USAGE, "--iid takes manifest or config, not \"%.50s\"",
                               a->iid);
        return 0;
}

/* ---- attestations: taken as long as they ask for none ---- */

static int refuse_attest(const char *type, struct bld_err *err)
{
        return err_set(err, BLD_E_USAGE,
                       "bld makes no %s attestations yet\n"
                       "try: --%s=false, and attach one to the pushed image by its digest",
                       strcmp(type, "sbom") == 0 ? "SBOM" : "provenance", type);
}

/* false, 0, off, disabled, mode=off, disabled=true: what people write to have none. */
static bool switches_off(const char *field)
{
        bool v = true;

        if (ONE_OF(field, "off", "none", "disabled", "mode=off", "mode=disabled"))
                return true;
        if (str_has_prefix(field, "disabled="))
                return parse_go_bool(field + strlen("disabled="), &v) && v;
        return parse_go_bool(field, &v) && !v;
}

static int check_attest(const char *type, const char *spec, struct bld_err *err)
{
        AUTO_STRV struct strv fields = {0};
        bool off = false;
        int r = spec ? csv_split(spec, &fields, err) : 0;

        if (!spec || r < 0)
                return r < 0 ? err_recode(err, BLD_E_USAGE) : 0;
        for (size_t i = 0; i < fields.n; i++) {
                if (!type && str_has_prefix(fields.v[i], "type="))
                        type = fields.v[i] + strlen("type=");
                off = off || switches_off(fields.v[i]);
        }
        if (!type || !ONE_OF(type, "sbom", "provenance"))
                return err_set(err, BLD_E_USAGE,
                               "--attest \"%.100s\" needs type=provenance or type=sbom", spec);
        return off ? 0 : refuse_attest(type, err);
}

static int check_attests(const struct build_args *a, struct bld_err *err)
{
        int r = check_attest("provenance", a->provenance, err);

        r = r < 0 ? r : check_attest("sbom", a->sbom, err);
        for (size_t i = 0; i < a->attest.n && r == 0; i++)
                r = check_attest(NULL, a->attest.v[i], err);
        return r;
}

static int check_files(const struct build_args *a, struct bld_err *err)
{
        const char *const paths[] = {a->iidfile,          a->metadata_file,        a->digest_file,
                                     a->name_digest_file, a->name_tag_digest_file, a->dotenv};

        for (size_t i = 0; i < ARRAY_LEN(paths); i++)
                if (paths[i] &&
                    (str_has_prefix(paths[i], "https://") || str_has_prefix(paths[i], "http://")))
                        return err_set(err, BLD_E_USAGE,
                                       "cannot write to \"%.200s\": upload of "
                                       "result files is not available yet",
                                       paths[i]);
        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
                int r = paths[i] ? path_check_target(paths[i], err) : 0;

                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_format(const char *s, bool *ret_docker, struct bld_err *err)
{
        s = OR_ENV(s, "BUILDAH_FORMAT");
        if (s && !ONE_OF(s, "oci", "docker"))
                return err_set(err, BLD_E_USAGE, "--format takes oci or docker, not \"%.50s\"", s);
        *ret_docker = s && strcmp(s, "docker") == 0;
        return 0;
}

/* buildah's variable; its "oci" and "rootless" mean an isolation of its own making. */
static const char *read_isolation(const char *flag)
{
        const char *s = OR_ENV(flag, "BLD_ISOLATION"), *e = getenv("BUILDAH_ISOLATION");

        if (!s && e && strcmp(e, "chroot") == 0)
                s = "chroot";
        return s;
}

/* buildah's way of asking for one layer of the new ones. */
static bool no_layers(const struct build_args *a)
{
        const char *e = getenv("BUILDAH_LAYERS");
        bool layers = true;

        if (e && *e && !parse_go_bool(e, &layers))
                layers = true;
        return !a->layers || !layers;
}

/* The flags of docker for single resources are keys of --resource. */
static int read_resources(const struct build_args *a, struct build_input *in, struct bld_err *err)
{
        const struct {
                const char *key, *value;
        } one[] = {{"memory", a->memory},
                   {"memory-swap", a->memory_swap},
                   {"cpus", a->cpus},
                   {"cpu-shares", a->cpu_shares},
                   {"cpu-period", a->cpu_period},
                   {"cpu-quota", a->cpu_quota},
                   {"cpuset-cpus", a->cpuset_cpus},
                   {"cpuset-mems", a->cpuset_mems}};
        int r = strv_copy(&in->resources, &a->resources);

        for (size_t i = 0; i < ARRAY_LEN(one) && r == 0; i++) {
                AUTO_FREE char *text = NULL;

                if (!one[i].value)
                        continue;
                if (asprintf(&text, "%s=%s", one[i].key, one[i].value) < 0)
                        text = NULL;
                r = text ? strv_add(&in->resources, text) : BLD_E_NOMEM;
        }
        in->o.resources = cli_list(&in->resources);
        return r < 0 ? err_nomem(err, "--resource") : 0;
}

static int read_execution(const struct build_args *a, struct bld_build_opts *o, struct bld_err *err)
{
        uint64_t jobs = 0;
        int r;

        o->network = a->network;
        o->isolation = read_isolation(a->isolation);
        o->add_hosts = cli_list(&a->add_hosts);
        o->dns = cli_list(&a->dns);
        o->dns_search = cli_list(&a->dns_search);
        o->dns_options = cli_list(&a->dns_options);
        o->secret_scan = a->secret_scan;
        o->no_hosts = a->no_hosts;
        o->no_host_proxy = !a->http_proxy;
        o->ulimits = cli_list(&a->ulimits);
        o->secrets = cli_list(&a->secrets);
        o->ssh = cli_list(&a->ssh);
        o->allow = cli_list(&a->allow);
        o->cgroup_parent = a->cgroup_parent;
        r = cli_number("jobs", OR_ENV(a->jobs, "BLD_JOBS"), 4096, &jobs, err);
        r = r < 0 ? r : cli_bytes("shm-size", a->shm_size, &o->shm_bytes, err);
        r = r < 0 ? r : cli_duration_ms("run-timeout", a->run_timeout, &o->run_timeout_ms, err);
        o->jobs = (unsigned)jobs;
        return r;
}

/* The flags, else the words of the variable: a spec has commas inside. */
static int read_specs(const struct strv *flags, const char *name, struct strv *out,
                      struct bld_err *err)
{
        const char *e = getenv(name);
        size_t n;
        int r = strv_copy(out, flags);

        for (; r == 0 && !flags->n && e && *e; e += n) {
                e += strspn(e, " \t\r\n");
                n = strcspn(e, " \t\r\n");
                if (n)
                        r = strv_addn(out, e, n);
        }
        return r < 0 ? err_nomem(err, name) : 0;
}

static int read_cache(const struct build_args *a, struct build_input *in, struct bld_err *err)
{
        struct bld_build_opts *o = &in->o;
        int r = read_specs(&a->cache_from, "BLD_CACHE_FROM", &in->cache_from, err);

        if (r == 0)
                r = read_specs(&a->cache_to, "BLD_CACHE_TO", &in->cache_to, err);
        if (r == 0)
                r = cli_duration_ms("cache-ttl", a->cache_ttl, &o->cache_ttl_ms, err);
        o->cache_from = cli_list(&in->cache_from);
        o->cache_to = cli_list(&in->cache_to);
        o->cache_repo = OR_ENV(a->cache_repo, "BLD_CACHE_REPO");
        return r;
}

static int read_output(const struct build_args *a, struct bld_build_opts *o, struct bld_err *err)
{
        int r;

        o->outputs = cli_list(&a->outputs);
        o->push = a->push;
        o->no_push_check = a->no_push_check;
        o->keep_immutable = a->keep_immutable;
        o->compression = a->compression;
        o->force_compression = a->force_compression;
        o->keep_times = !a->rewrite_timestamp;
        o->out_fd = 1;
        r = read_level(a->compression_level, &o->compression_level, err);
        r = r < 0 ? r : read_format(a->format, &o->docker_format, err);
        if (r < 0)
                return r;
        if (o->push && !a->tags.n && !a->outputs.n)
                return err_set(err, BLD_E_USAGE, "--push needs a name to push to\ntry: -t NAME");
        for (size_t i = 0; i < a->outputs.n; i++) {
                const char *s = a->outputs.v[i];

                if (isatty(1) == 1 && (strcmp(s, "-") == 0 || strstr(s, "dest=-")) &&
                    (str_has_suffix(s, "-") || strstr(s, "dest=-,")))
                        return err_set(err, BLD_E_USAGE,
                                       "an archive is not for a terminal\ntry: -o dest=FILE");
        }
        return 0;
}

/* ---- progress ---- */

static bool in_ci(const struct cli *c)
{
        static const char *const names[] = {"CI",        "GITHUB_ACTIONS",   "GITLAB_CI",
                                            "BUILDKITE", "TEAMCITY_VERSION", "JENKINS_URL",
                                            "TF_BUILD"};
        const char *e = getenv("BLD_CI");

        if (c->o->no_ci || (e && strcmp(e, "none") == 0))
                return false;
        if (e && *e)
                return true;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                e = getenv(names[i]);
                if (e && *e && strcmp(e, "false") != 0)
                        return true;
        }
        return false;
}

static int progress_mode(struct cli *c, const char *s, struct build_input *in, struct bld_err *err)
{
        if (strcmp(s, "auto") == 0)
                in->view = c->err.redraw && !in_ci(c) ? VIEW_TTY : VIEW_PLAIN;
        else if (strcmp(s, "tty") == 0)
                in->view = VIEW_TTY;
        else if (strcmp(s, "plain") == 0)
                in->view = VIEW_PLAIN;
        else if (strcmp(s, "rawjson") == 0)
                in->view = VIEW_RAWJSON;
        else if (strcmp(s, "none") == 0 || strcmp(s, "quiet") == 0)
                in->view = VIEW_NONE;
        else if (strcmp(s, "grouped") == 0 || strcmp(s, "json") == 0)
                return err_set(err, BLD_E_USAGE,
                               "--progress %s is not available yet\n"
                               "try: --progress plain, or rawjson",
                               s);
        else
                return err_set(err, BLD_E_USAGE,
                               "--progress takes auto, tty, plain, rawjson, quiet or none, not "
                               "\"%.50s\"",
                               s);
        if (strcmp(s, "quiet") == 0)
                in->quiet = true;
        if (in->view == VIEW_TTY && !c->err.redraw) {
                cli_note(c, "note",
                         "--progress tty needs a terminal on standard error; using plain");
                in->view = VIEW_PLAIN;
        }
        return 0;
}

static int open_log(const char *path, int *ret, struct bld_err *err)
{
        if (!path)
                return 0;
        *ret = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
        return *ret < 0 ? err_sys(err, errno, "open \"%s\"", path) : 0;
}

static int read_progress(struct cli *c, const struct build_args *a, struct build_input *in,
                         struct bld_err *err)
{
        const char *s = OR_ENV(a->progress, "BLD_PROGRESS");
        uint64_t fd = 2;
        struct stat st;
        int r;

        if (!s || strcmp(s, "auto") == 0)
                s = OR_ENV(NULL, "BUILDKIT_PROGRESS");
        in->quiet = a->quiet;
        r = progress_mode(c, s ? s : "auto", in, err);
        if (a->quiet && in->view != VIEW_RAWJSON)
                in->view = VIEW_NONE;
        r = r < 0 ? r : cli_number("progress-fd", a->progress_fd, 1 << 20, &fd, err);
        if (r < 0)
                return r;
        if (a->progress_fd && (in->view != VIEW_RAWJSON || fstat((int)fd, &st) < 0))
                return err_set(err, BLD_E_USAGE,
                               "--progress-fd needs --progress rawjson and an open descriptor");
        in->view_fd = (int)fd;
        r = open_log(a->log_file, &in->log_fd, err);
        return r < 0 ? r : open_log(a->progress_file, &in->raw_fd, err);
}

static int read_source(const struct build_args *a, const char *context, struct build_input *in,
                       struct bld_err *err)
{
        struct bld_build_opts *o = &in->o;
        int r;

        o->context = context;
        o->dockerfile = a->file;
        o->stdin_fd = 0;
        o->ignorefile = a->ignorefile;
        if (a->file && strcmp(a->file, "-") == 0 && strcmp(context, "-") == 0)
                return err_set(err, BLD_E_USAGE,
                               "invalid argument: can't use stdin for both build context and "
                               "dockerfile");
        r = split_all(&a->targets, &in->targets, err);
        r = r < 0 ? r : split_all(&a->no_cache_filter, &in->no_cache_filter, err);
        r = r < 0 ? r
                  : build_pair_files("build-arg-file", &a->build_arg_files, &in->build_args, err);
        r = r < 0 ? r : build_pairs("build-arg", &a->build_args, &in->build_args, err);
        r = r < 0 ? r : build_pairs("env", &a->env, &in->env, err);
        r = r < 0 ? r : read_platforms(a, &in->platforms, err);
        o->from = a->from;
        o->strict_args = a->strict_args;
        o->drop_labels = !a->inherit_labels;
        o->squash_all = a->squash_all;
        o->squash = a->squash || no_layers(a) ? "new" : NULL;
        o->omit_history = a->omit_history;
        o->env = cli_list(&in->env);
        o->unset_env = cli_list(&a->unset_env);
        o->unset_labels = cli_list(&a->unset_labels);
        o->os_version = a->os_version;
        o->os_features = cli_list(&a->os_features);
        o->tags = cli_list(&a->tags);
        o->targets = cli_list(&in->targets);
        o->build_args = cli_list(&in->build_args);
        o->build_contexts = cli_list(&a->build_contexts);
        o->labels = cli_list(&a->labels);
        o->annotations = cli_list(&a->annotations);
        o->platforms = cli_list(&in->platforms);
        o->no_cache_filter = cli_list(&in->no_cache_filter);
        return r;
}

int build_input_read(struct cli *c, const struct build_args *a, const char *context,
                     struct build_input *in, struct bld_err *err)
{
        struct bld_build_opts *o = &in->o;
        int r;

        o->size = sizeof(*o);
        o->no_cache = a->no_cache;
        o->reproducible = a->reproducible;
        r = read_source(a, context, in, err);
        r = r < 0 ? r : read_execution(a, o, err);
        r = r < 0 ? r : read_resources(a, in, err);
        r = r < 0 ? r : read_cache(a, in, err);
        r = r < 0 ? r : read_output(a, o, err);
        r = r < 0 ? r : build_load_read(a->load, &in->load, err);
        r = r < 0 ? r : read_pull(a->pull, &o->pull, err);
        o->source_date_epoch = read_epoch(a->epoch, &in->build_args, in->epoch);
        r = r < 0 ? r : check_names(a, o, err);
        r = r < 0 ? r : check_attests(a, err);
        r = r < 0 ? r : check_files(a, err);
        return r < 0 ? r : read_progress(c, a, in, err);
}
