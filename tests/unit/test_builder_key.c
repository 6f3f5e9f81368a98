/* Keys: everything that can change the bytes of a result changes the key, nothing else does. Each
 * row takes one vertex, changes one thing, and says whether the key must follow. */
#include "tests/unit/builder_fixture.h"

#include "builder/graph/graph_priv.h"

/* ---- a vertex of each kind with every parameter set ---- */

static char *copy(const char *s)
{
        char *p = mem_strdup(s);

        assert_non_null(p);
        return p;
}

static void set(char **slot, const char *s)
{
        free(*slot);
        *slot = s ? copy(s) : NULL;
}

static void platform(struct vertex *v, const char *arch)
{
        (void)str_copy(v->platform.os, sizeof(v->platform.os), "linux");
        (void)str_copy(v->platform.arch, sizeof(v->platform.arch), arch);
}

static struct vertex *new_vertex(enum vx_kind kind)
{
        struct vertex *v = mem_zalloc(1, sizeof(*v));

        assert_non_null(v);
        v->kind = kind;
        platform(v, "amd64");
        v->stage = copy("deps");
        v->step = copy("deps 2/4");
        v->name = copy("RUN make");
        return v;
}

static struct vertex *image_vertex(void)
{
        struct vertex *v = new_vertex(VX_IMAGE);

        digest_of("image", 5, &v->u.image.desc.digest);
        v->u.image.desc.media_type = copy("m");
        v->u.image.source.domain = copy("docker.io");
        v->u.image.source.path = copy("library/app");
        img_config_init(&v->u.image.config);
        return v;
}

static struct vertex *local_vertex(void)
{
        struct vertex *v = new_vertex(VX_LOCAL);

        v->u.local = copy("");
        return v;
}

static struct vertex *mkdir_vertex(void)
{
        struct vertex *v = new_vertex(VX_MKDIR);

        v->u.mkdir.path = copy("/app");
        v->u.mkdir.user = copy("me");
        return v;
}

static struct vertex *git_vertex(void)
{
        struct vertex *v = new_vertex(VX_GIT);
        struct vx_git *g = &v->u.git;

        g->remote = copy("https://host/r.git");
        g->userinfo = copy("me");
        g->full_ref = copy("refs/heads/main");
        g->subdir = copy("sub");
        (void)str_copy(g->commit, sizeof(g->commit), "0123");
        return v;
}

static struct vertex *copy_vertex(void)
{
        struct vertex *v = new_vertex(VX_COPY);
        struct vx_copy *c = &v->u.copy;

        c->src = mem_zalloc(4, sizeof(*c->src));
        assert_non_null(c->src);
        c->nsrc = 4;
        c->src[0].path = copy("a");
        c->src[1].kind = COPY_INLINE;
        c->src[1].path = copy("EOF");
        c->src[1].data = copy("text\n");
        c->src[1].len = 5;
        c->src[2].kind = COPY_BLOB;
        c->src[2].path = copy("f.txt");
        c->src[2].shown = copy("http://x/f.txt");
        digest_of("blob", 4, &c->src[2].blob);
        c->src[2].mtime_sec = 7;
        c->src[3].kind = COPY_GIT;
        c->src[3].path = copy("g");
        c->src[3].input = 1;
        c->dest = copy("/d/");
        c->chown = copy("1:2");
        c->chmod = copy("644");
        OK(strv_add(&c->excludes, "*.o"));
        return v;
}

static struct vx_mount *mount_at(struct vx_run *r, size_t i, enum mount_type type)
{
        struct vx_mount *m = &r->mounts[i];

        m->type = type;
        m->target = copy("/m");
        m->input = -1;
        return m;
}

enum { M_BIND, M_CACHE, M_TMPFS, M_SECRET, M_SSH, M_ALL };

static struct vertex *run_vertex(void)
{
        struct vertex *v = new_vertex(VX_RUN);
        struct vx_run *r = &v->u.run;
        struct vx_mount *m;

