/* What the command line says about every RUN: entitlements, lines of /etc/hosts, limits. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/opt.h"
#include "builder/solve/run_opts_priv.h"

/* A step has the host's network, so the host is where the step itself is. */
#define HOST_GATEWAY "127.0.0.1"
#define RESOLV_MAX (64u << 10)

static int parse_allow(const struct bld_build_opts *o, struct run_allow *ret, struct bld_err *err)
{
        for (size_t i = 0; i < o->allow.n; i++) {
                const char *a = o->allow.v[i];

                if (strcmp(a, "network.host") == 0)
                        ret->host_network = true;
                else if (strcmp(a, "security.insecure") == 0)
                        ret->insecure = true;
                else if (strcmp(a, "buildx.local.delete") == 0)
                        ret->delete_local = true;
                else if (strcmp(a, "device") == 0 || str_has_prefix(a, "device="))
                        ret->device = true;
                else
                        return err_set(err, BLD_E_USAGE, "unknown entitlement --allow %.100s", a);
        }
        if (o->network && strcmp(o->network, "host") == 0 && !ret->host_network)
                return err_try(err, err_set(err, BLD_E_POLICY, "--network=host is not allowed"),
                               "bld build --allow network.host ...");
        return 0;
}

static bool is_address(const char *s)
{
        unsigned char addr[16];

        return inet_pton(AF_INET, s, addr) == 1 || inet_pton(AF_INET6, s, addr) == 1;
}

/* HOST:IP or HOST=IP; the address may stand in brackets. */
static int add_host(struct build *b, const char *text, struct bld_err *err)
{
        const char *sep = strpbrk(text, ":="), *ip = sep ? sep + 1 : "";
        size_t n = strlen(ip);
        AUTO_FREE char *name = sep ? mem_strndup(text, (size_t)(sep - text)) : NULL;
        AUTO_FREE char *plain = n > 2 && ip[0] == '[' && ip[n - 1] == ']'
                                        ? mem_strndup(ip + 1, n - 2)
                                        : mem_strdup(ip);

        if (!plain || (sep && !name))
                return err_nomem(err, "--add-host");
        if (!name || !*name || strpbrk(text, " \t\r\n"))
                return err_set(err, BLD_E_USAGE, "--add-host \"%.100s\" is not of the form HOST:IP",
                               text);
        if (strcmp(plain, "host-gateway") != 0 && !is_address(plain))
                return err_set(err, BLD_E_USAGE, "--add-host \"%.100s\": \"%.60s\" is no address",
                               text, plain);
        if (strv_add(&b->host_names, name) < 0 ||
            strv_add(&b->host_ips, is_address(plain) ? plain : HOST_GATEWAY) < 0)
                return err_nomem(err, "--add-host");
        return 0;
}

static int parse_hosts(struct build *b, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < b->o->add_hosts.n && r == 0; i++) {
                AUTO_STRV struct strv parts = {0};

                r = csv_split(b->o->add_hosts.v[i], &parts, err);
                if (r < 0)
                        return err_recode(err, BLD_E_USAGE);
                for (size_t k = 0; k < parts.n && r == 0; k++)
                        r = add_host(b, parts.v[k], err);
        }
        return r;
}

/* ---- name servers ---- */

/* The lines of the host's file that nothing on the command line stands for. */
static void keep_lines(const struct bld_build_opts *o, const char *text, struct sb *out)
{
        while (*text) {
                size_t n = strcspn(text, "\n"), word = strcspn(text, " \t\n");
                const struct bld_list *given = NULL;

                if (word == 10 && strncmp(text, "nameserver", word) == 0)
                        given = &o->dns;
                else if (word == 6 &&
                         (strncmp(text, "search", word) == 0 || strncmp(text, "domain", word) == 0))
                        given = &o->dns_search;
                else if (word == 7 && strncmp(text, "options", word) == 0)
                        given = &o->dns_options;
                if (!given || !given->n) {
                        sb_add(out, text, n);
                        sb_char(out, '\n');
                }
                text += n + (text[n] == '\n');
        }
}

static int add_words(const struct bld_list *words, const char *flag, const char *keyword,
                     struct sb *out, struct bld_err *err)
{
        for (size_t i = 0; i < words->n; i++) {
                if (!words->v[i][0] || strpbrk(words->v[i], " \t\r\n"))
                        return err_set(err, BLD_E_USAGE, "%s \"%.100s\" is not one word", flag,
                                       words->v[i]);
                sb_fmt(out, "%s%s", i ? " " : keyword, words->v[i]);
        }
        sb_str(out, words->n ? "\n" : "");
        return 0;
}

/* A server is on its own line, searches and options are one. */
static int parse_dns(struct build *b, struct bld_err *err)
{
        const struct bld_build_opts *o = b->o;
        AUTO_SB struct sb host = SB_INIT(RESOLV_MAX), out = SB_INIT(2 * RESOLV_MAX);
        bool no_search = o->dns_search.n == 1 && strcmp(o->dns_search.v[0], ".") == 0;
        int r = 0;

        if (!o->dns.n && !o->dns_search.n && !o->dns_options.n)
                return 0;
        r = file_read(AT_FDCWD, "/etc/resolv.conf", &host, err);
        if (r < 0 && r != BLD_E_NOT_FOUND)
                return r;
        if (r < 0)
                err_clear(err);
        keep_lines(o, r == 0 ? sb_text(&host) : "", &out);
        for (size_t i = 0; i < o->dns.n; i++) {
                if (!is_address(o->dns.v[i]))
                        return err_set(err, BLD_E_USAGE, "--dns \"%.100s\" is no address",
                                       o->dns.v[i]);
                sb_fmt(&out, "nameserver %s\n", o->dns.v[i]);
        }
        r = no_search ? 0 : add_words(&o->dns_search, "--dns-search", "search ", &out, err);
        r = r < 0 ? r : add_words(&o->dns_options, "--dns-option", "options ", &out, err);
        r = r < 0 ? r : sb_check(&out, "resolv.conf", err);
        if (r == 0)
                b->resolv_conf = sb_take(&out);
        return r;
}

