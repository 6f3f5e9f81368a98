/* USER against the image's passwd and group files: pure text in, ids out. The files are the image's
 * and hostile: lines that do not parse are skipped, as libc does. */
#include <errno.h>
#include <stdio.h>

#include "base/num.h"
#include "runtime/runtime_priv.h"

#define GROUPS_MAX 65536

/* Split a line at ':' into at most n fields; the count found. line is changed. */
static size_t fields(char *line, char **v, size_t n)
{
        size_t i = 0;

        while (i < n) {
                v[i++] = line;
                line = strchr(line, ':');
                if (!line)
                        break;
                *line++ = '\0';
        }
        return i;
}

struct lines {
        const char *next;
        char buf[65536];
};

/* Next line into buf; lines longer than that are no entries. */
static bool next_line(struct lines *l)
{
        while (l->next && *l->next) {
                size_t n = strcspn(l->next, "\n");
                const char *p = l->next;
                l->next += n + (p[n] == '\n');
                if (n >= sizeof(l->buf))
                        continue;
                memcpy(l->buf, p, n);
                l->buf[n] = '\0';
                return true;
        }
        return false;
}

struct account {
        char *name; /* malloc'ed; NULL when there is no entry */
        char *home;
        uint32_t uid, gid;
};

static void account_done(struct account *a)
{
        free(a->name);
        free(a->home);
}

/* First entry with this name, or (name NULL) this uid. 1, 0 or NOMEM. */
static int find_account(const char *passwd, const char *name, uint32_t uid, struct account *ret,
                        struct bld_err *err)
{
        AUTO_FREE struct lines *l = mem_alloc(sizeof(*l));

        if (!l)
                return err_nomem(err, "read /etc/passwd");
        l->next = passwd;
        while (next_line(l)) {
                char *f[7] = {NULL};
                uint64_t u, g;
                if (fields(l->buf, f, 7) < 4 || !parse_u64(f[2], 0, UINT32_MAX - 1, &u) ||
                    !parse_u64(f[3], 0, UINT32_MAX - 1, &g))
                        continue;
                if (name ? !str_eq(f[0], name) : u != uid)
                        continue;
                ret->uid = (uint32_t)u;
                ret->gid = (uint32_t)g;
                ret->name = mem_strdup(f[0]);
                ret->home = mem_strdup(f[5] ? f[5] : "");
                return ret->name && ret->home ? 1 : err_nomem(err, "read /etc/passwd");
        }
        return 0;
}

static int find_group(const char *group, const char *name, uint32_t *ret, struct bld_err *err)
{
        AUTO_FREE struct lines *l = mem_alloc(sizeof(*l));

        if (!l)
                return err_nomem(err, "read /etc/group");
        l->next = group;
        while (next_line(l)) {
                char *f[4] = {NULL};
                uint64_t g;
                if (fields(l->buf, f, 4) < 3 || !parse_u64(f[2], 0, UINT32_MAX - 1, &g))
                        continue;
                if (str_eq(f[0], name)) {
                        *ret = (uint32_t)g;
                        return 1;
                }
        }
        return 0;
}

static bool is_member(const char *members, const char *name)
{
        size_t n = strlen(name);

        for (const char *p = members; p && *p;) {
                size_t len = strcspn(p, ",");
                if (len == n && strncmp(p, name, n) == 0)
                        return true;
                p += len + (p[len] == ',');
        }
        return false;
}

static int add_group(struct ident *id, uint32_t gid, struct bld_err *err)
{
        uint32_t *v;

        for (size_t i = 0; i < id->ngroups; i++)
                if (id->groups[i] == gid)
                        return 0;
        if (id->ngroups >= GROUPS_MAX)
                return err_set(err, BLD_E_LIMIT, "a user of more than %d groups", GROUPS_MAX);
        v = mem_realloc(id->groups, (id->ngroups + 1) * sizeof(*v));
        if (!v)
                return err_nomem(err, "read /etc/group");
        id->groups = v;
        v[id->ngroups++] = gid;
        return 0;
}

static int add_memberships(struct ident *id, const char *group, const char *name,
                           struct bld_err *err)
{
        AUTO_FREE struct lines *l = mem_alloc(sizeof(*l));

        if (!l)
                return err_nomem(err, "read /etc/group");
        l->next = group;
        while (next_line(l)) {
                char *f[4] = {NULL};
                uint64_t g;
                if (fields(l->buf, f, 4) < 4 || !parse_u64(f[2], 0, UINT32_MAX - 1, &g))
                        continue;
                if (is_member(f[3], name) && add_group(id, (uint32_t)g, err) < 0)
                        return err ? err->code : BLD_E_NOMEM;
        }
        return 0;
}

/* A number is an id and never a name, as in the peers; it needs no entry. */
static int resolve_user(const char *user, const char *passwd, struct account *a, struct ident *id,
                        struct bld_err *err)
{
        uint64_t n = 0;
        bool number = !*user || parse_u64(user, 0, UINT32_MAX - 1, &n);
        int r = find_account(passwd, number ? NULL : user, (uint32_t)n, a, err);

        if (r < 0)
                return r;
        if (r == 0 && !number)
                return err_set(err, BLD_E_INVALID,
                               "unable to find user %s: no matching entries in passwd file", user);
        id->uid = r ? a->uid : (uint32_t)n;
        id->gid = r ? a->gid : 0;
        return 0;
}

static int resolve_group(const char *name, const char *group, struct ident *id, struct bld_err *err)
{
        uint64_t n;
        int r;

        if (parse_u64(name, 0, UINT32_MAX - 1, &n)) {
                id->gid = (uint32_t)n;
                return 0;
        }
        r = find_group(group, name, &id->gid, err);
        if (r == 0)
                return err_set(err, BLD_E_INVALID,
                               "unable to find group %s: no matching entries in group file", name);
        return r < 0 ? r : 0;
}

void ident_done(struct ident *id)
{
        free(id->groups);
        free(id->home);
        memset(id, 0, sizeof(*id));
}

static int resolve(char *user, const char *group_name, const char *passwd, const char *group,
                   struct ident *id, struct bld_err *err)
{
        AUTO(account_done) struct account a = {0};
        int r = resolve_user(user, passwd, &a, id, err);

        if (r < 0)
                return r;
        if (group_name) {
                r = resolve_group(group_name, group, id, err);
                if (r == 0)
                        r = add_group(id, id->gid, err);
        } else {
                r = add_group(id, id->gid, err);
                if (r == 0 && a.name)
                        r = add_memberships(id, group, a.name, err);
        }
        if (r < 0)
                return r;
        id->home = mem_strdup(a.home && *a.home ? a.home : id->uid == 0 ? "/root" : "/");
        return id->home ? 0 : err_nomem(err, "look up the step's user");
}

int ident_resolve(const char *user, const char *passwd, const char *group, struct ident *ret,
                  struct bld_err *err)
{
        AUTO(ident_done) struct ident id = {0};
        AUTO_FREE char *name = mem_strdup(user ? user : "");
        char *colon;
        int r;

        if (!name)
                return err_nomem(err, "look up the step's user");
        colon = strchr(name, ':');
        if (colon)
                *colon++ = '\0';
        r = resolve(name, colon && *colon ? colon : NULL, passwd, group, &id, err);
        if (r < 0)
                return r;
        *ret = id;
        memset(&id, 0, sizeof(id));
        return 0;
}