        OK(strv_add(&r->argv, "/bin/sh"));
        OK(strv_add(&r->argv, "-c"));
        OK(strv_add(&r->argv, "make"));
        OK(strv_add(&r->env, "PATH=/bin"));
        OK(strv_add(&r->env, "V=1"));
        OK(strv_add(&r->host_names, "db"));
        r->cwd = copy("/app");
        r->user = copy("me");
        r->network = copy("default");
        r->script_name = copy("EOF");
        r->script = copy("#!/bin/sh\n");
        r->script_len = 10;
        r->mounts = mem_zalloc(M_ALL, sizeof(*r->mounts));
        assert_non_null(r->mounts);
        r->nmounts = M_ALL;
        m = mount_at(r, M_BIND, MT_BIND);
        m->source = copy("src");
        m->input = 1;
        m = mount_at(r, M_CACHE, MT_CACHE);
        m->id = copy("/cache");
        (void)mount_at(r, M_TMPFS, MT_TMPFS);
        m = mount_at(r, M_SECRET, MT_SECRET);
        m->id = copy("token");
        m->env = copy("TOKEN");
        m = mount_at(r, M_SSH, MT_SSH);
        m->id = copy("default");
        return v;
}

static struct vertex *(*const makers[])(void) = {
        [VX_IMAGE] = image_vertex, [VX_LOCAL] = local_vertex, [VX_COPY] = copy_vertex,
        [VX_RUN] = run_vertex,     [VX_MKDIR] = mkdir_vertex, [VX_GIT] = git_vertex,
};

/* ---- one change each ---- */

#define CHANGE(name, code)                 \
        static void name(struct vertex *v) \
        {                                  \
                code;                      \
        }                                  \
        struct bld_swallow_semicolon

CHANGE(stage, set(&v->stage, "other"));
CHANGE(step, set(&v->step, "other 1/9"));
CHANGE(title, set(&v->name, "RUN  make"));
CHANGE(line, v->line = 99);
CHANGE(position, v->pos.col = 7);
CHANGE(number, v->id = 12);
CHANGE(arch, platform(v, "arm64"));
CHANGE(variant, (void)str_copy(v->platform.variant, sizeof(v->platform.variant), "v8"));
CHANGE(times, v->started_ns = v->ended_ns = 5);
CHANGE(fresh, v->no_cache = true);

CHANGE(image_digest, digest_of("imagf", 5, &v->u.image.desc.digest));
CHANGE(image_host, set(&v->u.image.source.domain, "mirror.example"));
CHANGE(image_tag, set(&v->u.image.source.tag, "v2"));
CHANGE(image_size, v->u.image.desc.size = 3);
CHANGE(image_type, set(&v->u.image.desc.media_type, "n"));

CHANGE(local_other, set(&v->u.local, "/srv/other"));

CHANGE(mkdir_path, set(&v->u.mkdir.path, "/app2"));
CHANGE(mkdir_user, set(&v->u.mkdir.user, ""));

CHANGE(copy_path, set(&v->u.copy.src[0].path, "b"));
CHANGE(copy_kind, v->u.copy.src[0].kind = COPY_INLINE);
CHANGE(copy_data, v->u.copy.src[1].data[0] = 'T');
CHANGE(copy_len, v->u.copy.src[1].len = 4);
CHANGE(copy_src_line, v->u.copy.src[0].pos.line = 9);
CHANGE(copy_blob, digest_of("blub", 4, &v->u.copy.src[2].blob));
CHANGE(copy_blob_time, v->u.copy.src[2].mtime_sec = 8);
CHANGE(copy_blob_name, set(&v->u.copy.src[2].path, "e.txt"));
CHANGE(copy_blob_url, set(&v->u.copy.src[2].shown, "http://mirror/f.txt"));
CHANGE(copy_git_input, v->u.copy.src[3].input = 2);
CHANGE(git_commit, v->u.git.commit[0] = '1');
CHANGE(git_subdir, set(&v->u.git.subdir, ""));
CHANGE(git_keep, v->u.git.keep_git_dir = true);
CHANGE(git_submodules, v->u.git.submodules = true);
CHANGE(git_mtime, v->u.git.mtime_commit = true);
CHANGE(git_remote, set(&v->u.git.remote, "https://mirror/r.git"));
CHANGE(git_user, set(&v->u.git.userinfo, "you"));
CHANGE(copy_dest, set(&v->u.copy.dest, "/d"));
CHANGE(copy_chown, set(&v->u.copy.chown, "1:3"));
CHANGE(copy_no_chown, set(&v->u.copy.chown, NULL));
CHANGE(copy_chmod, set(&v->u.copy.chmod, "0644"));
CHANGE(copy_no_chmod, set(&v->u.copy.chmod, NULL));
CHANGE(copy_exclude, OK(strv_add(&v->u.copy.excludes, "")));
CHANGE(copy_link, v->u.copy.link = true);
CHANGE(copy_parents, v->u.copy.parents = true);
CHANGE(copy_add, v->u.copy.is_add = true);
CHANGE(copy_unpack, v->u.copy.unpack = true);
CHANGE(copy_unpack_set, v->u.copy.unpack_set = true);