/* ---- limits ---- */

static const struct {
        const char *name;
        int resource;
} limits[] = {
        {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
        {"data", RLIMIT_DATA},         {"fsize", RLIMIT_FSIZE},
        {"locks", RLIMIT_LOCKS},       {"memlock", RLIMIT_MEMLOCK},
        {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
        {"nofile", RLIMIT_NOFILE},     {"nproc", RLIMIT_NPROC},
        {"rss", RLIMIT_RSS},           {"rtprio", RLIMIT_RTPRIO},
        {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
        {"stack", RLIMIT_STACK},
};

static int limit_name(const char *name, struct rt_limit *ret, struct bld_err *err)
{
        const char *names[ARRAY_LEN(limits)], *near;

        for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
                names[i] = limits[i].name;
                if (strcmp(name, names[i]) == 0) {
                        ret->name = names[i];
                        ret->resource = limits[i].resource;
                        return 0;
                }
        }
        near = near_match(name, names, ARRAY_LEN(names), 3);
        (void)err_set(err, BLD_E_USAGE, "--ulimit: no limit is called \"%.60s\"", name);
        return near ? err_try(err, BLD_E_USAGE, "did you mean %s?", near) : BLD_E_USAGE;
}

/* A number, -1 for none. */
static bool limit_value(const char *s, uint64_t *ret)
{
        if (strcmp(s, "-1") != 0)
                return parse_u64(s, 0, INT64_MAX, ret);
        *ret = RLIM_INFINITY;
        return true;
}

/* NAME=SOFT[:HARD] */
static int parse_limit(const char *text, struct rt_limit *ret, struct bld_err *err)
{
        AUTO_FREE char *copy = mem_strdup(text);
        char *soft, *hard;
        int r;

        if (!copy)
                return err_nomem(err, "--ulimit");
        soft = strchr(copy, '=');
        if (soft)
                *soft++ = '\0';
        hard = soft ? strchr(soft, ':') : NULL;
        if (hard)
                *hard++ = '\0';
        if (!soft || !limit_value(soft, &ret->soft) || !limit_value(hard ? hard : soft, &ret->hard))
                return err_set(err, BLD_E_USAGE,
                               "--ulimit \"%.100s\" is not of the form NAME=SOFT[:HARD]", text);
        r = limit_name(copy, ret, err);
        if (r == 0 && ret->soft > ret->hard)
                return err_set(err, BLD_E_USAGE,
                               "--ulimit \"%.100s\": the soft limit is above the hard one", text);
        return r;
}

static size_t find_limit(const struct build *b, int resource)
{
        size_t i = 0;

        while (i < b->nlimits && b->limits[i].resource != resource)
                i++;
        return i;
}

static int by_resource(const void *a, const void *b)
{
        const struct rt_limit *x = a, *y = b;

        return x->resource - y->resource;
}

/* The last one given of a name counts; the order does not, so keys get them sorted. */
static int parse_limits(struct build *b, struct bld_err *err)
{
        for (size_t i = 0; i < b->o->ulimits.n; i++) {
                struct rt_limit l;
                size_t at;
                int r = parse_limit(b->o->ulimits.v[i], &l, err);

                if (r < 0)
                        return r;
                at = find_limit(b, l.resource);
                b->nlimits = MAX(b->nlimits, at + 1);
                b->limits[at] = l;
        }
        qsort(b->limits, b->nlimits, sizeof(b->limits[0]), by_resource);
        for (size_t i = 0; i < b->nlimits; i++) {
                char text[80];

                (void)snprintf(text, sizeof(text), "%s=%llu:%llu", b->limits[i].name,
                               (unsigned long long)b->limits[i].soft,
                               (unsigned long long)b->limits[i].hard);
                if (strv_add(&b->ulimits, text) < 0)
                        return err_nomem(err, "--ulimit");
        }
        return 0;
}

static int parse_scan(struct build *b, struct bld_err *err)
{
        const char *s = b->o->secret_scan;

        if (!s || strcmp(s, "warn") == 0)
                b->scan = SCAN_WARN;
        else if (strcmp(s, "off") == 0)
                b->scan = SCAN_OFF;
        else if (strcmp(s, "error") == 0)
                b->scan = SCAN_ERROR;
        else
                return err_set(err, BLD_E_USAGE,
                               "--secret-scan takes off, warn or error, not \"%.50s\"", s);
        return 0;
}

static int check_squash(const struct build *b, struct bld_err *err)
{
        const char *s = b->o->squash;

        if (!s || strcmp(s, "new") == 0 || strcmp(s, "all") == 0)
                return 0;
        return err_set(err, BLD_E_USAGE, "squash takes new or all, not \"%.50s\"", s);
}

int run_opts_parse(struct build *b, struct run_allow *ret, struct bld_err *err)
{
        int r = parse_allow(b->o, ret, err);

        if (r == 0)
                r = parse_hosts(b, err);
        if (r == 0)
                r = parse_dns(b, err);
        if (r == 0)
                r = parse_scan(b, err);
        if (r == 0)
                r = check_squash(b, err);
        return r < 0 ? r : parse_limits(b, err);
}

void run_opts_done(struct build *b)
{
        strv_done(&b->host_names);
        strv_done(&b->host_ips);
        strv_done(&b->ulimits);
        free(b->resolv_conf);
}
