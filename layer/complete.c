/* A layer that leaves parents out, made whole by what the layers below say of them. */
#include "base/err.h"
#include "base/map.h"
#include "layer/reader_priv.h"

#define COPY_BUF (64u << 10)

struct complete {
        const struct ly_view *lower;
        struct ly_reader *r;
        struct ly_writer *w;
        struct map dirs; /* written so far */
        struct map gone; /* whiteouts so far: what is below them is not there any more */
        unsigned char *buf;
};

static char yes; /* the value of what is in a map as in a set */

static bool is_gone(const struct complete *c, const char *path)
{
        size_t n = strlen(path);

        for (size_t i = 1; c->gone.live && i <= n; i++)
                if ((i == n || path[i] == '/') && map_getn(&c->gone, path, i))
                        return true;
        return false;
}

static int write_parent(struct complete *c, char *path, struct bld_err *err)
{
        const struct ly_node *low;
        struct ly_entry e = {.type = LY_DIR, .mode = 0755};

        if (map_get(&c->dirs, path))
                return 0;
        low = is_gone(c, path) ? NULL : ly_view_get(c->lower, path);
        if (low && low->e && low->e->type != LY_DIR)
                return err_set(err, BLD_E_CORRUPT,
                               "\"%.400s\" is no folder, but the layer puts files below it", path);
        if (low && low->e)
                e = *low->e;
        e.path = path;
        if (map_set(&c->dirs, path, &yes) < 0)
                return err_nomem(err, "list of folders");
        return ly_writer_entry(c->w, &e, err);
}

/* All folders above path, outermost first. */
static int write_parents(struct complete *c, char *path, struct bld_err *err)
{
        int r = 0;

        for (char *p = strchr(path, '/'); !r && p; p = strchr(p + 1, '/')) {
                *p = 0;
                r = write_parent(c, path, err);
                *p = '/';
        }
        return r;
}

/* A folder this layer makes (or finds made by itself) is not looked for below. */
static int real_path(struct complete *c, const char *path, char **ret, struct bld_err *err)
{
        const char *slash = strrchr(path, '/');
        AUTO_FREE char *dir = slash ? mem_strndup(path, (size_t)(slash - path)) : NULL;
        AUTO_FREE char *real = NULL;
        struct sb b = SB_INIT((size_t)2 * LY_PATH_MAX);
        int r;

        if (!slash || (dir && (map_get(&c->dirs, dir) || is_gone(c, dir)))) {
                *ret = mem_strdup(path);
                return *ret ? 0 : err_nomem(err, "path");
        }
        if (!dir)
                return err_nomem(err, "path");
        r = ly_view_resolve(c->lower, dir, true, NULL, &real, err);
        if (r < 0)
                return r;
        sb_fmt(&b, "%s%s%s", real, *real ? "/" : "", slash + 1);
        *ret = sb_take(&b);
        return *ret ? 0 : err_nomem(err, "path");
}

static int pass_data(struct complete *c, struct bld_err *err)
{
        ssize_t n;
        int r = 0;

        while (!r && (n = ly_reader_data(c->r, c->buf, COPY_BUF, err)) != 0) {
                if (n < 0)
                        return (int)n;
                r = ly_writer_data(c->w, c->buf, (size_t)n, err);
        }
        return r;
}

static int pass_entry(struct complete *c, const struct ly_entry *e, struct bld_err *err)
{
        AUTO_FREE char *path = NULL, *link = NULL;
        struct ly_entry out = *e;
        int r = real_path(c, e->path, &path, err);

        if (!r && e->type == LY_HARDLINK) {
                r = real_path(c, e->link, &link, err);
                out.link = link;
        }
        if (!r)
                r = write_parents(c, path, err);
        if (r < 0)
                return r;
        out.path = path;
        if (e->type == LY_DIR && map_set(&c->dirs, path, &yes) < 0)
                return err_nomem(err, "list of folders");
        if (e->type == LY_WHITEOUT && map_set(&c->gone, path, &yes) < 0)
                return err_nomem(err, "list of folders");
        r = ly_writer_entry(c->w, &out, err);
        if (!r && e->type == LY_FILE)
                r = pass_data(c, err);
        return r;
}

static int run(struct complete *c, struct bld_err *err)
{
        const struct ly_entry *e;
        int r;

        while ((r = ly_reader_next(c->r, &e, err)) == 1) {
                r = pass_entry(c, e, err);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : ly_writer_end(c->w, err);
}

int ly_complete(const struct ly_source *tar, const struct ly_view *lower, const struct ly_sink *out,
                struct bld_err *err)
{
        const struct ly_writer_opts wo = {.all_xattrs = true};
        struct complete c = {.lower = lower, .buf = mem_alloc(COPY_BUF)};
        int r = c.buf ? 0 : err_nomem(err, "copy buffer");

        map_init(&c.dirs, NULL);
        map_init(&c.gone, NULL);
        if (!r)
                r = ly_reader_new(tar, NULL, &c.r, err);
        if (!r)
                r = ly_writer_new(out, &wo, &c.w, err);
        if (!r)
                r = run(&c, err);
        ly_reader_free(c.r);
        ly_writer_free(c.w);
        map_done(&c.dirs);
        map_done(&c.gone);
        free(c.buf);
        return r;
}
