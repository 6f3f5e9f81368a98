/* RUN --mount: one CSV record per flag. */
#include "builder/plan/plan_priv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/path.h"

static int split_field(const char *field, char **ret_key, const char **ret_value,
                       struct bld_err *err)
{
        const char *eq = strchr(field, '=');
        char *key = mem_strndup(field, eq ? (size_t)(eq - field) : strlen(field));

        if (!key)
                return err_nomem(err, "--mount");
        for (char *c = key; *c; c++)
                *c = (char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
        *ret_key = key;
        *ret_value = eq ? eq + 1 : NULL;
        return 0;
}

static int set_text(char **slot, const char *value, struct bld_err *err)
{
        free(*slot);
        *slot = mem_strdup(value);
        return *slot ? 0 : err_nomem(err, "--mount");
}

static bool is(const char *key, const char *a, const char *b, const char *c)
{
        return strcmp(key, a) == 0 || (b && strcmp(key, b) == 0) || (c && strcmp(key, c) == 0);
}

int plan_mount_from(const char *value, char **ret_from, char **ret_target, struct bld_err *err)
{
        AUTO_STRV struct strv fields = {0};
        int r = csv_split(value, &fields, err);

        for (size_t i = 0; i < fields.n && r == 0; i++) {
                AUTO_FREE char *key = NULL;
                const char *v;

                r = split_field(fields.v[i], &key, &v, err);
                if (r == 0 && v && is(key, "target", "dst", "destination"))
                        r = set_text(ret_target, v, err);
                if (r < 0 || strcmp(key, "from") != 0 || !v)
                        continue;
                const char *dollar = strchr(v, '$');

                if (dollar && dollar[1])
                        return err_set(err, BLD_E_INVALID,
                                       "'from' doesn't support variable expansion, define alias "
                                       "stage instead");
                r = set_text(ret_from, v, err);
        }
        return r;
}

struct mount_parse {
        struct plan *p;
        struct stage *s;
        struct vx_mount *m;
        char *from;
        bool readonly_set;
        bool source_set, id_set; /* of a secret, which wants one name */
};

static int mount_bool(const char *key, const char *value, bool *ret, struct bld_err *err)
{
        *ret = true;
        if (value && !parse_go_bool(value, ret))
                return err_set(err, BLD_E_INVALID, "invalid value for %s: %s", key, value);
        return 0;
}

static const char *const type_names[] = {[MT_BIND] = "bind",
                                         [MT_CACHE] = "cache",
                                         [MT_TMPFS] = "tmpfs",
                                         [MT_SECRET] = "secret",
                                         [MT_SSH] = "ssh"};

/* Behind the message: the word that was meant, perhaps. */
static int suggest(const char *word, const char *const *options, size_t n, struct bld_err *err)
{
        const char *near = df_suggest(word, options, n, true);

        return near ? err_try(err, BLD_E_INVALID, "did you mean %s?", near) : BLD_E_INVALID;
}

static int mount_type(const char *value, enum mount_type *ret, struct bld_err *err)
{
        for (size_t i = 0; i < ARRAY_LEN(type_names); i++) {
                if (strcasecmp(value, type_names[i]) == 0) {
                        *ret = (enum mount_type)i;
                        return 0;
                }
        }
        (void)err_set(err, BLD_E_INVALID, "unsupported mount type \"%s\"", value);
        return suggest(value, type_names, ARRAY_LEN(type_names), err);
}

static const char *type_name(enum mount_type t)
{
        return type_names[t];
}

static int mount_owner_key(struct mount_parse *x, const char *key, const char *value,
                           struct bld_err *err)
{
        struct vx_mount *m = x->m;
        uint64_t n = 0;

        if (m->type != MT_CACHE && m->type != MT_SECRET && m->type != MT_SSH)
                return err_set(err, BLD_E_INVALID, "%s not allowed for \"%s\" type mounts", key,
                               type_name(m->type));
        if (strcmp(key, "mode") == 0) {
                m->mode_set = true;
                return parse_octal(value, 07777, &m->mode)
                               ? 0
                               : err_set(err, BLD_E_INVALID, "invalid value %s for mode", value);
        }
        if (!parse_u64(value, 0, UINT32_MAX, &n))
                return err_set(err, BLD_E_INVALID, "invalid value %s for %s", value, key);
        *(key[0] == 'u' ? &m->uid : &m->gid) = (uint32_t)n;
        return 0;
}

static int mount_sharing(struct mount_parse *x, const char *value, struct bld_err *err)
{
        static const char *const names[] = {"shared", "private", "locked"};

        if (x->m->type != MT_CACHE)
                return err_set(err, BLD_E_INVALID, "invalid cache sharing set for %s mount",
                               type_name(x->m->type));
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                if (strcasecmp(value, names[i]) == 0) {
                        x->m->sharing = (enum cache_sharing)i;
                        return 0;
                }
        }
        (void)err_set(err, BLD_E_INVALID, "unsupported sharing value \"%s\"", value);
        return suggest(value, names, ARRAY_LEN(names), err);
}

