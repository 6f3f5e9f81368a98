/* The Dockerfile and the build context, wherever the command line says they are. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "builder/source_priv.h"

#define DOCKERFILE_MAX (16u << 20)
#define IGNORE_MAX (4u << 20)

void source_done(struct source *s)
{
        free(s->dockerfile_name);
        sb_done(&s->text);
        free(s->context_path);
        ignore_free(s->ignore);
        cas_tmp_free(s->tmp);
}

static bool looks_remote(const char *s)
{
        return strstr(s, "://") || str_has_prefix(s, "git@") ||
               (str_has_prefix(s, "github.com/") && access(s, F_OK) != 0);
}

static int open_folder(const char *path, struct source *s, struct bld_err *err)
{
        char full[PATH_MAX];
        struct stat st;

        if (looks_remote(path))
                return err_try(err,
                               err_set(err, BLD_E_UNSUPPORTED,
                                       "remote build contexts are not supported yet: %s", path),
                               "clone or download it, and give the folder");
        if (!realpath(path, full) || stat(full, &st) < 0) {
                if (errno == ENOENT)
                        return err_set(err, BLD_E_INVALID,
                                       "unable to prepare context: path \"%s\" not found", path);
                return err_sys(err, errno, "unable to prepare context: \"%s\"", path);
        }
        if (!S_ISDIR(st.st_mode))
                return err_set(err, BLD_E_INVALID,
                               "unable to prepare context: \"%s\" is neither a folder nor a file",
                               path);
        s->context_path = mem_strdup(full);
        return s->context_path ? 0 : err_nomem(err, "build context");
}

static int read_named(struct source *s, const char *path, const char *shown, struct bld_err *err)
{
        int r = file_read(AT_FDCWD, path, &s->text, err);

        if (r < 0)
                return r;
        s->dockerfile_name = mem_strdup(shown);
        return s->dockerfile_name ? 0 : err_nomem(err, "Dockerfile");
}

static int find_dockerfile(struct source *s, struct bld_err *err)
{
        static const char *const names[] = {"Dockerfile", "dockerfile", "Containerfile"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                AUTO_FREE char *path = path_join(s->context_path, names[i]);
                struct bld_err own = BLD_ERR_INIT;
                int r = path ? read_named(s, path, names[i], &own) : err_nomem(&own, "path");

                if (r == BLD_E_NOT_FOUND)
                        continue;
                if (r < 0)
                        err_copy(err, &own);
                return r;
        }
        (void)err_set(err, BLD_E_INVALID, "there is no Dockerfile in \"%s\"", s->context_path);
        return err_try(err, BLD_E_INVALID, "name it with -f FILE");
}

/* Is this the beginning of an archive? */
static bool is_archive(const struct sb *head)
{
        static const struct {
                const char *magic;
                size_t len, at;
        } kinds[] = {{"\x1f\x8b\x08", 3, 0},
                     {"BZh", 3, 0},
                     {"\xfd"
                      "7zXZ",
                      5, 0},
                     {"\x28\xb5\x2f\xfd", 4, 0},
                     {"ustar", 5, 257}};

        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                if (head->len >= kinds[i].at + kinds[i].len &&
                    memcmp(head->buf + kinds[i].at, kinds[i].magic, kinds[i].len) == 0)
                        return true;
        return false;
}

static int read_head(int fd, struct sb *head, struct bld_err *err)
{
        char buf[512];
        size_t n = 0;
        int r = fd_read_full(fd, buf, sizeof(buf), &n, err);

        if (r < 0)
                return r;
        sb_add(head, buf, n);
        return sb_check(head, "standard input", err);
}

/* Standard input is the context, or the Dockerfile. */
static int read_stdin(struct bd_ctx *c, const struct bld_build_opts *o, struct source *s,
                      bool may_be_context, struct bld_err *err)
{
        AUTO_SB struct sb head = SB_INIT(4096);
        int r = read_head(o->stdin_fd, &head, err);

        if (r == 0 && may_be_context && is_archive(&head))
                return source_archive(c, &head, o->stdin_fd, s, err);
        if (r == 0 && may_be_context && o->dockerfile)
                return err_set(err, BLD_E_USAGE,
                               "ambiguous Dockerfile source: both stdin and flag correspond to "
                               "Dockerfiles");
        sb_add(&s->text, sb_text(&head), head.len);
        if (r == 0)
                r = fd_read_all(o->stdin_fd, &s->text, "the Dockerfile from standard input", err);
        s->dockerfile_name = mem_strdup("-");
        return r < 0 || s->dockerfile_name ? r : err_nomem(err, "Dockerfile");
}

