/* The Dockerfile and the build context, wherever the command line says they are. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/input.h"
#include "base/path.h"
#include "base/sys.h"
#include "builder/source/git_priv.h"

#define DOCKERFILE_MAX (16u << 20)
#define IGNORE_MAX (4u << 20)
#define HEAD 512u /* of standard input, to tell an archive */

void source_done(struct source *s)
{
        free(s->dockerfile_name);
        sb_done(&s->text);
        free(s->context_path);
        ignore_free(s->ignore);
        cas_tmp_free(s->tmp);
}

static int open_folder(const char *path, struct source *s, struct bld_err *err)
{
        char full[PATH_MAX];
        struct stat st;

        if (strstr(path, "://") && stat(path, &st) < 0)
                return err_try(err,
                               err_set(err, BLD_E_INVALID,
                                       "unable to prepare context: \"%.300s\" is no URL of a "
                                       "repository or a file",
                                       path),
                               "a folder, an archive, a git URL (over http its path ends in .git), "
                               "or http(s)://...");
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

/* r: of reading the text. */
static int name_text(struct source *s, int r, const char *shown, struct bld_err *err)
{
        if (r < 0)
                return r;
        s->dockerfile_name = mem_strdup(shown);
        return s->dockerfile_name ? 0 : err_nomem(err, "Dockerfile");
}

/* Below a context that came from elsewhere, whose links are not to be believed. */
static int read_inside(struct source *s, const char *name, struct bld_err *err)
{
        const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                                     .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
        AUTO_FD int dir =
                sys_openat(AT_FDCWD, s->context_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        AUTO_FD int fd = dir < 0 ? -1 : sys_openat2(dir, name, &how);
        int r;

        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
                return err_set(err, BLD_E_NOT_FOUND, "there is no \"%.300s\" in the build context",
                               name);
        if (fd < 0)
                return err_sys(err, errno, "open \"%.300s\" of the build context", name);
        r = fd_read_all(fd, &s->text, name, err);
        if (r < 0)
                return r;
        s->dockerfile_name = mem_strdup(name);
        return s->dockerfile_name ? 0 : err_nomem(err, "Dockerfile");
}

/* What the user names may be a pipe. */
static int read_named(const struct bd_ctx *c, struct source *s, const char *path,
                      struct bld_err *err)
{
        AUTO_FD int fd = input_open(path);
        struct stat st;
        int r;

        if (fd < 0 && errno == ENOENT)
                return err_set(err, BLD_E_NOT_FOUND, "%s does not exist", path);
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, errno, "open %s", path);
        r = S_ISFIFO(st.st_mode) ? input_append(fd, &s->text, SIZE_MAX, path, c->cancel, err)
                                 : fd_read_all(fd, &s->text, path, err);
        return name_text(s, r, path, err);
}

static int find_dockerfile(struct source *s, struct bld_err *err)
{
        static const char *const names[] = {"Dockerfile", "dockerfile", "Containerfile"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                AUTO_FREE char *path = path_join(s->context_path, names[i]);
                struct bld_err own = BLD_ERR_INIT;
                int r = !path    ? err_nomem(&own, "path")
                        : s->tmp ? read_inside(s, names[i], &own)
                                 : name_text(s, file_read_regular(AT_FDCWD, path, &s->text, &own),
                                             names[i], &own);

                if (r == BLD_E_NOT_FOUND)
                        continue;
                if (r < 0)
                        err_copy(err, &own);
                return r;
        }
        if (s->tmp)
                (void)err_set(err, BLD_E_INVALID, "there is no Dockerfile in the build context");
        else
                (void)err_set(err, BLD_E_INVALID, "there is no Dockerfile in \"%s\"",
                              s->context_path);
        return err_try(err, BLD_E_INVALID, "name it with -f FILE");
}

/* Is this the beginning of an archive? */
bool source_is_archive(const void *head, size_t n)
{
        static const struct {
                const char *magic;
                size_t len;
        } kinds[] = {{"\x1f\x8b\x08", 3},
                     {"BZh", 3},
                     {"\xfd"
                      "7zXZ",
                      5},
                     {"\x28\xb5\x2f\xfd", 4}};

        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                if (n >= kinds[i].len && memcmp(head, kinds[i].magic, kinds[i].len) == 0)
                        return true;
        return ly_tar_sniff(head, n);
}

/* Standard input is the context, or the Dockerfile. */
static int read_stdin(struct bd_ctx *c, const struct bld_build_opts *o, struct source *s,
                      bool may_be_context, struct bld_err *err)
{
        AUTO_SB struct sb head = SB_INIT(4096);
        int r = input_append(o->stdin_fd, &head, HEAD, "standard input", c->cancel, err);

        if (r == 0 && may_be_context && source_is_archive(sb_text(&head), head.len))
                return source_archive(c, &head, o->stdin_fd, s, err);
        if (r == 0 && may_be_context && o->dockerfile)
                return err_set(err, BLD_E_USAGE,
                               "ambiguous Dockerfile source: both stdin and flag correspond to "
                               "Dockerfiles");
        sb_add(&s->text, sb_text(&head), head.len);
        if (r == 0)
                r = input_append(o->stdin_fd, &s->text, SIZE_MAX,
                                 "the Dockerfile from standard input", c->cancel, err);
        s->dockerfile_name = mem_strdup("-");
        return r < 0 || s->dockerfile_name ? r : err_nomem(err, "Dockerfile");
}

static int read_dockerfile(struct bd_ctx *c, const struct bld_build_opts *o,
                           const struct remote_auth *auth, struct source *s, struct bld_err *err)
{
        int r;

        if (s->dockerfile_name) /* it was on standard input */
                return 0;
        if (o->dockerfile && strcmp(o->dockerfile, "-") == 0)
                return read_stdin(c, o, s, false, err);
        if (!o->dockerfile)
                return find_dockerfile(s, err);
        if (http_is_url(o->dockerfile))
                return source_dockerfile(c, auth, o->dockerfile, s, err);
        if (s->tmp && o->dockerfile[0] != '/') /* relative to a context that is no folder here */
                r = read_inside(s, o->dockerfile, err);
        else
                r = read_named(c, s, o->dockerfile, err);
        return r == BLD_E_NOT_FOUND ? err_recode(err, BLD_E_INVALID) : r;
}

static int read_ignore(const char *path, struct source *s, bool must, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IGNORE_MAX);
        struct bld_err own = BLD_ERR_INIT;
        int r = file_read_regular(AT_FDCWD, path, &text, &own);

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
                if (o->dockerfile && http_is_url(o->dockerfile))
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

/* The forms that are folders or files of no machine of ours. 1: neither. */
static int open_remote(struct bd_ctx *c, const struct bld_build_opts *o,
                       const struct remote_auth *auth, struct source *s, struct bld_err *err)
{
        struct giturl u;
        int r = git_url(o->context, true, &u, err);

        if (r < 0)
                return err_wrap(err, r, "build context");
        if (r == 1) {
                r = source_git(c, o, auth, &u, s, err);
                giturl_done(&u);
                return r;
        }
        return http_is_url(o->context) ? source_http(c, o, auth, o->context, s, err) : 1;
}

static int open_context(struct bd_ctx *c, const struct bld_build_opts *o,
                        const struct remote_auth *auth, struct source *s, struct bld_err *err)
{
        AUTO_SB struct sb none = SB_INIT(16);
        AUTO_FD int fd = -1;
        struct stat st;
        int r;

        if (!o->context)
                return err_set(err, BLD_E_USAGE,
                               "bld build needs a build context: a folder, an archive, or -");
        if (strcmp(o->context, "-") == 0 && o->dockerfile && strcmp(o->dockerfile, "-") == 0)
                return err_set(err, BLD_E_USAGE,
                               "invalid argument: can't use stdin for both build context and "
                               "dockerfile");
        if (strcmp(o->context, "-") == 0)
                return read_stdin(c, o, s, true, err);
        r = open_remote(c, o, auth, s, err);
        if (r <= 0)
                return r;
        if (stat(o->context, &st) < 0 || !S_ISREG(st.st_mode))
                return open_folder(o->context, s, err);
        fd = sys_openat(AT_FDCWD, o->context, O_RDONLY | O_CLOEXEC, 0);
        if (fd < 0)
                return err_sys(err, errno, "unable to prepare context: \"%s\"", o->context);
        return source_archive(c, &none, fd, s, err);
}

int source_open(struct bd_ctx *c, const struct bld_build_opts *o, const struct remote_auth *auth,
                struct source *ret, struct bld_err *err)
{
        struct source s = {.text = SB_INIT(DOCKERFILE_MAX)};
        int r = open_context(c, o, auth, &s, err);

        if (r == 0)
                r = read_dockerfile(c, o, auth, &s, err);
        if (r == 0 && s.context_path && !s.tmp) /* an archive was filtered by who made it */
                r = find_ignore(o, &s, err);
        if (r < 0) {
                source_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}
