/* Git repositories as sources: a URL -> a commit -> its files as a plain tar in the store. */
#include "builder/source/git_priv.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"

#define GIT_KIND "git "
#define LS_REMOTE_MAX (16u << 20)
#define TREE_DEPTH_MAX 250

void vx_git_done(struct vx_git *g)
{
        free(g->remote);
        if (g->userinfo)
                explicit_bzero(g->userinfo, strlen(g->userinfo));
        free(g->userinfo);
        free(g->full_ref);
        free(g->subdir);
        memset(g, 0, sizeof(*g));
}

/* ---- URLs ---- */

int git_url(const char *s, bool context, struct giturl *ret, struct bld_err *err)
{
        struct giturl u;
        struct stat st;
        int r = giturl_parse(s, &u, err);

        if (r != 1)
                return r;
        if (u.like_path && (!context || stat(s, &st) == 0)) {
                giturl_done(&u);
                return 0;
        }
        *ret = u;
        return 1;
}

static bool is_hex(const char *s)
{
        return strspn(s, "0123456789abcdefABCDEF") == strlen(s);
}

static bool is_commit(const char *s)
{
        size_t n = strlen(s);

        return (n == 40 || n == 64) && is_hex(s);
}

/* What git would not take as a name, could take for a pattern or an option, or for a revision with
 * a path. */
static bool is_ref(const char *s)
{
        for (const char *c = s; *c; c++)
                if ((unsigned char)*c <= ' ' || strchr("~^:?*[\\\x7f", *c))
                        return false;
        return *s != '-' && *s != '/' && !strstr(s, "..") && !strstr(s, "@{") && !strstr(s, "//") &&
               !str_has_suffix(s, "/") && !str_has_suffix(s, ".lock");
}

/* Take USER:PASSWORD@ out of an http URL. */
static int split_remote(const char *url, bool like_path, struct vx_git *g, struct bld_err *err)
{
        const char *host = strstr(url, "://"), *at;
        size_t n;

        g->userinfo = mem_strdup("");
        if (like_path) {
                if (asprintf(&g->remote, "https://%s", url) < 0)
                        g->remote = NULL;
        } else if (http_is_url(url) && host) {
                host += 3;
                n = strcspn(host, "/");
                at = memrchr(host, '@', n);
                if (!at)
                        at = host - 1;
                else if (g->userinfo) {
                        free(g->userinfo);
                        g->userinfo = mem_strndup(host, (size_t)(at - host));
                }
                if (asprintf(&g->remote, "%.*s%s", (int)(host - url), url, at + 1) < 0)
                        g->remote = NULL;
        } else {
                g->remote = mem_strdup(url);
        }
        return g->remote && g->userinfo ? 0 : err_nomem(err, "git URL");
}

/* ---- which commit ---- */

/* One line of ls-remote: "HASH\tNAME\n". */
struct listing {
        const char *name;
        const char *hash, *peeled; /* of what the tag points to; NULL: nothing found */
};

static bool names(const char *line, size_t len, const char *prefix, const char *ref,
                  const char *suffix)
{
        size_t p = strlen(prefix), r = strlen(ref), s = strlen(suffix);

        return len == p + r + s && memcmp(line, prefix, p) == 0 && memcmp(line + p, ref, r) == 0 &&
               memcmp(line + p + r, suffix, s) == 0;
}

static void look(const char *text, const char *prefix, const char *ref, struct listing *ret)
{
        *ret = (struct listing){.name = prefix};
        for (const char *line = text; *line;) {
                const char *tab = strchr(line, '\t'), *end = line + strcspn(line, "\n");

                if (tab && tab < end && (tab - line == 40 || tab - line == 64)) {
                        size_t n = (size_t)(end - tab - 1);

                        if (names(tab + 1, n, prefix, ref, ""))
                                ret->hash = line;
                        else if (names(tab + 1, n, prefix, ref, "^{}"))
                                ret->peeled = line;
                }
                line = *end ? end + 1 : end;
        }
}

