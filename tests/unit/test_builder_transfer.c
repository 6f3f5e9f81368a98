/* Store and registry, against Debian's docker-registry on loopback. The program is a test
 * dependency: without it this fails. */
#include "tests/unit/builder_fixture.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/num.h"
#include "base/proc.h"
#include "builder/image/end_priv.h"
#include "builder/image/tree_priv.h"
#include "registry/registry.h"

#define REGISTRY "/usr/bin/docker-registry"

static struct {
        char dir[64];
        char host[32]; /* "127.0.0.1:PORT" */
        uint16_t port;
        pid_t pid;
} server;

static bool answers(void)
{
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons(server.port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool ok = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

        (void)close(fd);
        return ok;
}

static void pick_port(void)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(a);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
        server.port = ntohs(a.sin_port);
        (void)snprintf(server.host, sizeof(server.host), "127.0.0.1:%u", server.port);
        (void)close(fd);
}

static int server_up(void **state)
{
        AUTO_SB struct sb conf = SB_INIT(4096), log = SB_INIT(4096);
        const char *tmp = getenv("TMPDIR");
        char prog[] = REGISTRY, serve[] = "serve", path[96];
        char *argv[] = {prog, serve, path, NULL};
        int fd;

        (void)state;
        (void)snprintf(server.dir, sizeof(server.dir), "%.30s/bld-tr-XXXXXX", tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(server.dir));
        pick_port();
        sb_fmt(&conf,
               "version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: "
               "%s/data}\n"
               "http: {addr: \"%s\"}\n",
               server.dir, server.host);
        (void)snprintf(path, sizeof(path), "%s/config.yml", server.dir);
        OK(file_write(AT_FDCWD, path, sb_text(&conf), conf.len, 0600, 0, err));
        sb_fmt(&log, "%s/log", server.dir);
        fd = open(sb_text(&log), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        OK(proc_spawn(prog, argv, NULL, (struct proc_fd[]){{fd, 1}, {fd, 2}}, 2, &server.pid, err));
        (void)close(fd);
        for (int i = 0; i < 200 && !answers(); i++)
                (void)poll(NULL, 0, 50);
        assert_true(answers());
        return 0;
}

static int server_down(void **state)
{
        (void)state;
        (void)kill(server.pid, SIGKILL);
        (void)waitpid(server.pid, NULL, 0);
        (void)path_remove_tree(AT_FDCWD, server.dir, NULL);
        return 0;
}

static int up(void **state)
{
        struct fix *f;
        struct reg_opts o = {.retries = 1};

        if (fix_up(state) < 0)
                return -1;
        f = *state;
        o.cancel = &f->cancel;
        OK(reg_client_new(&o, &f->reg, err));
        return 0;
}

static int down(void **state)
{
        struct fix *f = *state;

        reg_client_free(f->reg);
        return fix_down(state);
}

/* "HOST/path" parsed. */
static struct img_ref remote(const char *path)
{
        struct img_ref r;
        char text[200];

        (void)snprintf(text, sizeof(text), "%s/%s", server.host, path);
        OK(img_ref_parse(text, &r, err));
        return r;
}

static void push_image(struct fix *f, const char *path, const char *salt, struct img_desc *ret)
{
        AUTO_REF struct img_ref to = remote(path);

        make_image(&f->c[0], NULL, host_arch(), salt, ret);
        OK(bd_push(&f->c[0], ret, &to, NULL, NULL, NULL, NULL, err));
}

static void no_layers_yet(struct fix *f, const struct bd_image *im, int want)
{
        for (size_t i = 0; i < im->manifest.layers.n; i++)
                assert_int_equal(bd_has(&f->c[1], &im->manifest.layers.v[i].digest, NULL), want);
}

static void push_then_fetch(void **state)
{
        struct fix *f = *state;
        AUTO_REF struct img_ref ref = remote("team/app:v1");
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        AUTO(bd_image_done) struct bd_image stored = {.source = {.domain = NULL}};
        uint64_t before;

        push_image(f, "team/app:v1", "a", &d);
        OK(bd_fetch_image(&f->c[1], &ref, NULL, &im, &root, err));
        assert_true(digest_eq(&im.desc.digest, &d.digest));
        assert_true(digest_eq(&root.digest, &d.digest));
        assert_string_equal(im.source.path, "team/app");
        no_layers_yet(f, &im, 0);
        OK(bd_fetch_layers(&f->c[1], &im, NULL, NULL, err));
        no_layers_yet(f, &im, 1);
        /* where it came from is known later, too */
        OK(bd_image_load(&f->c[1], &d, NULL, &stored, err));
        assert_string_equal(stored.source.domain, server.host);
        /* nothing is asked for what is there */
        before = reg_request_count(f->reg);
        OK(bd_fetch_layers(&f->c[1], &im, NULL, NULL, err));
        assert_int_equal(reg_request_count(f->reg), before);
}

/* The second look at a tag is one HEAD. */
static void fetch_again(void **state)
{
        struct fix *f = *state;
        AUTO_REF struct img_ref ref = remote("team/again:v1");
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        uint64_t before;

        push_image(f, "team/again:v1", "g", &d);
        for (int i = 0; i < 2; i++) {
                AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};

                before = reg_request_count(f->reg);
                OK(bd_fetch_image(&f->c[1], &ref, NULL, &im, NULL, err));
        }
        assert_int_equal(reg_request_count(f->reg), before + 1);
        ref.digest = d.digest; /* and of a digest, none */
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        before = reg_request_count(f->reg);
        OK(bd_fetch_image(&f->c[1], &ref, NULL, &im, NULL, err));
        assert_int_equal(reg_request_count(f->reg), before);
}

