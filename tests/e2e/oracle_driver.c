/* What oracle.py asks of the library, through its public headers alone: one request a line, words
 * separated by tabs; the answer is lines that end with "." or "! CODE MESSAGE". Names and values
 * that may hold any byte are in hex.
 *
 * An image is "layers:FILE:FILE..." (bottom first), "dir:FOLDER" or "oci:FOLDER". */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bld/bld.h"

#define LAYERS_MAX 64

static struct bld *session;

/* ---- answers ---- */

static void hex(const void *p, size_t n)
{
        const unsigned char *b = p;

        putchar('x'); /* so that nothing is empty */
        for (size_t i = 0; i < n; i++)
                printf("%02x", b[i]);
}

static void hex_text(const char *s)
{
        if (s)
                hex(s, strlen(s));
        else
                putchar('-');
}

static uint32_t crc32_add(uint32_t crc, const void *p, size_t n)
{
        static uint32_t table[256];
        const unsigned char *b = p;

        if (!table[1])
                for (uint32_t i = 0; i < 256; i++) {
                        uint32_t c = i;

                        for (int k = 0; k < 8; k++)
                                c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
                        table[i] = c;
                }
        crc = ~crc;
        for (size_t i = 0; i < n; i++)
                crc = table[(crc ^ b[i]) & 0xff] ^ (crc >> 8);
        return ~crc;
}

/* ---- images ---- */

struct image {
        struct bld_image *im;
        struct bld_layer *layers[LAYERS_MAX];
        size_t n;
};

static void image_done(struct image *i)
{
        bld_image_close(i->im);
        for (size_t k = 0; k < i->n; k++)
                bld_layer_close(i->layers[k]);
        memset(i, 0, sizeof(*i));
}

static int open_layers(char *list, struct image *ret, struct bld_err *err)
{
        char *save = NULL;

        for (char *p = strtok_r(list, ":", &save); p; p = strtok_r(NULL, ":", &save)) {
                int fd = open(p, O_RDONLY | O_CLOEXEC), r;

                if (fd < 0 || ret->n == LAYERS_MAX) {
                        fprintf(stderr, "cannot open %s\n", p);
                        exit(1);
                }
                r = bld_layer_open(fd, NULL, &ret->layers[ret->n], err);
                close(fd);
                if (r < 0)
                        return r;
                ret->n++;
        }
        return bld_image_of_layers(ret->layers, ret->n, &ret->im, err);
}

static int open_dir(const char *path, struct bld_image **ret, struct bld_err *err)
{
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

        r = bld_image_open_dir(fd, NULL, ret, err);
        close(fd);
        return r;
}

static int open_session(struct bld_err *err)
{
        const struct bld_opts o = {.size = sizeof(o), .temporary = true, .offline = true};

        return session ? 0 : bld_open(&o, &session, err);
}

static int image_open(const char *spec, struct image *ret, struct bld_err *err)
{
        char *copy = strdup(spec);
        int r;

        memset(ret, 0, sizeof(*ret));
        if (!strncmp(spec, "layers:", 7))
                r = open_layers(copy + 7, ret, err);
        else if (!strncmp(spec, "dir:", 4))
                r = open_dir(copy + 4, &ret->im, err);
        else if ((r = open_session(err)) == 0)
                r = bld_image_open(session, spec, NULL, &ret->im, err);
        free(copy);
        if (r < 0)
                image_done(ret);
        return r;
}

/* ---- trees ---- */

static int print_xattrs(struct bld_tree *t, size_t i, size_t n, struct bld_err *err)
{
        for (size_t k = 0; k < n; k++) {
                const char *name;
                const void *value;
                size_t len;
                int r = bld_tree_xattr(t, i, k, &name, &value, &len, err);

                if (r < 0)
                        return r;
                putchar(k ? ',' : '\t');
                hex_text(name);
                putchar('=');
                hex(value, len);
        }
        if (!n)
                fputs("\t-", stdout);
        return 0;
}

