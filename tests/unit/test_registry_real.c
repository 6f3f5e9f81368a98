/* The client against Debian's docker-registry: plain, htpasswd, a token service, TLS with a private
 * CA and client certificates. The program is a test
 * dependency: without it this fails. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cancel.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include "base/proc.h"
#include "mock_http.h"
#include "registry/registry.h"

#define REGISTRY "/usr/bin/docker-registry"

struct server {
        char dir[64];
        char host[32]; /* "127.0.0.1:PORT" */
        pid_t pid;
        struct mock *tokens; /* TOKEN only */
};

static int free_port(void)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(a);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), port;

        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
        port = ntohs(a.sin_port);
        (void)close(fd);
        return port;
}

static bool answers(const char *host)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        uint64_t port;
        bool ok;

        assert_true(parse_u64(strchr(host, ':') + 1, 1, 65535, &port));
        a.sin_port = htons((uint16_t)port);
        ok = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
        (void)close(fd);
        return ok;
}

static void write_file(const char *dir, const char *name, const char *text)
{
        AUTO_SB struct sb path = SB_INIT(4096);
        struct bld_err err = BLD_ERR_INIT;

        sb_fmt(&path, "%s/%s", dir, name);
        assert_int_equal(file_write(AT_FDCWD, sb_text(&path), text, strlen(text), 0600, 0, &err),
                         0);
}

enum mode { PLAIN, HTPASSWD, TLS, TLS_CLIENT, TOKEN };

static void run(const char *script, const char *dir)
{
        char sh[] = "sh", c[] = "-ec", zero[] = "sh";
        AUTO_FREE char *text = strdup(script), *arg = strdup(dir);
        char *argv[] = {sh, c, text, zero, arg, NULL};
        AUTO_SB struct sb out = SB_INIT(1u << 20), errs = SB_INIT(1u << 20);
        struct bld_err err = BLD_ERR_INIT;
        int status = 1;

        if (proc_run("/bin/sh", argv, NULL, 0, &out, &errs, 60000, NULL, &status, &err) < 0)
                fail_msg("%s", err.msg);
        if (status != 0)
                fail_msg("%s", sb_text(&errs));
}

/* A private CA, a server certificate for 127.0.0.1 and a client certificate. */
static const char make_certs[] =
        "cd \"$1\"; new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30'\n"
        "$new -x509 -keyout ca.key -out ca.pem -subj /CN=ca\n"
        "for n in server client; do\n"
        "$new -keyout $n.key -out $n.csr -subj /CN=$n\n"
        "printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' >ext\n"
        "openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 "
        "-extfile ext -out $n.cert\n"
        "done\n";

static void add_tls(struct server *s, struct sb *conf, enum mode mode)
{
        run(make_certs, s->dir);
        sb_fmt(conf, "  tls:\n    certificate: %s/server.cert\n    key: %s/server.key\n", s->dir,
               s->dir);
        if (mode == TLS_CLIENT)
                sb_fmt(conf, "    clientcas: [%s/ca.pem]\n", s->dir);
}

/* A signed token that lets its bearer do everything with two repositories. */
static const char make_token[] =
        "cd \"$1\"; openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout t.key -out t.pem "
        "-subj /CN=tokens\n"
        "b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }\n"
        "x5c=$(openssl x509 -in t.pem -outform der | openssl base64 -A)\n"
        "a='{\"type\":\"repository\",\"name\":\"team/'; "
        "z='\",\"actions\":[\"pull\",\"push\",\"delete\"]}'\n"
        "h=$(printf '{\"typ\":\"JWT\",\"alg\":\"RS256\",\"x5c\":[\"%s\"]}' \"$x5c\" | b64)\n"
        "c=$(printf '{\"iss\":\"i\",\"sub\":\"ann\",\"aud\":\"reg\",\"exp\":4102444800,\"nbf\":1,"
        "\"iat\":1,\"jti\":\"1\",\"access\":[%sapp%s,%sother%s,"
        "{\"type\":\"registry\",\"name\":\"catalog\",\"actions\":[\"*\"]}]}' "
        "\"$a\" \"$z\" \"$a\" \"$z\" | b64)\n"
        "s=$(printf %s \"$h.$c\" | openssl dgst -sha256 -sign t.key | b64)\n"
        "printf '{\"token\":\"%s\",\"expires_in\":300}' \"$h.$c.$s\" >reply\n";