static void push_counts(void **state)
{
        struct fix *f = *state;
        AUTO_REF struct img_ref to = remote("team/count:v1"), other = remote("team/count2:v1");
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        struct bd_push_stats first, second, third;

        make_image(&f->c[0], NULL, host_arch(), "count", &d);
        OK(bd_push(&f->c[0], &d, &to, NULL, NULL, NULL, &first, err));
        OK(bd_push(&f->c[0], &d, &to, NULL, NULL, NULL, &second, err));
        OK(bd_push(&f->c[0], &d, &other, &to, NULL, NULL, &third, err));
        assert_true(first.uploaded_bytes > 0);
        assert_int_equal(second.uploaded_bytes, 0);
        assert_int_equal(second.present_bytes, first.uploaded_bytes + first.present_bytes);
        assert_int_equal(third.uploaded_bytes, 0); /* mounted */
}

/* A base layer that was never fetched: mounted when the registry is the same, fetched to be sent or
 * written when not. */
static void lazy_base(void **state)
{
        struct fix *f = *state;
        AUTO_REF struct img_ref base = remote("lazy/base:v1"), to = remote("lazy/app:v1");
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO(img_desc_done) struct img_desc app = {.media_type = NULL};
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        struct bd_export x = {.desc = &app, .out_fd = -1};

        push_image(f, "lazy/base:v1", "l", &d);
        OK(bd_fetch_image(&f->c[1], &base, NULL, &im, NULL, err));
        OK(bd_image_layers(&im, &layers, err));
        add_layer(&f->c[1], fix_files, 1, LY_CODEC_GZIP, &layers);
        OK(bd_assemble(&f->c[1], &im.config, &layers, BD_FORMAT_OCI, NULL, &app, NULL, err));
        OK(bd_push(&f->c[1], &app, &to, NULL, NULL, NULL, NULL, err));
        no_layers_yet(f, &im, 0);
        x.dest = at(f, "app.tar");
        OK(bd_emit_oci(&f->c[1], &x, err));
        no_layers_yet(f, &im, 1);
}

static void index_round_trip(void **state)
{
        struct fix *f = *state;
        const char *archs[] = {host_arch(), "s390x"};
        AUTO_REF struct img_ref to = remote("multi/app:v1");
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        AUTO(img_desc_done) struct img_desc one = {.media_type = NULL};
        AUTO(img_desc_done) struct img_desc all = {.media_type = NULL};
        struct bd_closure x = {.docs = {.v = NULL}};

        make_index(&f->c[0], NULL, archs, 2, &d);
        OK(bd_push(&f->c[0], &d, &to, NULL, NULL, NULL, NULL, err));
        /* one platform: the name is that platform's image, the answer what the tag is */
        OK(bd_pull(&f->c[1], &to, &(struct bd_pull_opts){.in_fd = -1}, &root, err));
        assert_true(digest_eq(&root.digest, &d.digest));
        AUTO_FREE char *name = img_ref_format(&to, 0);
        OK(cas_ref_get(f->cas[1], name, &one, err));
        assert_string_equal(one.media_type, MT_OCI_MANIFEST);
        img_desc_done(&root);
        OK(bd_pull(&f->c[1], &to, &(struct bd_pull_opts){.all_platforms = true}, &root, err));
        OK(cas_ref_get(f->cas[1], name, &all, err));
        assert_true(digest_eq(&all.digest, &d.digest));
        OK(bd_closure_make(&f->c[1], &all, 0, &x, err));
        assert_int_equal(x.docs.n, 3);
        for (size_t i = 0; i < x.blobs.n; i++)
                assert_int_equal(bd_has(&f->c[1], &x.blobs.v[i].digest, NULL), 1);
        bd_closure_done(&x);
}

