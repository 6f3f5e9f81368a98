/* What the flags of `bld build` mean to the library, and which are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "cli/build.h"

struct outcome {
        struct build_args a;
        struct build_input in;
        struct strv pos;
        struct cli c;
        char line[1024];
        char *argv[64];
};

/* "build" and the words of line, parsed and read; freed by done(). */
static int read_line(struct outcome *o, const char *line, struct bld_err *err)
{
        const struct opt *const tables[] = {build_opts, cli_global_opts, cli_registry_opts};
        int argc = 1, r;

        memset(o, 0, sizeof(*o));
        assert_true(str_copy(o->line, sizeof(o->line), line));
        for (char *s = o->line; *s; argc++) {
                size_t n = strcspn(s, " ");

                assert_true(argc < 63);
                o->argv[argc] = s;
                s += n;
                if (*s)
                        *s++ = '\0';
        }
        build_defaults(&o->a);
        build_input_init(&o->in);
        r = opt_parse(tables, 3, argc, o->argv, &o->a, &o->pos, NULL, err);
        r = r < 0 ? r : cli_setup(&o->c, &o->a.common, err);
        o->c.quiet = true;
        return r < 0 ? r
                     : build_input_read(&o->c, &o->a, o->pos.n ? o->pos.v[0] : ".", &o->in, err);
}

static void done(struct outcome *o)
{
        static const struct opt *const tables[] = {build_opts, cli_registry_opts};

        build_input_done(&o->in);
        strv_done(&o->pos);
        for (size_t t = 0; t < ARRAY_LEN(tables); t++)
                for (const struct opt *f = tables[t]; f->name; f++)
                        if (f->kind == OPT_LIST)
                                strv_done((struct strv *)(void *)((char *)&o->a + f->offset));
}