static void add_token(struct server *s, struct sb *conf)
{
        AUTO_SB struct sb path = SB_INIT(4096), reply = SB_INIT(64u << 10);
        struct bld_err err = BLD_ERR_INIT;

        run(make_token, s->dir);
        sb_fmt(&path, "%s/reply", s->dir);
        if (file_read(AT_FDCWD, sb_text(&path), &reply, &err) < 0)
                fail_msg("%s", err.msg);
        {
                const struct mock_step steps[] = {
                        {"GET /token?client_id=bld&service=reg*",
                         .has = {"Authorization: Basic YW5uOnMzOmNyZXQ="}, .status = 200,
                         .body = sb_text(&reply), .times = 1000, .optional = true},
                        {0},
                };

                s->tokens = mock_start();
                mock_script(s->tokens, steps);
        }
        sb_fmt(conf,
               "auth:\n  token:\n    realm: http://%s/token\n    service: reg\n    issuer: i\n"
               "    rootcertbundle: %s/t.pem\n",
               mock_host(s->tokens), s->dir);
}

static struct server *server_start(enum mode mode)
{
        struct server *s = calloc(1, sizeof(*s));
        AUTO_SB struct sb conf = SB_INIT(4096), log = SB_INIT(4096);
        struct bld_err err = BLD_ERR_INIT;
        char serve[] = "serve", prog[] = REGISTRY;
        char path[96];
        char *argv[] = {prog, serve, path, NULL};
        const char *tmp = getenv("TMPDIR");
        int fd;

        assert_non_null(s);
        (void)snprintf(s->dir, sizeof(s->dir), "%.30s/bld-reg-XXXXXX", tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(s->dir));
        (void)snprintf(s->host, sizeof(s->host), "127.0.0.1:%d", free_port());
        sb_fmt(&conf,
               "version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: "
               "%s/data}\n"
               "  delete: {enabled: true}\nhttp:\n  addr: \"%s\"\n",
               s->dir, s->host);
        if (mode == TLS || mode == TLS_CLIENT)
                add_tls(s, &conf, mode);
        if (mode == TOKEN)
                add_token(s, &conf);
        if (mode == HTPASSWD) {
                char *gen[] = {(char[]){"htpasswd"}, (char[]){"-nbB"}, (char[]){"ann"},
                               (char[]){"s3:cret"}, NULL};
                AUTO_SB struct sb line = SB_INIT(4096);
                int status = 1;

                assert_int_equal(
                        proc_run("htpasswd", gen, NULL, 0, &line, NULL, 20000, NULL, &status, &err),
                        0);
                assert_int_equal(status, 0);
                write_file(s->dir, "htpasswd", sb_text(&line));
                sb_fmt(&conf, "auth: {htpasswd: {realm: test, path: %s/htpasswd}}\n", s->dir);
        }
        write_file(s->dir, "config.yml", sb_text(&conf));
        (void)snprintf(path, sizeof(path), "%s/config.yml", s->dir);
        sb_fmt(&log, "%s/log", s->dir);
        fd = open(sb_text(&log), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        if (proc_spawn(prog, argv, NULL, (struct proc_fd[]){{fd, 1}, {fd, 2}}, 2, &s->pid, &err) <
            0)
                fail_msg("%s", err.msg);
        (void)close(fd);
        for (int i = 0; i < 200 && !answers(s->host); i++)
                (void)poll(NULL, 0, 50);
        assert_true(answers(s->host));
        return s;
}

static void server_stop(struct server *s)
{
        (void)kill(s->pid, SIGKILL);
        (void)waitpid(s->pid, NULL, 0);
        (void)path_remove_tree(AT_FDCWD, s->dir, NULL);
        if (s->tokens)
                free(mock_stop(s->tokens));
        free(s);
}

static int setup_plain(void **state)
{
        *state = server_start(PLAIN);
        return 0;
}

static int setup_htpasswd(void **state)
{
        *state = server_start(HTPASSWD);
        return 0;
}

static int setup_tls(void **state)
{
        *state = server_start(TLS);
        return 0;
}

static int setup_tls_client(void **state)
{
        *state = server_start(TLS_CLIENT);
        return 0;
}

static int setup_token(void **state)
{
        *state = server_start(TOKEN);
        return 0;
}

static int teardown(void **state)
{
        server_stop(*state);
        return 0;
}

/* ---- helpers ---- */

static ssize_t mem_pread(void *user, void *p, size_t n, uint64_t off, struct bld_err *err UNUSED)
{
        const struct sb *b = user;
        size_t left = off < b->len ? b->len - (size_t)off : 0;

        n = MIN(n, left);
        memcpy(p, b->buf + off, n);
        return (ssize_t)n;
}

static int mem_write(void *user, const void *p, size_t n, struct bld_err *err UNUSED)
{
        sb_add(user, p, n);
        return 0;
}

static int mem_rewind(void *user, struct bld_err *err UNUSED)
{
        sb_reset(user);
        return 0;
}

static struct reg_client *client(const struct reg_opts *o)
{
        struct reg_client *c = NULL;
        struct bld_err err = BLD_ERR_INIT;

