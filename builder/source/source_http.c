/* Files from the web: fetched once, kept as blobs, asked for again only if they changed. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/err.h"
#include "base/json.h"
#include "base/path.h"
#include "builder/source/source_priv.h"
#include "registry/registry.h"

#define HTTP_KIND "http"
#define HTTP_BYTES_MAX (64ULL << 30)

void http_file_done(struct http_file *f)
{
        free(f->name);
        *f = (struct http_file){0};
}

bool http_is_url(const char *s)
{
        return strncasecmp(s, "http://", 7) == 0 || strncasecmp(s, "https://", 8) == 0;
}

/* ---- name ---- */

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Last element of the URL's path, which is percent-decoded first. What could not be a file's name
 * is none. */
static char *file_name(const char *url)
{
        const char *p = strstr(url, "://") + 3, *end, *start;
        size_t n, w = 0;
        const char *base;
        char *name, *own;

        p += strcspn(p, "/?#");
        end = p + strcspn(p, "?#");
        while (end > p && end[-1] == '/')
                end--;
        for (start = end; start > p && start[-1] != '/'; start--)
                ;
        n = (size_t)(end - start);
        if (n == 0)
                return mem_strdup("__unnamed__");
        name = mem_alloc(n + 1);
        for (size_t i = 0; name && i < n; i++) {
                int hi = start[i] == '%' && i + 2 < n ? hex_digit(start[i + 1]) : -1;
                int lo = hi >= 0 ? hex_digit(start[i + 2]) : -1;

                if (lo >= 0) {
                        name[w++] = (char)(hi << 4 | lo);
                        i += 2;
                } else {
                        name[w++] = start[i];
                }
        }
        if (!name)
                return NULL;
        name[w] = '\0';
        base = path_base(name);
        if (strlen(name) != w || !*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
                base = "__unnamed__";
        own = mem_strdup(base);
        free(name);
        return own;
}

/* ---- what is known of the URL ---- */

struct known {
        struct digest digest;
        uint64_t size;
        char *etag, *last_modified;
};

static void known_done(struct known *k)
{
        free(k->etag);
        free(k->last_modified);
}

static void url_key(const char *url, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-http-v1");
        hasher_field_str(&h, url);
        hasher_end(&h, ret);
}

static char *dup_or_null(const char *s)
{
        return s ? mem_strdup(s) : NULL;
}

/* 1 when a copy is in the store. */
static int recall(struct bd_ctx *c, const char *url, struct known *k, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX);
        AUTO_JS struct js *j = NULL;
        struct digest key;
        int r;

        url_key(url, &key);
        r = cas_result_get(c->cas, &key, HTTP_KIND, &text, err);
        if (r <= 0)
                return r;
        if (js_parse(sb_text(&text), text.len, &j, NULL) < 0 || !js_get_str(j, "digest") ||
            digest_parse(js_get_str(j, "digest"), &k->digest, NULL) < 0)
                return 0;
        k->etag = dup_or_null(js_get_str(j, "etag"));
        k->last_modified = dup_or_null(js_get_str(j, "lastModified"));
        return cas_blob_keep(c->cas, &k->digest, &k->size, err);
}

static int remember(struct bd_ctx *c, const char *url, const struct known *k, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX);
        AUTO_JS struct js *j = js_obj();
        char digest[DIGEST_STR_MAX];
        struct digest key;
        int r;

        digest_format(&k->digest, digest);
        r = js_set_str(j, "digest", digest);
        /* A header that is not UTF-8 is not kept: the file is fetched anew then. */
        if (k->etag)
                (void)js_set_str(j, "etag", k->etag);
        if (k->last_modified)
                (void)js_set_str(j, "lastModified", k->last_modified);
        if (r < 0)
                return err_nomem(err, "download");
        r = js_write(j, JS_COMPACT, &text, err);
        if (r < 0)
                return r;
        url_key(url, &key);
        return cas_result_put(c->cas, &key, HTTP_KIND, sb_text(&text), text.len, &k->digest, 1,
                              err);
}

/* ---- the download ---- */

struct download {
        struct bd_ctx *c;
        struct cas_writer *w;
};

static int on_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        return cas_writer_add(((struct download *)user)->w, p, n, err);
}

static int on_rewind(void *user, struct bld_err *err)
{
        struct download *d = user;

        cas_writer_free(d->w);
        d->w = NULL;
        return cas_writer_open(d->c->cas, &d->w, err);
}

