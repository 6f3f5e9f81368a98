/* Chains of layers full of links, whiteouts and entries in any order: the merged view, what is
 * unpacked, and the search for a single path must say the same. The bytes are the entries: a few
 * names, so that they meet.
 *
 * An entry is 3 bytes: its type, its path, and the path it links to (else its mode). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "layer/layer.h"
#include "tests/fuzz/memory.h"

#define LAYERS_MAX 4
#define ENTRIES_MAX 40
#define DIGITS 4 /* names in a folder */
#define TAR_MAX (256u << 10)

enum op { OP_TYPES = LY_OPAQUE + 1, OP_NEXT_LAYER = OP_TYPES, OPS };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct chain {
        struct sb tar[LAYERS_MAX];
        struct ly_toc *toc[LAYERS_MAX];
        size_t n;
};

static void fail(const char *what, const char *path)
{
        (void)fprintf(stderr, "chain: %s: \"%s\"\n", what, path);
        abort();
}

/* ---- bytes to layers ---- */

/* Two bits are the depth, two each a name. */
static void path_of(uint8_t b, char ret[8])
{
        unsigned depth = b >> 6;
        char *p = ret;

        for (unsigned i = 0; i < depth; i++) {
                if (i)
                        *p++ = '/';
                *p++ = (char)('a' + (b >> (4 - 2 * i)) % DIGITS);
        }
        *p = 0;
}

/* Targets of symbolic links begin in all ways. */
static void target_of(uint8_t kind, uint8_t b, char ret[16])
{
        static const char *const starts[] = {"", "/", "../", "../../"};
        char path[8];

        path_of(b, path);
        (void)snprintf(ret, 16, "%s%s", starts[kind % ARRAY_LEN(starts)], path);
        if (!*ret)
                (void)snprintf(ret, 16, ".");
}

static void write_one(struct ly_writer *w, const uint8_t *b, unsigned number)
{
        static const unsigned modes[] = {0755, 0744, 0700, 0777};
        char path[8], link[16] = "", body[ENTRIES_MAX] = "";
        struct ly_entry e = {.path = path, .type = (enum ly_type)(b[0] % OPS)};

        path_of(b[1], path);
        e.mtime_ns = (int64_t)number * 1000000000;
        e.mode = modes[b[2] % ARRAY_LEN(modes)];
        if (e.type == LY_SYMLINK)
                target_of(b[0] / OPS, b[2], link);
        else if (e.type == LY_HARDLINK)
                path_of(b[2], link);
        if (e.type == LY_CHAR || e.type == LY_BLOCK)
                e.dev_major = 1 + number;
        if (e.type == LY_FILE)
                e.size = number;
        if (*link || e.type == LY_HARDLINK)
                e.link = link;
        if (ly_writer_entry(w, &e, NULL) < 0)
                return; /* what no layer can hold */
        if (e.size && ly_writer_data(w, body, e.size, NULL) < 0)
                abort();
}

static bool make_tars(struct chain *c, const uint8_t *data, size_t size)
{
        const struct ly_writer_opts wo = {0};
        unsigned number = 0;

        while (size >= 3 && c->n < LAYERS_MAX) {
                struct ly_sink out = memory_sink(&c->tar[c->n]);
                struct ly_writer *w = NULL;

                c->tar[c->n] = SB_INIT(TAR_MAX);
                if (ly_writer_new(&out, &wo, &w, NULL) < 0)
                        abort();
                for (; size >= 3 && number < ENTRIES_MAX; size -= 3, data += 3) {
                        if (data[0] % OPS == OP_NEXT_LAYER)
                                break;
                        write_one(w, data, number++);
                }
                if (ly_writer_end(w, NULL) < 0)
                        abort();
                ly_writer_free(w);
                c->n++;
                if (number == ENTRIES_MAX || size < 3)
                        break;
                size -= 3;
                data += 3;
        }
        return c->n > 0;
}

/* ---- the three answers ---- */

