/* Where an image is: "transport:reference". */
#include "image/image.h"

#include <string.h>

#include "base/err.h"

#define DIGITS_MIN 6u

static const struct {
        const char *prefix;
        enum img_at at;
} transports[] = {
        {"docker://", IMG_AT_REGISTRY},
        {"registry:", IMG_AT_REGISTRY},
        {"store:", IMG_AT_STORE},
        {"oci-layout://", IMG_AT_OCI},
        {"oci-archive:", IMG_AT_OCI_ARCHIVE},
        {"oci:", IMG_AT_OCI},
        {"docker-archive:", IMG_AT_DOCKER_ARCHIVE},
        {"docker-daemon:", IMG_AT_DOCKER_DAEMON},
};
/* What begins like a path is one: no name of an image does. What kind of file it is, reading tells.
 */
static const char *const paths[] = {"/", "./", "../"};
/* Other tools' transports: refused by name rather than taken for an image called "podman". */
static const char *const foreign[] = {
        "containerd:", "podman:", "containers-storage:", "dir:", "ostree:", "docker-image://"};

bool img_at_is_file(enum img_at at)
{
        return at == IMG_AT_OCI || at == IMG_AT_OCI_ARCHIVE || at == IMG_AT_DOCKER_ARCHIVE;
}

void img_place_done(struct img_place *p)
{
        if (!p)
                return;
        img_ref_done(&p->ref);
        free(p->text);
        free(p->path);
        free(p->name);
        free(p->digits);
        memset(p, 0, sizeof(*p));
}

static int set(char **at, const char *s, size_t n, struct bld_err *err)
{
        *at = mem_strndup(s, n);
        return *at ? 0 : err_nomem(err, "place of an image");
}

/* "@sha256:<hex>" or "@<hex>", whole or the first digits. A file may have an '@' in its name, so
 * what is not that belongs to the path. */
static const char *digits_of(const char *at)
{
        const char *hex = at + 1;
        size_t n;

        if (str_has_prefix(hex, "sha256:"))
                hex += strlen("sha256:");
        else if (str_has_prefix(hex, "sha512:"))
                hex += strlen("sha512:");
        n = strspn(hex, "0123456789abcdef");
        return hex[n] == '\0' && n >= DIGITS_MIN && n <= 128 ? hex : NULL;
}

/* PATH[:NAME][@DIGEST]: the first colon ends the path, as containers/image has it, because names
 * have colons of their own. */
static int split_path(const char *s, struct img_place *p, struct bld_err *err)
{
        const char *at = strrchr(s, '@'), *digits = at ? digits_of(at) : NULL, *colon;
        size_t n = digits ? (size_t)(at - s) : strlen(s);
        int r = 0;

        if (digits)
                r = set(&p->digits, digits, strlen(digits), err);
        colon = memchr(s, ':', n);
        if (r == 0 && colon && (size_t)(colon - s) + 1 < n)
                r = set(&p->name, colon + 1, n - (size_t)(colon - s) - 1, err);
        n = colon ? (size_t)(colon - s) : n;
        if (r == 0 && n == 0)
                return err_set(err, BLD_E_INVALID, "\"%.200s\" names no file or folder", p->text);
        return r < 0 ? r : set(&p->path, s, n, err);
}

static int unknown(const char *s, struct bld_err *err)
{
        for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
                int r;

                if (!str_has_prefix(s, foreign[i]))
                        continue;
                r = err_set(err, BLD_E_USAGE, "the transport of \"%.200s\" is not available", s);
                return err_try(err, r,
                               "docker://, store:, oci:, oci-archive:, docker-archive: or "
                               "docker-daemon:");
        }
        return 0;
}

static int parse(const char *s, struct img_place *p, struct bld_err *err)
{
        const char *rest = s;
        int r = set(&p->text, s, strlen(s), err);

        if (r == 0)
                r = unknown(s, err);
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(transports); i++) {
                if (!str_has_prefix(s, transports[i].prefix))
                        continue;
                rest = s + strlen(transports[i].prefix);
                p->at = transports[i].at;
                break;
        }
        for (size_t i = 0; p->at == IMG_AT_ANY && i < ARRAY_LEN(paths); i++)
                if (str_has_prefix(s, paths[i]))
                        p->at = IMG_AT_OCI_ARCHIVE;
        if (r == 0 && !*rest)
                r = err_set(err, BLD_E_INVALID, "\"%.200s\" names no image", s);
        if (r < 0)
                return r;
        if (img_at_is_file(p->at))
                return split_path(rest, p, err);
        if (p->at == IMG_AT_REGISTRY)
                r = img_ref_parse(rest, &p->ref, err);
        return r < 0 ? r : set(&p->name, rest, strlen(rest), err);
}

int img_place_parse(const char *s, struct img_place *ret, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.at = IMG_AT_ANY};
        int r = parse(s, &p, err);

        if (r < 0)
                return r;
        *ret = p;
        memset(&p, 0, sizeof(p));
        return 0;
}
