/* Image references: the grammar of distribution/reference and its normalisation of user input. */
#include "image/image.h"

#include <string.h>

#include "base/err.h"

#define DEFAULT_DOMAIN "docker.io"
#define LEGACY_DOMAIN "index.docker.io"
#define OFFICIAL_PREFIX "library/"
#define PATH_MAX_LEN 255
#define TAG_MAX_LEN 128
/* domain, path, tag and digest at their longest, with room: nothing longer can be valid */
#define REF_MAX_LEN 4096

static bool is_lower(char c)
{
        return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
        return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_lower_alnum(char c)
{
        return is_lower(c) || is_digit(c);
}

static bool is_alnum(char c)
{
        return is_lower_alnum(c) || is_upper(c);
}

static bool is_hex(char c)
{
        return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* One path component: runs of [a-z0-9] joined by ".", "_", "__" or dashes. */
static bool valid_component(const char *s, size_t n)
{
        size_t i = 0;

        if (n == 0 || !is_lower_alnum(s[0]) || !is_lower_alnum(s[n - 1]))
                return false;
        while (i < n) {
                size_t sep = i;

                if (is_lower_alnum(s[i])) {
                        i++;
                        continue;
                }
                while (i < n && s[i] == s[sep])
                        i++;
                if (i == n || !is_lower_alnum(s[i]))
                        return false;
                if (s[sep] == '.' && i - sep != 1)
                        return false;
                if (s[sep] == '_' && i - sep > 2)
                        return false;
                if (s[sep] != '.' && s[sep] != '_' && s[sep] != '-')
                        return false;
        }
        return true;
}

static bool valid_path(const char *s, size_t n)
{
        size_t start = 0;

        for (size_t i = 0; i <= n; i++) {
                if (i < n && s[i] != '/')
                        continue;
                if (!valid_component(s + start, i - start))
                        return false;
                start = i + 1;
        }
        return true;
}

static bool valid_label(const char *s, size_t n)
{
        if (n == 0 || !is_alnum(s[0]) || !is_alnum(s[n - 1]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_alnum(s[i]) && s[i] != '-')
                        return false;
        return true;
}

static bool valid_port(const char *s, size_t n)
{
        if (n == 0)
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_digit(s[i]))
                        return false;
        return true;
}

/* "[" hex digits and colons "]", with an optional port behind. */
static bool valid_ipv6_domain(const char *s, size_t n)
{
        size_t i = 1;

        while (i < n && (is_hex(s[i]) || s[i] == ':'))
                i++;
        if (i == 1 || i == n || s[i] != ']')
                return false;
        i++;
        return i == n || (s[i] == ':' && valid_port(s + i + 1, n - i - 1));
}

static bool valid_domain(const char *s, size_t n)
{
        const char *colon;
        size_t host = n, start = 0;

        if (n == 0)
                return false;
        if (s[0] == '[')
                return valid_ipv6_domain(s, n);
        colon = memchr(s, ':', n);
        if (colon) {
                host = (size_t)(colon - s);
                if (!valid_port(colon + 1, n - host - 1))
                        return false;
        }
        for (size_t i = 0; i <= host; i++) {
                if (i < host && s[i] != '.')
                        continue;
                if (!valid_label(s + start, i - start))
                        return false;
                start = i + 1;
        }
        return true;
}

static bool valid_tag(const char *s, size_t n)
{
        if (n == 0 || n > TAG_MAX_LEN || !(is_alnum(s[0]) || s[0] == '_'))
                return false;
        for (size_t i = 1; i < n; i++)
                if (!is_alnum(s[i]) && s[i] != '_' && s[i] != '.' && s[i] != '-')
                        return false;
        return true;
}

static bool is_identifier(const char *s, size_t n)
{
        if (n != 64)
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_digit(s[i]) && !(s[i] >= 'a' && s[i] <= 'f'))
                        return false;
        return true;
}

/* Does the text before the first slash name a registry? */
static bool looks_like_domain(const char *s, size_t n)
{
        if (n == strlen("localhost") && memcmp(s, "localhost", n) == 0)
                return true;
        for (size_t i = 0; i < n; i++)
                if (s[i] == '.' || s[i] == ':' || is_upper(s[i]))
                        return true;
        return false;
}

/* Where the parts of a reference lie in the text; nothing is copied or checked yet. */
struct parts {
        const char *domain, *path, *tag, *digest;
        size_t ndomain, npath, ntag;
        bool official; /* "library/" goes in front of path */
};

static void split(const char *s, struct parts *p)
{
        const char *at = strchr(s, '@');
        const char *end = at ? at : s + strlen(s);
        const char *slash = memchr(s, '/', (size_t)(end - s));

        *p = (struct parts){.domain = DEFAULT_DOMAIN, .ndomain = strlen(DEFAULT_DOMAIN), .path = s};
        if (at)
                p->digest = at + 1;
        if (slash && looks_like_domain(s, (size_t)(slash - s))) {
                p->path = slash + 1;
                if ((size_t)(slash - s) != strlen(LEGACY_DOMAIN) ||
                    memcmp(s, LEGACY_DOMAIN, strlen(LEGACY_DOMAIN)) != 0) {
                        p->domain = s;
                        p->ndomain = (size_t)(slash - s);
                }
        }
        /* the tag colon comes after the last slash */
        for (const char *c = end; c > p->path && c[-1] != '/'; c--) {
                if (c[-1] == ':') {
                        p->tag = c;
                        p->ntag = (size_t)(end - c);
                        end = c - 1;
                        break;
                }
        }
        p->npath = (size_t)(end - p->path);
        p->official = p->ndomain == strlen(DEFAULT_DOMAIN) &&
                      memcmp(p->domain, DEFAULT_DOMAIN, p->ndomain) == 0 &&
                      !memchr(p->path, '/', p->npath);
}

static int refuse(struct bld_err *err, const char *s, const char *reason)
{
        AUTO_SB struct sb b = SB_INIT(512);

        sb_escaped(&b, s, strnlen(s, 100));
        return err_set(err, BLD_E_INVALID, "invalid reference \"%s\": %s", sb_text(&b), reason);
}

static int check(const char *s, const struct parts *p, struct bld_err *err)
{
        size_t npath = p->npath + (p->official ? strlen(OFFICIAL_PREFIX) : 0);

        if (!valid_domain(p->domain, p->ndomain))
                return refuse(err, s, "the registry name is malformed");
        if (p->npath == 0)
                return refuse(err, s, "the repository name is empty");
        for (size_t i = 0; i < p->npath; i++)
                if (is_upper(p->path[i]))
                        return refuse(err, s, "the repository name must be lower case");
        if (!valid_path(p->path, p->npath))
                return refuse(err, s, "the repository name is malformed");
        if (npath > PATH_MAX_LEN)
                return refuse(err, s, "the repository name is longer than 255 characters");
        if (p->tag && !valid_tag(p->tag, p->ntag))
                return refuse(err, s, "the tag is malformed");
        return 0;
}

int img_ref_parse(const char *s, struct img_ref *ret, struct bld_err *err)
{
        AUTO_REF struct img_ref r = {.digest = {.algo = DIGEST_NONE}};
        AUTO_SB struct sb path = SB_INIT(REF_MAX_LEN);
        struct parts p;
        int res;

        if (strnlen(s, REF_MAX_LEN) >= REF_MAX_LEN)
                return refuse(err, s, "too long");
        if (s[0] == '\0')
                return err_set(err, BLD_E_INVALID, "invalid reference: it is empty");
        if (is_identifier(s, strlen(s)))
                return refuse(err, s, "64 hexadecimal digits are an image id, not a name");
        split(s, &p);
        res = check(s, &p, err);
        if (res < 0)
                return res;
        if (p.digest && digest_parse(p.digest, &r.digest, NULL) < 0)
                return refuse(err, s, "the digest is malformed or of an unknown algorithm");

        if (p.official)
                sb_str(&path, OFFICIAL_PREFIX);
        sb_add(&path, p.path, p.npath);
        r.path = sb_take(&path);
        r.short_name = p.path == s;
        r.domain = mem_strndup(p.domain, p.ndomain);
        if (p.tag)
                r.tag = mem_strndup(p.tag, p.ntag);
        if (!r.path || !r.domain || (p.tag && !r.tag))
                return err_nomem(err, "parse reference");
        *ret = r;
        r = (struct img_ref){.digest = {.algo = DIGEST_NONE}};
        return 0;
}

void img_ref_done(struct img_ref *r)
{
        if (!r)
                return;
        free(r->domain);
        free(r->path);
        free(r->tag);
        memset(r, 0, sizeof(*r));
}

int img_ref_copy(const struct img_ref *r, struct img_ref *ret, struct bld_err *err)
{
        AUTO_REF struct img_ref c = {.digest = r->digest, .short_name = r->short_name};

        c.domain = mem_strdup(r->domain);
        c.path = mem_strdup(r->path);
        if (r->tag)
                c.tag = mem_strdup(r->tag);
        if (!c.domain || !c.path || (r->tag && !c.tag))
                return err_nomem(err, "copy reference");
        *ret = c;
        memset(&c, 0, sizeof(c));
        return 0;
}

static char *finish(struct sb *b, const struct img_ref *r, unsigned flags)
{
        bool digest = digest_is_set(&r->digest);
        char text[DIGEST_STR_MAX];

        if (r->tag && !(flags & IMG_REF_NO_TAG))
                sb_fmt(b, ":%s", r->tag);
        else if (!r->tag && !digest && (flags & IMG_REF_DEFAULT_TAG))
                sb_str(b, ":latest");
        if (digest && !(flags & IMG_REF_NO_DIGEST)) {
                digest_format(&r->digest, text);
                sb_fmt(b, "@%s", text);
        }
        return sb_take(b);
}

char *img_ref_format(const struct img_ref *r, unsigned flags)
{
        AUTO_SB struct sb b = SB_INIT(2 * REF_MAX_LEN);

        sb_fmt(&b, "%s/%s", r->domain, r->path);
        return finish(&b, r, flags);
}

char *img_ref_familiar(const struct img_ref *r, unsigned flags)
{
        AUTO_SB struct sb b = SB_INIT(2 * REF_MAX_LEN);
        const char *path = r->path;

        if (strcmp(r->domain, DEFAULT_DOMAIN) != 0)
                sb_fmt(&b, "%s/", r->domain);
        else if (str_has_prefix(path, OFFICIAL_PREFIX) &&
                 !strchr(path + strlen(OFFICIAL_PREFIX), '/'))
                path += strlen(OFFICIAL_PREFIX);
        sb_str(&b, path);
        return finish(&b, r, flags);
}
