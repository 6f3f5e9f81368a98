#include "registry/url_priv.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"

void reg_url_done(struct reg_url *u)
{
        free(u->host);
        free(u->rest);
        *u = (struct reg_url){0};
}

int reg_url_copy(const struct reg_url *u, struct reg_url *ret, struct bld_err *err)
{
        AUTO_URL struct reg_url n = *u;

        n.host = mem_strdup(u->host);
        n.rest = mem_strdup(u->rest);
        if (!n.host || !n.rest)
                return err_nomem(err, "copy a URL");
        *ret = n;
        n = (struct reg_url){0};
        return 0;
}

static int bad_url(struct bld_err *err, const char *s, const char *why)
{
        AUTO_SB struct sb b = SB_INIT(4096);
        const char *q = strchr(s, '?');
        size_t n = q ? (size_t)(q - s) : strlen(s);

        /* the query may be a signature: never shown */
        sb_escaped(&b, s, MIN(n, 200));
        return err_set(err, BLD_E_INVALID, "bad URL \"%s\": %s", sb_text(&b), why);
}

/* The characters are few on purpose: with no '@', '\\', '%' or '#' in an authority there is only
 * one way to read it, ours and curl's. */
static bool host_ok(const char *s, size_t n)
{
        if (n == 0 || n > 255 || s[0] == '.')
                return false;
        if (s[0] == '[') {
                if (n < 4 || s[n - 1] != ']')
                        return false;
                for (size_t i = 1; i < n - 1; i++)
                        if (!isxdigit((unsigned char)s[i]) && s[i] != ':' && s[i] != '.')
                                return false;
                return true;
        }
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char)s[i]) && !strchr(".-_", s[i]))
                        return false;
        return true;
}

static int parse_authority(const char *s, const char *a, size_t n, struct reg_url *u,
                           struct bld_err *err)
{
        char num[8];
        uint64_t port;
        size_t hn = n;

        for (size_t i = n; i > 0 && a[i - 1] != ']'; i--)
                if (a[i - 1] == ':')
                        hn = i - 1;
        if (!host_ok(a, hn))
                return bad_url(err, s, "host not understood");
        u->port = u->https ? 443 : 80;
        if (hn < n && hn + 1 < n) {
                if (n - hn - 1 >= sizeof(num))
                        return bad_url(err, s, "port out of range");
                memcpy(num, a + hn + 1, n - hn - 1);
                num[n - hn - 1] = 0;
                if (!parse_u64(num, 1, 65535, &port))
                        return bad_url(err, s, "port out of range");
                u->port = (unsigned)port;
                u->has_port = true;
        }
        u->host = mem_strndup(a, hn);
        if (!u->host)
                return err_nomem(err, "parse a URL");
        for (char *p = u->host; *p; p++)
                *p = (char)tolower((unsigned char)*p);
        return 0;
}

int reg_url_parse(const char *s, struct reg_url *ret, struct bld_err *err)
{
        AUTO_URL struct reg_url u = {0};
        const char *a, *end, *frag;
        int r;

        if (strlen(s) > REG_URL_MAX)
                return bad_url(err, s, "too long");
        for (const char *p = s; *p; p++) {
                unsigned char c = (unsigned char)*p;

                /* CR and LF would end the request line */
                if (c <= 0x20 || c == 0x7f || c == '\\')
                        return bad_url(err, s, "contains a forbidden character");
        }
        if (strncasecmp(s, "https://", 8) == 0) {
                u.https = true;
                a = s + 8;
        } else if (strncasecmp(s, "http://", 7) == 0) {
                a = s + 7;
        } else {
                return bad_url(err, s, "neither http nor https");
        }
        end = a + strcspn(a, "/?#");
        if (memchr(a, '@', (size_t)(end - a)))
                return bad_url(err, s, "contains user information");
        r = parse_authority(s, a, (size_t)(end - a), &u, err);
        if (r < 0)
                return r;
        frag = end + strcspn(end, "#");
        {
                AUTO_SB struct sb rest = SB_INIT(REG_URL_MAX + 2);

                if (*end != '/')
                        sb_char(&rest, '/');
                sb_add(&rest, end, (size_t)(frag - end));
                u.rest = sb_take(&rest);
        }
        if (!u.rest)
                return err_nomem(err, "parse a URL");
        *ret = u;
        u = (struct reg_url){0};
        return 0;
}

/* Does the reference start "host[:port]/", repeating the authority of the base? */
static bool repeats_authority(const struct reg_url *base, const char *ref)
{
        size_t n = strcspn(ref, "/");
        size_t hn = strlen(base->host);
        char port[16];

        if (ref[n] != '/' || n < hn || strncasecmp(ref, base->host, hn) != 0)
                return false;
        if (n == hn)
                return true;
        (void)snprintf(port, sizeof(port), ":%u", base->port);
        return n - hn == strlen(port) && strncmp(ref + hn, port, n - hn) == 0;
}

