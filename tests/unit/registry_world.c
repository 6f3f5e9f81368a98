#include "registry_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world *w;

static void on_note(void *user, const char *text)
{
        sb_fmt(user, "%s\n", text);
}

int world_setup(void **state UNUSED)
{
        w = calloc(1, sizeof(*w));
        w->notes = SB_INIT(64u << 10);
        w->got = SB_INIT(1u << 20);
        w->reg = mock_start();
        w->other = mock_start();
        for (size_t i = 0; i < sizeof(w->blob); i++)
                w->blob[i] = (char)(i * 7 + i / 251);
        w->desc.size = sizeof(w->blob);
        digest_of(w->blob, sizeof(w->blob), &w->desc.digest);
        digest_format(&w->desc.digest, w->digest);
        (void)snprintf(w->url, sizeof(w->url), "GET /v2/a/b/blobs/%s", w->digest);
        (void)snprintf(w->head, sizeof(w->head), "HEAD /v2/a/b/blobs/%s", w->digest);
        (void)snprintf(w->post, sizeof(w->post), "POST /v2/a/b/blobs/uploads/");
        (void)setenv("HOME", "/nonexistent", 1);
        return 0;
}

int world_teardown(void **state UNUSED)
{
        reg_client_free(w->c);
        img_ref_done(&w->ref);
        if (w->reg)
                free(mock_stop(w->reg));
        if (w->other)
                free(mock_stop(w->other));
        sb_done(&w->notes);
        sb_done(&w->got);
        free(w);
        return 0;
}

/* Client with short times, for the mock's host. */
void connect_with(struct reg_opts o)
{
        struct bld_err err = BLD_ERR_INIT;
        char name[64];

        o.note = on_note;
        o.user = &w->notes;
        assert_int_equal(reg_client_new(&o, &w->c, &err), 0);
        w->c->timing.backoff = 1;
        w->c->timing.resume = 1;
        (void)snprintf(name, sizeof(name), "%s/a/b:v1", mock_host(w->reg));
        assert_int_equal(img_ref_parse(name, &w->ref, &err), 0);
}

/* Stop both servers; fail when a script was not followed. */
void check_scripts(void)
{
        char *a, *b;

        reg_client_free(w->c); /* no late request after this */
        w->c = NULL;
        a = mock_stop(w->reg);
        b = mock_stop(w->other);
        w->reg = w->other = NULL;
        if (a || b)
                fail_msg("registry: %s\nother: %s", a ? a : "fine", b ? b : "fine");
}

static int sink_write(void *user UNUSED, const void *p, size_t n, struct bld_err *err UNUSED)
{
        sb_add(&w->got, p, n);
        return 0;
}

static int sink_rewind(void *user UNUSED, struct bld_err *err UNUSED)
{
        sb_reset(&w->got);
        w->rewinds++;
        return 0;
}

int get_blob(struct bld_err *err)
{
        struct reg_sink sink = {.write = sink_write, .rewind = sink_rewind};

        return reg_blob_get(w->c, &w->ref, &w->desc, &sink, err);
}

void get_blob_ok(void)
{
        struct bld_err err = BLD_ERR_INIT;

        if (get_blob(&err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(w->got.len, sizeof(w->blob));
        assert_memory_equal(w->got.buf, w->blob, sizeof(w->blob));
}

static ssize_t source_pread(void *user UNUSED, void *p, size_t n, uint64_t off,
                            struct bld_err *err UNUSED)
{
        n = MIN(n, sizeof(w->blob) - (size_t)off);
        memcpy(p, w->blob + off, n);
        return (ssize_t)n;
}

int put_blob(const char *from, enum reg_put_how *how, struct bld_err *err)
{
        struct reg_source src = {.pread = source_pread};

        return reg_blob_put(w->c, &w->ref, &w->desc, &src, from, how, err);
}

void put_blob_ok(const char *from, enum reg_put_how want)
{
        struct bld_err err = BLD_ERR_INIT;
        enum reg_put_how how;

        if (put_blob(from, &how, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(how, want);
}

const char *range_of(size_t from)
{
        static char s[96];

        (void)snprintf(s, sizeof(s), "Content-Range: bytes %zu-%zu/%zu\r\n", from,
                       sizeof(w->blob) - 1, sizeof(w->blob));
        return s;
}

static char challenge[256];

const char *bearer_challenge(void)
{
        (void)snprintf(challenge, sizeof(challenge),
                       "WWW-Authenticate: Bearer realm=\"http://%s/token?x=1\",service=\"reg\","
                       "scope=\"repository:a/b:pull\"\r\n",
                       mock_host(w->other));
        return challenge;
}
