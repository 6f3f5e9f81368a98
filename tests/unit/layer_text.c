#include "layer_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "layer_fixture.h"

#define ENTRIES 64

static enum ly_type type_of(char c)
{
        static const char letters[] = "fdslcbpwo";
        const char *at = strchr(letters, c);

        assert_non_null(at);
        return (enum ly_type)(at - letters);
}

static void parse(char *line, struct ly_entry *e)
{
        char *arg;

        *e = (struct ly_entry){.path = line + 2, .mode = 0644};
        e->type = *line == 'z' ? LY_FILE : type_of(*line);
        arg = strchr(e->path, ' ');
        if (arg)
                *arg++ = 0;
        switch (e->type) {
        case LY_DIR:
                e->mode = arg ? (unsigned)strtoul(arg, NULL, 8) : 0755;
                break;
        case LY_FILE:
                if (*line == 'z') {
                        e->size = strtoul(arg, NULL, 10);
                        break;
                }
                e->size = arg ? strlen(arg) : 0;
                e->link = arg; /* the content, for now */
                break;
        case LY_SYMLINK:
                e->mode = 0777;
                e->link = arg;
                break;
        case LY_HARDLINK:
                e->link = arg;
                break;
        case LY_CHAR:
        case LY_BLOCK:
                e->dev_major = 1;
                e->dev_minor = (uint32_t)strtoul(arg, NULL, 10);
                break;
        case LY_FIFO:
        case LY_WHITEOUT:
        case LY_OPAQUE:
                break;
        }
}

static void write_content(struct ly_writer *w, const char *content, uint64_t n)
{
        char x[1024];

        memset(x, 'x', sizeof(x));
        while (n) {
                size_t k = content ? n : MIN(n, sizeof(x));

                assert_int_equal(ly_writer_data(w, content ? content : x, k, NULL), 0);
                n -= k;
        }
}

static void write_entries(struct ly_entry *v, size_t n, struct sb *out)
{
        const struct ly_writer_opts o = {.all_xattrs = true};
        struct bld_err err = BLD_ERR_INIT;
        struct ly_sink sink = lf_sink(out);
        struct ly_writer *w = NULL;

        assert_int_equal(ly_writer_new(&sink, &o, &w, &err), 0);
        for (size_t i = 0; i < n; i++) {
                const char *content = v[i].type == LY_FILE ? v[i].link : NULL;

                if (content)
                        v[i].link = NULL;
                if (ly_writer_entry(w, &v[i], &err) < 0)
                        fail_msg("%s", err.msg);
                write_content(w, content, v[i].size);
        }
        assert_int_equal(ly_writer_end(w, &err), 0);
        ly_writer_free(w);
}

static void write_tar(const char *text, struct sb *out)
{
        struct ly_entry v[ENTRIES];
        struct ly_xattr x[ENTRIES];
        char *copy = strdup(text), *save = NULL;
        size_t n = 0;

        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (*line == 'x') {
                        char *value = strchr(line + 2, ' ');

                        *value++ = 0;
                        x[n - 1] = (struct ly_xattr){.name = line + 2,
                                                     .value = (unsigned char *)value,
                                                     .len = strlen(value)};
                        v[n - 1].xattrs = &x[n - 1];
                        v[n - 1].nxattrs = 1;
                        continue;
                }
                assert_true(n < ENTRIES);
                parse(line, &v[n++]);
        }
        write_entries(v, n, out);
        free(copy);
}

int lt_layer_fd(const char *text)
{
        struct sb tar = SB_INIT(LF_MAX);
        int fd = memfd_create("layer", MFD_CLOEXEC);

        write_tar(text, &tar);
        assert_int_equal(fd_write_all(fd, tar.buf, tar.len, NULL), 0);
        sb_done(&tar);
        return fd;
}

struct ly_toc *lt_toc(const char *text)
{
        struct sb tar = SB_INIT(LF_MAX);
        struct ly_toc *t;

        write_tar(text, &tar);
        t = lf_toc(tar.buf, tar.len);
        sb_done(&tar);
        return t;
}

struct lt_chain lt_chain(const char *const *texts)
{
        struct lt_chain c = {.n = 0};

        for (; c.n < LT_LAYERS && texts[c.n]; c.n++)
                c.v[c.n] = lt_toc(texts[c.n]);
        return c;
}

void lt_chain_done(struct lt_chain *c)
{
        for (size_t i = 0; i < c->n; i++)
                ly_toc_free(c->v[i]);
}

const struct ly_toc *const *lt_tocs(const struct lt_chain *c)
{
        return (const struct ly_toc *const *)c->v;
}

struct bld_layer *lt_layer(const char *text)
{
        struct bld_err err = BLD_ERR_INIT;
        struct bld_layer *l = NULL;
        int fd = lt_layer_fd(text);

        if (bld_layer_open(fd, NULL, &l, &err) < 0)
                fail_msg("%s", err.msg);
        close(fd);
        return l;
}

void lt_open(struct lt_image *x, const char *const *texts)
{
        struct bld_err err = BLD_ERR_INIT;

        *x = (struct lt_image){.n = 0};
        for (; x->n < LT_LAYERS && texts[x->n]; x->n++)
                x->v[x->n] = lt_layer(texts[x->n]);
        if (bld_image_of_layers(x->v, x->n, &x->im, &err) < 0)
                fail_msg("%s", err.msg);
}

void lt_close(struct lt_image *x)
{
        bld_image_close(x->im);
        for (size_t i = 0; i < x->n; i++)
                bld_layer_close(x->v[i]);
}