static void not_found(void **state)
{
        struct fix *f = *state;
        AUTO_REF struct img_ref near = remote("team/tags:3.14-slm"),
                                far = remote("team/tags:zzzzz");
        AUTO_REF struct img_ref none = remote("team/nothing:v1");
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        struct bld_err e = BLD_ERR_INIT;

        push_image(f, "team/tags:3.14-slim", "t", &d);
        assert_int_equal(bd_fetch_image(&f->c[1], &near, NULL, &im, NULL, &e), BLD_E_NOT_FOUND);
        assert_non_null(strstr(e.msg, "/team/tags:3.14-slm not found\nwhy: "));
        assert_non_null(strstr(e.msg, "\ntry: did you mean 3.14-slim?"));
        err_clear(&e);
        assert_int_equal(bd_fetch_image(&f->c[1], &far, NULL, &im, NULL, &e), BLD_E_NOT_FOUND);
        assert_non_null(strstr(e.msg, "\nnote: the repository has the tag 3.14-slim"));
        err_clear(&e);
        assert_int_equal(bd_fetch_image(&f->c[1], &none, NULL, &im, NULL, &e), BLD_E_NOT_FOUND);
}

/* What comes over the wire and is not what its descriptor says never gets into the store. Last,
 * because it damages a blob that the tests share. */
static void wrong_digest(void **state)
{
        struct fix *f = *state;
        AUTO_REF struct img_ref ref = remote("team/wrong:v1");
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        struct bld_err e = BLD_ERR_INIT;
        char path[300], hex[DIGEST_HEX_MAX];

        push_image(f, "team/wrong:v1", "w", &d);
        OK(bd_fetch_image(&f->c[1], &ref, NULL, &im, NULL, err));
        digest_hex(&im.manifest.layers.v[0].digest, hex);
        (void)snprintf(path, sizeof(path), "%s/data/docker/registry/v2/blobs/sha256/%.2s/%s/data",
                       server.dir, hex, hex);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "X", 1, 20), 1);
        (void)close(fd);
        assert_int_equal(bd_fetch_layers(&f->c[1], &im, NULL, NULL, &e), BLD_E_CORRUPT);
        no_layers_yet(f, &im, 0);
}

/* ---- one download however many want it ---- */

struct racer {
        struct fix *f;
        const struct bd_image *im;
        int code;
};

static void *race(void *arg)
{
        struct racer *r = arg;

        r->code = bd_fetch_layers(&r->f->c[1], r->im, NULL, NULL, NULL);
        return NULL;
}