static int take_hash(const char *line, char out[GIT_COMMIT_MAX], struct bld_err *err)
{
        size_t n = strcspn(line, "\t");

        if (n >= GIT_COMMIT_MAX)
                return err_set(err, BLD_E_INVALID, "git ls-remote: unreadable answer");
        memcpy(out, line, n);
        out[n] = '\0';
        return is_commit(out) ? 0 : err_set(err, BLD_E_INVALID, "git ls-remote: unreadable answer");
}

/* A branch before a tag of the same name, as git checkout has it; then anything below refs/. */
static int choose(const char *text, const char *ref, struct vx_git *g, char tag[GIT_COMMIT_MAX],
                  struct bld_err *err)
{
        static const char *const prefixes[] = {"", "refs/heads/", "refs/tags/", "refs/"};
        struct listing found = {.name = NULL};
        size_t i = 0;
        int r;

        /* Only HEAD and full names stand for themselves. */
        if (strcmp(ref, "HEAD") != 0 && !str_has_prefix(ref, "refs/"))
                i = 1;
        for (; i < ARRAY_LEN(prefixes) && !found.hash; i++)
                look(text, prefixes[i], ref, &found);
        if (!found.hash)
                return err_set(err, BLD_E_INVALID, "the repository %.300s has no ref \"%.200s\"",
                               g->remote, ref);
        r = take_hash(found.peeled ? found.peeled : found.hash, g->commit, err);
        if (r == 0)
                r = take_hash(found.hash, tag, err);
        free(g->full_ref);
        if (r == 0 && asprintf(&g->full_ref, "%s%s", found.name, ref) < 0) {
                g->full_ref = NULL;
                r = err_nomem(err, "git");
        }
        return r;
}

/* An empty folder for git's home, and the place of the work tree beside it. */
struct place {
        struct cas_tmp *tmp;
        char *home, *tree;
};

static void place_done(struct place *p)
{
        cas_tmp_free(p->tmp);
        free(p->home);
        free(p->tree);
}

static int place_make(struct bd_ctx *c, struct place *ret, struct bld_err *err)
{
        int r = cas_tmp_new(c->cas, &ret->tmp, err);

        if (r < 0)
                return r;
        if (asprintf(&ret->home, "%s/%s/home", cas_root(c->cas), cas_tmp_path(ret->tmp)) < 0)
                ret->home = NULL;
        if (asprintf(&ret->tree, "%s/%s/tree", cas_root(c->cas), cas_tmp_path(ret->tmp)) < 0)
                ret->tree = NULL;
        if (!ret->home || !ret->tree)
                return err_nomem(err, "git");
        if (sys_mkdirat(cas_tmp_dirfd(ret->tmp), "home", 0700) < 0 ||
            sys_mkdirat(cas_tmp_dirfd(ret->tmp), "tree", 0700) < 0)
                return err_sys(err, errno, "make room for a git repository");
        return 0;
}

static int ask_remote(struct bd_ctx *c, const struct remote_auth *auth, const char *ref,
                      struct vx_git *g, char tag[GIT_COMMIT_MAX], struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(LS_REMOTE_MAX);
        AUTO(place_done) struct place p = {.tmp = NULL};
        AUTO_FREE char *peeled = NULL;
        struct git_run x = {0};
        int r = place_make(c, &p, err);

        if (r == 0 && asprintf(&peeled, "%s^{}", ref) < 0) {
                peeled = NULL;
                r = err_nomem(err, "git");
        }
        if (r == 0)
                r = git_run_init(c, auth, g, p.home, NULL, &x, err);
        if (r < 0)
                return r;
        const char *const args[] = {"ls-remote", "--quiet", "origin", ref, peeled, NULL};

        r = git_run(&x, args, &text, err);
        git_run_done(&x);
        return r == 0 ? choose(sb_text(&text), ref, g, tag, err) : r;
}