CHANGE(run_arg, OK(strv_add(&v->u.run.argv, "")));
CHANGE(run_word, set(&v->u.run.argv.v[2], "make "));
CHANGE(run_env_value, set(&v->u.run.env.v[1], "V=2"));
CHANGE(run_env_more, OK(strv_add(&v->u.run.env, "W=")));
CHANGE(run_host, set(&v->u.run.host_names.v[0], "db2"));
CHANGE(run_hostname, set(&v->u.run.hostname, "box"));
CHANGE(run_limit, OK(strv_add(&v->u.run.ulimits, "nofile=1:2")));
CHANGE(run_cwd, set(&v->u.run.cwd, "/"));
CHANGE(run_user, set(&v->u.run.user, ""));
CHANGE(run_network, set(&v->u.run.network, "none"));
CHANGE(run_insecure, v->u.run.insecure = true);
CHANGE(run_script_name, set(&v->u.run.script_name, "E"));
CHANGE(run_script, v->u.run.script[2] = '#');
CHANGE(run_script_len, v->u.run.script_len = 9);
CHANGE(run_fewer_mounts, mount_done(&v->u.run.mounts[--v->u.run.nmounts]));

#define MOUNT(name, which, code)                              \
        static void name(struct vertex *v)                    \
        {                                                     \
                struct vx_mount *m = &v->u.run.mounts[which]; \
                code;                                         \
        }                                                     \
        struct bld_swallow_semicolon

MOUNT(bind_target, M_BIND, set(&m->target, "/n"));
MOUNT(bind_source, M_BIND, set(&m->source, "src2"));
MOUNT(bind_input, M_BIND, m->input = 2);
MOUNT(bind_rw, M_BIND, m->readonly = true);
MOUNT(bind_type, M_BIND, m->type = MT_TMPFS);
MOUNT(cache_target, M_CACHE, set(&m->target, "/n"));
MOUNT(cache_id, M_CACHE, set(&m->id, "/another"));
MOUNT(cache_sharing, M_CACHE, m->sharing = SHARE_LOCKED);
MOUNT(cache_mode, M_CACHE, m->mode = 0700);
MOUNT(cache_owner, M_CACHE, m->uid = 5);
MOUNT(tmpfs_size, M_TMPFS, m->size_bytes = 4096);
MOUNT(secret_id, M_SECRET, set(&m->id, "key"));
MOUNT(secret_env, M_SECRET, set(&m->env, "KEY"));
MOUNT(secret_target, M_SECRET, set(&m->target, NULL));
MOUNT(secret_required, M_SECRET, m->required = true);
MOUNT(secret_mode, M_SECRET, m->mode = 0440);
MOUNT(secret_uid, M_SECRET, m->uid = 5);
MOUNT(secret_gid, M_SECRET, m->gid = 5);
MOUNT(ssh_id, M_SSH, set(&m->id, "work"));

