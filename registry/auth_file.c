/* The auth file format that docker, podman and kubernetes share. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "registry/auth_priv.h"

#define HUB_KEY "https://index.docker.io/v1/"

void reg_secret_free(char *s)
{
        if (!s)
                return;
        explicit_bzero(s, strlen(s));
        free(s);
}

void reg_creds_free(struct reg_creds *k)
{
        if (!k)
                return;
        reg_secret_free(k->user);
        reg_secret_free(k->pass);
        reg_secret_free(k->identity);
        reg_secret_free(k->bearer);
        free(k->source);
        free(k);
}

bool reg_creds_any(const struct reg_creds *k)
{
        return k && (k->user || k->identity || k->bearer);
}

static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *reg_base64(const void *p, size_t n)
{
        const unsigned char *s = p;
        char *out, *o;

        if (n > SIZE_MAX / 2 || !(out = o = mem_alloc((n + 2) / 3 * 4 + 1)))
                return NULL;
        for (; n > 0; s += 3, n -= MIN(n, 3)) {
                unsigned v = (unsigned)s[0] << 16 | (n > 1 ? (unsigned)s[1] << 8 : 0) |
                             (n > 2 ? s[2] : 0u);

                *o++ = b64[v >> 18];
                *o++ = b64[v >> 12 & 63];
                *o++ = n > 1 ? b64[v >> 6 & 63] : '=';
                *o++ = n > 2 ? b64[v & 63] : '=';
        }
        *o = 0;
        return out;
}

bool reg_base64_decode(const char *s, struct sb *out)
{
        size_t n = strlen(s);

        while (n > 0 && isspace((unsigned char)s[n - 1]))
                n--;
        while (n > 0 && isspace((unsigned char)*s))
                s++, n--;
        if (n % 4 != 0)
                return false;
        for (size_t i = 0; i < n; i += 4) {
                unsigned v = 0, pad = 0;

                for (size_t k = 0; k < 4; k++) {
                        const char *at = s[i + k] ? strchr(b64, s[i + k]) : NULL;

                        if (s[i + k] == '=' && i + 4 == n && k >= 2)
                                pad++;
                        else if (!at || pad)
                                return false;
                        v = v << 6 | (at ? (unsigned)(at - b64) : 0);
                }
                sb_char(out, (char)(v >> 16));
                if (pad < 2)
                        sb_char(out, (char)(v >> 8));
                if (pad < 1)
                        sb_char(out, (char)v);
        }
        return !out->failed;
}

static bool is_hub(const char *host)
{
        return str_eq(host, "docker.io") || str_eq(host, "index.docker.io") ||
               str_eq(host, "registry-1.docker.io");
}

/* A key of `auths` as "host" or "host/path": a scheme goes, and with it everything from the first
 * slash (docker wrote such keys); the names of the Hub become one. */
char *reg_auth_key(const char *key)
{
        const char *s = key;
        bool scheme = false;
        size_t n;
        char *out;

        if (strncasecmp(s, "https://", 8) == 0 || strncasecmp(s, "http://", 7) == 0) {
                s = strstr(s, "//") + 2;
                scheme = true;
        }
        n = scheme ? strcspn(s, "/") : strlen(s);
        while (n > 0 && s[n - 1] == '/')
                n--;
        out = mem_strndup(s, n);
        if (!out)
                return NULL;
        n = strcspn(out, "/");
        for (size_t i = 0; i < n; i++)
                out[i] = (char)tolower((unsigned char)out[i]);
        if (n == strlen(out) && is_hub(out)) {
                free(out);
                return mem_strdup("docker.io");
        }
        return out;
}

const char *reg_auth_server(const char *key)
{
        return is_hub(key) ? HUB_KEY : key;
}

static int set_secret(char **dst, const char *s, struct bld_err *err)
{
        *dst = mem_strdup(s);
        return *dst ? 0 : err_nomem(err, "keep credentials");
}

/* "user:password" in base64 */
static int decode_auth(const char *auth, struct reg_creds *k, const struct reg_auth_query *q,
                       struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(64u << 10);
        const char *colon;
        int r = 0;

        if (!reg_base64_decode(auth, &b) || !(colon = b.len ? memchr(b.buf, ':', b.len) : NULL)) {
                /* not a word of what it says: it may be a password */
                if (q->warn)
                        q->warn(q->user, "an \"auth\" value is not base64 of user:password");
        } else {
                k->user = mem_strndup(b.buf, (size_t)(colon - b.buf));
                /* trailing NULs are padding of old versions: C strings end at the first */
                k->pass = mem_strdup(colon + 1);
                if (!k->user || !k->pass)
                        r = err_nomem(err, "keep credentials");
        }
        if (b.buf)
                explicit_bzero(b.buf, b.len);
        return r;
}