/* The secret KIND_<host>, with the port or without; without the line's end that files have. */
static bool find_secret(const struct secrets *s, const char *kind, const char *url,
                        const char **ret, int *ret_len)
{
        static const char *const ends[] = {"/?#", "/?#:"};
        const char *host = strstr(url, "://") + 3;
        const void *value;
        char id[320];
        size_t len;

        for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
                int n = snprintf(id, sizeof(id), "%s_%.*s", kind, (int)strcspn(host, ends[i]),
                                 host);

                if (n >= (int)sizeof(id) || !secrets_get(s, id, &value, &len))
                        continue;
                *ret = value;
                while (len > 0 && strchr("\r\n", (*ret)[len - 1]))
                        len--;
                *ret_len = (int)len;
                return true;
        }
        return false;
}

/* Secrets HTTP_AUTH_HEADER_<host> and HTTP_AUTH_TOKEN_<host>. */
static char *authorization(const struct secrets *s, const char *url)
{
        const char *value;
        char *text = NULL;
        int len;

        if (find_secret(s, "HTTP_AUTH_HEADER", url, &value, &len))
                return mem_strndup(value, (size_t)len);
        if (!find_secret(s, "HTTP_AUTH_TOKEN", url, &value, &len) ||
            asprintf(&text, "Bearer %.*s", len, value) < 0)
                return NULL;
        return text;
}

static int download(struct bd_ctx *c, const struct secrets *secrets, const char *url,
                    struct known *k, bool have, struct bld_err *err)
{
        AUTO_FREE char *auth = authorization(secrets, url);
        struct reg_http o = {.url = url,
                             .authorization = auth,
                             .etag = have ? k->etag : NULL,
                             .last_modified = have ? k->last_modified : NULL,
                             .max_bytes = HTTP_BYTES_MAX};
        struct reg_http_res res = {0};
        struct download d = {.c = c};
        struct reg_sink sink = {.write = on_write, .rewind = on_rewind, .user = &d};
        struct reg_client *reg = NULL;
        int r = c->registry(c->user, &reg, err);

        if (r == 0)
                r = cas_writer_open(c->cas, &d.w, err);
        if (r == 0)
                r = reg_http_get(reg, &o, &sink, &res, err);
        if (r == 0 && !res.not_modified) {
                k->size = cas_writer_size(d.w);
                r = cas_writer_commit(d.w, NULL, 0, &k->digest, err);
                known_done(k);
                k->etag = TAKE_PTR(&res.etag);
                k->last_modified = TAKE_PTR(&res.last_modified);
                if (r == 0)
                        r = remember(c, url, k, err);
        }
        cas_writer_free(d.w);
        reg_http_res_done(&res);
        if (auth)
                explicit_bzero(auth, strlen(auth));
        return r;
}

static int64_t http_time(const char *text)
{
        struct tm tm = {0};

        if (!text || !strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm))
                return 0;
        return timegm(&tm);
}

static int check(const char *url, const struct digest *want, const struct digest *have,
                 struct bld_err *err)
{
        char a[DIGEST_STR_MAX], b[DIGEST_STR_MAX];

        if (!digest_is_set(want) || digest_eq(want, have))
                return 0;
        digest_format(have, a);
        digest_format(want, b);
        return err_set(err, BLD_E_INVALID, "digest mismatch for %.500s: %s (expected: %s)", url, a,
                       b);
}

int http_fetch(struct bd_ctx *c, const struct secrets *secrets, const char *url,
               const struct digest *want, struct http_file *ret, struct bld_err *err)
{
        struct known k = {0};
        int have = recall(c, url, &k, err), r = MIN(have, 0);

        /* With a checksum there is nothing a server could tell us about a copy that has it. */
        if (r == 0 && !(have && digest_is_set(want) && digest_eq(want, &k.digest)))
                r = download(c, secrets, url, &k, have, err);
        if (r == 0)
                r = check(url, want, &k.digest, err);
        if (r == 0) {
                *ret = (struct http_file){.digest = k.digest,
                                          .size = k.size,
                                          .mtime_sec = http_time(k.last_modified),
                                          .name = file_name(url)};
                if (!ret->name)
                        r = err_nomem(err, "download");
        }
        known_done(&k);
        return r;
}
