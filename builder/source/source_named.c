/* Named contexts: --build-context NAME=SOURCE. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "builder/source/git_priv.h"
#include "builder/image/load_priv.h"
#include "builder/source/source_priv.h"

#define IGNORE_MAX (4u << 20)

struct named {
        char *name;     /* normalised, without ":latest" */
        char *platform; /* or NULL */
        enum named_kind kind;
        char *value; /* folder: absolute; else the reference */
        struct ignore *ignore;
};

struct named_contexts {
        struct named *v;
        size_t n;
};

void named_free(struct named_contexts *x)
{
        if (!x)
                return;
        for (size_t i = 0; i < x->n; i++) {
                free(x->v[i].name);
                free(x->v[i].platform);
                free(x->v[i].value);
                ignore_free(x->v[i].ignore);
        }
        free(x->v);
        free(x);
}

/* "alpine", "alpine:latest" and "docker.io/library/alpine" are one name. What is no reference is
 * taken as it stands. */
static char *normalise(const char *name)
{
        AUTO_REF struct img_ref ref = {0};
        char *full;

        if (img_ref_parse(name, &ref, NULL) < 0)
                return mem_strdup(name);
        if (ref.tag && strcmp(ref.tag, "latest") == 0) {
                free(ref.tag);
                ref.tag = NULL;
        }
        full = img_ref_format(&ref, 0);
        return full;
}

static int open_folder(struct named *x, const char *name, const char *path, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IGNORE_MAX);
        AUTO_FREE char *file = NULL;
        struct bld_err own = BLD_ERR_INIT;
        char full[PATH_MAX];
        struct stat st;
        int r;

        if (!realpath(path, full) || stat(full, &st) < 0 || !S_ISDIR(st.st_mode))
                return err_set(err, BLD_E_INVALID,
                               "failed to get build context %s: \"%s\" is not a folder", name,
                               path);
        x->value = mem_strdup(full);
        file = path_join(full, ".dockerignore");
        if (!x->value || !file)
                return err_nomem(err, "build context");
        r = file_read_regular(AT_FDCWD, file, &text, &own);
        if (r == BLD_E_NOT_FOUND)
                return 0;
        if (r == 0)
                return ignore_parse(sb_text(&text), text.len, path_base(file), &x->ignore, err);
        err_copy(err, &own);
        return r;
}

static const struct {
        const char *prefix;
        enum named_kind kind;
} schemes[] = {
        {"docker-image://", NAMED_IMAGE},
        {"oci-layout://", NAMED_LAYOUT},
        {"store:", NAMED_STORE},
};

static int parse_one(struct named *x, const char *spec, struct bld_err *err)
{
        const char *eq = strchr(spec, '='), *at;
        struct img_platform platform;
        struct giturl u = {0};
        char text[128];
        int r;
        AUTO_FREE char *name = eq ? mem_strndup(spec, (size_t)(eq - spec)) : NULL;

        if (!name || !*name || !eq[1])
                return err_set(err, BLD_E_USAGE, "invalid context value %.200s, expected key=value",
                               spec);
        at = strstr(name, "::");
        if (at) {
                r = img_platform_parse(at + 2, &platform, err);
                if (r < 0)
                        return err_wrap(err, err_recode(err, BLD_E_USAGE), "build context %.200s",
                                        name);
                img_platform_format(&platform, text);
                x->platform = mem_strdup(text);
                name[at - name] = '\0';
                if (!x->platform)
                        return err_nomem(err, "build context");
        }
        x->name = normalise(name);
        if (!x->name)
                return err_nomem(err, "build context");
        for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
                if (!str_has_prefix(eq + 1, schemes[i].prefix))
                        continue;
                x->kind = schemes[i].kind;
                if (strcmp(eq + 1, "docker-image://scratch") == 0)
                        x->kind = NAMED_EMPTY;
                x->value = mem_strdup(eq + 1 + strlen(schemes[i].prefix));
                return x->value ? 0 : err_nomem(err, "build context");
        }
        r = git_url(eq + 1, true, &u, err);
        if (r < 0)
                return r;
        if (r == 1 || http_is_url(eq + 1)) {
                x->kind = r == 1 ? NAMED_GIT : NAMED_HTTP;
                giturl_done(&u);
                x->value = mem_strdup(eq + 1);
                return x->value ? 0 : err_nomem(err, "build context");
        }
        if (strstr(eq + 1, "://"))
                return err_set(err, BLD_E_USAGE, "unsupported context source %.200s for %s", eq + 1,
                               name);
        x->kind = NAMED_FOLDER;
        return open_folder(x, name, eq + 1, err);
}