static int read_dockerfile(struct bd_ctx *c, const struct bld_build_opts *o, struct source *s,
                           struct bld_err *err)
{
        AUTO_FREE char *inside = NULL;
        int r;

        if (s->dockerfile_name) /* it was on standard input */
                return 0;
        if (o->dockerfile && strcmp(o->dockerfile, "-") == 0)
                return read_stdin(c, o, s, false, err);
        if (!o->dockerfile)
                return find_dockerfile(s, err);
        if (strstr(o->dockerfile, "://"))
                return err_set(err, BLD_E_UNSUPPORTED,
                               "a Dockerfile from a URL is not supported yet: %s", o->dockerfile);
        if (s->tmp && o->dockerfile[0] != '/') /* relative to a context that is no folder here */
                inside = path_join(s->context_path, o->dockerfile);
        r = read_named(s, inside ? inside : o->dockerfile, o->dockerfile, err);
        return r == BLD_E_NOT_FOUND ? err_recode(err, BLD_E_INVALID) : r;
}

static int read_ignore(const char *path, struct source *s, bool must, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IGNORE_MAX);
        struct bld_err own = BLD_ERR_INIT;
        int r = file_read(AT_FDCWD, path, &text, &own);

        if (r == BLD_E_NOT_FOUND && !must)
                return 0;
        if (r == 0)
                r = ignore_parse(sb_text(&text), text.len, path_base(path), &s->ignore, &own);
        if (r < 0) {
                err_copy(err, &own);
                return r == BLD_E_NOT_FOUND ? err_recode(err, BLD_E_INVALID) : r;
        }
        return 1;
}

/* The one beside the Dockerfile alone counts, where it exists. */
static int find_ignore(const struct bld_build_opts *o, struct source *s, struct bld_err *err)
{
        static const char *const suffixes[] = {".dockerignore", ".containerignore"};
        int r = 0;

        if (o->ignorefile)
                return read_ignore(o->ignorefile, s, true, err);
        for (size_t i = 0; i < ARRAY_LEN(suffixes) && r == 0; i++) {
                AUTO_FREE char *beside = NULL, *full = NULL;

                if (strcmp(s->dockerfile_name, "-") == 0)
                        break;
                full = o->dockerfile ? mem_strdup(o->dockerfile)
                                     : path_join(s->context_path, s->dockerfile_name);
                if (!full || asprintf(&beside, "%s%s", full, suffixes[i]) < 0) {
                        beside = NULL;
                        return err_nomem(err, "ignore file");
                }
                r = read_ignore(beside, s, false, err);
        }
        for (size_t i = 0; i < ARRAY_LEN(suffixes) && r == 0; i++) {
                AUTO_FREE char *path = path_join(s->context_path, suffixes[i]);

                r = path ? read_ignore(path, s, false, err) : err_nomem(err, "ignore file");
        }
        return r < 0 ? r : 0;
}

static int open_context(struct bd_ctx *c, const struct bld_build_opts *o, struct source *s,
                        struct bld_err *err)
{
        AUTO_SB struct sb none = SB_INIT(16);
        AUTO_FD int fd = -1;
        struct stat st;

        if (!o->context)
                return err_set(err, BLD_E_USAGE,
                               "bld build needs a build context: a folder, an archive, or -");
        if (strcmp(o->context, "-") == 0 && o->dockerfile && strcmp(o->dockerfile, "-") == 0)
                return err_set(err, BLD_E_USAGE,
                               "invalid argument: can't use stdin for both build context and "
                               "dockerfile");
        if (strcmp(o->context, "-") == 0)
                return read_stdin(c, o, s, true, err);
        if (looks_remote(o->context) || stat(o->context, &st) < 0 || !S_ISREG(st.st_mode))
                return open_folder(o->context, s, err);
        fd = sys_openat(AT_FDCWD, o->context, O_RDONLY | O_CLOEXEC, 0);
        if (fd < 0)
                return err_sys(err, errno, "unable to prepare context: \"%s\"", o->context);
        return source_archive(c, &none, fd, s, err);
}

int source_open(struct bd_ctx *c, const struct bld_build_opts *o, const struct remote_auth *auth,
                struct source *ret, struct bld_err *err)
{
        (void)auth;
        struct source s = {.text = SB_INIT(DOCKERFILE_MAX)};
        int r = open_context(c, o, &s, err);

        if (r == 0)
                r = read_dockerfile(c, o, &s, err);
        if (r == 0 && s.context_path && !s.tmp) /* an archive was filtered by who made it */
                r = find_ignore(o, &s, err);
        if (r < 0) {
                source_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}
