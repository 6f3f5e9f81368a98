/* --cache-from, --cache-to, --cache-repo: a CSV record of key=value fields, or a bare reference. */
#include "builder/cache/cache_priv.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "base/opt.h"

#define TAG_DEFAULT "bld"
#define TAG_LOCAL_DEFAULT "latest"

static const char *const keys[] = {
        "type",        "ref",          "mode",    "image-manifest",    "oci-mediatypes",
        "compression", "ignore-error", "timeout", "compression-level", "force-compression",
        "dest",        "src",          "tag",     "registry.insecure",
};

struct parse {
        const char *flag; /* for messages */
        struct rc_spec *s;
        bool typed;
};

static void spec_done(struct rc_spec *s)
{
        img_ref_done(&s->ref);
        free(s->dir);
        free(s->tag);
        free(s->codec);
        memset(s, 0, sizeof(*s));
}

void rc_specs_free(struct rc_specs *s)
{
        for (size_t i = 0; i < s->n; i++)
                spec_done(&s->v[i]);
        rc_specs_done(s);
}

static int set_text(char **to, const char *value, struct bld_err *err)
{
        char *copy = mem_strdup(value);

        if (!copy)
                return err_nomem(err, "cache");
        free(*to);
        *to = copy;
        return 0;
}

static int set_ref(struct parse *p, const char *value, struct bld_err *err)
{
        struct img_ref ref = {0};
        int r = img_ref_parse(value, &ref, err);

        if (r == 0 && digest_is_set(&ref.digest))
                r = err_set(err, BLD_E_USAGE,
                            "a cache is found by tags; the reference cannot have a digest");
        if (r < 0) {
                img_ref_done(&ref);
                return err_wrap(err, err_recode(err, BLD_E_USAGE), "%s \"%.200s\"", p->flag, value);
        }
        img_ref_done(&p->s->ref);
        p->s->ref = ref;
        return 0;
}

static int set_type(struct parse *p, const char *value, struct bld_err *err)
{
        static const char *const elsewhere[] = {"gha", "s3", "azblob", "reapi"};
        static const char *const here[] = {"registry", "local", "inline"};
        const char *near;
        int r;

        p->typed = true;
        for (size_t i = 0; i < ARRAY_LEN(here); i++)
                if (strcmp(value, here[i]) == 0) {
                        p->s->type = (enum rc_type)i;
                        return 0;
                }
        for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
                if (strcmp(value, elsewhere[i]) == 0) {
                        r = err_set(err, BLD_E_USAGE, "%s: type=%s is not supported", p->flag,
                                    value);
                        return err_try(err, r, "type=registry, local or inline; %s",
                                       "any registry the jobs share will do");
                }
        near = near_match(value, here, ARRAY_LEN(here), 3);
        r = err_set(err, BLD_E_USAGE, "%s: unknown type \"%.50s\"", p->flag, value);
        return near ? err_try(err, r, "type=%s", near)
                    : err_try(err, r, "type=registry, local or inline");
}

static int set_bool(struct parse *p, const char *key, const char *value, bool *to,
                    struct bld_err *err)
{
        if (parse_go_bool(value, to))
                return 0;
        return err_set(err, BLD_E_USAGE, "%s: %s=%.50s is neither true nor false", p->flag, key,
                       value);
}

/* Keys of buildx that are true here whether said or not. */
static int set_always(struct parse *p, const char *key, const char *value, struct bld_err *err)
{
        bool v = true;
        int r = set_bool(p, key, value, &v, err);

        if (r < 0 || v)
                return r;
        r = err_set(err, BLD_E_USAGE, "%s: %s=false is not supported", p->flag, key);
        return err_why(err, r, "each result is an OCI image manifest");
}

static int set_insecure(struct parse *p, const char *value, struct bld_err *err)
{
        bool v = false;
        int r = set_bool(p, "registry.insecure", value, &v, err);

        if (r < 0 || !v)
                return r;
        r = err_set(err, BLD_E_USAGE, "%s: registry.insecure is not supported", p->flag);
        return err_try(err, r, "--insecure HOST, which goes for everything on it");
}