static const struct {
        const char *name;
        enum vx_kind kind;
        void (*change)(struct vertex *);
        bool follows;
} rows[] = {
        {"image: digest", VX_IMAGE, image_digest, true},
        {"image: the registry it comes from", VX_IMAGE, image_host, false},
        {"image: tag", VX_IMAGE, image_tag, false},
        {"image: size", VX_IMAGE, image_size, false},
        {"image: media type", VX_IMAGE, image_type, false},
        {"image: platform is in the digest", VX_IMAGE, arch, false},
        {"local: another folder", VX_LOCAL, local_other, true},
        {"mkdir: path", VX_MKDIR, mkdir_path, true},
        {"mkdir: user", VX_MKDIR, mkdir_user, true},
        {"mkdir: platform", VX_MKDIR, arch, false},
        {"copy: source", VX_COPY, copy_path, true},
        {"copy: kind of source", VX_COPY, copy_kind, true},
        {"copy: heredoc text", VX_COPY, copy_data, true},
        {"copy: heredoc length", VX_COPY, copy_len, true},
        {"copy: where the source stands", VX_COPY, copy_src_line, false},
        {"copy: downloaded file", VX_COPY, copy_blob, true},
        {"copy: its time", VX_COPY, copy_blob_time, true},
        {"copy: its name", VX_COPY, copy_blob_name, true},
        {"copy: where it came from", VX_COPY, copy_blob_url, false},
        {"copy: which repository", VX_COPY, copy_git_input, true},
        {"git: commit", VX_GIT, git_commit, true},
        {"git: folder", VX_GIT, git_subdir, true},
        {"git: .git kept", VX_GIT, git_keep, true},
        {"git: submodules", VX_GIT, git_submodules, true},
        {"git: times", VX_GIT, git_mtime, true},
        {"git: from where", VX_GIT, git_remote, false},
        {"git: who asks", VX_GIT, git_user, false},
        {"copy: destination slash", VX_COPY, copy_dest, true},
        {"copy: chown", VX_COPY, copy_chown, true},
        {"copy: no chown", VX_COPY, copy_no_chown, true},
        {"copy: chmod", VX_COPY, copy_chmod, true},
        {"copy: no chmod", VX_COPY, copy_no_chmod, true},
        {"copy: one more exclude", VX_COPY, copy_exclude, true},
        {"copy: link", VX_COPY, copy_link, true},
        {"copy: parents", VX_COPY, copy_parents, true},
        {"copy: ADD", VX_COPY, copy_add, true},
        {"copy: unpack", VX_COPY, copy_unpack, true},
        {"copy: unpack given", VX_COPY, copy_unpack_set, true},
        {"copy: platform", VX_COPY, arch, false},
        {"run: one more word", VX_RUN, run_arg, true},
        {"run: word", VX_RUN, run_word, true},
        {"run: variable", VX_RUN, run_env_value, true},
        {"run: one more variable", VX_RUN, run_env_more, true},
        {"run: host name", VX_RUN, run_host, true},
        {"run: own host name", VX_RUN, run_hostname, true},
        {"run: limit", VX_RUN, run_limit, true},
        {"run: folder", VX_RUN, run_cwd, true},
        {"run: user", VX_RUN, run_user, true},
        {"run: network", VX_RUN, run_network, true},
        {"run: insecure", VX_RUN, run_insecure, true},
        {"run: script name", VX_RUN, run_script_name, true},
        {"run: script", VX_RUN, run_script, true},
        {"run: script length", VX_RUN, run_script_len, true},
        {"run: architecture", VX_RUN, arch, true},
        {"run: variant", VX_RUN, variant, true},
        {"run: one mount less", VX_RUN, run_fewer_mounts, true},
        {"bind: target", VX_RUN, bind_target, true},
        {"bind: source", VX_RUN, bind_source, true},
        {"bind: input", VX_RUN, bind_input, true},
        {"bind: read-only", VX_RUN, bind_rw, true},
        {"bind: type", VX_RUN, bind_type, true},
        {"cache: target", VX_RUN, cache_target, true},
        {"cache: id", VX_RUN, cache_id, false},
        {"cache: sharing", VX_RUN, cache_sharing, false},
        {"cache: mode of a new folder", VX_RUN, cache_mode, false},
        {"cache: owner of a new folder", VX_RUN, cache_owner, false},
        {"tmpfs: size", VX_RUN, tmpfs_size, true},
        {"secret: id", VX_RUN, secret_id, true},
        {"secret: variable", VX_RUN, secret_env, true},
        {"secret: no file", VX_RUN, secret_target, true},
        {"secret: required", VX_RUN, secret_required, true},
        {"secret: mode", VX_RUN, secret_mode, true},
        {"secret: uid", VX_RUN, secret_uid, true},
        {"secret: gid", VX_RUN, secret_gid, true},
        {"ssh: id", VX_RUN, ssh_id, true},
};

