/* One -o value: a CSV record of key=value fields, or a bare path. */
#include "builder/builder.h"

#include <ctype.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "base/opt.h"

static const struct {
        const char *name;
        enum bd_output_type type;
        bool push;
} types[] = {
        {"store", BD_OUT_STORE, false},      {"image", BD_OUT_STORE, false},
        {"oci", BD_OUT_OCI, false},          {"docker", BD_OUT_DOCKER, false},
        {"tar", BD_OUT_TAR, false},          {"local", BD_OUT_LOCAL, false},
        {"registry", BD_OUT_REGISTRY, true}, {"cacheonly", BD_OUT_CACHEONLY, false},
};

static const char *const keys[] = {
        "type",
        "dest",
        "name",
        "push",
        "tar",
        "compression",
        "compression-level",
        "oci-mediatypes",
        "rewrite-timestamp",
        "force-compression",
        "platform-split",
        "unpack",
        "store",
        "oci-artifact",
        "name-canonical",
        "push-by-digest",
        "mode",
        "source-date-epoch",
        "registry.insecure",
        "dangling-name-prefix",
        "attestation-inline",
        "prefer-nondist-layers",
        "context",
        "annotation.KEY",
};

struct pair {
        char *key, *value; /* both point into one copy of the field */
};

void bd_output_done(struct bd_output *o)
{
        if (!o)
                return;
        free(o->dest);
        free(o->name);
        free(o->compression);
        free(o->epoch);
        bd_notes_free(&o->annotations);
        memset(o, 0, sizeof(*o));
}

static int set_text(char **to, const char *value, struct bld_err *err)
{
        char *copy = mem_strdup(value);

        if (!copy)
                return err_nomem(err, "output");
        free(*to);
        *to = copy;
        return 0;
}

static int set_bool(bool *to, const struct pair *p, struct bld_err *err)
{
        if (parse_go_bool(p->value, to))
                return 0;
        return err_set(err, BLD_E_USAGE, "output: %s=%s is neither true nor false", p->key,
                       p->value);
}

static int set_type(struct bd_output *o, const char *value, struct bld_err *err)
{
        const char *names[ARRAY_LEN(types)], *near;
        int r;

        for (size_t i = 0; i < ARRAY_LEN(types); i++) {
                names[i] = types[i].name;
                if (strcasecmp(value, types[i].name) != 0)
                        continue;
                o->type = types[i].type;
                o->push = o->push || types[i].push;
                return 0;
        }
        near = near_match(value, names, ARRAY_LEN(types), 3);
        r = err_set(err, BLD_E_USAGE, "output: unknown type \"%s\"", value);
        if (near)
                return err_try(err, r, "type=%s", near);
        return err_try(err, r, "store, registry, oci, docker, tar, local or cacheonly");
}

static int set_level(struct bd_output *o, const struct pair *p, struct bld_err *err)
{
        int64_t level;

        if (!parse_i64(p->value, -1, 22, &level))
                return err_set(err, BLD_E_USAGE, "output: compression-level=%s is not a level",
                               p->value);
        o->compression_level = level < 0 ? 0 : (int)level;
        return 0;
}

static int set_compression(struct bd_output *o, const struct pair *p, struct bld_err *err)
{
        const char *v = strcasecmp(p->value, "uncompressed") == 0 ? "none" : p->value;

        if (strcmp(v, "gzip") != 0 && strcmp(v, "zstd") != 0 && strcmp(v, "none") != 0)
                return err_try(err,
                               err_set(err, BLD_E_USAGE,
                                       "output: compression=%s is none of gzip, zstd, none",
                                       p->value),
                               strcmp(v, "estargz") == 0 ? "compression=zstd" : "compression=gzip");
        return set_text(&o->compression, v, err);
}

static int unknown_key(const struct pair *p, struct bld_err *err)
{
        const char *near = near_match(p->key, keys, ARRAY_LEN(keys), 3);
        int r = err_set(err, BLD_E_USAGE, "output: unknown key \"%s\"", p->key);

        return near ? err_try(err, r, "%s=%s", near, p->value) : r;
}

static int refuse(const struct pair *p, const char *try, struct bld_err *err)
{
        return err_try(
                err, err_set(err, BLD_E_USAGE, "output: %s=%s is not supported", p->key, p->value),
                "%s", try);
}