static int print_node(struct bld_tree *t, size_t i, struct bld_err *err)
{
        struct bld_tree_node n = {.size = sizeof(n)};
        size_t found = 0;
        int r = bld_tree_node(t, i, &n, err);

        if (r < 0)
                return r;
        if (bld_tree_find(t, n.path, false, &found, err) != 1 || found != i)
                printf("lost ");
        printf("node\t");
        hex_text(n.path);
        printf("\t%d\t%o\t%u\t%u\t%llu\t%lld\t", (int)n.type, n.mode, n.uid, n.gid,
               (unsigned long long)n.file_size, (long long)n.mtime_ns);
        hex_text(n.link);
        printf("\t%u\t%u\t%u\t%d\t%zu\t", n.dev_major, n.dev_minor, n.layer, n.implied,
               bld_tree_end(t, i));
        hex_text(n.first_name);
        putchar('\t');
        if (n.sha256)
                hex(n.sha256, 32);
        else
                putchar('-');
        r = print_xattrs(t, i, n.nxattrs, err);
        putchar('\n');
        return r;
}

struct sums {
        uint32_t now, *of; /* by node */
        size_t *ended;
        size_t at;
        int bad; /* bytes of two files mixed */
};

static int sum_one(void *user, const void *p, size_t n)
{
        struct sums *s = user;

        s->now = crc32_add(s->now, p, n);
        return 0;
}

static int sum_many(void *user, size_t i, const void *p, size_t n)
{
        struct sums *s = user;

        if (s->at != BLD_NO_NODE && s->at != i)
                s->bad = 1;
        s->at = n ? i : BLD_NO_NODE;
        s->of[i] = crc32_add(s->of[i], p, n);
        s->ended[i] += !n;
        return 0;
}

/* Contents, read in both ways. */
static int print_sums(struct bld_tree *t, struct bld_err *err)
{
        size_t n = bld_tree_count(t), k = 0, *files = calloc(n + 1, sizeof(*files));
        struct sums s = {.of = calloc(n + 1, sizeof(*s.of)),
                         .ended = calloc(n + 1, sizeof(*s.ended)),
                         .at = BLD_NO_NODE};
        int r = 0;

        for (size_t i = 0; !r && i < n; i++) {
                struct bld_tree_node node = {.size = sizeof(node)};

                r = bld_tree_node(t, i, &node, err);
                if (!r && node.type == BLD_LAYER_FILE)
                        files[k++] = i;
        }
        if (!r)
                r = bld_tree_read_many(t, files, k, sum_many, &s, NULL, err);
        for (size_t i = 0; !r && i < k; i++) {
                s.now = 0;
                r = bld_tree_read(t, files[i], sum_one, &s, err);
                printf("sum\t%zu\t%08x\t%08x\t%zu\t%d\n", files[i], s.now, s.of[files[i]],
                       s.ended[files[i]], s.bad);
        }
        free(files);
        free(s.of);
        free(s.ended);
        return r;
}

static int do_tree(char **w, struct bld_err *err)
{
        const struct bld_tree_opts o = {.size = sizeof(o), .content = atoi(w[2]) != 0};
        struct bld_tree *t = NULL;
        struct image im;
        int r = image_open(w[1], &im, err);

        if (r < 0)
                return r;
        r = bld_tree_open(im.im, &o, &t, err);
        for (size_t i = 0; !r && i < bld_tree_count(t); i++)
                r = print_node(t, i, err);
        if (!r)
                r = print_sums(t, err);
        bld_tree_close(t);
        image_done(&im);
        return r;
}

/* ---- comparing ---- */

struct pair {
        struct image a, b;
        struct bld_diff *d;
};

static void pair_done(struct pair *p)
{
        bld_diff_free(p->d);
        image_done(&p->a);
        image_done(&p->b);
}

/* A B IGNORE ONLY EXCLUDE, "-" for none */
static int pair_open(char **w, struct pair *p, struct bld_err *err)
{
        const char *const only = w[3], *const exclude = w[4];
        struct bld_diff_opts o = {.size = sizeof(o), .ignore = (unsigned)strtoul(w[2], NULL, 10)};
        int r;

        memset(p, 0, sizeof(*p));
        if (strcmp(only, "-") != 0)
                o.only = (struct bld_list){.v = &only, .n = 1};
        if (strcmp(exclude, "-") != 0)
                o.exclude = (struct bld_list){.v = &exclude, .n = 1};
        r = image_open(w[0], &p->a, err);
        if (!r)
                r = image_open(w[1], &p->b, err);
        return r < 0 ? r : bld_diff(p->a.im, p->b.im, &o, &p->d, err);
}