int named_parse(const struct bld_list *specs, struct named_contexts **ret, struct bld_err *err)
{
        struct named_contexts *x = mem_zalloc(1, sizeof(*x));
        int r = 0;

        if (x)
                x->v = mem_zalloc(specs->n, sizeof(*x->v));
        if (!x || !x->v) {
                free(x);
                return err_nomem(err, "build contexts");
        }
        for (size_t i = 0; i < specs->n && r == 0; i++) {
                x->n = i + 1;
                r = parse_one(&x->v[i], specs->v[i], err);
        }
        if (r < 0) {
                named_free(x);
                return r;
        }
        *ret = x;
        return 0;
}

/* One for this very platform is preferred; among equals the last given counts. */
static const struct named *find(const struct named_contexts *x, const char *name,
                                const struct img_platform *platform)
{
        AUTO_FREE char *wanted = NULL;
        const struct named *any = NULL;
        char text[128];

        if (x->n == 0 || strcmp(name, "scratch") == 0 || strcmp(name, "context") == 0)
                return NULL;
        wanted = normalise(name);
        img_platform_format(platform, text);
        for (size_t i = x->n; wanted && i-- > 0;) {
                if (strcmp(x->v[i].name, wanted) != 0)
                        continue;
                if (x->v[i].platform && strcmp(x->v[i].platform, text) == 0)
                        return &x->v[i];
                if (!x->v[i].platform && !any)
                        any = &x->v[i];
        }
        return any;
}

enum named_kind named_find(const struct named_contexts *x, const char *name,
                           const struct img_platform *platform, const char **ret_value)
{
        const struct named *n = find(x, name, platform);

        if (!n)
                return NAMED_NONE;
        *ret_value = n->value;
        return n->kind;
}

const struct ignore *named_ignore(const struct named_contexts *x, const char *folder)
{
        for (size_t i = 0; i < x->n; i++)
                if (x->v[i].kind == NAMED_FOLDER && strcmp(x->v[i].value, folder) == 0)
                        return x->v[i].ignore;
        return NULL;
}

/* ---- oci-layout://PATH[:TAG][@DIGEST] ---- */

/* The tag is what follows the last ':' after the last '/', before an '@'. */
static int split_layout(const char *value, char **ret_path, char **ret_tag, struct digest *ret,
                        struct bld_err *err)
{
        AUTO_FREE char *path = mem_strdup(value);
        char *at, *colon;
        int r = 0;

        if (!path)
                return err_nomem(err, "build context");
        at = strrchr(path, '@');
        if (at && strchr(at, ':')) {
                *at = '\0';
                r = digest_parse(at + 1, ret, err);
        }
        colon = strrchr(path, ':');
        if (r == 0 && colon && !strchr(colon, '/')) {
                *colon = '\0';
                *ret_tag = mem_strdup(colon + 1);
                if (!*ret_tag)
                        return err_nomem(err, "build context");
        }
        *ret_path = TAKE_PTR(&path);
        return r;
}

static const struct img_desc *choose(const struct img_index *ix, const char *tag,
                                     const struct digest *d)
{
        for (size_t i = 0; i < ix->manifests.n; i++) {
                const struct img_desc *m = &ix->manifests.v[i];
                const char *name =
                        img_kvs_get(&m->annotations, "org.opencontainers.image.ref.name");

                if (digest_is_set(d) ? digest_eq(&m->digest, d)
                                     : str_eq(name, tag ? tag : "latest"))
                        return m;
        }
        return !tag && !digest_is_set(d) && ix->manifests.n == 1 ? &ix->manifests.v[0] : NULL;
}

int named_layout(struct bd_ctx *c, const char *value, struct img_desc *ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(BD_LOAD_JSON_MAX);
        AUTO(img_index_done) struct img_index ix = {0};
        AUTO_FREE char *path = NULL, *tag = NULL;
        struct digest d = {0};
        const struct img_desc *m;
        struct bd_input in;
        int r = split_layout(value, &path, &tag, &d, err);

        if (r == 0)
                r = bd_input_open(c, path, -1, &in, err);
        if (r < 0)
                return r;
        r = bd_input_read(&in, "index.json", BD_LOAD_JSON_MAX, &text, err);
        if (r == 0)
                r = err_set(err, BLD_E_INVALID, "%s is not an OCI layout: index.json is missing",
                            path);
        if (r > 0)
                r = img_index_decode(sb_text(&text), text.len, NULL, &ix, err);
        m = r == 0 ? choose(&ix, tag, &d) : NULL;
        if (r == 0 && !m)
                r = err_set(err, BLD_E_NOT_FOUND, "there is no image \"%s\" in the OCI layout %s",
                            tag ? tag : "latest", path);
        if (r == 0 && img_desc_copy(m, ret) < 0)
                r = err_nomem(err, "build context");
        if (r == 0)
                r = bd_load_document(&in, ret, err);
        bd_input_done(&in);
        return r;
}