static const struct {
        const char *name;
        void (*change)(struct vertex *);
} never[] = {
        {"stage", stage},       {"step", step},     {"name", title},  {"line", line},
        {"position", position}, {"number", number}, {"times", times}, {"no_cache", fresh},
};

static void one_change(enum vx_kind kind, void (*change)(struct vertex *), bool follows)
{
        struct vertex *a = makers[kind](), *b = makers[kind]();

        key_params(a);
        key_params(b);
        assert_true(digest_eq(&a->params, &b->params));
        change(b);
        key_params(b);
        assert_int_equal(digest_eq(&a->params, &b->params), !follows);
        key_definition(a);
        key_definition(b);
        assert_int_equal(digest_eq(&a->key, &b->key), !follows);
        vertex_free(a);
        vertex_free(b);
}

static void each_parameter(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                print_message("%s\n", rows[i].name);
                one_change(rows[i].kind, rows[i].change, rows[i].follows);
        }
}

static void nothing_else(void **state)
{
        (void)state;
        for (enum vx_kind k = VX_IMAGE; k <= VX_GIT; k++) {
                for (size_t i = 0; i < ARRAY_LEN(never); i++) {
                        print_message("kind %d: %s\n", (int)k, never[i].name);
                        one_change(k, never[i].change, false);
                }
        }
}

/* All single changes of a kind give different keys: no two fields can stand for each other. */
static void all_different(void **state)
{
        struct digest seen[ARRAY_LEN(rows) + 8];
        size_t n = 0;

        (void)state;
        for (enum vx_kind k = VX_IMAGE; k <= VX_GIT; k++) {
                struct vertex *v = makers[k]();

                key_params(v);
                seen[n++] = v->params;
                vertex_free(v);
        }
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct vertex *v = makers[rows[i].kind]();

                rows[i].change(v);
                key_params(v);
                for (size_t k = 0; k < n && rows[i].follows; k++)
                        if (digest_eq(&seen[k], &v->params))
                                fail_msg("%s: the same key as number %zu", rows[i].name, k);
                if (rows[i].follows)
                        seen[n++] = v->params;
                vertex_free(v);
        }
}

/* ---- framing: what one field loses another must not gain ---- */

static void words_key(const char *const *words, size_t n, struct digest *ret)
{
        struct vertex *v = new_vertex(VX_RUN);

        for (size_t i = 0; i < n; i++)
                OK(strv_add(&v->u.run.argv, words[i]));
        key_params(v);
        *ret = v->params;
        vertex_free(v);
}

static void framed(void **state)
{
        static const char *const lists[][3] = {{"ab", "c", NULL}, {"a", "bc", NULL}, {"abc", NULL},
                                               {"ab", "c", ""},   {"a b", "c"},      {"a", "b c"},
                                               {"", "abc"},       {"abc", ""}};
        struct digest d[ARRAY_LEN(lists)], e[2];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
                size_t n = 0;

                while (n < 3 && lists[i][n])
                        n++;
                words_key(lists[i], n, &d[i]);
                for (size_t k = 0; k < i; k++)
                        assert_false(digest_eq(&d[i], &d[k]));
        }
        /* A word of the command is not a variable of the environment. */
        for (int i = 0; i < 2; i++) {
                struct vertex *v = new_vertex(VX_RUN);

                OK(strv_add(i ? &v->u.run.env : &v->u.run.argv, "X=1"));
                key_params(v);
                e[i] = v->params;
                vertex_free(v);
        }
        assert_false(digest_eq(&e[0], &e[1]));
}

/* ---- inputs ---- */

struct chain {
        struct vertex *base, *local, *stage, *top;
};

static void chain_new(struct chain *c, struct vertex *(*make)(void))
{
        c->base = image_vertex();
        c->local = local_vertex();
        c->stage = mkdir_vertex();
        c->top = make();
        c->top->inputs = mem_zalloc(3, sizeof(*c->top->inputs));
        assert_non_null(c->top->inputs);
        c->top->ninputs = 2;
        c->top->inputs[0] = c->base;
        c->top->inputs[1] = c->local;
        digest_of("files", 5, &c->top->content);
        digest_of("chain", 5, &c->base->result.chain_id);
        digest_of("stage", 5, &c->stage->result.chain_id);
}

