#include "registry/conf_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/toml.h"
#include "registry/url_priv.h"

#define FILE_MAX (4u << 20)
#define ENTRIES_MAX 10000

static void entry_done(struct reg_conf_entry *e)
{
        for (size_t i = 0; i < e->mirrors.n; i++)
                free(e->mirrors.v[i].location);
        reg_conf_mirrors_done(&e->mirrors);
        free(e->prefix);
        free(e->location);
        *e = (struct reg_conf_entry){0};
}

void reg_conf_init(struct reg_conf *f)
{
        *f = (struct reg_conf){0};
        map_init(&f->aliases, free);
}

void reg_conf_done(struct reg_conf *f)
{
        for (size_t i = 0; i < f->entries.n; i++)
                entry_done(&f->entries.v[i]);
        reg_conf_entries_done(&f->entries);
        map_done(&f->aliases);
}

/* host[:port][/path], as it may stand in a URL. A trailing slash means nothing. */
static int location(const char *s, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb url = SB_INIT(REG_URL_MAX);
        AUTO_URL struct reg_url u = {0};
        size_t n = strlen(s);

        while (n > 0 && s[n - 1] == '/')
                n--;
        sb_fmt(&url, "https://%.*s", (int)MIN(n, (size_t)REG_URL_MAX), s);
        if (n == 0 || memchr(s, '?', n) || memchr(s, '#', n) || strstr(s, "://") ||
            reg_url_parse(sb_text(&url), &u, NULL) < 0)
                return err_set(err, BLD_E_INVALID, "\"%.200s\" is not HOST[:PORT][/PATH]", s);
        *ret = mem_strndup(s, n);
        return *ret ? 0 : err_nomem(err, "read registries.conf");
}

static int read_prefix(const struct js *j, struct reg_conf_entry *e, struct bld_err *err)
{
        const char *prefix = js_get_str(j, "prefix"), *loc = js_get_str(j, "location");
        int r = 0;

        if (loc && *loc)
                r = location(loc, &e->location, err);
        if (r < 0)
                return r;
        if (!prefix || !*prefix)
                prefix = e->location;
        if (!prefix)
                return err_set(err, BLD_E_INVALID, "a registry has neither prefix nor location");
        if (strncmp(prefix, "*.", 2) != 0)
                return location(prefix, &e->prefix, err);
        if (strpbrk(prefix, "/:") || !prefix[2])
                return err_set(err, BLD_E_INVALID,
                               "\"%.200s\": behind \"*.\" a name without port and path is needed",
                               prefix);
        e->prefix = mem_strdup(prefix);
        return e->prefix ? 0 : err_nomem(err, "read registries.conf");
}

static int read_mirror(const struct js *j, bool digests, struct reg_conf_mirrors *out,
                       struct bld_err *err)
{
        static const char *const uses[] = {"all", "digest-only", "tag-only"};
        const char *loc = js_get_str(j, "location"), *use = js_get_str(j, "pull-from-mirror");
        struct reg_conf_mirror *m = reg_conf_mirrors_push(out);

        if (!m)
                return err_nomem(err, "read registries.conf");
        *m = (struct reg_conf_mirror){.insecure = js_get_bool(j, "insecure", false)};
        if (digests && use && *use)
                return err_set(err, BLD_E_INVALID,
                               "pull-from-mirror and mirror-by-digest-only exclude each other");
        m->use = digests ? REG_CONF_DIGESTS : REG_CONF_ALL;
        for (size_t i = 0; use && *use; i++) {
                if (i == ARRAY_LEN(uses))
                        return err_set(err, BLD_E_INVALID,
                                       "pull-from-mirror = \"%.40s\": not one "
                                       "of all, digest-only, tag-only",
                                       use);
                if (strcmp(use, uses[i]) == 0) {
                        m->use = (enum reg_conf_use)i;
                        break;
                }
        }
        if (!loc)
                return err_set(err, BLD_E_INVALID, "a mirror has no location");
        return location(loc, &m->location, err);
}

static int read_entry(const struct js *j, struct reg_conf_entry *e, struct bld_err *err)
{
        bool digests = js_get_bool(j, "mirror-by-digest-only", false);
        const struct js *mirrors = js_get(j, "mirror");
        int r = read_prefix(j, e, err);

        e->insecure = js_get_bool(j, "insecure", false);
        e->blocked = js_get_bool(j, "blocked", false);
        for (size_t i = 0; r == 0 && i < js_len(mirrors); i++)
                r = read_mirror(js_at(mirrors, i), digests, &e->mirrors, err);
        return r;
}

/* A later file replaces what an earlier one says of a prefix. */
static int put_entry(struct reg_conf *f, struct reg_conf_entry *e, struct bld_err *err)
{
        struct reg_conf_entry *slot = NULL;

        for (size_t i = 0; i < f->entries.n; i++)
                if (strcasecmp(f->entries.v[i].prefix, e->prefix) == 0)
                        slot = &f->entries.v[i];
        if (slot)
                entry_done(slot);
        else if (f->entries.n >= ENTRIES_MAX || !(slot = reg_conf_entries_push(&f->entries)))
                return err_nomem(err, "read registries.conf");
        *slot = *e;
        *e = (struct reg_conf_entry){0};
        return 0;
}

