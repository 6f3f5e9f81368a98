#include "parser/giturl.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "base/path.h"
#include "base/vec.h"

#define URL_MAX 8192

void giturl_done(struct giturl *g)
{
        free(g->remote);
        free(g->ref);
        free(g->subdir);
        free(g->checksum);
        free(g->mtime);
        memset(g, 0, sizeof(*g));
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = (char)(c | 0x20);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent escapes undone; in queries '+' is a blank. NULL when memory is out, or (*ret_bad) for a
 * broken escape or a NUL. */
static char *decode(const char *s, size_t n, bool query, bool *ret_bad)
{
        char *out = mem_alloc(n + 1);
        size_t k = 0;

        for (size_t i = 0; out && i < n; i++) {
                int hi, lo;

                if (s[i] != '%') {
                        out[k++] = query && s[i] == '+' ? ' ' : s[i];
                        continue;
                }
                hi = i + 2 < n ? hex_value(s[i + 1]) : -1;
                lo = i + 2 < n ? hex_value(s[i + 2]) : -1;
                if (hi < 0 || lo < 0 || hi + lo == 0) {
                        *ret_bad = true;
                        free(out);
                        return NULL;
                }
                out[k++] = (char)(hi * 16 + lo);
                i += 2;
        }
        if (out)
                out[k] = '\0';
        return out;
}

/* ---- the parts ---- */

/* Where the remote ends, and what follows it. */
struct parts {
        const char *path; /* of the repository, inside the remote; its end is remote_len */
        size_t remote_len;
        const char *query; /* NULL: none */
        size_t query_len;
        const char *fragment; /* NULL: none */
};

static void split_tail(const char *s, const char *from, struct parts *p)
{
        const char *hash = strchr(from, '#');
        size_t n = hash ? (size_t)(hash - s) : strlen(s);
        const char *mark = memchr(from, '?', n - (size_t)(from - s));

        p->fragment = hash ? hash + 1 : NULL;
        p->query = mark ? mark + 1 : NULL;
        p->query_len = mark ? n - (size_t)(mark + 1 - s) : 0;
        p->remote_len = mark ? (size_t)(mark - s) : n;
}

/* user@host:path, without a scheme. */
static bool is_scp(const char *s, const char **ret_path)
{
        static const char name[] =
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
        size_t user = strspn(s, name), host;

        while (s[user] == '_') {
                user++;
                user += strspn(s + user, name);
        }
        if (user == 0 || s[user] != '@')
                return false;
        host = strspn(s + user + 1, name);
        while (s[user + 1 + host] == '.') {
                host++;
                host += strspn(s + user + 1 + host, name);
        }
        *ret_path = s + user + 1 + host + 1;
        return host > 0 && s[user + 1 + host] == ':';
}

/* The scheme's length with "://", 0 for none. */
static size_t scheme_len(const char *s)
{
        size_t n = 0;

        while ((s[n] >= '0' && s[n] <= '9') || ((s[n] | 0x20) >= 'a' && (s[n] | 0x20) <= 'z'))
                n++;
        return n > 0 && strncmp(s + n, "://", 3) == 0 ? n + 3 : 0;
}

/* Is this a repository at all? Over http only a path that ends in .git says so. */
static bool locate(const char *s, struct giturl *g, struct parts *p)
{
        size_t n = scheme_len(s);
        bool http, git;

        if (n == 0 && str_has_prefix(s, "github.com/")) {
                g->like_path = true;
                p->path = s + strlen("github.com/");
                split_tail(s, p->path, p);
                return true;
        }
        if (n == 0) {
                if (!is_scp(s, &p->path))
                        return false;
                split_tail(s, p->path, p);
                return true;
        }
        http = strncasecmp(s, "http://", n) == 0 || strncasecmp(s, "https://", n) == 0;
        git = strncasecmp(s, "git://", n) == 0;
        if (!http && !git && strncasecmp(s, "ssh://", n) != 0)
                return false;
        g->insecure = git || strncasecmp(s, "http://", n) == 0;
        p->path = s + n + strcspn(s + n, "/?#");
        split_tail(s, s + n, p);
        if (http && (p->remote_len < (size_t)(p->path - s) + 4 ||
                     memcmp(s + p->remote_len - 4, ".git", 4) != 0))
                return false;
        return p->path > s + n; /* a host */
}

/* ---- query and fragment ---- */

static int set(char **slot, const char *what, const char *value, struct bld_err *err)
{
        if (*slot && **slot && strcmp(*slot, value) != 0)
                return err_set(err, BLD_E_INVALID, "%s conflicts: \"%.200s\" vs \"%.200s\"", what,
                               *slot, value);
        free(*slot);
        *slot = mem_strdup(value);
        return *slot ? 0 : err_nomem(err, "git URL");
}

/* What the query says, before the parts are weighed against each other. */
struct query {
        struct strv keys;
        char *tag, *branch;
};

static void query_done(struct query *q)
{
        strv_done(&q->keys);
        free(q->tag);
        free(q->branch);
}

static int read_bool(const char *key, const char *value, bool *ret, struct bld_err *err)
{
        *ret = true;
        if (*value && !parse_go_bool(value, ret))
                return err_set(err, BLD_E_INVALID, "invalid %s value: \"%.200s\"", key, value);
        return 0;
}

static bool is_flag(const char *key)
{
        return strcmp(key, "keep-git-dir") == 0 || strcmp(key, "submodules") == 0 ||
               strcmp(key, "fetch-by-commit") == 0;
}

static int set_flag(struct giturl *g, const char *key, const char *value, struct bld_err *err)
{
        bool yes;
        int r = read_bool(key, value, &yes, err);

        if (r < 0)
                return r;
        if (*key == 'k')
                g->keep_git_dir = yes;
        else if (*key == 's')
                g->submodules = yes;
        else
                g->fetch_by_commit = yes;
        return 0;
}

static int set_key(struct giturl *g, struct query *q, const char *key, const char *value,
                   struct bld_err *err)
{
        if (is_flag(key))
                return set_flag(g, key, value, err);
        if (!*value)
                return err_set(err, BLD_E_INVALID, "query \"%.100s\" has no value", key);
        if (strcmp(key, "ref") == 0)
                return set(&g->ref, "ref", value, err);
        if (strcmp(key, "subdir") == 0)
                return set(&g->subdir, "subdir", value, err);
        if (strcmp(key, "checksum") == 0 || strcmp(key, "commit") == 0)
                return set(&g->checksum, "checksum", value, err);
        if (strcmp(key, "tag") == 0)
                return set(&q->tag, "tag", value, err);
        if (strcmp(key, "branch") == 0)
                return set(&q->branch, "branch", value, err);
        if (strcmp(key, "mtime") != 0)
                return err_set(err, BLD_E_INVALID, "unexpected query \"%.100s\"", key);
        if (strcmp(value, "checkout") != 0 && strcmp(value, "commit") != 0)
                return err_set(err, BLD_E_INVALID,
                               "invalid mtime value: \"%.100s\" (must be \"checkout\" or "
                               "\"commit\")",
                               value);
        return set(&g->mtime, "mtime", value, err);
}

/* One KEY[=VALUE]. */
static int read_field(struct giturl *g, struct query *q, const char *s, size_t n,
                      struct bld_err *err)
{
        const char *eq = memchr(s, '=', n);
        size_t key_len = eq ? (size_t)(eq - s) : n;
        bool bad = false;
        AUTO_FREE char *key = decode(s, key_len, true, &bad), *value = NULL;

        if (key)
                value = eq ? decode(eq + 1, n - key_len - 1, true, &bad) : mem_strdup("");
        if (bad)
                return err_set(err, BLD_E_INVALID, "invalid escape in the query of a git URL");
        if (!key || !value)
                return err_nomem(err, "git URL");
        if (strv_has(&q->keys, key))
                return err_set(err, BLD_E_INVALID, "query \"%.100s\" has multiple values", key);
        if (strv_add(&q->keys, key) < 0)
                return err_nomem(err, "git URL");
        return set_key(g, q, key, value, err);
}

static int set_prefixed(struct giturl *g, const char *prefix, const char *name, struct bld_err *err)
{
        AUTO_FREE char *full = NULL;

        if (asprintf(&full, "%s%s", str_has_prefix(name, prefix) ? "" : prefix, name) < 0) {
                full = NULL;
                return err_nomem(err, "git URL");
        }
        return set(&g->ref, "ref", full, err);
}

static int read_query(struct giturl *g, const struct parts *p, struct bld_err *err)
{
        AUTO(query_done) struct query q = {.tag = NULL};
        const char *s = p->query, *end = s ? s + p->query_len : s;
        int r = 0;

        while (s < end && r == 0) {
                const char *amp = memchr(s, '&', (size_t)(end - s));
                size_t n = (size_t)((amp ? amp : end) - s);

                if (n > 0)
                        r = read_field(g, &q, s, n, err);
                s += n + (amp != NULL);
        }
        if (r == 0 && q.tag)
                r = set_prefixed(g, "refs/tags/", q.tag, err);
        if (r == 0 && q.branch && q.tag)
                return err_set(err, BLD_E_INVALID, "branch conflicts with tag");
        if (r == 0 && q.branch)
                r = set_prefixed(g, "refs/heads/", q.branch, err);
        return r;
}

/* REF[:SUBDIR]; the folder cannot lead out of the repository. */
static int read_fragment(struct giturl *g, const char *fragment, bool escaped, struct bld_err *err)
{
        bool bad = false;
        AUTO_FREE char *text = NULL, *rooted = NULL, *clean = NULL;
        char *colon;

        if (!fragment || !*fragment)
                return 0;
        text = escaped ? decode(fragment, strlen(fragment), false, &bad) : mem_strdup(fragment);
        if (bad)
                return err_set(err, BLD_E_INVALID, "invalid escape in the fragment of a git URL");
        if (!text)
                return err_nomem(err, "git URL");
        colon = strchr(text, ':');
        if (colon)
                *colon = '\0';
        if (asprintf(&rooted, "/%s", colon ? colon + 1 : "") < 0)
                rooted = NULL;
        clean = rooted ? path_clean(rooted) : NULL;
        if (!clean)
                return err_nomem(err, "git URL");
        g->ref = mem_strdup(text);
        g->subdir = mem_strdup(clean + 1);
        return g->ref && g->subdir ? 0 : err_nomem(err, "git URL");
}

static int fill_empty(struct giturl *g, struct bld_err *err)
{
        char **const texts[] = {&g->ref, &g->subdir, &g->checksum, &g->mtime};

        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                if (!*texts[i])
                        *texts[i] = mem_strdup("");
                if (!*texts[i])
                        return err_nomem(err, "git URL");
        }
        return 0;
}

/* Control bytes and blanks are in no URL; git would take a leading dash for an option. */
static bool is_clean(const char *s)
{
        for (const char *c = s; *c; c++)
                if ((unsigned char)*c <= ' ' || *c == 0x7f)
                        return false;
        return *s != '-';
}

int giturl_parse(const char *s, struct giturl *ret, struct bld_err *err)
{
        AUTO(giturl_done) struct giturl g = {.keep_git_dir = -1, .submodules = -1};
        struct parts p = {.path = NULL};
        int r;

        if (strlen(s) > URL_MAX || str_has_prefix(s, "./") || str_has_prefix(s, "../") ||
            !locate(s, &g, &p))
                return 0;
        if (!is_clean(s))
                return err_set(err, BLD_E_INVALID, "a git URL has no blanks or control characters");
        g.remote = mem_strndup(s, p.remote_len);
        if (!g.remote)
                return err_nomem(err, "git URL");
        r = read_fragment(&g, p.fragment, scheme_len(s) || g.like_path, err);
        if (r == 0)
                r = read_query(&g, &p, err);
        if (r == 0)
                r = fill_empty(&g, err);
        if (r < 0)
                return r;
        *ret = g;
        memset(&g, 0, sizeof(g));
        return 1;
}