/* The keys of buildx that change nothing here, with the values that would: those are refused. */
static int set_fixed(const struct pair *p, struct bld_err *err)
{
        static const struct {
                const char *key;
                enum { EITHER, ONLY_FALSE } takes;
                const char *try;
        } fixed[] = {
                {"unpack", EITHER, NULL},
                {"name-canonical", EITHER, NULL}, /* a digest names an image of the store anyway */
                {"attestation-inline", EITHER, NULL},
                {"oci-artifact", ONLY_FALSE, "leave it out: it is about attestations"},
                {"prefer-nondist-layers", ONLY_FALSE,
                 "leave it out: layers keep their type, and all are pushed"},
                {"registry.insecure", ONLY_FALSE, "--tls-verify=false"},
        };
        bool v = false;
        int r;

        if (strcmp(p->key, "dangling-name-prefix") == 0)
                return 0;
        if (strcmp(p->key, "context") == 0)
                return refuse(p, "type=docker,dest=FILE, then docker --context NAME load -i FILE",
                              err);
        for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
                if (strcmp(p->key, fixed[i].key) != 0)
                        continue;
                r = set_bool(&v, p, err);
                return r == 0 && v && fixed[i].takes == ONLY_FALSE ? refuse(p, fixed[i].try, err)
                                                                   : r;
        }
        return unknown_key(p, err);
}

static int set_mode(struct bd_output *o, const struct pair *p, struct bld_err *err)
{
        o->remove_others = strcmp(p->value, "delete") == 0;
        if (o->remove_others || strcmp(p->value, "copy") == 0)
                return 0;
        return err_set(err, BLD_E_USAGE, "output: mode=%s is neither copy nor delete", p->value);
}

static int set_not(bool *to, const struct pair *p, struct bld_err *err)
{
        bool v = true;
        int r = set_bool(&v, p, err);

        *to = !v;
        return r;
}

static int set_one(struct bd_output *o, const struct pair *p, struct bld_err *err)
{
        if (strcmp(p->key, "type") == 0)
                return set_type(o, p->value, err);
        if (strcmp(p->key, "dest") == 0)
                return set_text(&o->dest, p->value, err);
        if (strcmp(p->key, "name") == 0)
                return set_text(&o->name, p->value, err);
        if (strcmp(p->key, "push") == 0)
                return set_bool(&o->push, p, err);
        if (strcmp(p->key, "compression") == 0)
                return set_compression(o, p, err);
        if (strcmp(p->key, "compression-level") == 0)
                return set_level(o, p, err);
        if (strcmp(p->key, "force-compression") == 0)
                return set_bool(&o->force_compression, p, err);
        if (strcmp(p->key, "rewrite-timestamp") == 0)
                return set_not(&o->keep_times, p, err);
        if (strcmp(p->key, "tar") == 0)
                return set_not(&o->as_dir, p, err);
        if (strcmp(p->key, "oci-mediatypes") == 0)
                return set_not(&o->docker_types, p, err);
        if (strcmp(p->key, "store") == 0)
                return set_not(&o->no_store, p, err);
        if (strcmp(p->key, "push-by-digest") == 0)
                return set_bool(&o->push_by_digest, p, err);
        if (strcmp(p->key, "mode") == 0)
                return set_mode(o, p, err);
        if (strcmp(p->key, "source-date-epoch") == 0)
                return set_text(&o->epoch, p->value, err);
        if (strcmp(p->key, "platform-split") == 0) {
                o->split_given = true;
                return set_bool(&o->split, p, err);
        }
        if (str_has_prefix(p->key, "annotation-") || str_has_prefix(p->key, "annotation.") ||
            str_has_prefix(p->key, "annotation["))
                return bd_notes_key(p->key, p->value, &o->annotations, err);
        return set_fixed(p, err);
}

static int parse_field(struct bd_output *o, char *field, struct bld_err *err)
{
        struct pair p = {.key = field, .value = strchr(field, '=')};

        if (!p.value)
                return err_set(err, BLD_E_USAGE, "output: \"%s\" is not of the form key=value",
                               field);
        *p.value++ = '\0';
        /* keys are case-blind, but an annotation's own name is not */
        for (char *k = p.key; *k && (*k != '.' || strncmp(p.key, "annotation", 10) != 0); k++)
                *k = (char)tolower((unsigned char)*k);
        return set_one(o, &p, err);
}

