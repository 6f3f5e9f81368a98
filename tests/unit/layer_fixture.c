#include "layer_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"
#include "base/proc.h"

static ssize_t mem_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct lf_mem *m = user;

        (void)err;
        if (m->step)
                n = MIN(n, m->step);
        n = MIN(n, m->n - m->pos);
        if (n)
                memcpy(p, m->p + m->pos, n);
        m->pos += n;
        return (ssize_t)n;
}

struct ly_source lf_source(struct lf_mem *m)
{
        return (struct ly_source){.read = mem_read, .user = m};
}

static int sb_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct sb *b = user;

        sb_add(b, p, n);
        return sb_check(b, "test sink", err);
}

struct ly_sink lf_sink(struct sb *b)
{
        return (struct ly_sink){.write = sb_write, .user = b};
}

char *lf_tmpdir(void)
{
        const char *base = getenv("TMPDIR");
        struct sb b = SB_INIT(4096);
        char *dir;

        sb_fmt(&b, "%s/bld-layer-XXXXXX", base ? base : "/tmp");
        dir = sb_take(&b);
        assert_non_null(dir);
        assert_non_null(mkdtemp(dir));
        return dir;
}

void lf_rmdir(char *dir)
{
        if (dir)
                (void)path_remove_tree(AT_FDCWD, dir, NULL);
        free(dir);
}

static int run(const char *script, const char *arg, const void *input, size_t n, struct sb *out,
               struct sb *errout)
{
        char sh[] = "sh", c[] = "-c", *s = mem_strdup(script), *a = mem_strdup(arg ? arg : "");
        char *argv[] = {sh, c, s, sh, a, NULL};
        struct bld_err err = BLD_ERR_INIT;
        int status = -1;
        int r = proc_run("/bin/sh", argv, input, n, out, errout, 60000, NULL, &status, &err);

        free(s);
        free(a);
        if (r < 0)
                fail_msg("run: %s", err.msg);
        return status;
}

void lf_sh(const char *script, const char *arg, const void *input, size_t n, struct sb *out)
{
        struct sb own = SB_INIT(LF_MAX), errout = SB_INIT(1 << 20);
        int status = run(script, arg, input, n, out ? out : &own, &errout);

        if (status)
                fail_msg("%s: status %d: %s", script, status, sb_text(&errout));
        sb_done(&own);
        sb_done(&errout);
}

int lf_sh_status(const char *script, const char *arg, const void *input, size_t n)
{
        struct sb out = SB_INIT(LF_MAX), errout = SB_INIT(1 << 20);
        int status = run(script, arg, input, n, &out, &errout);

        sb_done(&out);
        sb_done(&errout);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void lf_tar(const struct ly_entry *v, size_t n, struct sb *out)
{
        struct bld_err err = BLD_ERR_INIT;
        struct ly_writer_opts o = {.all_xattrs = true};
        struct ly_sink sink = lf_sink(out);
        struct ly_writer *w = NULL;

        assert_int_equal(ly_writer_new(&sink, &o, &w, &err), 0);
        for (size_t i = 0; i < n; i++) {
                if (ly_writer_entry(w, &v[i], &err) < 0)
                        fail_msg("%s", err.msg);
                for (uint64_t k = 0; v[i].type == LY_FILE && k < v[i].size; k++)
                        assert_int_equal(ly_writer_data(w, "x", 1, &err), 0);
        }
        assert_int_equal(ly_writer_end(w, &err), 0);
        ly_writer_free(w);
}

int lf_list(const void *p, size_t n, size_t step, struct sb *out, struct bld_err *err)
{
        struct lf_mem m = {.p = p, .n = n, .step = step};
        struct ly_source in = lf_source(&m);
        AUTO(ly_reader_free_p) struct ly_reader *r = NULL;
        const struct ly_entry *e;
        int res = ly_reader_new(&in, NULL, &r, err);

        if (res < 0)
                return res;
        while ((res = ly_reader_next(r, &e, err)) == 1) {
                sb_fmt(out, "%c %04o %u:%u %llu %lld %s%s%s", "fdslcbpwo"[e->type], e -> mode,
                       e -> uid, e -> gid, (unsigned long long)e -> size, (long long)e -> mtime_ns,
                       e -> path, e -> link ? " -> " : "", e->link ? e->link : "");
                for (size_t i = 0; i < e->nxattrs; i++)
                        sb_fmt(out, " %s(%zu)", e->xattrs[i].name, e->xattrs[i].len);
                sb_char(out, '\n');
        }
        return res;
}

struct ly_toc *lf_toc(const void *p, size_t n)
{
        struct lf_mem m = {.p = p, .n = n};
        struct ly_source in = lf_source(&m);
        struct bld_err err = BLD_ERR_INIT;
        struct ly_toc *t = NULL;
        struct digest d;

        if (ly_unpack_stream(&in, NULL, NULL, &d, NULL, &t, &err) < 0)
                fail_msg("%s", err.msg);
        return t;
}

void lf_noise(unsigned char *p, size_t n, uint64_t seed)
{
        uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

        for (size_t i = 0; i < n; i++) {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                p[i] = (x >> 8 & 1) ? (unsigned char)(x >> 24) : (unsigned char)('a' + (i / 7) % 5);
        }
}

int lf_open_dir(const char *path)
{
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

bool lf_is_root(void)
{
        return geteuid() == 0;
}