static int lower(const char *s, char out[GIT_COMMIT_MAX])
{
        if (!str_copy(out, GIT_COMMIT_MAX, s))
                return -1;
        for (char *c = out; *c; c++)
                *c = (char)tolower((unsigned char)*c);
        return 0;
}

static int check_sum(const struct giturl *u, const struct vx_git *g, const char *tag,
                     struct bld_err *err)
{
        char want[GIT_COMMIT_MAX];

        if (!*u->checksum)
                return 0;
        if (lower(u->checksum, want) < 0 || !is_hex(want))
                return err_set(err, BLD_E_INVALID,
                               "invalid checksum %.100s of a git source: a commit hash, or the "
                               "beginning of one, is expected",
                               u->checksum);
        if (str_has_prefix(g->commit, want) || str_has_prefix(tag, want))
                return 0;
        return err_set(err, BLD_E_INVALID, "expected checksum to match %s, got %s", want,
                       g->commit);
}

static int clean_subdir(const char *s, char **ret, struct bld_err *err)
{
        AUTO_FREE char *full = path_join("/", *s == '/' ? s + strspn(s, "/") : s);

        if (full)
                *ret = mem_strdup(full + 1);
        return full && *ret ? 0 : err_nomem(err, "git URL");
}

int git_resolve(struct bd_ctx *c, const struct remote_auth *auth, const struct giturl *u,
                struct vx_git *ret, struct bld_err *err)
{
        const char *ref = *u->ref ? u->ref : "HEAD";
        struct vx_git g = {.keep_git_dir = u->keep_git_dir == 1,
                           .submodules = u->submodules != 0,
                           .mtime_commit = strcmp(u->mtime, "commit") == 0};
        char tag[GIT_COMMIT_MAX] = "";
        int r = split_remote(u->remote, u->like_path, &g, err);

        if (r == 0)
                r = clean_subdir(u->subdir, &g.subdir, err);
        if (r == 0 && !is_ref(ref))
                r = err_set(err, BLD_E_INVALID, "invalid git reference \"%.200s\"", ref);
        if (r == 0 && u->fetch_by_commit && !is_commit(u->checksum))
                r = err_set(err, BLD_E_INVALID,
                            "fetch-by-commit needs a whole commit hash as its checksum");
        if (r == 0 && is_commit(ref))
                r = lower(ref, g.commit);
        else if (r == 0 && u->fetch_by_commit)
                r = lower(u->checksum, g.commit);
        else if (r == 0)
                r = ask_remote(c, auth, ref, &g, tag, err);
        if (r == 0)
                r = check_sum(u, &g, tag, err);
        if (r < 0) {
                vx_git_done(&g);
                return r;
        }
        *ret = g;
        return 0;
}

/* ---- checkout ---- */

/* The remote goes into the config by hand: `git remote add` would take the URL as an argument. */
static int write_remote(struct bd_ctx *c, const struct place *p, const struct vx_git *g,
                        struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(65536);
        AUTO_FREE char *path = NULL;
        AUTO_FD int fd = -1;
        int r;

        (void)c;
        sb_str(&text, "[remote \"origin\"]\n\turl = \"");
        for (const char *s = g->remote; *s; s++) {
                if (*s == '"' || *s == '\\')
                        sb_char(&text, '\\');
                sb_char(&text, *s);
        }
        sb_str(&text, "\"\n");
        r = sb_check(&text, "git URL", err);
        if (r < 0)
                return r;
        if (asprintf(&path, "%s/.git/config", p->tree) < 0) {
                path = NULL;
                return err_nomem(err, "git");
        }
        fd = sys_openat(AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0);
        if (fd < 0)
                return err_sys(err, errno, "write the configuration of a git repository");
        return fd_write_all(fd, sb_text(&text), text.len, err);
}

/* One commit and nothing else where the server gives it; else everything, for servers that only
 * give what a ref points to. */