static void chain_keys(struct chain *c)
{
        struct vertex *all[] = {c->base, c->local, c->stage, c->top};

        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                key_params(all[i]);
                key_definition(all[i]);
        }
}

static void chain_free(struct chain *c)
{
        vertex_free(c->base);
        vertex_free(c->local);
        vertex_free(c->stage);
        vertex_free(c->top);
}

static void to_scratch(struct chain *c)
{
        c->top->inputs[0] = NULL;
}

static void other_base(struct chain *c)
{
        image_digest(c->base);
}

static void other_folder(struct chain *c)
{
        local_other(c->local);
}

static void other_content(struct chain *c)
{
        digest_of("filet", 5, &c->top->content);
}

static void from_stage(struct chain *c)
{
        c->top->inputs[1] = c->stage;
}

static void one_input(struct chain *c)
{
        c->top->ninputs = 1;
}

static void other_chain(struct chain *c)
{
        digest_of("chaim", 5, &c->base->result.chain_id);
}

static void same(struct chain *c)
{
        (void)c;
}

static const struct {
        const char *name;
        void (*change)(struct chain *);
        bool definition, result;
} input_rows[] = {
        {"nothing", same, false, false},
        {"scratch below", to_scratch, true, true},
        {"another base of the same files", other_base, true, false},
        {"the same base of other files", other_chain, false, true},
        {"the context in another folder", other_folder, false, false},
        {"other files selected", other_content, true, true},
        {"a stage in place of the context", from_stage, true, true},
        {"no second input", one_input, true, true},
};

static void inputs_count(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(input_rows); i++) {
                struct digest ra, rb;
                struct chain a, b;

                print_message("%s\n", input_rows[i].name);
                chain_new(&a, copy_vertex);
                chain_new(&b, copy_vertex);
                input_rows[i].change(&b);
                chain_keys(&a);
                chain_keys(&b);
                key_result(a.top, NULL, &ra);
                key_result(b.top, NULL, &rb);
                assert_int_equal(!digest_eq(&a.top->key, &b.top->key), input_rows[i].definition);
                assert_int_equal(!digest_eq(&ra, &rb), input_rows[i].result);
                assert_false(digest_eq(&a.top->key, &ra));
                chain_free(&a);
                chain_free(&b);
        }
}

/* What is selected from a stage counts, not how the stage came about. */
static void selected_content(void **state)
{
        struct digest contents[2] = {{.algo = DIGEST_NONE}}, a, b, c;
        struct chain x;

        (void)state;
        chain_new(&x, copy_vertex);
        x.top->inputs[1] = x.stage;
        chain_keys(&x);
        digest_of("picked", 6, &contents[1]);
        key_result(x.top, contents, &a);
        digest_of("stage 2", 7, &x.stage->result.chain_id);
        key_result(x.top, contents, &b);
        assert_true(digest_eq(&a, &b));
        digest_of("picke!", 6, &contents[1]);
        key_result(x.top, contents, &c);
        assert_false(digest_eq(&a, &c));
        /* Without a selection it is the whole chain. */
        key_result(x.top, NULL, &a);
        digest_of("stage 3", 7, &x.stage->result.chain_id);
        key_result(x.top, NULL, &b);
        assert_false(digest_eq(&a, &b));
        chain_free(&x);
}

/* COPY --link does not depend on what it lies over; its place in the chain does. */
static void link_is_independent(void **state)
{
        struct digest a, b;
        struct chain x;

        (void)state;
        for (int link = 0; link < 2; link++) {
                chain_new(&x, copy_vertex);
                x.top->u.copy.link = link;
                chain_keys(&x);
                key_result(x.top, NULL, &a);
                other_chain(&x);
                key_result(x.top, NULL, &b);
                assert_int_equal(digest_eq(&a, &b), link);
                x.top->inputs[0] = NULL;
                key_result(x.top, NULL, &b);
                assert_int_equal(digest_eq(&a, &b), link);
                chain_free(&x);
        }
}

/* ---- sharing of equal vertices ---- */

