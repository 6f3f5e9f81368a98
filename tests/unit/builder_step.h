/* What the tests of steps in builder/ share: folders on disk, layers below, and what a step wrote,
 * as text. */
#ifndef TESTS_UNIT_BUILDER_STEP_H
#define TESTS_UNIT_BUILDER_STEP_H

#include "tests/unit/builder_fixture.h"

#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "builder/source/fs_priv.h"
#include "builder/graph/graph_priv.h"
#include "builder/op/op_priv.h"

/* ---- folders on disk ---- */

struct disk {
        const char *path;
        char type;        /* 'd' 'f' 'l' (symbolic) 'h' (hard) 'p' (FIFO) 's' (socket) */
        const char *data; /* content or target */
        unsigned mode;    /* 0: 0644, 0755 */
        int64_t mtime_sec;
};

static UNUSED void make_disk(const char *root, const struct disk *v, size_t n)
{
        (void)mkdir(root, 0755);
        for (size_t i = 0; i < n; i++) {
                char path[500], target[500];
                const struct timespec times[] = {{.tv_sec = v[i].mtime_sec},
                                                 {.tv_sec = v[i].mtime_sec}};
                int r = -1;

                (void)snprintf(path, sizeof(path), "%s/%s", root, v[i].path);
                (void)snprintf(target, sizeof(target), "%s/%s", root, v[i].data ? v[i].data : "");
                switch (v[i].type) {
                case 'd':
                        r = mkdir(path, 0755);
                        break;
                case 'l':
                        r = symlink(v[i].data, path);
                        break;
                case 'h':
                        r = link(target, path);
                        break;
                case 'p':
                        r = mkfifo(path, 0644);
                        break;
                case 's':
                        r = mknod(path, S_IFSOCK | 0644, 0);
                        break;
                default: {
                        AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

                        assert_true(fd >= 0);
                        r = v[i].data ? fd_write_all(fd, v[i].data, strlen(v[i].data), NULL) : 0;
                        break;
                }
                }
                if (r < 0)
                        fail_msg("make %s: %m", path);
                if (v[i].type != 'l' && v[i].type != 'h')
                        assert_int_equal(chmod(path, v[i].mode          ? v[i].mode
                                                     : v[i].type == 'd' ? 0755
                                                                        : 0644),
                                         0);
                if (v[i].mtime_sec)
                        assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
        }
        /* What was put into a folder since changed its time. */
        for (size_t i = n; i-- > 0;) {
                const struct timespec times[] = {{.tv_sec = v[i].mtime_sec},
                                                 {.tv_sec = v[i].mtime_sec}};
                char path[500];

                (void)snprintf(path, sizeof(path), "%s/%s", root, v[i].path);
                if (v[i].type == 'd' && v[i].mtime_sec)
                        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
        }
}

/* ---- a build that only runs ops ---- */

struct step {
        struct fix *f;
        struct build b;
};

static UNUSED int step_up(void **state)
{
        struct step *s = calloc(1, sizeof(*s));

        if (!s || fix_up((void **)&s->f) < 0)
                return -1;
        s->b.c = &s->f->c[0];
        s->b.codec = LY_CODEC_NONE;
        if (cancel_init(&s->b.cancel, NULL) < 0 ||
            cas_build_begin(s->f->cas[0], &s->b.record, NULL) < 0)
                return -1;
        *state = s;
        return 0;
}

static UNUSED int step_down(void **state)
{
        struct step *s = *state;
        void *f = s->f;

        fs_free(s->b.context_tree);
        cas_build_end(s->b.record, false);
        cancel_done(&s->b.cancel);
        free(s->b.context_path);
        ignore_free(s->b.ignore);
        free(s);
        return fix_down(&f);
}

/* The context: a folder of that name, made of v. */
static UNUSED void step_context(struct step *s, const struct disk *v, size_t n)
{
        fs_free(TAKE_PTR(&s->b.context_tree)); /* a build that began before */
        free(s->b.context_path);
        s->b.context_path = mem_strdup(at(s->f, "ctx"));
        assert_non_null(s->b.context_path);
        (void)path_remove_tree(AT_FDCWD, s->b.context_path, NULL);
        make_disk(s->b.context_path, v, n);
}

/* A base of one layer. Caller: vertex_free. */
static UNUSED struct vertex *step_base(struct step *s, const struct file *v, size_t n)
{
        struct vertex *base = mem_zalloc(1, sizeof(*base));

        assert_non_null(base);
        base->kind = VX_IMAGE;
        img_config_init(&base->u.image.config);
        if (n)
                add_layer(s->b.c, v, n, LY_CODEC_NONE, &base->result.layers);
        OK(result_seal(&base->result, err));
        return base;
}

/* ---- what a step wrote ---- */

static char type_letter(enum ly_type t)
{
        static const char letters[] = "fdlhcbpwo";

        return letters[t];
}

static ssize_t from_fd(void *user, void *p, size_t n, struct bld_err *err)
{
        (void)err;
        return read(*(int *)user, p, n);
}

/* One line per entry: "f 644 0:0 path = content", "l 777 0:0 path -> target". times: with them. */
static UNUSED void list_layer(struct step *s, const struct vertex *v, bool times, struct sb *out)
{
        const struct bd_layer *l = &v->result.layers.v[v->result.layers.n - 1];
        AUTO_FD int fd = -1;
        struct ly_source in = {from_fd, &fd};
        struct ly_reader *rd = NULL;
        const struct ly_entry *e;
        int r;

        OK(cas_blob_open(s->f->cas[0], &l->desc.digest, &fd, err));
        OK(ly_reader_new(&in, NULL, &rd, err));
        while ((r = ly_reader_next(rd, &e, NULL)) == 1) {
                char data[200];
                ssize_t k;

                sb_fmt(out, "%c %o %u:%u ", type_letter(e->type), e->mode, e->uid, e->gid);
                if (times)
                        sb_fmt(out, "%lld ", (long long)(e->mtime_ns / 1000000000));
                sb_str(out, e->path);
                if (e->link)
                        sb_fmt(out, " -> %s", e->link);
                if (e->type == LY_FILE) {
                        sb_str(out, " =");
                        while ((k = ly_reader_data(rd, data, sizeof(data), NULL)) > 0) {
                                sb_char(out, ' ');
                                sb_add(out, data, (size_t)k);
                        }
                }
                for (size_t i = 0; i < e->nxattrs; i++)
                        sb_fmt(out, " [%s]", e->xattrs[i].name);
                sb_char(out, '\n');
        }
        assert_int_equal(r, 0);
        ly_reader_free(rd);
}

#endif