static bool unpack(const struct chain *c, int dir, struct bld_err *err)
{
        const struct ly_apply_opts o = {.form = LY_TREE_PLAIN};

        for (size_t i = 0; i < c->n; i++) {
                struct memory m = memory_of(&c->tar[i], SIZE_MAX);
                struct ly_source in = memory_source(&m);

                if (ly_apply(&in, dir, &o, NULL, err) < 0)
                        return false;
        }
        return true;
}

static void check_node(int dir, const struct ly_flat *f, uint32_t i)
{
        static const mode_t types[] = {
                [LY_FILE] = S_IFREG, [LY_DIR] = S_IFDIR,   [LY_SYMLINK] = S_IFLNK,
                [LY_CHAR] = S_IFCHR, [LY_BLOCK] = S_IFBLK, [LY_FIFO] = S_IFIFO};
        const struct ly_entry *e = f->v[i].n->t ? &f->v[i].n->t->e : NULL;
        const char *path = f->v[i].path;
        struct stat st, first;
        char target[64];
        ssize_t n;

        if (fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                fail("in the view only", path);
        if (e && (e->type >= ARRAY_LEN(types) || e->type == LY_HARDLINK))
                fail("no type for a node", path);
        if ((st.st_mode & S_IFMT) != (e ? types[e->type] : S_IFDIR))
                fail("another type", path);
        if (!S_ISLNK(st.st_mode) && (st.st_mode & 07777) != (e ? e->mode : 0755))
                fail("another mode", path);
        if (e && e->type == LY_FILE && (uint64_t)st.st_size != e->size)
                fail("another content", path);
        if (e && (e->type == LY_CHAR || e->type == LY_BLOCK) && major(st.st_rdev) != e->dev_major)
                fail("another device", path);
        if (e && e->type == LY_SYMLINK) {
                n = readlinkat(dir, path, target, sizeof(target) - 1);
                if (n < 0)
                        fail("not readable", path);
                target[n] = 0;
                if (!str_eq(target, e->link))
                        fail("another target", path);
        }
        if (e && e->type != LY_DIR && st.st_mtim.tv_sec * 1000000000 != e->mtime_ns)
                fail("another time", path);
        if (S_ISDIR(st.st_mode))
                return;
        if (st.st_nlink != (f->v[i].group == LY_NONE ? 1 : f->groups[f->v[i].group].count))
                fail("another number of names", path);
        if (f->v[i].group == LY_NONE)
                return;
        if (fstatat(dir, f->v[f->names[f->groups[f->v[i].group].at]].path, &first,
                    AT_SYMLINK_NOFOLLOW) < 0 ||
            first.st_ino != st.st_ino)
                fail("not the same file", path);
}

static size_t count(int dir, const char *name)
{
        int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        size_t n = 0;

        if (!d)
                fail("cannot be listed", name);
        while ((e = readdir(d)))
                if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
                        n += 1 + (e->d_type == DT_DIR ? count(fd, e->d_name) : 0);
        closedir(d);
        return n;
}

static void check_find(const struct chain *c, const struct ly_view *v, const char *path,
                       bool duplicates)
{
        AUTO(ly_find_free_p) struct ly_find *f = NULL;
        AUTO_FREE char *real = NULL;
        const struct ly_node *node = NULL;
        struct ly_found found;
        size_t next[LAYERS_MAX] = {0};
        int r = ly_view_resolve(v, path, true, &node, &real, NULL), s;

        if (ly_find_new(c->n, path, true, &f, NULL) < 0)
                abort();
        while ((s = ly_find_state(f, &found, NULL)) == LY_FIND_MORE) {
                const struct ly_toc *t = c->toc[found.layer];
                size_t i = next[found.layer]++;

                if (ly_find_feed(f, i < t->n ? &t->v[i].e : NULL, NULL) < 0 || i > t->n)
                        abort();
        }
        if (s == LY_FIND_UNSURE || duplicates)
                return;
        if ((r < 0) != (s < 0))
                fail("a loop for one only", path);
        if (r < 0)
                return;
        if ((s == LY_FIND_HERE) != (node != NULL))
                fail(node ? "not found" : "found, but not there", path);
        if (node && !str_eq(found.path, real))
                fail("found elsewhere", path);
        if (node && found.is_dir != (!node->t || node->t->e.type == LY_DIR))
                fail("found as something else", path);
        if (node && !found.is_dir && &c->toc[found.layer]->v[found.index].e != &node->t->e)
                fail("another entry found", path);
}

static void check_waste(const struct chain *c)
{
        struct ly_waste w = {0};

        if (ly_waste_find((const struct ly_toc *const *)c->toc, c->n, &w, NULL) < 0)
                fail("no analysis", "");
        if (w.least > w.all)
                fail("less than the least", "");
        for (size_t i = 0; i < w.nlayers; i++)
                if (w.layers[i].wasted > w.layers[i].bytes)
                        fail("more wasted than there is", "");
        ly_waste_done(&w);
}

/* May an entry replace another of its layer? The search stops at the first. */
static bool has_duplicates(const struct ly_toc *t)
{
        for (size_t j = 0; j < t->n; j++)
                for (size_t k = 0; k < t->n; k++) {
                        const struct ly_entry *x = &t->v[j].e, *y = &t->v[k].e;
                        size_t n = strlen(x->path);

                        if (k < j && str_eq(x->path, y->path))
                                return true;
                        if (x->type != LY_DIR && x->type < LY_WHITEOUT &&
                            !strncmp(x->path, y->path, n) && y->path[n] == '/')
                                return true;
                }
        return false;
}

static void check(const struct chain *c, int dir)
{
        const struct ly_toc *const *tocs = (const struct ly_toc *const *)c->toc;
        AUTO(ly_view_free_p) struct ly_view *v = NULL;
        AUTO(ly_flat_free_p) struct ly_flat *f = NULL;
        struct bld_err err = BLD_ERR_INIT, err2 = BLD_ERR_INIT;
        bool duplicates = false;
        bool seen = ly_view_new(tocs, c->n, &v, &err) == 0, made = unpack(c, dir, &err2);

        if (seen != made)
                fail(seen ? "only the view works" : "only unpacking works",
                     seen ? err2.msg : err.msg);
        if (!seen) {
                if (!*err.msg || !*err2.msg)
                        fail("no message", "");
                return;
        }
        if (ly_flat_new(v, &f, NULL) < 0)
                abort();
        for (size_t i = 0; i < c->n; i++)
                duplicates = duplicates || has_duplicates(c->toc[i]);
        for (uint32_t i = 0; i < f->n; i++)
                check_node(dir, f, i);
        if (count(dir, ".") != f->n)
                fail("not in the view, but unpacked", "");
        for (unsigned b = 64; b < 256; b++) {
                char path[8];

                path_of((uint8_t)b, path);
                check_find(c, v, path, duplicates);
        }
        check_waste(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static char place[] = "/dev/shm/bld-fuzz-chain.XXXXXX";
        struct chain c = {.n = 0};
        AUTO_FD int dir = -1;

        if (!make_tars(&c, data, size))
                return 0;
        for (size_t i = 0; i < c.n; i++) {
                const struct ly_scan_opts o = {.limits = {0}};
                struct memory m = memory_of(&c.tar[i], SIZE_MAX);
                struct ly_source in = memory_source(&m);

                if (ly_scan(&in, &o, &c.toc[i], NULL, NULL) < 0)
                        fail("cannot be read back", "");
        }
        (void)umask(022);
        (void)snprintf(place, sizeof(place), "/dev/shm/bld-fuzz-chain.XXXXXX");
        if (!mkdtemp(place) || (dir = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
                abort();
        check(&c, dir);
        if (path_remove_tree(AT_FDCWD, place, NULL) < 0)
                abort();
        for (size_t i = 0; i < c.n; i++) {
                ly_toc_free(c.toc[i]);
                sb_done(&c.tar[i]);
        }
        return 0;
}