        assert_int_equal(reg_client_new(o, &c, &err), 0);
        return c;
}

static void ref_to(const struct server *s, const char *rest, struct img_ref *ref)
{
        AUTO_SB struct sb b = SB_INIT(4096);
        struct bld_err err = BLD_ERR_INIT;

        sb_fmt(&b, "%s/%s", s->host, rest);
        assert_int_equal(img_ref_parse(sb_text(&b), ref, &err), 0);
}

static void blob(struct sb *b, struct img_desc *d, size_t n, unsigned seed)
{
        *b = SB_INIT(64u << 20);
        for (size_t i = 0; i < n; i++) {
                seed = seed * 1103515245u + 12345u;
                sb_char(b, (char)(seed >> 16));
        }
        *d = (struct img_desc){.size = n};
        digest_of(sb_text(b), n, &d->digest);
}

static void put_blob(struct reg_client *c, const struct img_ref *ref, struct sb *b,
                     const struct img_desc *d, const char *from, enum reg_put_how want)
{
        struct reg_source src = {.pread = mem_pread, .user = b};
        struct bld_err err = BLD_ERR_INIT;
        enum reg_put_how how;

        if (reg_blob_put(c, ref, d, &src, from, &how, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(how, want);
}

static void get_blob(struct reg_client *c, const struct img_ref *ref, const struct sb *b,
                     const struct img_desc *d)
{
        AUTO_SB struct sb got = SB_INIT(64u << 20);
        struct reg_sink sink = {.write = mem_write, .rewind = mem_rewind, .user = &got};
        struct bld_err err = BLD_ERR_INIT;

        if (reg_blob_get(c, ref, d, &sink, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(got.len, b->len);
        if (b->len)
                assert_memory_equal(got.buf, b->buf, b->len);
}

/* ---- tests ---- */

static void round_trip(struct server *s, struct reg_client *c)
{
        static const size_t sizes[] = {0, 1, 1000, 70000, 3u << 20};
        struct bld_err err = BLD_ERR_INIT;
        AUTO_REF struct img_ref ref = {0}, other = {0};

        ref_to(s, "team/app:v1", &ref);
        ref_to(s, "team/other", &other);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                AUTO_SB struct sb b;
                struct img_desc d, bad;

                blob(&b, &d, sizes[i], (unsigned)i + 1);
                assert_int_equal(reg_blob_head(c, &ref, &d, &err), 0);
                put_blob(c, &ref, &b, &d, NULL, REG_PUT_UPLOADED);
                put_blob(c, &ref, &b, &d, NULL, REG_PUT_PRESENT);
                put_blob(c, &other, &b, &d, "team/app", REG_PUT_MOUNTED);
                assert_int_equal(reg_blob_head(c, &ref, &d, &err), 1);
                get_blob(c, &ref, &b, &d);
                bad = d;
                bad.size++;
                assert_int_equal(reg_blob_head(c, &ref, &bad, &err), 0);
        }
}

static void manifest_round_trip(struct server *s, struct reg_client *c)
{
        AUTO_REF struct img_ref ref = {0}, none = {0};
        AUTO(img_desc_done) struct img_desc got = {0}, head = {0};
        struct img_desc config;
        struct bld_err err = BLD_ERR_INIT;
        AUTO_STRV struct strv tags = {0}, repos = {0};
        struct img_descs referrers = {0};
        struct img_desc none_desc = {0};
        AUTO_SB struct sb doc = SB_INIT(1u << 20), back = SB_INIT(1u << 20), b;
        char name[DIGEST_STR_MAX];

        ref_to(s, "team/app:v1", &ref);
        ref_to(s, "team/app:none", &none);
        blob(&b, &config, 50, 9);
        put_blob(c, &ref, &b, &config, NULL, REG_PUT_UPLOADED);
        digest_format(&config.digest, name);
        sb_fmt(&doc,
               "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{\"mediaType\":\"%s\","
               "\"digest\":\"%s\",\"size\":50},\"layers\":[]}",
               MT_OCI_MANIFEST, MT_OCI_CONFIG, name);
        if (reg_manifest_put(c, &ref, MT_OCI_MANIFEST, doc.buf, doc.len, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(reg_manifest_head(c, &ref, &head, &err), 1);
        if (reg_manifest_get(c, &ref, &back, &got, &err) < 0)
                fail_msg("%s", err.msg);
        assert_string_equal(sb_text(&back), sb_text(&doc));
        assert_string_equal(got.media_type, MT_OCI_MANIFEST);
        assert_true(digest_eq(&got.digest, &head.digest));
        assert_int_equal(head.size, doc.len);
        assert_int_equal(reg_manifest_head(c, &none, &got, &err), 0);
        assert_int_equal(reg_manifest_get(c, &none, &back, &got, &err), BLD_E_NOT_FOUND);
        err_clear(&err);
        if (reg_tags(c, &ref, &tags, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(tags.n, 1);
        assert_string_equal(tags.v[0], "v1");
        assert_int_equal(reg_manifest_delete(c, &ref, &err), BLD_E_UNSUPPORTED);
        err_clear(&err);
        if (reg_catalog(c, s->host, &repos, &err) < 0)
                fail_msg("%s", err.msg);
        assert_true(strv_has(&repos, "team/app") && strv_has(&repos, "team/other"));
        ref.digest = got.digest;
        if (reg_referrers(c, &ref, NULL, &referrers, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(referrers.n, 0);
        if (reg_manifest_delete(c, &ref, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(reg_manifest_head(c, &ref, &none_desc, &err), 0);
        assert_true(reg_login_check(c, s->host, &err) >= 0);
}

static void test_plain(void **state)
{
        struct reg_client *c = client(&(struct reg_opts){0});

        round_trip(*state, c);
        manifest_round_trip(*state, c);
        reg_client_free(c);
}

static void test_htpasswd_creds(void **state)
{
        struct reg_client *c = client(&(struct reg_opts){.creds = "ann:s3:cret"});

        round_trip(*state, c);
        manifest_round_trip(*state, c);
        reg_client_free(c);
}

static void test_htpasswd_config_json(void **state)
{
        struct server *s = *state;
        AUTO_SB struct sb doc = SB_INIT(4096);
        struct reg_client *c;

        sb_fmt(&doc, "{\"auths\":{\"%s\":{\"auth\":\"YW5uOnMzOmNyZXQ=\"}}}", s->host);
        write_file(s->dir, "config.json", sb_text(&doc));
        assert_int_equal(setenv("DOCKER_CONFIG", s->dir, 1), 0);
        c = client(&(struct reg_opts){0});
        round_trip(s, c);
        reg_client_free(c);
        (void)unsetenv("DOCKER_CONFIG");
}

static void test_htpasswd_refused(void **state)
{
        static const char *const creds[] = {NULL, "ann:wrong"};

        for (size_t i = 0; i < ARRAY_LEN(creds); i++) {
                struct reg_client *c = client(&(struct reg_opts){.creds = creds[i]});
                struct bld_err err = BLD_ERR_INIT;
                AUTO_REF struct img_ref ref = {0};
                AUTO_SB struct sb out = SB_INIT(4096);
                struct img_desc d = {0};

                (void)setenv("HOME", "/nonexistent", 1);
                ref_to(*state, "team/app:v1", &ref);
                assert_int_equal(reg_manifest_get(c, &ref, &out, &d, &err), BLD_E_DENIED);
                assert_null(strstr(err.msg, "wrong"));
                assert_non_null(strstr(err.msg, creds[i] ? "user \"ann\"" : "not logged in"));
                assert_true(reg_request_count(c) <= 2);
                reg_client_free(c);
        }
}

static void head_gives(struct server *s, struct reg_client *c, int want, const char *text)
{
        AUTO(img_desc_done) struct img_desc d = {0};
        AUTO_REF struct img_ref ref = {0};
        struct bld_err err = BLD_ERR_INIT;

        ref_to(s, "team/app:none", &ref);
        assert_int_equal(reg_manifest_head(c, &ref, &d, &err), want);
        if (text && !strstr(err.msg, text))
                fail_msg("%s", err.msg);
        reg_client_free(c);
}

static void test_tls(void **state)
{
        struct server *s = *state;
        AUTO_STRV struct strv cas = {0}, insecure = {0};
        struct reg_client *c;

        (void)setenv("HOME", "/nonexistent", 1);
        /* unknown CA: no second try, no plain HTTP, and a word on what to do */
        c = client(&(struct reg_opts){0});
        head_gives(s, c, BLD_E_NETWORK, "--ca ");
        head_gives(s, client(&(struct reg_opts){.no_tls_verify = true}), 0, NULL);
        assert_int_equal(strv_add(&insecure, s->host), 0);
        head_gives(s, client(&(struct reg_opts){.insecure = &insecure}), 0, NULL);
        assert_int_equal(strv_addf(&cas, "%s=%s/ca.pem", s->host, s->dir), 0);
        c = client(&(struct reg_opts){.cas = &cas});
        round_trip(s, c);
        reg_client_free(c);
        (void)setenv("SSL_CERT_FILE", strchr(cas.v[0], '=') + 1, 1);
        head_gives(s, client(&(struct reg_opts){0}), 0, NULL);
        (void)unsetenv("SSL_CERT_FILE");
}

static void test_tls_client(void **state)
{
        struct server *s = *state;
        AUTO_STRV struct strv cas = {0};
        AUTO_SB struct sb script = SB_INIT(4096);

        (void)setenv("HOME", "/nonexistent", 1);
        assert_int_equal(strv_addf(&cas, "%s=%s/ca.pem", s->host, s->dir), 0);
        head_gives(s, client(&(struct reg_opts){.cas = &cas, .no_retry = true}), BLD_E_NETWORK,
                   NULL);
        sb_fmt(&script,
               "d=\"$1/.config/containers/certs.d/%s\"; mkdir -p $d; cd \"$1\"\n"
               "cp ca.pem $d/ca.crt; cp client.cert client.key $d/",
               s->host);
        run(sb_text(&script), s->dir);
        (void)setenv("HOME", s->dir, 1);
        head_gives(s, client(&(struct reg_opts){0}), 0, NULL);
        sb_reset(&script);
        sb_fmt(&script, "rm \"$1/.config/containers/certs.d/%s/client.key\"", s->host);
        run(sb_text(&script), s->dir);
        head_gives(s, client(&(struct reg_opts){0}), BLD_E_INVALID, "no readable partner");
        (void)setenv("HOME", "/nonexistent", 1);
}

/* Challenges, scopes and mounts as a real registry with a token service wants them. */
static void test_token(void **state)
{
        struct server *s = *state;
        struct reg_client *c = client(&(struct reg_opts){.creds = "ann:s3:cret"});
        char *wrong;

        round_trip(s, c);
        manifest_round_trip(s, c);
        /* per set of scopes one exchange: pull, push, mount, delete, catalog, login */
        assert_true(mock_requests(s->tokens) <= 8);
        reg_client_free(c);
        wrong = mock_stop(s->tokens);
        s->tokens = NULL;
        if (wrong)
                fail_msg("%s", wrong);
}

struct job {
        struct server *s;
        struct reg_client *c;
        unsigned seed;
        pthread_t thread;
};

static void *job_main(void *arg)
{
        struct job *j = arg;
        AUTO_REF struct img_ref ref = {0};
        AUTO_SB struct sb b;
        struct img_desc d;

        ref_to(j->s, "team/many", &ref);
        blob(&b, &d, 2000000 + j->seed, j->seed);
        put_blob(j->c, &ref, &b, &d, NULL, REG_PUT_UPLOADED);
        get_blob(j->c, &ref, &b, &d);
        return NULL;
}

static void test_parallel(void **state)
{
        struct reg_client *c = client(&(struct reg_opts){.parallel = 3});
        struct job jobs[8];

        for (unsigned i = 0; i < ARRAY_LEN(jobs); i++) {
                jobs[i] = (struct job){.s = *state, .c = c, .seed = i + 100};
                assert_int_equal(pthread_create(&jobs[i].thread, NULL, job_main, &jobs[i]), 0);
        }
        for (unsigned i = 0; i < ARRAY_LEN(jobs); i++)
                assert_int_equal(pthread_join(jobs[i].thread, NULL), 0);
        reg_client_free(c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_plain, setup_plain, teardown),
                cmocka_unit_test_setup_teardown(test_parallel, setup_plain, teardown),
                cmocka_unit_test_setup_teardown(test_htpasswd_creds, setup_htpasswd, teardown),
                cmocka_unit_test_setup_teardown(test_htpasswd_config_json, setup_htpasswd,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_htpasswd_refused, setup_htpasswd, teardown),
                cmocka_unit_test_setup_teardown(test_token, setup_token, teardown),
                cmocka_unit_test_setup_teardown(test_tls, setup_tls, teardown),
                cmocka_unit_test_setup_teardown(test_tls_client, setup_tls_client, teardown),
        };

        if (access(REGISTRY, X_OK) != 0) {
                (void)fprintf(stderr, "%s is missing: apt install docker-registry\n", REGISTRY);
                return 1;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