static int set_mode(struct parse *p, const char *value, struct bld_err *err)
{
        p->s->max = strcmp(value, "max") == 0;
        if (p->s->max || strcmp(value, "min") == 0)
                return 0;
        return err_set(err, BLD_E_USAGE, "%s: mode=%.50s is neither min nor max", p->flag, value);
}

static int set_compression(struct parse *p, const char *value, struct bld_err *err)
{
        if (strcmp(value, "uncompressed") == 0)
                value = "none";
        if (strcmp(value, "gzip") != 0 && strcmp(value, "zstd") != 0 && strcmp(value, "none") != 0)
                return err_set(err, BLD_E_USAGE,
                               "%s: compression=%.50s is none of gzip, zstd, none", p->flag, value);
        return set_text(&p->s->codec, value, err);
}

static int set_number(struct parse *p, const char *key, const char *value, struct bld_err *err)
{
        int64_t n = 0;

        if (strcmp(key, "timeout") == 0) {
                if (!parse_duration(value, &n) || n < 0)
                        return err_set(err, BLD_E_USAGE, "%s: timeout=%.50s is not a duration",
                                       p->flag, value);
                p->s->timeout_ms = MAX(n / 1000000, (int64_t)(n > 0));
                return 0;
        }
        if (!parse_i64(value, -1, 22, &n))
                return err_set(err, BLD_E_USAGE, "%s: %s=%.50s is not a level", p->flag, key,
                               value);
        p->s->level = n < 0 ? 0 : (int)n;
        return 0;
}

static int set_tag(struct parse *p, const char *value, struct bld_err *err)
{
        if (!value[0] || strlen(value) > RC_TAG_MAX ||
            strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") !=
                    strlen(value) ||
            value[0] == '.' || value[0] == '-')
                return err_set(err, BLD_E_USAGE,
                               "%s: \"%.80s\" cannot begin the tags of a cache: at most %u "
                               "letters, digits, '_', '.', '-'",
                               p->flag, value, RC_TAG_MAX);
        return set_text(&p->s->tag, value, err);
}

static int set_field(struct parse *p, const char *key, const char *value, struct bld_err *err)
{
        const char *near;
        bool v = true;
        int r;

        if (strcmp(key, "type") == 0)
                return set_type(p, value, err);
        if (strcmp(key, "ref") == 0)
                return set_ref(p, value, err);
        if (strcmp(key, p->s->from ? "src" : "dest") == 0)
                return set_text(&p->s->dir, value, err);
        if (strcmp(key, "tag") == 0)
                return set_tag(p, value, err);
        if (strcmp(key, "registry.insecure") == 0)
                return set_insecure(p, value, err);
        if (strcmp(key, "timeout") == 0)
                return set_number(p, key, value, err);
        if (strcmp(key, "mode") == 0)
                return set_mode(p, value, err);
        if (strcmp(key, "image-manifest") == 0 || strcmp(key, "oci-mediatypes") == 0)
                return set_always(p, key, value, err);
        if (strcmp(key, "compression") == 0)
                return set_compression(p, value, err);
        if (strcmp(key, "compression-level") == 0)
                return set_number(p, key, value, err);
        if (strcmp(key, "force-compression") == 0)
                return set_bool(p, key, value, &p->s->force, err);
        if (strcmp(key, "ignore-error") == 0) {
                r = set_bool(p, key, value, &v, err);
                p->s->strict = !v;
                return r;
        }
        near = near_match(key, keys, ARRAY_LEN(keys), 3);
        r = err_set(err, BLD_E_USAGE, "%s: unknown key \"%.50s\"", p->flag, key);
        return near ? err_try(err, r, "%s=%s", near, value) : r;
}

static int need(const struct parse *p, bool have, const char *what, struct bld_err *err)
{
        return have ? 0 : err_set(err, BLD_E_USAGE, "%s: %s", p->flag, what);
}

