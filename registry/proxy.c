/* Which proxy, by the environment. libcurl would read it too, but not the upper-case HTTP_PROXY
 * that everybody sets, and not "host:port" in NO_PROXY. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <arpa/inet.h>

#include "base/num.h"
#include "registry/client_priv.h"

static const char *env2(const char *lower, const char *upper)
{
        const char *v = getenv(lower);

        if (!v || !*v)
                v = getenv(upper);
        return v && *v ? v : NULL;
}

static bool prefix_eq(const unsigned char *a, const unsigned char *b, unsigned bits)
{
        unsigned rest = bits % 8;

        if (memcmp(a, b, bits / 8) != 0)
                return false;
        return rest == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)) == 0;
}

/* "10.0.0.0/8" against a literal address. */
static bool in_cidr(const char *entry, const char *host)
{
        unsigned char a[16], b[16];
        char net[64];
        const char *slash = strchr(entry, '/');
        uint64_t bits;

        if (!slash || (size_t)(slash - entry) >= sizeof(net))
                return false;
        memcpy(net, entry, (size_t)(slash - entry));
        net[slash - entry] = 0;
        if (inet_pton(AF_INET, net, a) == 1 && inet_pton(AF_INET, host, b) == 1)
                return parse_u64(slash + 1, 0, 32, &bits) && prefix_eq(a, b, (unsigned)bits);
        if (inet_pton(AF_INET6, net, a) == 1 && inet_pton(AF_INET6, host, b) == 1)
                return parse_u64(slash + 1, 0, 128, &bits) && prefix_eq(a, b, (unsigned)bits);
        return false;
}

/* "example.com" and ".example.com" match the name and what ends in it. */
static bool entry_matches(const char *entry, const char *name, const char *host)
{
        size_t n, hn = strlen(host);

        if (strcmp(entry, "*") == 0 || strcasecmp(entry, name) == 0 || in_cidr(entry, host))
                return true;
        entry += *entry == '.';
        n = strlen(entry);
        if (n == 0 || n > hn || strcasecmp(host + hn - n, entry) != 0)
                return false;
        return n == hn || host[hn - n - 1] == '.';
}

static bool excluded(const char *list, const char *name)
{
        char host[256];
        size_t n = strlen(name);
        const char *close = strrchr(name, ']');
        const char *colon = strrchr(close ? close : name, ':');
        bool brackets = name[0] == '[' && close;

        if (colon)
                n = (size_t)(colon - name);
        if (brackets) {
                name++;
                n -= 2;
        }
        if (n >= sizeof(host))
                return false;
        memcpy(host, name, n);
        host[n] = 0;
        name -= brackets;
        for (const char *p = list; *p;) {
                char entry[256];
                size_t len;

                p += strspn(p, ", \t");
                len = strcspn(p, ", \t");
                if (len > 0 && len < sizeof(entry)) {
                        memcpy(entry, p, len);
                        entry[len] = 0;
                        if (entry_matches(entry, name, host))
                                return true;
                }
                p += len;
        }
        return false;
}

char *reg_proxy_for(const struct reg_client *c UNUSED, const struct reg_host *h, bool https)
{
        const char *no = env2("no_proxy", "NO_PROXY"), *proxy;

        if (h->loopback || (no && excluded(no, h->name)))
                return mem_strdup("");
        if (https)
                proxy = env2("https_proxy", "HTTPS_PROXY");
        else if (getenv("REQUEST_METHOD")) /* a CGI program: HTTP_PROXY is the client's header */
                proxy = getenv("http_proxy");
        else
                proxy = env2("http_proxy", "HTTP_PROXY");
        if (!proxy || !*proxy)
                proxy = env2("all_proxy", "ALL_PROXY");
        return mem_strdup(proxy ? proxy : "");
}
