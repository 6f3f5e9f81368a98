/* Leases: what living processes use, as lines in files that they keep locked. */
#include "cas/cas_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/sys.h"

#define LEASE_FILE_MAX (64u << 20)

int cas_lease_add(int fd, char kind, const char *what, struct bld_err *err)
{
        char line[2 * CAS_NAME_MAX + 16];
        int n = snprintf(line, sizeof(line), "%c %s\n", kind, what);

        if (n < 0 || (size_t)n >= sizeof(line))
                return err_set(err, BLD_E_INVALID, "a name is too long to be leased");
        /* O_APPEND and one write: lines of several threads do not mix */
        return err_wrap(err, fd_write_all(fd, line, (size_t)n, err), "lease");
}

void cas_leases_init(struct cas_leases *l)
{
        memset(l, 0, sizeof(*l));
        map_init(&l->blobs, NULL);
        map_init(&l->snapshots, NULL);
        map_init(&l->ids, NULL);
}

void cas_leases_done(struct cas_leases *l)
{
        map_done(&l->blobs);
        map_done(&l->snapshots);
        map_done(&l->ids);
}

static int add_line(struct cas_leases *l, const char *line)
{
        const char *what = line + 2;
        const char *slash;
        int r;

        if (line[0] == '\0' || line[1] != ' ')
                return 0; /* a line cut short by a full disk: its lease failed, too */
        if (line[0] == 'b')
                return map_set(&l->blobs, what, l);
        if (line[0] != 's')
                return 0;
        r = map_set(&l->snapshots, what, l);
        slash = strchr(what, '/');
        return r < 0 || !slash ? r : map_set(&l->ids, slash + 1, l);
}

/* Read the file if a living process holds it. *ret_live tells. */
static int load(struct cas *c, const char *path, struct cas_leases *l, bool *ret_live,
                struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(c->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        AUTO_SB struct sb text = SB_INIT(LEASE_FILE_MAX);
        char *save = NULL;
        int r;

        *ret_live = false;
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0)
                return err_sys(err, errno, "open %s/%s", c->root, path);
        r = fd_lock(fd, LOCK_SH | LOCK_NB, err);
        if (r <= 0)
                return r;
        *ret_live = true;
        r = fd_read_all(fd, &text, path, err);
        if (r < 0 || !text.buf)
                return r;
        for (char *s = strtok_r(text.buf, "\n", &save); s; s = strtok_r(NULL, "\n", &save))
                if (add_line(l, s) < 0)
                        return err_nomem(err, "leases");
        return 0;
}

static int load_folder(struct cas *c, const char *dir, const char *suffix, struct cas_leases *l,
                       bool *ret_live, struct bld_err *err)
{
        AUTO_STRV struct strv names = {NULL, 0, 0};
        int r = cas_names(c, dir, &names, err);

        for (size_t i = 0; r == 0 && i < names.n; i++) {
                char path[2 * CAS_NAME_MAX];
                bool live;
                bool own = suffix[0] == '.';
                int n;

                if (own && !str_has_suffix(names.v[i], suffix))
                        continue;
                n = snprintf(path, sizeof(path), "%s/%s%s", dir, names.v[i], own ? "" : suffix);
                if (n < 0 || (size_t)n >= sizeof(path))
                        continue; /* not a name of ours */
                r = load(c, path, l, &live, err);
                if (live)
                        *ret_live = true;
        }
        return r;
}

int cas_leases_load(struct cas *c, struct cas_leases *l, struct bld_err *err)
{
        bool process = false;
        int r = load_folder(c, "builds", "/lease", l, &l->live_build, err);

        return r < 0 ? r : load_folder(c, "tmp", ".own", l, &process, err);
}