static int check(const struct bd_output *o, const char *spec, bool typed, struct bld_err *err)
{
        int r;

        if (!typed)
                return err_set(err, BLD_E_USAGE, "output \"%s\" has no type=", spec);
        switch (o->type) {
        case BD_OUT_LOCAL:
                if (!o->dest || !o->dest[0])
                        return err_set(err, BLD_E_USAGE, "output: type=local needs dest=FOLDER");
                if (strcmp(o->dest, "-") == 0) {
                        r = err_set(err, BLD_E_USAGE, "output: type=local cannot go to stdout");
                        return err_try(err, r, "-o type=tar,dest=-");
                }
                break;
        case BD_OUT_OCI:
                if (o->as_dir && (!o->dest || strcmp(o->dest, "-") == 0))
                        return err_set(err, BLD_E_USAGE,
                                       "output: type=oci,tar=false needs dest=FOLDER");
                break;
        case BD_OUT_STORE:
        case BD_OUT_REGISTRY:
        case BD_OUT_CACHEONLY:
                if (o->dest)
                        return err_set(err, BLD_E_USAGE, "output: this type takes no dest=");
                break;
        case BD_OUT_DOCKER:
        case BD_OUT_TAR:
                break;
        }
        if (o->as_dir && o->type != BD_OUT_OCI)
                return err_set(err, BLD_E_USAGE, "output: tar=false is for type=oci");
        if ((o->split_given || o->remove_others) && o->type != BD_OUT_LOCAL &&
            !(o->type == BD_OUT_TAR && !o->remove_others))
                return err_set(err, BLD_E_USAGE, "output: %s",
                               o->remove_others ? "mode=delete is for type=local"
                                                : "platform-split is for type=local and type=tar");
        if (o->push_by_digest && !o->push)
                return err_set(err, BLD_E_USAGE,
                               "output: push-by-digest=true needs type=registry or push=true");
        if (o->no_store && !o->push)
                return err_set(err, BLD_E_USAGE,
                               "output: store=false leaves nothing of the image without push=true");
        if (o->push && o->type != BD_OUT_STORE && o->type != BD_OUT_REGISTRY)
                return err_set(err, BLD_E_USAGE, "output: push=true is for type=image");
        return 0;
}

static int parse_bare(const char *spec, struct bd_output *o, struct bld_err *err)
{
        o->type = strcmp(spec, "-") == 0 ? BD_OUT_TAR : BD_OUT_LOCAL;
        return set_text(&o->dest, spec, err);
}

static int parse(const char *spec, struct bd_output *o, struct bld_err *err)
{
        AUTO_STRV struct strv fields = {.v = NULL};
        bool typed = false;
        int r = csv_split(spec, &fields, err);

        if (r < 0) {
                err_clear(err);
                return err_set(err, BLD_E_USAGE, "output \"%s\" is not a CSV record", spec);
        }
        if (fields.n == 1 && !strchr(fields.v[0], '='))
                return parse_bare(fields.v[0], o, err);
        for (size_t i = 0; r == 0 && i < fields.n; i++) {
                typed = typed || strncasecmp(fields.v[i], "type=", 5) == 0;
                r = parse_field(o, fields.v[i], err);
        }
        if (r < 0)
                return r;
        /* archives default to stdout, as they do in buildx */
        if (typed && !o->dest && !o->as_dir &&
            (o->type == BD_OUT_OCI || o->type == BD_OUT_DOCKER || o->type == BD_OUT_TAR)) {
                r = set_text(&o->dest, "-", err);
                if (r < 0)
                        return r;
        }
        return check(o, spec, typed, err);
}

int bd_output_parse(const char *spec, struct bd_output *ret, struct bld_err *err)
{
        struct bd_output o;
        int r;

        memset(&o, 0, sizeof(o));
        if (!spec[0])
                return err_set(err, BLD_E_USAGE, "output: it is empty");
        r = parse(spec, &o, err);
        if (r < 0) {
                bd_output_done(&o);
                return r;
        }
        *ret = o;
        return 0;
}