static int unexpected_key(const char *key, const char *field, struct bld_err *err)
{
        static const char *const keys[] = {"type", "target", "source",  "from",     "readonly",
                                           "size", "id",     "sharing", "required", "mode",
                                           "uid",  "gid",    "env",     "dst",      "src"};

        (void)err_set(err, BLD_E_INVALID, "unexpected key '%s' in '%s'", key, field);
        return suggest(key, keys, ARRAY_LEN(keys), err);
}

static int mount_key(struct mount_parse *x, const char *key, const char *value, const char *field,
                     struct bld_err *err)
{
        struct vx_mount *m = x->m;

        if (is(key, "target", "dst", "destination"))
                return set_text(&m->target, value, err);
        if (is(key, "source", "src", NULL)) {
                if (m->type == MT_SSH)
                        return err_set(err, BLD_E_INVALID, "ssh does not support source");
                x->source_set = *value;
                return set_text(m->type == MT_SECRET ? &m->id : &m->source, value, err);
        }
        if (strcmp(key, "from") == 0) {
                if (m->type == MT_SECRET)
                        return err_set(err, BLD_E_INVALID, "secret mount should not have a from");
                return set_text(&x->from, value, err);
        }
        if (strcmp(key, "size") == 0) {
                if (m->type != MT_TMPFS)
                        return err_set(err, BLD_E_INVALID,
                                       "unexpected key 'size' for mount type '%s'",
                                       type_name(m->type));
                return parse_size(value, &m->size_bytes)
                               ? 0
                               : err_set(err, BLD_E_INVALID, "invalid value for size: %s", value);
        }
        if (strcmp(key, "id") == 0) {
                x->id_set = *value;
                return set_text(&m->id, value, err);
        }
        if (strcmp(key, "env") == 0 && m->type == MT_SECRET)
                return set_text(&m->env, value, err);
        if (strcmp(key, "sharing") == 0)
                return mount_sharing(x, value, err);
        if (is(key, "mode", "uid", "gid"))
                return mount_owner_key(x, key, value, err);
        return unexpected_key(key, field, err);
}

static int mount_field(struct mount_parse *x, const char *field, struct bld_err *err)
{
        AUTO_FREE char *key = NULL, *expanded = NULL;
        const char *value;
        bool flag = false;
        int r = split_field(field, &key, &value, err);

        if (r == 0 && value && strcmp(key, "from") != 0) {
                r = plan_expand(x->p, x->s, value, &expanded, err);
                value = expanded;
        }
        if (r < 0)
                return r;
        if (is(key, "readonly", "ro", NULL) || is(key, "readwrite", "rw", NULL)) {
                r = mount_bool(key, value, &flag, err);
                x->m->readonly = is(key, "readonly", "ro", NULL) ? flag : !flag;
                x->readonly_set = true;
                return r;
        }
        if (strcmp(key, "required") == 0) {
                if (x->m->type != MT_SECRET && x->m->type != MT_SSH)
                        return err_set(err, BLD_E_INVALID,
                                       "unexpected key 'required' for mount type '%s'",
                                       type_name(x->m->type));
                return mount_bool(key, value, &x->m->required, err);
        }
        if (!value)
                return err_set(err, BLD_E_INVALID, "invalid field '%s' must be a key=value pair",
                               field);
        if (strcmp(key, "type") == 0)
                return mount_type(value, &x->m->type, err);
        return mount_key(x, key, value, field, err);
}

