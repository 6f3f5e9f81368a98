/* What the tests of cas/ share: a store in a folder of its own, and small images to put there. */
#ifndef TESTS_UNIT_CAS_FIXTURE_H
#define TESTS_UNIT_CAS_FIXTURE_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "cas/cas.h"

struct fixture {
        char dir[200];
        char root[220]; /* dir/store */
        struct cas *c;
};

#define OK(expr)                                                                        \
        do {                                                                            \
                struct bld_err e_ = BLD_ERR_INIT, *err = &e_;                           \
                int r_ = (expr);                                                        \
                if (r_ < 0)                                                             \
                        fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, #expr, err->msg); \
        } while (0)

static UNUSED int fixture_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        const char *tmp = getenv("TMPDIR");

        if (!f)
                return -1;
        (void)snprintf(f->dir, sizeof(f->dir), "%.150s/bld-cas-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(f->dir))
                return -1;
        (void)snprintf(f->root, sizeof(f->root), "%s/store", f->dir);
        if (cas_open(f->root, &f->c, NULL) < 0)
                return -1;
        *state = f;
        return 0;
}

static UNUSED int fixture_down(void **state)
{
        struct fixture *f = *state;

        cas_close(f->c);
        (void)path_remove_tree(AT_FDCWD, f->dir, NULL);
        free(f);
        return 0;
}

static UNUSED void reopen(struct fixture *f)
{
        cas_close(f->c);
        f->c = NULL;
        OK(cas_open(f->root, &f->c, err));
}

static UNUSED struct digest put_text(struct cas *c, const char *s)
{
        struct digest d;

        OK(cas_blob_put(c, s, strlen(s), &d, err));
        return d;
}

static UNUSED struct digest key_of(const char *s)
{
        struct digest d;

        digest_of(s, strlen(s), &d);
        return d;
}

static UNUSED bool has_blob(struct cas *c, const struct digest *d)
{
        uint64_t size;

        return cas_blob_stat(c, d, &size, NULL) == 1;
}

static UNUSED bool exists(const struct fixture *f, const char *path)
{
        return faccessat(cas_root_fd(f->c), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* An image of one layer holding `seed`, stored; 0 or a code, so that children can use it. */
static UNUSED int make_image(struct cas *c, const char *seed, struct img_desc *ret,
                             struct digest *ret_layer, struct bld_err *err)
{
        AUTO(img_config_done) struct img_config cfg = {.created = NULL};
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        AUTO_SB struct sb text = SB_INIT(100000);
        struct img_desc *l;
        struct digest d;
        int r = cas_blob_put(c, seed, strlen(seed), ret_layer, err);

        if (r < 0)
                return r;
        img_platform_host(&cfg.platform);
        if (img_config_add_diff_id(&cfg, ret_layer) < 0)
                return err_nomem(err, "test");
        r = img_config_encode(&cfg, &text, err);
        if (r == 0)
                r = cas_blob_put(c, text.buf, text.len, &d, err);
        if (r < 0)
                return r;
        m.media_type = mem_strdup(MT_OCI_MANIFEST);
        m.config = (struct img_desc){
                .media_type = mem_strdup(MT_OCI_CONFIG), .digest = d, .size = text.len};
        l = img_descs_push(&m.layers);
        if (!l)
                return err_nomem(err, "test");
        *l = (struct img_desc){
                .media_type = mem_strdup(MT_OCI_LAYER), .digest = *ret_layer, .size = strlen(seed)};
        sb_reset(&text);
        r = img_manifest_encode(&m, &text, err);
        if (r == 0)
                r = cas_blob_put(c, text.buf, text.len, &d, err);
        if (r == 0)
                *ret = (struct img_desc){
                        .media_type = mem_strdup(MT_OCI_MANIFEST), .digest = d, .size = text.len};
        return r;
}

/* Wait for a child that must end well. */
static UNUSED void reap(pid_t pid)
{
        int status = -1;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                fail_msg("child ended with status %#x", (unsigned)status);
}

#endif