/* 1 when the entry holds anything. {} says "a store has it". */
static int read_entry(const struct js *e, const struct reg_auth_query *q, struct reg_creds **ret,
                      struct bld_err *err)
{
        AUTO(reg_creds_free_p) struct reg_creds *k = mem_zalloc(1, sizeof(*k));
        const char *auth = js_get_str(e, "auth"), *user = js_get_str(e, "username");
        const char *pass = js_get_str(e, "password"), *id = js_get_str(e, "identitytoken");
        const char *bearer = js_get_str(e, "registrytoken");
        int r = 0;

        if (!k)
                return err_nomem(err, "keep credentials");
        if (auth && *auth)
                r = decode_auth(auth, k, q, err);
        if (r == 0 && !k->user && user && *user && pass) {
                r = set_secret(&k->user, user, err);
                if (r == 0)
                        r = set_secret(&k->pass, pass, err);
        }
        if (r == 0 && id && *id)
                r = set_secret(&k->identity, id, err);
        if (r == 0 && bearer && *bearer)
                r = set_secret(&k->bearer, bearer, err);
        if (r < 0)
                return r;
        if (!reg_creds_any(k))
                return 0;
        *ret = TAKE_PTR(&k);
        return 1;
}

/* The entry for exactly this name, "host" or "host/path". */
static int find_name(const struct js *auths, const char *name, const struct reg_auth_query *q,
                     struct reg_creds **ret, struct bld_err *err)
{
        struct js *exact = js_get(auths, name);
        int r = exact ? read_entry(exact, q, ret, err) : 0;

        if (r != 0)
                return r;
        for (void *it = js_iter(auths); it; it = js_iter_next(auths, it)) {
                AUTO_FREE char *key = reg_auth_key(js_iter_key(it));

                if (exact && str_eq(js_iter_key(it), name))
                        continue; /* looked at already */
                if (!key)
                        return err_nomem(err, "read an auth file");
                if (!str_eq(key, name))
                        continue;
                r = read_entry(js_iter_value(it), q, ret, err);
                if (r != 0)
                        return r;
        }
        return 0;
}

/* host/ns/repo, then host/ns: a form of podman's that docker ignores. */
static int find_path(const struct js *auths, const char *host, const struct reg_auth_query *q,
                     struct reg_creds **ret, struct bld_err *err)
{
        AUTO_SB struct sb name = SB_INIT(8192);
        size_t hn = strlen(host);

        sb_fmt(&name, "%s/%s", host, q->path ? q->path : "");
        while (!name.failed && name.len > hn + 1) {
                int r = find_name(auths, sb_text(&name), q, ret, err);
                const char *slash;

                if (r != 0)
                        return r;
                slash = strrchr(sb_text(&name), '/');
                sb_cut(&name, (size_t)(slash - sb_text(&name)));
                if (name.len <= hn)
                        break;
        }
        return 0;
}

/* Under the name docker stored, then with a scheme, as some helpers keep it. */
int reg_helper_ask(const char *suffix, const char *host, reg_helper_fn helper, void *user,
                   struct reg_creds **ret, struct bld_err *err)
{
        AUTO_SB struct sb url = SB_INIT(1024);
        bool hub = is_hub(host);
        int r;

        if (!helper || !suffix || !*suffix)
                return 0;
        r = helper(user, suffix, hub ? HUB_KEY : host, ret, err);
        if (r == REG_HELPER_FAILED)
                return 0; /* another 30 s for the same silence would help nobody */
        if (r != 0 || hub)
                return r;
        sb_fmt(&url, "https://%s", host);
        r = helper(user, suffix, sb_text(&url), ret, err);
        return r == REG_HELPER_FAILED ? 0 : r;
}

/* "host:443" is also asked for as "host". */
static int find_host(const struct js *auths, const char *host, const struct reg_auth_query *q,
                     struct reg_creds **ret, struct bld_err *err)
{
        AUTO_FREE char *bare = NULL;
        int r = find_name(auths, host, q, ret, err);

        if (r != 0 || !str_has_suffix(host, ":443"))
                return r;
        bare = mem_strndup(host, strlen(host) - 4);
        if (!bare)
                return err_nomem(err, "read an auth file");
        return find_name(auths, bare, q, ret, err);
}

int reg_auth_file_find(const struct js *doc, const struct reg_auth_query *q, struct reg_creds **ret,
                       struct bld_err *err)
{
        const struct js *auths = q->legacy ? doc : js_get(doc, "auths");
        const struct js *helpers = js_get(doc, "credHelpers");
        AUTO_FREE char *host = reg_auth_key(q->host);
        int r;

        if (!host)
                return err_nomem(err, "read an auth file");
        r = find_path(auths, host, q, ret, err);
        if (r == 0 && !q->legacy) {
                const char *suffix = js_get_str(helpers, q->host);

                if (!suffix)
                        suffix = js_get_str(helpers, host);
                r = reg_helper_ask(suffix, host, q->helper, q->user, ret, err);
        }
        /* docker asks the store first, too; a "not found" there falls to the file */
        if (r == 0 && !q->legacy)
                r = reg_helper_ask(js_get_str(doc, "credsStore"), host, q->helper, q->user, ret,
                                   err);
        if (r == 0)
                r = find_host(auths, host, q, ret, err);
        return r;
}
