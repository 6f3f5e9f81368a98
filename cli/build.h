/* Parts of `bld build`: flags (build_opts.c), what they mean to the library (build_input.c), and
 * what is said and written at the end (build_output.c). */
#ifndef CLI_BUILD_H
#define CLI_BUILD_H

#include "cli/cli.h"
#include "cli/view.h"

struct build_args {
        struct cli_common common;
        /* source and naming */
        const char *file, *ignorefile;
        struct strv build_arg_files, env, unset_env, unset_labels, os_features;
        const char *from, *os_version;
        bool strict_args, inherit_labels;
        struct strv tags, targets, build_args, build_contexts, labels, annotations, platforms;
        const char *os, *arch, *variant;
        /* execution */
        const char *isolation, *jobs, *network, *shm_size, *run_timeout;
        const char *cgroup_parent, *memory, *memory_swap, *cpus, *cpu_period, *cpu_quota;
        const char *cpu_shares, *cpuset_cpus, *cpuset_mems;
        struct strv add_hosts, secrets, ssh, allow, ulimits, resources;
        struct strv dns, dns_search, dns_options;
        bool no_hosts, http_proxy;
        const char *secret_scan;
        bool exit_code_from_run;
        bool check;
        const char *call;
        /* cache */
        bool no_cache;
        struct strv no_cache_filter, cache_from, cache_to;
        const char *cache_repo, *cache_ttl;
        const char *pull, *max_used, *min_free;
        /* output */
        struct strv outputs;
        const char *load;
        bool push, quiet, metadata_on_error, log_timestamps, log_streams;
        const char *format, *compression, *compression_level;
        const char *iidfile, *iid, *metadata_file, *digest_file;
        const char *name_digest_file, *name_tag_digest_file;
        const char *progress, *progress_fd, *progress_file, *log_file;
        bool squash_all, squash, omit_history, no_push_check, keep_immutable, ci_outputs;
        const char *dotenv, *termination_log;
        /* reproducibility */
        const char *epoch, *provenance, *sbom;
        struct strv attest;
        bool reproducible, rewrite_timestamp, force_compression;
        /* foreign */
        bool layers;
};

extern const struct opt build_opts[];
void build_defaults(void *args);

/* What build_args means. The lists in `o` borrow from here and from the arguments. */
struct build_input {
        struct bld_build_opts o;
        struct strv targets, build_args, platforms, no_cache_filter, resources;
        struct strv cache_from, cache_to, env;
        char epoch[24];
        enum view_mode view;
        int view_fd, log_fd, raw_fd;
        bool quiet, load;
};
void build_input_init(struct build_input *in);
void build_input_done(struct build_input *in);
int build_input_read(struct cli *c, const struct build_args *a, const char *context,
                     struct build_input *in, struct bld_err *err) MUST_CHECK;

/* "K=V" as it is, "K" with its value from the environment, if there is one; and the same from the
 * lines of files. flag: for messages. */
int build_pairs(const char *flag, const struct strv *from, struct strv *out,
                struct bld_err *err) MUST_CHECK;
int build_pair_files(const char *flag, const struct strv *paths, struct strv *out,
                     struct bld_err *err) MUST_CHECK;

struct build_report {
        struct cli *c;
        const struct build_args *a;
        const struct build_input *in;
        const struct bld_build_result *result;
        const struct steps *steps;
        char loaded_id[160]; /* what the daemon it was loaded into calls it; "": none */
};
/* --load: does it ask for a docker daemon? USAGE. Then: give it the image, under every name. */
int build_load_read(const char *s, bool *ret, struct bld_err *err) MUST_CHECK;
int build_load(struct build_report *b, struct bld_err *err) MUST_CHECK;
/* The lines after a build that worked. */
void build_summary(const struct build_report *b);
/* The error of one that did not; returns the exit status. */
int build_failure(const struct build_report *b, const struct bld_err *err);
/* --iidfile, --metadata-file, --digest-file and the like; and the one line of -q. */
int build_files(const struct build_report *b, struct bld_err *err) MUST_CHECK;
/* --dotenv and --ci-outputs. */
int build_ci(const struct build_report *b, struct bld_err *err) MUST_CHECK;
/* Why it failed, for the kubelet. */
void build_termination_log(const struct build_report *b, const struct bld_err *why);
/* --metadata-on-error. */
int build_failure_file(const struct build_report *b, const struct bld_err *why,
                       struct bld_err *err) MUST_CHECK;

#endif