static int read_aliases(struct reg_conf *f, const struct js *aliases, struct bld_err *err)
{
        for (void *it = js_iter(aliases); it; it = js_iter_next(aliases, it)) {
                const char *to = js_str(js_iter_value(it));
                char *text;

                if (!to || strpbrk(to, "@ \t\n"))
                        return err_set(err, BLD_E_INVALID, "alias \"%.100s\" is not HOST/PATH",
                                       js_iter_key(it));
                text = mem_strdup(to);
                if (!text || map_set(&f->aliases, js_iter_key(it), text) < 0) {
                        free(text);
                        return err_nomem(err, "read registries.conf");
                }
        }
        return 0;
}

int reg_conf_add(struct reg_conf *f, const char *text, size_t len, struct bld_err *err)
{
        AUTO_JS struct js *doc = NULL;
        const struct js *list;
        int r = toml_parse(text, len, &doc, err);

        if (r < 0)
                return r;
        if (js_is_obj(js_get(doc, "registries")))
                return err_try(err,
                               err_set(err, BLD_E_INVALID,
                                       "version 1 of the format ([registries.search] and its "
                                       "like) is not read"),
                               "write [[registry]] tables, man 5 containers-registries.conf");
        list = js_get(doc, "registry");
        for (size_t i = 0; i < js_len(list); i++) {
                struct reg_conf_entry e = {0};

                r = read_entry(js_at(list, i), &e, err);
                if (r == 0)
                        r = put_entry(f, &e, err);
                entry_done(&e);
                if (r < 0)
                        return r;
        }
        return read_aliases(f, js_get(doc, "aliases"), err);
}

/* 1 read, 0 not there. */
static int add_file(struct reg_conf *f, const char *path, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(FILE_MAX);
        struct bld_err why = BLD_ERR_INIT;
        int r = file_read(AT_FDCWD, path, &text, &why);

        if (r < 0 && (why.code == BLD_E_NOT_FOUND || why.sys == ENOTDIR || why.sys == EACCES))
                return 0;
        if (r < 0) {
                err_copy(err, &why);
                return r;
        }
        r = reg_conf_add(f, sb_text(&text), text.len, err);
        return r < 0 ? err_wrap(err, r, "%s", path) : 1;
}

static int add_folder(struct reg_conf *f, const char *dir, struct bld_err *err)
{
        AUTO_STRV struct strv names = {0};
        int r = path_names(dir, &names, err);

        for (size_t i = 0; r >= 0 && i < names.n; i++) {
                AUTO_FREE char *path = path_join(dir, names.v[i]);

                if (!path)
                        return err_nomem(err, "read registries.conf");
                if (str_has_suffix(path, ".conf"))
                        r = add_file(f, path, err);
        }
        return MIN(r, 0);
}

int reg_conf_load(struct reg_conf *f, struct bld_err *err)
{
        static const char system[] = "/etc/containers";
        const char *env = getenv("CONTAINERS_REGISTRIES_CONF"), *home = getenv("HOME");
        AUTO_FREE char *user = home && *home == '/' ? path_join(home, ".config/containers") : NULL;
        const char *dirs[] = {user, system};
        int r = 0;

        if (env && *env) {
                r = add_file(f, env, err);
                return r == 0 ? err_set(err, BLD_E_NOT_FOUND,
                                        "$CONTAINERS_REGISTRIES_CONF: no file \"%s\"", env)
                              : MIN(r, 0);
        }
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(dirs); i++) {
                AUTO_FREE char *file = dirs[i] ? path_join(dirs[i], "registries.conf") : NULL;

                if (file)
                        r = add_file(f, file, err);
        }
        for (size_t i = ARRAY_LEN(dirs); r >= 0 && i-- > 0;) {
                AUTO_FREE char *dir = dirs[i] ? path_join(dirs[i], "registries.conf.d") : NULL;

                if (dir)
                        r = add_folder(f, dir, err);
        }
        return MIN(r, 0);
}

/* Length of the part of the name that the prefix stands for; 0: none. */
static size_t covers(const char *prefix, const char *name)
{
        size_t n = strlen(prefix), host = strcspn(name, "/:");

        if (strncmp(prefix, "*.", 2) == 0) {
                n--;
                return host > n && strncasecmp(name + host - n, prefix + 1, n) == 0 ? host : 0;
        }
        if (strncasecmp(name, prefix, n) != 0 || (name[n] && !strchr("/:", name[n])))
                return 0;
        return n;
}

const struct reg_conf_entry *reg_conf_find(const struct reg_conf *f, const char *name,
                                           const char **ret_rest)
{
        const struct reg_conf_entry *best = NULL;
        size_t most = 0, length = 0;

        for (size_t i = 0; i < f->entries.n; i++) {
                const struct reg_conf_entry *e = &f->entries.v[i];
                size_t n = covers(e->prefix, name), worth = strlen(e->prefix);

                /* a wildcard is less than what it could stand for */
                if (n == 0 || (best && (*e->prefix == '*') > (*best->prefix == '*')))
                        continue;
                if (best && (*e->prefix == '*') == (*best->prefix == '*') && worth <= most)
                        continue;
                best = e;
                most = worth;
                length = n;
        }
        if (best)
                *ret_rest = name + length;
        return best;
}
