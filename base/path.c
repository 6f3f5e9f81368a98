#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"

char *path_cleann(const char *p, size_t n)
{
        bool rooted = n > 0 && p[0] == '/';
        char *out = mem_alloc(n + 2);
        size_t w = 0, floor; /* out[0..floor) cannot be taken back by ".." */

        if (!out)
                return NULL;
        if (rooted)
                out[w++] = '/';
        floor = w;
        for (size_t i = 0; i < n;) {
                size_t e = i;

                while (e < n && p[e] != '/')
                        e++;
                if (e == i || (e - i == 1 && p[i] == '.')) {
                        i = e + 1;
                        continue;
                }
                if (e - i == 2 && p[i] == '.' && p[i + 1] == '.') {
                        if (w > floor) {
                                while (w > floor && out[w - 1] != '/')
                                        w--;
                                if (w > floor)
                                        w--;
                        } else if (!rooted) {
                                if (w > 0)
                                        out[w++] = '/';
                                out[w++] = '.';
                                out[w++] = '.';
                                floor = w;
                        }
                } else {
                        if (w > (rooted ? 1u : 0u))
                                out[w++] = '/';
                        memcpy(out + w, p + i, e - i);
                        w += e - i;
                }
                i = e + 1;
        }
        if (w == 0)
                out[w++] = '.';
        out[w] = '\0';
        return out;
}

char *path_clean(const char *p)
{
        return path_cleann(p, strlen(p));
}

char *path_join(const char *a, const char *b)
{
        size_t n = strlen(a), m = strlen(b);
        AUTO_FREE char *both = NULL;

        if (b[0] == '/')
                return path_clean(b);
        both = mem_alloc(n + m + 2);
        if (!both)
                return NULL;
        memcpy(both, a, n);
        both[n] = '/';
        memcpy(both + n + 1, b, m + 1);
        return path_cleann(n ? both : both + 1, n ? n + 1 + m : m);
}

const char *path_base(const char *p)
{
        const char *s = strrchr(p, '/');

        return s ? s + 1 : p;
}

char *path_dir(const char *p)
{
        const char *s = strrchr(p, '/');

        if (!s)
                return mem_strdup(".");
        if (s == p)
                return mem_strdup("/");
        return mem_strndup(p, (size_t)(s - p));
}

int path_mkdirs(int dirfd, const char *p, mode_t mode, struct bld_err *err)
{
        AUTO_FREE char *s = mem_strdup(p);

        if (!s)
                return err_nomem(err, p);
        for (char *e = s + (s[0] == '/');; e++) {
                char c = *e;

                if (c != '/' && c != '\0')
                        continue;
                *e = '\0';
                if (*s && sys_mkdirat(dirfd, s, mode) < 0 && errno != EEXIST)
                        return err_sys(err, errno, "create folder %s", s);
                if (c == '\0')
                        return 0;
                *e = '/';
        }
}

int path_check_target(const char *p, struct bld_err *err)
{
        AUTO_FREE char *dir = path_dir(p);
        struct stat st;

        if (!dir)
                return err_nomem(err, p);
        if (str_has_suffix(p, "/") || (stat(p, &st) == 0 && S_ISDIR(st.st_mode)))
                return err_set(err, BLD_E_INVALID, "cannot write to \"%s\": it is a folder", p);
        if (access(p, W_OK) == 0)
                return 0;
        if (errno != ENOENT)
                return err_set(err, BLD_E_INVALID, "cannot write to \"%s\": %s", p,
                               strerrordesc_np(errno));
        if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
                return err_set(err, BLD_E_INVALID,
                               "cannot write to \"%s\": there is no folder \"%s\"", p, dir);
        if (access(dir, W_OK | X_OK) < 0)
                return err_set(err, BLD_E_INVALID, "cannot write to \"%s\": folder \"%s\": %s", p,
                               dir, strerrordesc_np(errno));
        return 0;
}

#define REMOVE_DEPTH_MAX 4096

/* Depth first through folder fds; a name is never resolved twice, so a swapped link is not
 * followed. */
static int remove_children(int fd, int depth, struct bld_err *err)
{
        DIR *d;
        const struct dirent *e;
        int r = 0;

        if (depth > REMOVE_DEPTH_MAX) {
                (void)close(fd);
                return err_set(err, BLD_E_LIMIT, "folders nested deeper than %d", REMOVE_DEPTH_MAX);
        }
        d = fdopendir(fd);
        if (!d) {
                r = errno;
                (void)close(fd);
                return err_sys(err, r, "read folder");
        }
        while (r == 0 && (errno = 0, e = readdir(d))) {
                int child;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (sys_unlinkat(fd, e->d_name, 0) == 0 || errno == ENOENT)
                        continue;
                if (errno != EISDIR && errno != EPERM) {
                        r = err_sys(err, errno, "remove \"%s\"", e->d_name);
                        break;
                }
                child = sys_openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                                   0);
                if (child < 0 && errno == EACCES && fchmodat(fd, e->d_name, 0700, 0) == 0)
                        child = sys_openat(fd, e->d_name,
                                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
                if (child < 0) {
                        r = err_sys(err, errno, "remove \"%s\"", e->d_name);
                        break;
                }
                (void)fchmod(child, 0700); /* best effort: unlink below needs w and x */
                r = remove_children(child, depth + 1, err);
                if (r == 0 && sys_unlinkat(fd, e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                        r = err_sys(err, errno, "remove folder \"%s\"", e->d_name);
        }
        (void)closedir(d);
        return r;
}

int path_remove_tree(int dirfd, const char *p, struct bld_err *err)
{
        int fd, r;

        if (sys_unlinkat(dirfd, p, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return err_sys(err, errno, "remove %s", p);
        fd = sys_openat(dirfd, p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (fd < 0 && errno == EACCES && fchmodat(dirfd, p, 0700, 0) == 0)
                fd = sys_openat(dirfd, p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (fd < 0)
                return err_sys(err, errno, "remove %s", p);
        (void)fchmod(fd, 0700); /* best effort, as above */
        r = remove_children(fd, 0, err);
        if (r < 0)
                return err_wrap(err, r, "remove %s", p);
        if (sys_unlinkat(dirfd, p, AT_REMOVEDIR) < 0 && errno != ENOENT)
                return err_sys(err, errno, "remove folder %s", p);
        return 0;
}

int path_names(const char *dir, struct strv *out, struct bld_err *err)
{
        struct dirent *e;
        DIR *d = opendir(dir);
        int r = 0;

        if (!d && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
                return 0;
        if (!d)
                return err_sys(err, errno, "read folder \"%s\"", dir);
        while (r == 0 && (e = readdir(d)))
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        r = strv_add(out, e->d_name);
        (void)closedir(d);
        if (r < 0)
                return err_nomem(err, "read a folder");
        strv_sort(out);
        return 1;
}