static void equal_once(void **state)
{
        struct vertex *a, *b, *c, *d;
        struct graph g;

        (void)state;
        graph_init(&g);
        OK(graph_add(&g, mkdir_vertex(), &a, err));
        OK(graph_add(&g, mkdir_vertex(), &b, err));
        assert_ptr_equal(a, b);
        assert_int_equal(g.v.n, 1);
        c = mkdir_vertex();
        c->no_cache = true; /* one that must run anew is another */
        OK(graph_add(&g, c, &d, err));
        assert_ptr_equal(c, d);
        c = mkdir_vertex();
        c->inputs = mem_zalloc(1, sizeof(*c->inputs));
        assert_non_null(c->inputs);
        c->inputs[0] = a;
        c->ninputs = 1;
        OK(graph_add(&g, c, &d, err));
        assert_ptr_equal(c, d);
        assert_int_equal(g.v.n, 3);
        for (size_t i = 0; i < g.v.n; i++)
                assert_int_equal(g.v.v[i]->id, i);
        graph_done(&g);
}

static void too_many_inputs(void **state)
{
        struct vertex *v = mkdir_vertex(), *got = NULL;
        struct bld_err e = BLD_ERR_INIT;
        struct graph g;

        (void)state;
        graph_init(&g);
        v->inputs = mem_zalloc(65, sizeof(*v->inputs));
        assert_non_null(v->inputs);
        v->ninputs = 65;
        assert_int_equal(graph_add(&g, v, &got, &e), BLD_E_LIMIT);
        assert_null(got);
        graph_done(&g);
}

/* ---- records: key -> result ---- */

static struct vertex *result_vertex(struct bd_ctx *c)
{
        struct vertex *v = mkdir_vertex();

        add_layer(c, fix_files, ARRAY_LEN(fix_files), LY_CODEC_GZIP, &v->result.layers);
        v->result.layers.v[0].created_sec = 1234;
        OK(result_seal(&v->result, err));
        return v;
}

static void record_round(void **state)
{
        struct fix *f = *state;
        struct vertex *v = result_vertex(&f->c[0]);
        struct vx_result got = {.chain_id = {.algo = DIGEST_NONE}};
        struct cas_build *lease = NULL;
        struct digest key;

        digest_of("k", 1, &key);
        assert_int_equal(record_get(&f->c[0], NULL, &key, &got, NULL), 0);
        OK(record_put(&f->c[0], &key, v, err));
        assert_int_equal(record_get(&f->c[0], NULL, &key, &got, NULL), 1);
        assert_int_equal(got.layers.n, 1);
        assert_true(digest_eq(&got.chain_id, &v->result.chain_id));
        assert_true(digest_eq(&got.layers.v[0].desc.digest, &v->result.layers.v[0].desc.digest));
        assert_int_equal(got.layers.v[0].created_sec, 1234);
        assert_int_equal(got.layers.v[0].tar_size, v->result.layers.v[0].tar_size);
        assert_true(got.layers.v[0].reused);
        /* A second answer replaces the first; a leased one says the same. */
        OK(cas_build_begin(f->cas[0], &lease, err));
        assert_int_equal(record_get(&f->c[0], lease, &key, &got, NULL), 1);
        assert_int_equal(got.layers.n, 1);
        cas_build_end(lease, false);
        result_done(&got);
        vertex_free(v);
}

static void record_empty(void **state)
{
        struct fix *f = *state;
        struct vertex *v = mkdir_vertex();
        struct vx_result got = {.chain_id = {.algo = DIGEST_NONE}};
        struct digest key;

        digest_of("empty", 5, &key);
        OK(record_put(&f->c[0], &key, v, err));
        assert_int_equal(record_get(&f->c[0], NULL, &key, &got, NULL), 1);
        assert_int_equal(got.layers.n, 0);
        assert_false(digest_is_set(&got.chain_id));
        vertex_free(v);
}