static int do_diff(char **w, struct bld_err *err)
{
        struct pair p;
        int r = pair_open(w + 1, &p, err);

        for (size_t i = 0; !r && i < bld_diff_count(p.d); i++) {
                const struct bld_change *c = bld_diff_change(p.d, i);

                printf("change\t");
                hex_text(c->path);
                printf("\t%d\t%u\t%d\t", (int)c->kind, c->what, c->unsure);
                hex_text(c->renamed == BLD_NO_NODE ? NULL : bld_diff_change(p.d, c->renamed)->path);
                printf("\t%d\t%d\n", c->before != BLD_NO_NODE, c->after != BLD_NO_NODE);
        }
        pair_done(&p);
        return r;
}

/* ---- layers made ---- */

static enum bld_layer_codec codec_of(const char *s)
{
        return !strcmp(s, "gzip")   ? BLD_LAYER_GZIP
               : !strcmp(s, "zstd") ? BLD_LAYER_ZSTD
                                    : BLD_LAYER_TAR;
}

static void print_made(const struct bld_layer_created *m)
{
        printf("made\t%s\t%s\t%llu\t%llu\t%s\n", m->diff_id, m->digest,
               (unsigned long long)m->tar_size, (unsigned long long)m->file_size, m->media_type);
}

static int make_file(const char *path)
{
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        if (fd < 0) {
                perror(path);
                exit(1);
        }
        return fd;
}

static int write_user(void *user, const void *p, size_t n)
{
        return fwrite(p, 1, n, user) == n ? 0 : EIO;
}

/* A B IGNORE ONLY EXCLUDE OUT CODEC WAY; way: fd or call */
static int do_patch(char **w, struct bld_err *err)
{
        const struct bld_layer_create_opts o = {.size = sizeof(o), .codec = codec_of(w[7])};
        struct bld_layer_created made = {.size = sizeof(made)};
        bool call = !strcmp(w[8], "call");
        struct bld_output out = {.size = sizeof(out)};
        struct pair p;
        FILE *f = NULL;
        int fd = make_file(w[6]), r = pair_open(w + 1, &p, err);

        out.fd = fd;
        if (call) {
                f = fdopen(dup(fd), "w");
                out.write = write_user;
                out.user = f;
        }
        if (!r)
                r = bld_diff_patch(p.d, &out, &o, &made, err);
        if (f)
                fclose(f);
        if (!r)
                print_made(&made);
        close(fd);
        pair_done(&p);
        return r;
}