static int fetch(struct git_run *x, const struct vx_git *g, struct bld_err *err)
{
        AUTO_FREE char *spec = NULL;
        const char *const by_commit[] = {"fetch",  "--quiet", "--depth=1", "--no-tags",
                                         "origin", g->commit, NULL};
        const char *const all[] = {"fetch",
                                   "--quiet",
                                   "--no-tags",
                                   "origin",
                                   "+refs/heads/*:refs/remotes/origin/*",
                                   "+refs/tags/*:refs/tags/*",
                                   NULL};
        const bool tag = g->full_ref && str_has_prefix(g->full_ref, "refs/tags/");
        struct bld_err first = BLD_ERR_INIT;
        int r;

        if (tag && asprintf(&spec, "+%s:%s", g->full_ref, g->full_ref) < 0) {
                spec = NULL;
                return err_nomem(err, "git");
        }
        const char *const by_ref[] = {"fetch",  "--quiet", "--depth=1", "--no-tags",
                                      "origin", spec,      NULL};

        /* A repository that is kept should know the tag it stands at. */
        r = git_run(x, g->keep_git_dir && spec ? by_ref : by_commit, NULL, &first);
        if (r == 0)
                return 0;
        if (r == BLD_E_CANCELLED || r == BLD_E_UNSUPPORTED || r == BLD_E_NOMEM ||
            git_run(x, all, NULL, NULL) < 0)
                err_copy(err, &first);
        else
                r = 0;
        return r;
}

static int update_submodules(struct git_run *x, struct bld_err *err)
{
        static const char *const shallow[] = {"submodule",   "--quiet",   "update", "--init",
                                              "--recursive", "--depth=1", NULL};
        static const char *const deep[] = {"submodule", "--quiet",     "update",
                                           "--init",    "--recursive", NULL};
        AUTO_FREE char *path = NULL;
        struct bld_err first = BLD_ERR_INIT;
        int r;

        if (asprintf(&path, "%s/.gitmodules", x->tree) < 0) {
                path = NULL;
                return err_nomem(err, "git");
        }
        if (access(path, F_OK) < 0)
                return 0;
        r = git_run(x, shallow, NULL, &first);
        if (r == 0 || r == BLD_E_CANCELLED)
                return r == 0 ? 0 : (err_copy(err, &first), r);
        return git_run(x, deep, NULL, err);
}

static int checkout(struct bd_ctx *c, const struct place *p, struct git_run *x,
                    const struct vx_git *g, struct bld_err *err)
{
        const char *const init[] = {"init",
                                    "--quiet",
                                    "--template=",
                                    "--initial-branch=main",
                                    strlen(g->commit) == 64 ? "--object-format=sha256"
                                                            : "--object-format=sha1",
                                    NULL};
        const char *const out[] = {"checkout", "--quiet", "--force", "--detach", g->commit, NULL};
        int r = git_run(x, init, NULL, err);

        if (r == 0)
                r = write_remote(c, p, g, err);
        if (r == 0)
                r = fetch(x, g, err);
        if (r == 0)
                r = git_run(x, out, NULL, err);
        if (r == 0 && g->submodules)
                r = update_submodules(x, err);
        return r;
}

static int commit_time(struct git_run *x, const struct vx_git *g, int64_t *ret, struct bld_err *err)
{
        const char *const args[] = {"show", "--no-patch", "--format=%ct", g->commit, NULL};
        AUTO_SB struct sb text = SB_INIT(4096);
        int64_t sec = 0;
        int r = git_run(x, args, &text, err);

        if (r < 0)
                return r;
        if (text.len && text.buf[text.len - 1] == '\n')
                sb_cut(&text, text.len - 1);
        if (!parse_i64(sb_text(&text), 0, INT64_MAX / 1000000000, &sec))
                return err_set(err, BLD_E_INVALID, "the commit %s has no usable time", g->commit);
        *ret = sec * 1000000000;
        return 0;
}

/* ---- files -> tar ---- */