int reg_url_resolve(const struct reg_url *base, const char *ref, struct reg_url *ret,
                    struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(2 * REG_URL_MAX);
        size_t scheme = strspn(ref, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789+-.");
        int r;

        if (!*ref)
                return err_set(err, BLD_E_INVALID, "empty URL");
        if (scheme > 0 && strncmp(ref + scheme, "://", 3) == 0)
                return reg_url_parse(ref, ret, err);
        if (str_has_prefix(ref, "//")) {
                sb_fmt(&b, "%s:%s", base->https ? "https" : "http", ref);
        } else if (repeats_authority(base, ref)) {
                sb_fmt(&b, "%s://%s", base->https ? "https" : "http", ref);
        } else {
                const char *path_end = base->rest + strcspn(base->rest, "?");

                reg_url_origin(base, &b);
                if (*ref == '?') {
                        sb_add(&b, base->rest, (size_t)(path_end - base->rest));
                } else if (*ref != '/') {
                        while (path_end > base->rest && path_end[-1] != '/')
                                path_end--;
                        sb_add(&b, base->rest, (size_t)(path_end - base->rest));
                }
                sb_str(&b, ref);
        }
        r = sb_check(&b, "resolve a URL", err);
        if (r < 0)
                return r;
        return reg_url_parse(sb_text(&b), ret, err);
}

void reg_url_origin(const struct reg_url *u, struct sb *out)
{
        sb_fmt(out, "%s://%s", u->https ? "https" : "http", u->host);
        if (u->port != (u->https ? 443u : 80u))
                sb_fmt(out, ":%u", u->port);
}

void reg_url_add(const struct reg_url *u, struct sb *out)
{
        reg_url_origin(u, out);
        sb_str(out, u->rest);
}

bool reg_url_same_origin(const struct reg_url *a, const struct reg_url *b)
{
        return a->https == b->https && a->port == b->port && str_eq(a->host, b->host);
}

void reg_url_encode(struct sb *out, const char *s)
{
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;

                if (isalnum(c) || strchr("-._~", c))
                        sb_char(out, (char)c);
                else
                        sb_fmt(out, "%%%02X", c);
        }
}

static enum reg_addr class4(uint32_t a)
{
        static const struct {
                uint32_t net;
                unsigned bits;
                enum reg_addr class;
        } table[] = {
                {0x7f000000, 8, REG_ADDR_LOOPBACK}, {0x00000000, 8, REG_ADDR_LOOPBACK},
                {0xa9fe0000, 16, REG_ADDR_LINK},    {0x0a000000, 8, REG_ADDR_PRIVATE},
                {0xac100000, 12, REG_ADDR_PRIVATE}, {0xc0a80000, 16, REG_ADDR_PRIVATE},
                {0x64400000, 10, REG_ADDR_PRIVATE}, {0xe0000000, 3, REG_ADDR_LINK},
        };

        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if ((a ^ table[i].net) >> (32 - table[i].bits) == 0)
                        return table[i].class;
        return REG_ADDR_PUBLIC;
}

static enum reg_addr class6(const unsigned char b[16])
{
        static const unsigned char zero[16], mapped[12] = {[10] = 0xff, [11] = 0xff};
        static const unsigned char nat64[12] = {0x00, 0x64, 0xff, 0x9b};
        /* the metadata address of one cloud, inside the private range but worse */
        static const unsigned char meta[16] = {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54};

        if (memcmp(b, mapped, 12) == 0 || memcmp(b, nat64, 12) == 0)
                return class4((uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 |
                              b[15]);
        if (memcmp(b, zero, 15) == 0 && b[15] <= 1)
                return REG_ADDR_LOOPBACK;
        if (memcmp(b, meta, 16) == 0)
                return REG_ADDR_LINK;
        if ((b[0] == 0xfe && (b[1] & 0x80)) || b[0] == 0xff)
                return REG_ADDR_LINK;
        if ((b[0] & 0xfe) == 0xfc)
                return REG_ADDR_PRIVATE;
        return REG_ADDR_PUBLIC;
}

enum reg_addr reg_addr_class(const char *host)
{
        struct in6_addr a6;
        struct in_addr a4;
        char buf[64];
        size_t n = strlen(host);

        if (strcasecmp(host, "localhost") == 0 || strcasecmp(host, "localhost.") == 0)
                return REG_ADDR_LOOPBACK;
        if (n >= 2 && host[0] == '[' && host[n - 1] == ']' && n - 2 < sizeof(buf)) {
                memcpy(buf, host + 1, n - 2);
                buf[n - 2] = 0;
                host = buf;
        }
        if (inet_pton(AF_INET6, host, &a6) == 1)
                return class6(a6.s6_addr);
        /* inet_aton reads 0x7f.1 and 2130706433 as curl does */
        if (inet_aton(host, &a4))
                return class4(ntohl(a4.s_addr));
        return REG_ADDR_NAME;
}

bool reg_addr_allowed(enum reg_addr from, enum reg_addr to)
{
        if (to == REG_ADDR_NAME || to == REG_ADDR_PUBLIC || to == from)
                return true;
        return from == REG_ADDR_LOOPBACK && to == REG_ADDR_PRIVATE;
}