/* What cannot be read, or is of another version, is a miss and no error. */
static void record_damaged(void **state)
{
        static const char *const texts[] = {
                "",
                "{",
                "[]",
                "{}",
                "{\"v\":1}",
                "{\"v\":1,\"layers\":{}}",
                "{\"v\":2,\"layers\":[]}",
                "{\"v\":\"1\",\"layers\":[]}",
                "{\"v\":1,\"layers\":[1]}",
                "{\"v\":1,\"layers\":[{}]}",
                "{\"v\":1,\"layers\":[{\"diffID\":\"sha256:00\"}]}",
                ("{\"v\":1,\"layers\":[{\"diffID\":\"sha256:"
                 "0000000000000000000000000000000000000000000000000000000000000000\"}]}"),
        };
        struct fix *f = *state;
        struct vx_result got = {.chain_id = {.algo = DIGEST_NONE}};
        struct digest key;

        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                struct bld_err e = BLD_ERR_INIT;

                print_message("%s\n", texts[i]);
                digest_of(texts[i], strlen(texts[i]), &key);
                OK(cas_result_put(f->cas[0], &key, "step", texts[i], strlen(texts[i]), NULL, 0,
                                  err));
                assert_int_equal(record_get(&f->c[0], NULL, &key, &got, &e), 0);
                assert_int_equal(e.code, 0);
        }
}

/* The file itself damaged, byte by byte: never a hit of something else. */
static void record_file_damaged(void **state)
{
        struct fix *f = *state;
        struct vertex *v = result_vertex(&f->c[0]);
        struct vx_result got = {.chain_id = {.algo = DIGEST_NONE}};
        char hex[DIGEST_HEX_MAX], name[DIGEST_HEX_MAX + 40];
        struct digest key;
        AUTO_FD int fd = -1;
        struct stat st;

        digest_of("k", 1, &key);
        OK(record_put(&f->c[0], &key, v, err));
        digest_hex(&key, hex);
        (void)snprintf(name, sizeof(name), "store0/results/%.2s/%s", hex, hex);
        fd = open(at(f, name), O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);
        for (off_t i = 0; i < st.st_size; i++) {
                unsigned char had, put;

                assert_int_equal(pread(fd, &had, 1, i), 1);
                put = had ^ 0x20;
                assert_int_equal(pwrite(fd, &put, 1, i), 1);
                if (record_get(&f->c[0], NULL, &key, &got, NULL) != 0)
                        fail_msg("byte %lld changed, and it is still a hit", (long long)i);
                assert_int_equal(pwrite(fd, &had, 1, i), 1);
        }
        assert_int_equal(record_get(&f->c[0], NULL, &key, &got, NULL), 1);
        for (off_t n = st.st_size - 1; n >= 0; n--) {
                assert_int_equal(ftruncate(fd, n), 0);
                assert_int_equal(record_get(&f->c[0], NULL, &key, &got, NULL), 0);
        }
        result_done(&got);
        vertex_free(v);
}

/* A layer that went from the store is a miss, unless a registry is known to have it. */
static void record_without_blob(void **state)
{
        struct fix *f = *state;
        struct vertex *v = result_vertex(&f->c[0]);
        struct vx_result got = {.chain_id = {.algo = DIGEST_NONE}};
        char hex[DIGEST_HEX_MAX], name[DIGEST_HEX_MAX + 40];
        struct digest key;

        digest_of("k", 1, &key);
        OK(record_put(&f->c[0], &key, v, err));
        digest_hex(&v->result.layers.v[0].desc.digest, hex);
        (void)snprintf(name, sizeof(name), "store0/blobs/sha256/%s", hex);
        assert_int_equal(unlink(at(f, name)), 0);
        assert_int_equal(record_get(&f->c[0], NULL, &key, &got, NULL), 0);
        OK(img_ref_parse("reg.example/app", &v->result.layers.v[0].source, err));
        digest_of("k2", 2, &key);
        OK(record_put(&f->c[0], &key, v, err));
        assert_int_equal(record_get(&f->c[0], NULL, &key, &got, NULL), 1);
        assert_string_equal(got.layers.v[0].source.domain, "reg.example");
        assert_string_equal(got.layers.v[0].source.path, "app");
        result_done(&got);
        vertex_free(v);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_parameter),
                cmocka_unit_test(nothing_else),
                cmocka_unit_test(all_different),
                cmocka_unit_test(framed),
                cmocka_unit_test(inputs_count),
                cmocka_unit_test(selected_content),
                cmocka_unit_test(link_is_independent),
                cmocka_unit_test(equal_once),
                cmocka_unit_test(too_many_inputs),
                cmocka_unit_test_setup_teardown(record_round, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(record_empty, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(record_damaged, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(record_file_damaged, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(record_without_blob, fix_up, fix_down),
        };

        return cmocka_run_group_tests_name("builder/key", tests, NULL, NULL);
}