struct packing {
        struct bd_ctx *c;
        struct fs *fs;
        struct ly_writer *w;
        int64_t mtime_ns;
        bool keep_git_dir;
        struct sb path;
};

static int pack_data(void *user, const void *p, size_t n, struct bld_err *err)
{
        return ly_writer_data(user, p, n, err);
}

/* Git knows of modes the executable bit and nothing else. */
static int pack_entry(struct packing *k, struct fs_node *n, struct bld_err *err)
{
        struct ly_entry e = {.path = k->path.buf,
                             .type = n->type,
                             .mtime_ns = k->mtime_ns,
                             .size = n->type == LY_FILE ? n->size : 0,
                             .link = n->type == LY_SYMLINK ? n->link : NULL};
        int r;

        e.mode = n->type == LY_SYMLINK                        ? 0777
                 : n->type == LY_DIR || (n->mode & 0100) != 0 ? 0755
                                                              : 0644;
        if (n->type != LY_FILE && n->type != LY_DIR && n->type != LY_SYMLINK)
                return 0;
        r = ly_writer_entry(k->w, &e, err);
        if (r == 0 && e.size)
                r = fs_read(k->fs, n, &(struct ly_sink){pack_data, k->w}, err);
        return r;
}

static int pack_below(struct packing *k, struct fs_node *dir, int depth, struct bld_err *err)
{
        int r = fs_children(k->fs, dir, err);

        if (r == 0 && depth > TREE_DEPTH_MAX)
                r = err_set(err, BLD_E_LIMIT, "folders nested deeper than %d", TREE_DEPTH_MAX);
        for (size_t i = 0; r == 0 && i < dir->nchildren; i++) {
                struct fs_node *n = dir->children[i];
                size_t base = k->path.len;

                if (!k->keep_git_dir && strcmp(n->name, ".git") == 0)
                        continue;
                if (base)
                        sb_char(&k->path, '/');
                sb_str(&k->path, n->name);
                r = sb_check(&k->path, "path", err);
                if (r == 0)
                        r = cancel_check(k->c->cancel, err);
                if (r == 0)
                        r = pack_entry(k, n, err);
                if (r == 0 && n->type == LY_DIR)
                        r = pack_below(k, n, depth + 1, err);
                sb_cut(&k->path, base);
        }
        return r;
}

static int to_store(void *user, const void *p, size_t n, struct bld_err *err)
{
        return cas_writer_add(user, p, n, err);
}

static int pack(struct bd_ctx *c, const struct place *p, const struct vx_git *g, int64_t mtime_ns,
                struct digest *ret, uint64_t *ret_size, struct bld_err *err)
{
        struct ly_writer_opts wo = {0};
        AUTO(fs_free_p) struct fs *fs = NULL;
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        AUTO(cas_writer_free_p) struct cas_writer *blob = NULL;
        struct packing k = {.c = c,
                            .mtime_ns = mtime_ns,
                            .keep_git_dir = g->keep_git_dir,
                            .path = SB_INIT(65536)};
        struct fs_node *top = NULL;
        int r = fs_open_local(p->tree, NULL, NULL, &fs, err);

        /* A link in the repository cannot lead out of it. */
        if (r == 0)
                r = fs_resolve(fs, NULL, g->subdir, true, &top, err);
        if (r == 0 && (!top || top->type != LY_DIR))
                r = err_set(err, BLD_E_INVALID, "there is no folder \"%.200s\" in %.300s at %s",
                            g->subdir, g->remote, g->commit);
        if (r == 0)
                r = cas_writer_open(c->cas, &blob, err);
        if (r == 0)
                r = ly_writer_new(&(struct ly_sink){to_store, blob}, &wo, &w, err);
        k.fs = fs;
        k.w = w;
        if (r == 0)
                r = pack_below(&k, top, 0, err);
        if (r == 0)
                r = ly_writer_end(w, err);
        if (r == 0) {
                *ret_size = cas_writer_size(blob);
                r = cas_writer_commit(blob, NULL, 0, ret, err);
        }
        sb_done(&k.path);
        return r;
}