/* DIR OUT CODEC */
static int do_create(char **w, struct bld_err *err)
{
        const struct bld_layer_create_opts o = {
                .size = sizeof(o), .codec = codec_of(w[3]), .all_xattrs = true};
        struct bld_layer_created made = {.size = sizeof(made)};
        int dir = open(w[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = make_file(w[2]);
        int r = bld_layer_create(dir, fd, &o, &made, err);

        if (!r)
                print_made(&made);
        close(dir);
        close(fd);
        return r;
}

static int copy_entry(struct bld_layer_stream *s, const struct bld_layer_entry *e,
                      struct bld_layer_writer *out, struct bld_err *err)
{
        struct bld_layer_xattr x[64];
        char buf[8192];
        int64_t n = 0;
        int r = 0;

        for (size_t k = 0; !r && k < e->nxattrs && k < 64; k++)
                r = bld_layer_stream_xattr(s, k, &x[k].name, &x[k].value, &x[k].len, err);
        if (!r)
                r = bld_layer_writer_entry(out, e, x, err);
        while (!r && e->type == BLD_LAYER_FILE &&
               (n = bld_layer_stream_read(s, buf, sizeof(buf), err)) > 0)
                r = bld_layer_writer_data(out, buf, (size_t)n, err);
        return n < 0 ? (int)n : r;
}

static int copy_entries(struct bld_layer_stream *s, struct bld_layer_writer *out,
                        struct bld_err *err)
{
        const struct bld_layer_entry *e;
        int r;

        while ((r = bld_layer_stream_next(s, &e, err)) == 1) {
                r = copy_entry(s, e, out, err);
                if (r < 0)
                        return r;
        }
        return r;
}

/* IN OUT CODEC: read as a stream, written entry by entry */
static int do_rewrite(char **w, struct bld_err *err)
{
        const struct bld_layer_create_opts o = {
                .size = sizeof(o), .codec = codec_of(w[3]), .all_xattrs = true};
        struct bld_layer_created was = {.size = sizeof(was)}, made = {.size = sizeof(made)};
        struct bld_layer_writer *out = NULL;
        struct bld_layer_stream *s = NULL;
        struct bld_input from = {.size = sizeof(from), .fd = open(w[1], O_RDONLY | O_CLOEXEC)};
        struct bld_output to = {.size = sizeof(to), .fd = make_file(w[2])};
        int r = bld_layer_stream_open(&from, NULL, &s, err);

        if (!r)
                r = bld_layer_writer_open(&to, &o, &out, err);
        if (!r)
                r = copy_entries(s, out, err);
        if (!r)
                r = bld_layer_stream_end(s, &was, err);
        if (!r)
                r = bld_layer_writer_end(out, &made, err);
        if (!r) {
                print_made(&was);
                print_made(&made);
        }
        bld_layer_writer_close(out);
        bld_layer_stream_close(s);
        close(from.fd);
        close(to.fd);
        return r;
}

/* ---- unpacking ---- */

/* IMAGE DIR */
static int do_apply(char **w, struct bld_err *err)
{
        const struct bld_layer_apply_opts o = {
                .size = sizeof(o), .keep_owner = true, .all_xattrs = true};
        struct bld_layer_applied done = {.size = sizeof(done)};
        struct image im;
        int dir = open(w[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

        r = image_open(w[1], &im, err);
        if (!r)
                r = bld_image_apply(im.im, dir, &o, &done, err);
        image_done(&im);
        close(dir);
        return r;
}

/* LAYER DIR */
static int do_apply_layer(char **w, struct bld_err *err)
{
        const struct bld_layer_apply_opts o = {
                .size = sizeof(o), .keep_owner = true, .all_xattrs = true};
        int fd = open(w[1], O_RDONLY | O_CLOEXEC);
        int dir = open(w[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = bld_layer_apply(fd, dir, &o, NULL, err);

        close(fd);
        close(dir);
        return r;
}

static const struct request {
        const char *name;
        size_t words; /* its own included */
        int (*fn)(char **w, struct bld_err *err);
} requests[] = {
        {"tree", 3, do_tree},
        {"diff", 6, do_diff},
        {"patch", 9, do_patch},
        {"create", 4, do_create},
        {"rewrite", 4, do_rewrite},
        {"apply", 3, do_apply},
        {"apply-layer", 3, do_apply_layer},
};

static int answer(char *line)
{
        struct bld_err err = BLD_ERR_INIT;
        char *w[16], *save = NULL;
        size_t n = 0;

        for (char *p = strtok_r(line, "\t\n", &save); p && n < 16;
             p = strtok_r(NULL, "\t\n", &save))
                w[n++] = p;
        for (size_t i = 0; n && i < sizeof(requests) / sizeof(requests[0]); i++) {
                int r;

                if (strcmp(requests[i].name, w[0]) != 0 || requests[i].words != n)
                        continue;
                r = requests[i].fn(w, &err);
                for (char *p = err.msg; *p; p++)
                        if (*p == '\n')
                                *p = ' ';
                if (r < 0)
                        printf("! %d %s\n", r, err.msg);
                else
                        puts(".");
                return fflush(stdout);
        }
        fprintf(stderr, "unknown request\n");
        return -1;
}

int main(int argc, char **argv)
{
        char *line = NULL;
        size_t cap = 0;
        int r = 0;

        bld_child_main(argc, argv);
        while (!r && getline(&line, &cap, stdin) > 0)
                r = answer(line);
        free(line);
        bld_close(session);
        return r ? 1 : 0;
}