/* A clean environment: tests must not depend on the one they run in. */
static int clean_env(void **state)
{
        static const char *const names[] = {
                "BLD_PROGRESS",
                "BUILDKIT_PROGRESS",
                "BLD_ISOLATION",
                "BUILDAH_ISOLATION",
                "BUILDAH_FORMAT",
                "BUILDAH_LAYERS",
                "SOURCE_DATE_EPOCH",
                "BLD_JOBS",
                "DOCKER_DEFAULT_PLATFORM",
                "CI",
                "GITHUB_ACTIONS",
                "BLD_CI",
                "ARG_FROM_ENV",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                (void)unsetenv(names[i]);
        return 0;
}

/* The struct stays where it is: members point into it. */
static void read_ok(struct outcome *o, const char *line)
{
        struct bld_err err = BLD_ERR_INIT;

        if (read_line(o, line, &err) < 0)
                fail_msg("%s: %s", line, err.msg);
}

static void lists(void **state)
{
        struct outcome o;

        (void)state;
        (void)setenv("ARG_FROM_ENV", "value", 1);
        read_ok(&o, "-t a:1 -t b --target x,y --target z --build-arg A=1 --build-arg ARG_FROM_ENV "
                    "--build-arg NOT_SET --platform linux/amd64,linux/arm64 --label L=1 "
                    "--secret id=s,src=f --add-host h:1.2.3.4 -o type=oci,dest=x dir");
        assert_int_equal(o.in.o.tags.n, 2);
        assert_string_equal(o.in.o.tags.v[1], "b");
        assert_int_equal(o.in.o.targets.n, 3);
        assert_string_equal(o.in.o.targets.v[2], "z");
        assert_int_equal(o.in.o.build_args.n, 2);
        assert_string_equal(o.in.o.build_args.v[1], "ARG_FROM_ENV=value");
        assert_int_equal(o.in.o.platforms.n, 2);
        assert_string_equal(o.in.o.platforms.v[1], "linux/arm64");
        assert_string_equal(o.in.o.labels.v[0], "L=1");
        assert_string_equal(o.in.o.secrets.v[0], "id=s,src=f");
        assert_string_equal(o.in.o.add_hosts.v[0], "h:1.2.3.4");
        assert_string_equal(o.in.o.outputs.v[0], "type=oci,dest=x");
        assert_string_equal(o.in.o.context, "dir");
        done(&o);
}

static void scalars(void **state)
{
        struct outcome o;

        (void)state;
        read_ok(&o, "-f D --no-cache --network none --isolation userns -j 3 --shm-size 64m "
                    "--run-timeout 90s --compression zstd --compression-level 5 --format docker "
                    "--reproducible --push -t x --iid config --source-date-epoch "
                    "2026-11-22T01:10:03Z .");
        assert_string_equal(o.in.o.dockerfile, "D");
        assert_true(o.in.o.no_cache && o.in.o.docker_format && o.in.o.reproducible && o.in.o.push);
        assert_string_equal(o.in.o.network, "none");
        assert_string_equal(o.in.o.isolation, "userns");
        assert_int_equal(o.in.o.jobs, 3);
        assert_int_equal(o.in.o.shm_bytes, 64 << 20);
        assert_int_equal(o.in.o.run_timeout_ms, 90000);
        assert_string_equal(o.in.o.compression, "zstd");
        assert_int_equal(o.in.o.compression_level, 5);
        assert_string_equal(o.in.o.source_date_epoch, "1795309803");
        done(&o);
        read_ok(&o, ".");
        assert_null(o.in.o.dockerfile);
        assert_null(o.in.o.network);
        assert_null(o.in.o.isolation);
        assert_null(o.in.o.source_date_epoch);
        assert_int_equal(o.in.o.pull, BLD_PULL_MISSING);
        assert_int_equal(o.in.o.out_fd, 1);
        assert_int_equal(o.in.o.size, sizeof(o.in.o));
        done(&o);
}

static void edits(void **state)
{
        struct outcome o;

        (void)state;
        (void)setenv("ARG_FROM_ENV", "value", 1);
        read_ok(&o, "--env A=1 --env ARG_FROM_ENV --env NOT_SET --unsetenv B --unsetlabel L "
                    "--inherit-labels=false --omit-history --os-version 9 --os-feature f "
                    "--from base --strict-args --dns 1.2.3.4 --dns-search x --dns-option y "
                    "--no-hosts --http-proxy=false --no-push-check --ignore-immutable-tag .");
        assert_int_equal(o.in.o.env.n, 2);
        assert_string_equal(o.in.o.env.v[1], "ARG_FROM_ENV=value");
        assert_string_equal(o.in.o.unset_env.v[0], "B");
        assert_string_equal(o.in.o.unset_labels.v[0], "L");
        assert_true(o.in.o.drop_labels && o.in.o.omit_history && o.in.o.strict_args);
        assert_string_equal(o.in.o.os_version, "9");
        assert_string_equal(o.in.o.os_features.v[0], "f");
        assert_string_equal(o.in.o.from, "base");
        assert_int_equal(o.in.o.dns.n + o.in.o.dns_search.n + o.in.o.dns_options.n, 3);
        assert_true(o.in.o.no_hosts && o.in.o.no_host_proxy);
        assert_true(o.in.o.no_push_check && o.in.o.keep_immutable);
        done(&o);
        read_ok(&o, "--compression-format zstd .");
        assert_string_equal(o.in.o.compression, "zstd");
        assert_false(o.in.o.drop_labels || o.in.o.no_host_proxy || o.in.o.keep_times);
        done(&o);
}

static void pulls(void **state)
{
        static const struct {
                const char *line;
                enum bld_pull want;
        } rows[] = {
                {"--pull .", BLD_PULL_ALWAYS},          {"--pull=always .", BLD_PULL_ALWAYS},
                {"--pull=true .", BLD_PULL_ALWAYS},     {"--pull=false .", BLD_PULL_MISSING},
                {"--pull=missing .", BLD_PULL_MISSING}, {"--pull=never .", BLD_PULL_NEVER},
                {"--pull=newer .", BLD_PULL_NEWER},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct outcome o;

                read_ok(&o, rows[i].line);

                assert_int_equal(o.in.o.pull, rows[i].want);
                done(&o);
        }
}

static void environment(void **state)
{
        struct outcome o;

        (void)state;
        (void)setenv("BLD_PROGRESS", "rawjson", 1);
        (void)setenv("BUILDKIT_PROGRESS", "plain", 1);
        (void)setenv("BLD_ISOLATION", "solo", 1);
        (void)setenv("BUILDAH_ISOLATION", "chroot", 1);
        (void)setenv("BUILDAH_FORMAT", "docker", 1);
        (void)setenv("SOURCE_DATE_EPOCH", "7", 1);
        (void)setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64", 1);
        (void)setenv("BLD_JOBS", "5", 1);
        read_ok(&o, ".");
        assert_int_equal(o.in.view, VIEW_RAWJSON);
        assert_string_equal(o.in.o.isolation, "solo");
        assert_true(o.in.o.docker_format);
        assert_string_equal(o.in.o.source_date_epoch, "7");
        assert_string_equal(o.in.o.platforms.v[0], "linux/arm64");
        assert_int_equal(o.in.o.jobs, 5);
        done(&o);
        read_ok(&o, "--progress plain --isolation root --format oci --timestamp 8 -j 1 "
                    "--platform linux/amd64 .");
        assert_int_equal(o.in.view, VIEW_PLAIN);
        assert_string_equal(o.in.o.isolation, "root");
        assert_false(o.in.o.docker_format);
        assert_string_equal(o.in.o.source_date_epoch, "8");
        assert_int_equal(o.in.o.platforms.n, 1);
        assert_int_equal(o.in.o.jobs, 1);
        done(&o);
        read_ok(&o, "--source-date-epoch git .");
        assert_string_equal(o.in.o.source_date_epoch, "context");
        done(&o);
        read_ok(&o, "--source-date-epoch vendor .");
        assert_string_equal(o.in.o.source_date_epoch, "vendor");
        done(&o);
        read_ok(&o, "--build-arg SOURCE_DATE_EPOCH=9 .");
        assert_null(o.in.o.source_date_epoch); /* the argument is the build's to read */
        done(&o);
        (void)unsetenv("BLD_PROGRESS");
        read_ok(&o, "--progress auto .");
        assert_int_equal(o.in.view, VIEW_PLAIN);
        done(&o);
}

static void views(void **state)
{
        static const struct {
                const char *line;
                enum view_mode want;
                bool quiet;
        } rows[] = {
                {"--progress plain .", VIEW_PLAIN, false},
                {"--progress rawjson .", VIEW_RAWJSON, false},
                {"--progress none .", VIEW_NONE, false},
                {"--progress quiet .", VIEW_NONE, true},
                {"-q .", VIEW_NONE, true},
                {"-q --progress plain .", VIEW_NONE, true},
                {"-q --progress rawjson .", VIEW_RAWJSON, true},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct outcome o;

                read_ok(&o, rows[i].line);

                print_message("%s\n", rows[i].line);
                assert_int_equal(o.in.view, rows[i].want);
                assert_int_equal(o.in.quiet, rows[i].quiet);
                done(&o);
        }
}

/* Lines that docker, buildx and buildah users type. */
static void foreign(void **state)
{
        static const char *const lines[] = {
                "--rm --force-rm --compress --disable-content-trust -t a .",
                "--builder x --node n --driver d --driver-opt o .",
                "--provenance=false --sbom=false --pull --push -t r/a .",
                "--provenance=0 --sbom=off --attest type=provenance,disabled=true .",
                "--provenance=mode=max,disabled=1 --attest type=sbom,disabled=true .",
                "--layers --format=docker --isolation chroot --tls-verify=false .",
                "--layers=true --os linux --arch arm64 --variant v8 .",
                "--authfile f --creds u:p --retry 3 --retry-delay 2s .",
                "--logfile /dev/null .",
                "--push-if-changed --no-hostname .",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
                struct outcome o;

                print_message("%s\n", lines[i]);
                read_ok(&o, lines[i]);
                if (o.a.os)
                        assert_string_equal(o.in.o.platforms.v[0], "linux/arm64/v8");
                done(&o);
        }
}

static void refused(void **state)
{
        static const struct {
                const char *line, *part;
        } rows[] = {
                {"--pull=sometimes .", "--pull"},
                {"--network bridge .", "--network"},
                {"--isolation hyperv .", "--isolation"},
                {"--compression estargz .", "--compression"},
                {"--compression-level x .", "--compression-level"},
                {"--format tar .", "--format"},
                {"--iid both .", "--iid"},
                {"--jobs many .", "--jobs"},
                {"--shm-size lots .", "--shm-size"},
                {"--run-timeout -5s .", "--run-timeout"},
                {"--provenance=mode=max .", "--provenance=false"},
                {"--sbom=true .", "--sbom=false"},
                {"--sbom .", "--sbom=false"},
                {"--attest type=sbom,generator=x .", "--sbom=false"},
                {"--attest disabled=true .", "type=provenance"},
                {"--push .", "-t NAME"},
                {"--progress fancy .", "--progress"},
                {"--progress json .", "not available yet"},
                {"--progress-fd 1 .", "rawjson"},
                {"--iidfile https://x/y .", "https://x/y"},
                {"--build-arg =x .", "no name"},
                {"--platform a\"b .", "quote"},
                {"-f - -", "stdin for both"},
                {"--load=podman .", "only a docker daemon"},
                {"--cache-ttl soon .", "duration"},
                {"--storage-driver overlay .", "storage drivers"},
                {"-v /a:/b .", "not available yet"},
                {"-D .", "--compression none"},
                {"--frontend dockerfile.v0 .", "buildctl"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct outcome o;

                print_message("%s\n", rows[i].line);
                assert_int_equal(read_line(&o, rows[i].line, &err), BLD_E_USAGE);
                if (!strstr(err.msg, rows[i].part))
                        fail_msg("%s", err.msg);
                done(&o);
        }
}

/* Every table can be shown, and no name stands in it twice. */
static void tables(void **state)
{
        static const struct opt *const all[] = {build_opts, cli_registry_opts, cli_global_opts};

        (void)state;
        for (size_t t = 0; t < ARRAY_LEN(all); t++)
                for (const struct opt *o = all[t]; o->name; o++)
                        for (size_t u = 0; u < ARRAY_LEN(all); u++)
                                for (const struct opt *p = all[u]; p->name; p++)
                                        if (p != o && strcmp(p->name, o->name) == 0)
                                                fail_msg("--%s stands twice", o->name);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(lists, clean_env),
                cmocka_unit_test_setup(scalars, clean_env),
                cmocka_unit_test_setup(edits, clean_env),
                cmocka_unit_test_setup(pulls, clean_env),
                cmocka_unit_test_setup(environment, clean_env),
                cmocka_unit_test_setup(views, clean_env),
                cmocka_unit_test_setup(foreign, clean_env),
                cmocka_unit_test_setup(refused, clean_env),
                cmocka_unit_test(tables),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
