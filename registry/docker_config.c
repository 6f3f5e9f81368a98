/* HttpHeaders of docker's config.json: sent along to every registry, and to nobody a registry sends
 * us to. */
#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "registry/client_priv.h"

#define FILE_MAX (16u << 20)
#define HEADERS_MAX 32

/* Ours, or such that a second one would change what is asked for. */
static bool reserved(const char *name)
{
        static const char *const names[] = {"Authorization", "Host",   "Range", "Accept",
                                            "Connection",    "Expect", "Cookie"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (strcasecmp(name, names[i]) == 0)
                        return true;
        return strncasecmp(name, "Content-", 8) == 0 || strncasecmp(name, "Transfer-", 9) == 0 ||
               strncasecmp(name, "Proxy-", 6) == 0;
}

static bool safe(const char *name, const char *value)
{
        if (!*name || strlen(name) > 200 || strlen(value) > 8192)
                return false;
        for (const char *p = name; *p; p++)
                if (!isalnum((unsigned char)*p) && !strchr("-_.", *p))
                        return false;
        for (const char *p = value; *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        return false;
        return true;
}

int reg_http_headers_parse(const char *text, size_t len, struct strv *out, struct bld_err *err)
{
        AUTO_JS struct js *doc = NULL;
        const struct js *headers;

        /* a broken file is told of where credentials are looked for */
        if (js_parse(text, len, &doc, NULL) < 0)
                return 0;
        headers = js_get(doc, "HttpHeaders");
        for (void *it = js_iter(headers); it; it = js_iter_next(headers, it)) {
                const char *name = js_iter_key(it), *value = js_str(js_iter_value(it));

                if (!value || reserved(name) || !safe(name, value) || out->n >= HEADERS_MAX)
                        continue;
                if (strv_addf(out, "%s: %s", name, value) < 0)
                        return err_nomem(err, "read docker's config.json");
        }
        return 0;
}

int reg_http_headers(struct reg_client *c, const struct strv **ret, struct bld_err *err)
{
        const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
        AUTO_SB struct sb path = SB_INIT(8192), text = SB_INIT(FILE_MAX);
        int r = 0;

        *ret = &c->http_headers;
        (void)pthread_mutex_lock(&c->conf_lock);
        if (!c->http_headers_read) {
                if (dir && *dir)
                        sb_fmt(&path, "%s/config.json", dir);
                else
                        sb_fmt(&path, "%s/.docker/config.json", home ? home : "");
                if (file_read_regular(AT_FDCWD, sb_text(&path), &text, NULL) == 0) {
                        r = reg_http_headers_parse(sb_text(&text), text.len, &c->http_headers, err);
                        explicit_bzero(text.buf, text.len); /* there are passwords beside them */
                }
                c->http_headers_read = r == 0;
        }
        (void)pthread_mutex_unlock(&c->conf_lock);
        return r;
}