/* What differs from one clone to the next, and says nothing of the commit. */
static void tidy(const struct place *p)
{
        static const char *const names[] = {"FETCH_HEAD", "ORIG_HEAD", "logs", "branches"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                AUTO_FREE char *path = NULL;

                if (asprintf(&path, "%s/.git/%s", p->tree, names[i]) < 0)
                        path = NULL;
                if (path)
                        (void)path_remove_tree(AT_FDCWD, path, NULL);
        }
}

static int make_tar(struct bd_ctx *c, const struct remote_auth *auth, const struct vx_git *g,
                    struct digest *ret, uint64_t *ret_size, struct bld_err *err)
{
        AUTO(place_done) struct place p = {.tmp = NULL};
        struct git_run x = {0};
        int64_t mtime_ns = time_now_ns();
        int r = place_make(c, &p, err);

        if (r == 0)
                r = git_run_init(c, auth, g, p.home, p.tree, &x, err);
        if (r < 0)
                return r;
        r = checkout(c, &p, &x, g, err);
        if (r == 0 && g->mtime_commit)
                r = commit_time(&x, g, &mtime_ns, err);
        git_run_done(&x);
        if (r < 0)
                return r;
        if (g->keep_git_dir)
                tidy(&p);
        return pack(c, &p, g, mtime_ns, ret, ret_size, err);
}

/* ---- once per commit ---- */

void git_params(struct hasher *h, const struct vx_git *g)
{
        hasher_field_str(h, g->commit);
        hasher_field_str(h, g->subdir);
        /* The commit says all there is to say, wherever it came from, unless its origin is kept or
         * submodules stand relative to it. */
        hasher_field_str(h, g->keep_git_dir || g->submodules ? g->remote : "");
        hasher_field_str(h, g->keep_git_dir && g->full_ref ? g->full_ref : "");
        hasher_field_u64(h, (uint64_t)g->keep_git_dir | (uint64_t)g->submodules << 1 |
                                    (uint64_t)g->mtime_commit << 2);
}

static void tar_key(const struct vx_git *g, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-git-v1");
        git_params(&h, g);
        hasher_end(&h, ret);
}

static int recall(struct bd_ctx *c, const struct digest *key, struct digest *ret,
                  uint64_t *ret_size, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX);
        AUTO_JS struct js *j = NULL;
        int r = cas_result_get(c->cas, key, GIT_KIND, &text, err);

        if (r <= 0)
                return r;
        if (js_parse(sb_text(&text), text.len, &j, NULL) < 0 || !js_get_str(j, "tar") ||
            digest_parse(js_get_str(j, "tar"), ret, NULL) < 0)
                return 0;
        return cas_blob_keep(c->cas, ret, ret_size, err);
}

static int remember(struct bd_ctx *c, const struct digest *key, const struct digest *tar,
                    struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX);
        AUTO_JS struct js *j = js_obj();
        char digest[DIGEST_STR_MAX];
        int r;

        digest_format(tar, digest);
        if (js_set_str(j, "tar", digest) < 0)
                return err_nomem(err, "git");
        r = js_write(j, JS_COMPACT, &text, err);
        if (r < 0)
                return r;
        return cas_result_put(c->cas, key, GIT_KIND, sb_text(&text), text.len, tar, 1, err);
}

int git_tar(struct bd_ctx *c, const struct remote_auth *auth, const struct vx_git *g,
            struct digest *ret, uint64_t *ret_size, struct bld_err *err)
{
        struct digest key;
        int r;

        tar_key(g, &key);
        r = recall(c, &key, ret, ret_size, err);
        if (r != 0)
                return MIN(r, 0);
        r = make_tar(c, auth, g, ret, ret_size, err);
        return r == 0 ? remember(c, &key, ret, err) : r;
}
