/* Opening, creating and identifying a store. */
#include "cas/cas_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"

#define FORMAT_PREFIX "bld-store "
#define FORMAT_VERSION 1
#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"
#define EMPTY_INDEX                                                                       \
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\"," \
        "\"manifests\":[]}"

void cas_random_name(char *out, size_t n)
{
        static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
        unsigned char b[64] = {0};

        if (n > sizeof(b))
                n = sizeof(b);
        /* without entropy names would only collide, and every use of them notices that */
        if (getrandom(b, n, 0) != (ssize_t)n) {
                uint64_t t = (uint64_t)time_now_ns() ^ ((uint64_t)getpid() << 40);

                memcpy(b, &t, MIN(n, sizeof(t)));
        }
        for (size_t i = 0; i < n; i++)
                out[i] = digits[b[i] % 36];
        out[n] = '\0';
}

bool cas_valid_name(const char *s)
{
        if (!*s || *s == '.' || strlen(s) > CAS_NAME_MAX)
                return false;
        for (; *s; s++)
                if (!(*s >= 'a' && *s <= 'z') && !(*s >= 'A' && *s <= 'Z') &&
                    !(*s >= '0' && *s <= '9') && *s != '.' && *s != '_' && *s != '-')
                        return false;
        return true;
}

int cas_sync_dir(struct cas *c, const char *dir, struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(c->root_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        bool top = strcmp(dir, ".") == 0;

        if (fd < 0 || sys_fsync(fd) < 0)
                return err_sys(err, errno, "%s folder %s%s%s", fd < 0 ? "open" : "sync", c->root,
                               top ? "" : "/", top ? "" : dir);
        return 0;
}

bool cas_boot_id(struct cas *c, unsigned char ret[CAS_BOOT_LEN])
{
        char text[40] = {0};
        size_t n = 0;

        (void)pthread_mutex_lock(&c->owner_lock);
        if (!c->boot_known) {
                AUTO_FD int fd = sys_openat(AT_FDCWD, "/proc/sys/kernel/random/boot_id",
                                            O_RDONLY | O_CLOEXEC, 0);
                ssize_t k = fd < 0 ? -1 : sys_read(fd, text, sizeof(text) - 1);

                for (ssize_t i = 0; i < k && n < 2 * sizeof(c->boot); i++) {
                        char ch = text[i];
                        unsigned v;

                        if (ch >= '0' && ch <= '9')
                                v = (unsigned)(ch - '0');
                        else if (ch >= 'a' && ch <= 'f')
                                v = (unsigned)(ch - 'a') + 10;
                        else
                                continue;
                        c->boot[n / 2] = (unsigned char)((unsigned)c->boot[n / 2] << 4 | v);
                        n++;
                }
                c->boot_known = n == 2 * sizeof(c->boot);
        }
        memcpy(ret, c->boot, sizeof(c->boot));
        (void)pthread_mutex_unlock(&c->owner_lock);
        return c->boot_known;
}

/* ---- creation ---- */

/* What may lie in a folder that an interrupted creation left. Anything else means that the user
 * pointed us at a folder of his own. */
static int check_ours(struct cas *c, struct bld_err *err)
{
        static const char *const known[] = {"oci-layout", "index.json", "blobs",  "results",
                                            "snapshots",  "index",      "mounts", "builds",
                                            "tmp",        "lock",       "format", "lost+found"};
        AUTO_STRV struct strv names = {NULL, 0, 0};
        int r = cas_names(c, ".", &names, err);

        for (size_t i = 0; r == 0 && i < names.n; i++) {
                bool found = false;

                for (size_t k = 0; !found && k < ARRAY_LEN(known); k++)
                        found = strcmp(names.v[i], known[k]) == 0;
                if (!found) {
                        r = err_set(err, BLD_E_INVALID,
                                    "%s is not a bld store and not empty (it holds \"%.100s\")",
                                    c->root, names.v[i]);
                        r = err_try(err, r, "name an empty or missing folder with --root");
                }
        }
        return r;
}

static int write_if_missing(struct cas *c, const char *name, const char *text, struct bld_err *err)
{
        char tmp[CAS_TMP_NAME_MAX];
        int r;

        if (faccessat(c->root_fd, name, F_OK, 0) == 0)
                return 0;
        r = cas_tmp_write(c, text, strlen(text), true, tmp, err);
        if (r < 0)
                return r;
        if (sys_rename(c->tmp_fd, tmp, c->root_fd, name) < 0) {
                r = err_sys(err, errno, "create %s/%s", c->root, name);
                (void)sys_unlinkat(c->tmp_fd, tmp, 0);
        }
        return r;
}

static int open_tmp(struct cas *c, struct bld_err *err)
{
        c->tmp_fd = sys_openat(c->root_fd, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (c->tmp_fd < 0)
                return err_sys(err, errno, "open %s/tmp", c->root);
        return 0;
}

/* `format` goes last: a store that has it has everything. */
static int create_locked(struct cas *c, struct bld_err *err)
{
        static const char *const folders[] = {"blobs", "blobs/sha256", "results", "snapshots",
                                              "index", "mounts",       "builds",  "tmp"};
        char format[32];
        int r;

        for (size_t i = 0; i < ARRAY_LEN(folders); i++)
                if (sys_mkdirat(c->root_fd, folders[i], 0755) < 0 && errno != EEXIST)
                        return err_sys(err, errno, "create %s/%s", c->root, folders[i]);
        r = open_tmp(c, err);
        if (r == 0)
                r = write_if_missing(c, "oci-layout", LAYOUT_TEXT, err);
        if (r == 0)
                r = write_if_missing(c, "index.json", EMPTY_INDEX, err);
        if (r == 0)
                r = cas_sync_dir(c, "blobs", err);
        if (r == 0)
                r = cas_sync_dir(c, ".", err);
        if (r < 0)
                return r;
        (void)snprintf(format, sizeof(format), FORMAT_PREFIX "%d\n", FORMAT_VERSION);
        return write_if_missing(c, "format", format, err);
}

static int create(struct cas *c, struct bld_err *err)
{
        AUTO_FD int lock = -1;
        int r = check_ours(c, err);

        if (r == 0)
                r = cas_store_lock(c, LOCK_EX, &lock, err);
        return r < 0 ? r : create_locked(c, err);
}

/* ---- opening ---- */

/* 1 ours, 0 absent. */
static int read_format(struct cas *c, struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(c->root_fd, "format", O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        char text[64];
        uint64_t version;
        ssize_t n;

        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0)
                return err_sys(err, errno, "open %s/format", c->root);
        n = sys_read(fd, text, sizeof(text) - 1);
        if (n < 0)
                return err_sys(err, errno, "read %s/format", c->root);
        while (n > 0 && text[n - 1] == '\n')
                n--;
        text[n] = '\0';
        if (!str_has_prefix(text, FORMAT_PREFIX) ||
            !parse_u64(text + strlen(FORMAT_PREFIX), 1, UINT32_MAX, &version))
                return err_set(err, BLD_E_CORRUPT, "%s/format does not name a bld store", c->root);
        if (version > FORMAT_VERSION) {
                int r = err_set(err, BLD_E_UNSUPPORTED,
                                "the store %s has format %llu, this bld knows up to %d", c->root,
                                (unsigned long long)version, FORMAT_VERSION);

                return err_try(err, r, "use a newer bld, or another folder with --root");
        }
        return 1;
}

static int open_root(struct cas *c, const char *root, struct bld_err *err)
{
        int r;

        if (root[0] == '/') {
                c->root = mem_strdup(root);
        } else {
                AUTO_FREE char *cwd = getcwd(NULL, 0);

                if (!cwd)
                        return err_sys(err, errno, "find the current folder");
                if (asprintf(&c->root, "%s/%s", cwd, root) < 0)
                        c->root = NULL;
        }
        if (!c->root)
                return err_nomem(err, "store");
        c->root_fd = sys_openat(AT_FDCWD, c->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (c->root_fd < 0 && errno == ENOENT) {
                AUTO_FREE char *parent = path_dir(c->root);

                if (!parent)
                        return err_nomem(err, "store");
                r = path_mkdirs(AT_FDCWD, parent, 0755, err);
                if (r < 0)
                        return err_wrap(err, r, "create store %s", c->root);
                if (sys_mkdirat(AT_FDCWD, c->root, 0700) < 0 && errno != EEXIST)
                        return err_sys(err, errno, "create store %s", c->root);
                c->root_fd = sys_openat(AT_FDCWD, c->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        }
        if (c->root_fd < 0)
                return err_sys(err, errno, "open store %s", c->root);
        return 0;
}

int cas_open(const char *root, struct cas **ret, struct bld_err *err)
{
        AUTO(cas_close_p) struct cas *c = mem_zalloc(1, sizeof(*c));
        int r;

        if (!c)
                return err_nomem(err, "store");
        c->root_fd = c->tmp_fd = c->owner_fd = -1;
        (void)pthread_mutex_init(&c->owner_lock, NULL);
        (void)pthread_mutex_init(&c->blobs_sync.lock, NULL);
        (void)pthread_cond_init(&c->blobs_sync.ended, NULL);
        r = open_root(c, root, err);
        if (r == 0)
                r = read_format(c, err);
        if (r == 1)
                r = open_tmp(c, err);
        else if (r == 0)
                r = create(c, err);
        if (r < 0)
                return r;
        cas_sweep(c);
        *ret = TAKE_PTR(&c);
        return 0;
}

void cas_close(struct cas *c)
{
        char own[CAS_TMP_NAME_MAX];

        if (!c)
                return;
        if (c->owner_fd >= 0) {
                (void)snprintf(own, sizeof(own), "%s.own", c->owner);
                (void)sys_unlinkat(c->tmp_fd, own, 0); /* else the next start sweeps it */
        }
        fd_close(&c->owner_fd);
        fd_close(&c->tmp_fd);
        fd_close(&c->root_fd);
        (void)pthread_mutex_destroy(&c->owner_lock);
        (void)pthread_mutex_destroy(&c->blobs_sync.lock);
        (void)pthread_cond_destroy(&c->blobs_sync.ended);
        free(c->root);
        free(c);
}

const char *cas_root(const struct cas *c)
{
        return c->root;
}

int cas_root_fd(const struct cas *c)
{
        return c->root_fd;
}