/* Defaults that depend on everything else: target, id, read-only. */
static int mount_defaults(struct mount_parse *x, struct bld_err *err)
{
        struct vx_mount *m = x->m;
        bool secret = m->type == MT_SECRET, file_wanted = m->target || !m->env;
        char *full;

        if (!x->readonly_set)
                m->readonly = m->type != MT_CACHE && m->type != MT_TMPFS;
        if (m->type == MT_CACHE && !m->id) {
                m->id = path_clean(m->target ? m->target : "");
                if (!m->id)
                        return err_nomem(err, "--mount");
        }
        if (secret && x->source_set && x->id_set)
                return err_set(err, BLD_E_INVALID, "both source and id can't be set");
        if (secret && !m->id && !m->target)
                return err_set(err, BLD_E_INVALID,
                               "invalid secret mount. one of source, target required");
        if (secret && !m->id && set_text(&m->id, path_base(m->target), err) < 0)
                return BLD_E_NOMEM;
        if (secret && m->env && !*m->env && set_text(&m->env, m->id, err) < 0)
                return BLD_E_NOMEM;
        if (m->type == MT_SSH && !m->id && set_text(&m->id, "default", err) < 0)
                return BLD_E_NOMEM;
        if (m->type == MT_SSH && !m->target)
                return 0;
        if (secret && !file_wanted)
                return 0;
        if (secret && !m->target) {
                if (asprintf(&m->target, "/run/secrets/%s", path_base(m->id)) < 0) {
                        m->target = NULL;
                        return err_nomem(err, "--mount");
                }
        }
        full = path_join(plan_cwd(x->s), m->target ? m->target : ".");
        if (!full)
                return err_nomem(err, "--mount");
        free(m->target);
        m->target = full;
        if (strcmp(full, "/") == 0)
                return err_set(err, BLD_E_INVALID, "invalid mount target \"/\"");
        return 0;
}

static int mount_input(struct mount_parse *x, struct vertex *v, struct bld_err *err)
{
        struct stage *t = NULL;
        struct vertex *in = NULL;
        int r = 0;

        x->m->input = -1;
        if (x->m->type != MT_BIND && !(x->m->type == MT_CACHE && x->from))
                return 0;
        if (!x->from || !*x->from) {
                r = plan_context(x->p, &in, err);
        } else {
                r = plan_from_stage(x->p, x->s, x->from, x->m->target, &t, err);
                if (r == 0 && !t)
                        r = plan_near_stage(x->p, x->s, "RUN --mount from", x->from, err);
                if (r == 0 && !t)
                        r = plan_input_image(x->p, x->s, x->from, &in, err);
                else if (t)
                        in = t->fs;
        }
        if (r < 0 || !in)
                return r;
        x->m->input = (int)v->ninputs;
        v->inputs[v->ninputs++] = in;
        return 0;
}

static void outline_step_mount(struct plan *p, const struct vx_mount *m, unsigned line)
{
        if (m->type == MT_SECRET)
                outline_mount(p->o->outline, line, OUTLINE_SECRET, m->id, m->required);
        else if (m->type == MT_SSH)
                outline_mount(p->o->outline, line, OUTLINE_SSH, m->id, m->required);
        else if (m->type == MT_CACHE)
                outline_mount(p->o->outline, line, OUTLINE_CACHE, m->id, false);
}

int plan_mount(struct plan *p, struct stage *s, const char *value, struct vertex *v,
               struct bld_err *err)
{
        AUTO_STRV struct strv fields = {0};
        struct mount_parse x = {.p = p, .s = s, .m = &v->u.run.mounts[v->u.run.nmounts++]};
        int r = csv_split(value, &fields, err);

        for (size_t i = 0; i < fields.n && r == 0; i++)
                r = mount_field(&x, fields.v[i], err);
        if (r == 0)
                r = mount_defaults(&x, err);
        if (r == 0)
                outline_step_mount(p, x.m, v->line);
        if (r == 0)
                r = mount_input(&x, v, err);
        if (r == 0 && x.m->type == MT_CACHE) {
                const char *ns = plan_build_arg(p->o, "BUILDKIT_CACHE_MOUNT_NS");
                char *id = NULL;

                /* One made with a mode or an owner is another cache than one made without. */
                if ((x.m->mode_set || x.m->uid || x.m->gid
                             ? asprintf(&id, "%s/%s %o:%u:%u", ns ? ns : "", x.m->id,
                                        x.m->mode_set ? x.m->mode : 0755, x.m->uid, x.m->gid)
                             : asprintf(&id, "%s/%s", ns ? ns : "", x.m->id)) < 0)
                        r = err_nomem(err, "--mount");
                else {
                        free(x.m->id);
                        x.m->id = id;
                }
        }
        free(x.from);
        return r;
}
