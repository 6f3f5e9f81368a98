/* What the tests of images in builder/ share: two stores, small images, archives. */
#ifndef TESTS_UNIT_BUILDER_FIXTURE_H
#define TESTS_UNIT_BUILDER_FIXTURE_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "builder/builder.h"
#include "layer/layer.h"

#define OK(expr)                                                                        \
        do {                                                                            \
                struct bld_err e_ = BLD_ERR_INIT, *err = &e_;                           \
                int r_ = (expr);                                                        \
                if (r_ < 0)                                                             \
                        fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, #expr, err->msg); \
        } while (0)

struct fix {
        char dir[200];
        struct cas *cas[2];
        struct cancel cancel;
        struct bd_ctx c[2];     /* no registry: reaching for one fails the call */
        struct reg_client *reg; /* set: that one */
        char notes[1000];
};

static int fix_registry(void *user, struct reg_client **ret, struct bld_err *err)
{
        struct fix *f = user;

        if (!f->reg)
                return err_set(err, BLD_E_BUG, "a registry is asked for");
        *ret = f->reg;
        return 0;
}

static void fix_note(void *user, const char *text)
{
        struct fix *f = user;

        (void)str_copy(f->notes, sizeof(f->notes), text);
}

static UNUSED int fix_up(void **state)
{
        struct fix *f = calloc(1, sizeof(*f));
        const char *tmp = getenv("TMPDIR");

        if (!f)
                return -1;
        (void)snprintf(f->dir, sizeof(f->dir), "%.150s/bld-bd-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(f->dir) || cancel_init(&f->cancel, NULL) < 0)
                return -1;
        for (int i = 0; i < 2; i++) {
                char root[220];

                (void)snprintf(root, sizeof(root), "%s/store%d", f->dir, i);
                if (cas_open(root, &f->cas[i], NULL) < 0)
                        return -1;
                f->c[i] = (struct bd_ctx){.cas = f->cas[i],
                                          .cancel = &f->cancel,
                                          .registry = fix_registry,
                                          .note = fix_note,
                                          .user = f};
        }
        *state = f;
        return 0;
}

static UNUSED int fix_down(void **state)
{
        struct fix *f = *state;

        cas_close(f->cas[0]);
        cas_close(f->cas[1]);
        cancel_done(&f->cancel);
        (void)path_remove_tree(AT_FDCWD, f->dir, NULL);
        free(f);
        return 0;
}

/* "<dir>/name"; the buffer is the test's until the 32nd call after. */
static UNUSED const char *at(struct fix *f, const char *name)
{
        static char buf[32][400];
        static unsigned n;

        n = (n + 1) % 32;
        (void)snprintf(buf[n], sizeof(buf[n]), "%s/%s", f->dir, name);
        return buf[n];
}

/* ---- making images ---- */

struct file {
        const char *path;
        enum ly_type type;
        const char *data; /* content; link target */
        unsigned mode;    /* 0: 0644, 0755 */
};

static int fix_to_sb(void *user, const void *p, size_t n, struct bld_err *err)
{
        sb_add(user, p, n);
        return sb_check(user, "bytes", err);
}

static UNUSED void make_tar(const struct file *v, size_t n, struct sb *out)
{
        struct ly_sink sink = {.write = fix_to_sb, .user = out};
        struct ly_writer *w = NULL;

        OK(ly_writer_new(&sink, NULL, &w, err));
        for (size_t i = 0; i < n; i++) {
                char path[200], link[200] = "";
                struct ly_entry e = {.path = path, .type = v[i].type, .mode = v[i].mode};

                (void)str_copy(path, sizeof(path), v[i].path);
                if (!e.mode)
                        e.mode = e.type == LY_DIR ? 0755 : 0644;
                e.mtime_ns = 1000000000;
                if (e.type == LY_SYMLINK || e.type == LY_HARDLINK) {
                        (void)str_copy(link, sizeof(link), v[i].data);
                        e.link = link;
                }
                if (e.type == LY_FILE && v[i].data)
                        e.size = strlen(v[i].data);
                OK(ly_writer_entry(w, &e, err));
                if (e.size)
                        OK(ly_writer_data(w, v[i].data, e.size, err));
        }
        OK(ly_writer_end(w, err));
        ly_writer_free(w);
}

static UNUSED void add_layer(struct bd_ctx *c, const struct file *v, size_t n, enum ly_codec codec,
                             struct bd_layers *to)
{
        AUTO_SB struct sb tar = SB_INIT(1u << 24), blob = SB_INIT(1u << 24);
        struct ly_sink sink = {.write = fix_to_sb, .user = &blob};
        struct ly_pack_opts o = {.codec = codec};
        struct ly_pack *p = NULL;
        struct ly_packed packed;
        struct bd_layer *l;

        make_tar(v, n, &tar);
        OK(ly_pack_new(&sink, &o, &p, err));
        OK(ly_pack_write(p, sb_text(&tar), tar.len, err));
        OK(ly_pack_end(p, &packed, NULL, err));
        ly_pack_free(p);
        l = bd_layers_push(to);
        assert_non_null(l);
        OK(cas_blob_put(c->cas, sb_text(&blob), blob.len, &l->desc.digest, err));
        assert_true(digest_eq(&l->desc.digest, &packed.digest));
        l->desc.size = packed.size;
        l->desc.media_type = mem_strdup(packed.media_type);
        l->diff_id = packed.diff_id;
        l->tar_size = packed.tar_size;
}

static UNUSED void base_config(struct img_config *cfg, const char *arch, const char *salt)
{
        img_config_init(cfg);
        (void)str_copy(cfg->platform.os, sizeof(cfg->platform.os), "linux");
        (void)str_copy(cfg->platform.arch, sizeof(cfg->platform.arch), arch);
        OK(strv_addf(&cfg->env, "SALT=%s", salt));
        cfg->created = mem_strdup("2024-01-02T03:04:05Z");
}

static const struct file fix_files[] = {
        {"etc", LY_DIR, NULL, 0},
        {"etc/motd", LY_FILE, "hello\n", 0},
        {"bin", LY_DIR, NULL, 0},
        {"bin/a", LY_FILE, "binary", 0755},
        {"bin/b", LY_HARDLINK, "bin/a", 0755},
        {"bin/c", LY_SYMLINK, "a", 0777},
};

/* An image of one layer for an architecture; name NULL: not named. */
static UNUSED void make_image(struct bd_ctx *c, const char *name, const char *arch,
                              const char *salt, struct img_desc *ret)
{
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        struct img_config cfg;

        add_layer(c, fix_files, ARRAY_LEN(fix_files), LY_CODEC_GZIP, &layers);
        base_config(&cfg, arch, salt);
        OK(bd_assemble(c, &cfg, &layers, BD_FORMAT_OCI, NULL, ret, NULL, err));
        if (name)
                OK(cas_ref_set(c->cas, name, ret, err));
        img_config_done(&cfg);
}

static UNUSED void make_index(struct bd_ctx *c, const char *name, const char *const *archs,
                              size_t n, struct img_desc *ret)
{
        AUTO(img_descs_free) struct img_descs list = {.v = NULL};

        for (size_t i = 0; i < n; i++) {
                struct img_desc *d = img_descs_push(&list);

                assert_non_null(d);
                make_image(c, NULL, archs[i], archs[i], d);
        }
        OK(bd_assemble_index(c, &list, BD_FORMAT_OCI, NULL, ret, err));
        if (name)
                OK(cas_ref_set(c->cas, name, ret, err));
}

/* The host's architecture, so that nothing in a test depends on the machine. */
static UNUSED const char *host_arch(void)
{
        static struct img_platform p;

        img_platform_host(&p);
        return p.arch;
}

#endif