static void one_download(void **state)
{
        struct fix *f = *state;
        AUTO_REF struct img_ref ref = remote("team/race:v1");
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        struct img_config cfg;
        struct racer r[4];
        pthread_t t[4];
        uint64_t before;

        add_layer(&f->c[0], fix_files, 3, LY_CODEC_GZIP, &layers); /* of its own */
        base_config(&cfg, host_arch(), "race");
        OK(bd_assemble(&f->c[0], &cfg, &layers, BD_FORMAT_OCI, NULL, &d, NULL, err));
        OK(bd_push(&f->c[0], &d, &ref, NULL, NULL, NULL, NULL, err));
        OK(bd_fetch_image(&f->c[1], &ref, NULL, &im, NULL, err));
        before = reg_request_count(f->reg);
        for (int i = 0; i < 4; i++) {
                r[i] = (struct racer){.f = f, .im = &im};
                assert_int_equal(pthread_create(&t[i], NULL, race, &r[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
                pthread_join(t[i], NULL);
                assert_int_equal(r[i].code, 0);
        }
        assert_int_equal(reg_request_count(f->reg), before + 1);
        img_config_done(&cfg);
}

/* Files of an image that is only in a registry. */
static void read_remote_tree(void **state)
{
        struct fix *f = *state;
        AUTO_REF struct img_ref ref = remote("team/tree:v1");
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL}, own = {.v = NULL};
        AUTO(bd_tree_free_p) struct bd_tree *t = NULL;
        AUTO_SB struct sb text = SB_INIT(4096);
        struct bld_err e = BLD_ERR_INIT;
        struct img_config cfg;

        add_layer(&f->c[0], fix_files, 4, LY_CODEC_GZIP, &own);
        base_config(&cfg, host_arch(), "tree");
        OK(bd_assemble(&f->c[0], &cfg, &own, BD_FORMAT_OCI, NULL, &d, NULL, err));
        OK(bd_push(&f->c[0], &d, &ref, NULL, NULL, NULL, NULL, err));
        OK(bd_fetch_image(&f->c[1], &ref, NULL, &im, NULL, err));
        OK(bd_image_layers(&im, &layers, err));
        OK(bd_tree_open(&f->c[1], &layers, &t, err));
        assert_int_equal(bd_tree_read_text(t, "/etc/motd", 100, &text, &e), 1);
        assert_string_equal(sb_text(&text), "hello\n");
        assert_int_equal(bd_tree_read_text(t, "/etc/none", 100, &text, &e), 0);
        assert_int_equal(bd_tree_read_text(t, "/etc/motd", 2, &text, &e), BLD_E_LIMIT);
        img_config_done(&cfg);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)

/* ---- a blob between two registries ---- */

#define RELAYED ((size_t)5 << 20) /* several rings of it */

static unsigned char pattern(uint64_t at)
{
        return (unsigned char)((at * 2654435761u) >> 11);
}

static ssize_t pattern_pread(void *user, void *p, size_t n, uint64_t off, struct bld_err *err)
{
        unsigned char *b = p;

        (void)user;
        (void)err;
        n = off < RELAYED ? MIN(n, RELAYED - (size_t)off) : 0;
        for (size_t i = 0; i < n; i++)
                b[i] = pattern(off + i);
        return (ssize_t)n;
}

/* Read [from, to) and hold every byte against the pattern. */
static void relay_part(struct bd_relay *r, uint64_t from, uint64_t to)
{
        static unsigned char buf[70001];
        struct bld_err err[1] = {BLD_ERR_INIT};

        while (from < to) {
                ssize_t k =
                        bd_relay_pread(r, buf, MIN(sizeof(buf), (size_t)(to - from)), from, err);

                if (k <= 0)
                        fail_msg("%zd at %llu: %s", k, (unsigned long long)from, err->msg);
                for (ssize_t i = 0; i < k; i++)
                        if (buf[i] != pattern(from + (uint64_t)i))
                                fail_msg("wrong byte at %llu",
                                         (unsigned long long)(from + (uint64_t)i));
                from += (uint64_t)k;
        }
}

static void relayed(void **state)
{
        struct fix *f = *state;
        AUTO_REF struct img_ref repo = remote("relay/blob");
        AUTO_FREE unsigned char *all = mem_alloc(RELAYED);
        struct img_desc d = {.size = RELAYED};
        struct reg_source src = {.pread = pattern_pread};
        struct bld_err why = BLD_ERR_INIT;
        char one;

        assert_non_null(all);
        (void)pattern_pread(NULL, all, RELAYED, 0, NULL);
        digest_of(all, RELAYED, &d.digest);
        OK(reg_blob_put(f->reg, &repo, &d, &src, NULL, NULL, err));
        for (int round = 0; round < 4; round++) {
                AUTO(bd_relay_free_p) struct bd_relay *r = NULL;

                OK(bd_relay_new(&f->c[0], &repo, &d, &r, err));
                if (round ==
                    1) /* an upload that begins again, from the start and from the middle */
                        relay_part(r, 0, 3u << 20);
                if (round == 2)
                        relay_part(r, RELAYED / 2, RELAYED - 1);
                if (round == 3) { /* given up while the ring is full: freeing ends the download */
                        relay_part(r, 0, 1);
                        continue;
                }
                relay_part(r, 0, RELAYED);
                assert_int_equal(bd_relay_pread(r, &one, 1, RELAYED, NULL), 0);
                relay_part(r, 4u << 20, RELAYED); /* going back behind the end */
        }
        /* bytes that are not those asked for: the last is never given out */
        {
                AUTO(bd_relay_free_p) struct bd_relay *r = NULL;
                char path[400], hex[DIGEST_HEX_MAX];
                int fd;

                digest_hex(&d.digest, hex);
                (void)snprintf(path, sizeof(path),
                               "%s/data/docker/registry/v2/blobs/sha256/%.2s/%s/data", server.dir,
                               hex, hex);
                fd = open(path, O_WRONLY | O_CLOEXEC);
                assert_true(fd >= 0);
                assert_int_equal(pwrite(fd, "??", 2, 100), 2);
                (void)close(fd);
                OK(bd_relay_new(&f->c[0], &repo, &d, &r, err));
                relay_part(r, 200, 4u << 20);
                assert_int_equal(bd_relay_pread(r, &one, 1, RELAYED - 1, &why), BLD_E_CORRUPT);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(push_then_fetch),  T(fetch_again), T(push_counts),  T(lazy_base),
                T(index_round_trip), T(not_found),   T(one_download), T(read_remote_tree),
                T(wrong_digest),     T(relayed),
        };

        return cmocka_run_group_tests(tests, server_up, server_down);
}