/* What belongs together, and what follows from it. */
static int complete(struct parse *p, struct bld_err *err)
{
        struct rc_spec *s = p->s;
        int r = need(p, p->typed, "there is no type=", err);

        if (r < 0)
                return r;
        switch (s->type) {
        case RC_REGISTRY:
                r = need(p, s->ref.path != NULL, "type=registry needs ref=", err);
                if (r == 0)
                        r = need(p, !s->dir && !s->tag,
                                 "type=registry takes its place and tag from ref=", err);
                if (r == 0)
                        r = set_tag(p, s->ref.tag ? s->ref.tag : TAG_DEFAULT, err);
                s->image = s->from;
                return r;
        case RC_LOCAL:
                r = need(p, s->dir && s->dir[0],
                         s->from ? "type=local needs src=FOLDER" : "type=local needs dest=FOLDER",
                         err);
                if (r == 0)
                        r = need(p, !s->ref.path, "type=local takes no ref=", err);
                if (r == 0 && !s->tag)
                        r = set_tag(p, TAG_LOCAL_DEFAULT, err);
                return r;
        case RC_INLINE:
                if (s->from) {
                        r = err_set(err, BLD_E_USAGE, "%s: type=inline is found through its image",
                                    p->flag);
                        return err_try(err, r, "--cache-from type=registry,ref=IMAGE");
                }
                r = need(p, !s->ref.path && !s->dir && !s->tag, "type=inline goes with the image",
                         err);
                return r == 0 ? need(p, !s->max, "type=inline has mode=min only", err) : r;
        }
        return 0;
}

static int parse(struct parse *p, const char *spec, struct bld_err *err)
{
        AUTO_STRV struct strv fields = {.v = NULL};
        int r = csv_split(spec, &fields, err);

        if (r < 0) {
                err_clear(err);
                return err_set(err, BLD_E_USAGE, "%s \"%.200s\" is not a CSV record", p->flag,
                               spec);
        }
        if (fields.n == 1 && !strchr(fields.v[0], '=')) {
                r = set_type(p, "registry", err);
                return r == 0 ? set_ref(p, fields.v[0], err) : r;
        }
        for (size_t i = 0; r == 0 && i < fields.n; i++) {
                char *eq = strchr(fields.v[i], '=');

                if (!eq)
                        return err_set(err, BLD_E_USAGE,
                                       "%s: \"%.100s\" is not of the form key=value", p->flag,
                                       fields.v[i]);
                *eq = '\0';
                r = set_field(p, fields.v[i], eq + 1, err);
        }
        return r;
}

static int add(struct rc_specs *all, const char *flag, bool from, bool to, bool max,
               const char *spec, struct bld_err *err)
{
        struct rc_spec *s = rc_specs_push(all);
        struct parse p = {.flag = flag, .s = s};
        int r;

        if (!s)
                return err_nomem(err, "cache");
        s->from = from;
        s->to = to;
        s->max = max;
        r = parse(&p, spec, err);
        return r == 0 ? complete(&p, err) : r;
}

int rc_specs_parse(const struct bld_build_opts *o, struct rc_specs *ret, struct bld_err *err)
{
        struct rc_specs all = {0};
        int r = 0;

        if (o->cache_repo && o->cache_repo[0]) {
                r = add(&all, "--cache-repo", true, true, true, o->cache_repo, err);
                if (r == 0 && all.v[0].type != RC_REGISTRY)
                        r = err_set(err, BLD_E_USAGE, "--cache-repo takes a reference");
                if (r == 0) /* bld made it: there are results and no image */
                        all.v[0].image = false;
        }
        for (size_t i = 0; i < o->cache_from.n && r == 0; i++)
                r = add(&all, "--cache-from", true, false, false, o->cache_from.v[i], err);
        for (size_t i = 0; i < o->cache_to.n && r == 0; i++)
                r = add(&all, "--cache-to", false, true, false, o->cache_to.v[i], err);
        if (r < 0) {
                rc_specs_free(&all);
                return r;
        }
        *ret = all;
        return 0;
}
