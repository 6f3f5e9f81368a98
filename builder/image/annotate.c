/* Annotations as they are asked for: which document, or descriptor, of which platform gets them. */
#include "builder/builder.h"

#include <string.h>

#include "base/err.h"
#include "base/opt.h"

static const struct {
        const char *name;
        enum bd_note_level level;
} levels[] = {{"manifest", BD_NOTE_MANIFEST},
              {"index", BD_NOTE_INDEX},
              {"manifest-descriptor", BD_NOTE_MANIFEST_DESC},
              {"index-descriptor", BD_NOTE_INDEX_DESC}};

void bd_notes_free(struct bd_notes *a)
{
        if (!a)
                return;
        for (size_t i = 0; i < a->n; i++) {
                free(a->v[i].key);
                free(a->v[i].value);
        }
        bd_notes_done(a);
}

static int add(struct bd_notes *to, const struct bd_note *like, const char *key, const char *value,
               struct bld_err *err)
{
        AUTO_FREE char *k = mem_strdup(key), *v = mem_strdup(value);
        struct bd_note *n = k && v ? bd_notes_push(to) : NULL;

        if (!n)
                return err_nomem(err, "annotations");
        *n = *like;
        n->key = TAKE_PTR(&k);
        n->value = TAKE_PTR(&v);
        return 0;
}

/* "manifest" or "manifest[linux/arm64]"; an empty name is the manifest. said: for messages. */
static int parse_level(const char *text, size_t len, const char *said, struct bd_note *ret,
                       struct bld_err *err)
{
        const char *names[ARRAY_LEN(levels)], *near, *bracket = memchr(text, '[', len);
        AUTO_FREE char *name = mem_strndup(text, bracket ? (size_t)(bracket - text) : len);
        AUTO_FREE char *platform = NULL;
        size_t i = 0;
        int r;

        if (!name)
                return err_nomem(err, "annotations");
        while (i < ARRAY_LEN(levels) && *name && strcmp(levels[i].name, name) != 0)
                i++;
        if (i == ARRAY_LEN(levels)) {
                for (i = 0; i < ARRAY_LEN(levels); i++)
                        names[i] = levels[i].name;
                near = near_match(name, names, ARRAY_LEN(names), 4);
                r = err_set(err, BLD_E_USAGE, "annotation \"%.200s\": nothing is called \"%.60s\"",
                            said, name);
                return near ? err_try(err, r, "%s", near)
                            : err_try(err, r,
                                      "manifest, index, manifest-descriptor or index-descriptor");
        }
        *ret = (struct bd_note){.level = levels[i].level};
        if (!bracket)
                return 0;
        if (text[len - 1] != ']' || bracket + 2 >= text + len)
                return err_set(err, BLD_E_USAGE,
                               "annotation \"%.200s\": a platform is written as [OS/ARCH]", said);
        if (ret->level == BD_NOTE_INDEX || ret->level == BD_NOTE_INDEX_DESC)
                return err_set(err, BLD_E_USAGE,
                               "annotation \"%.200s\": an index is of no one platform", said);
        platform = mem_strndup(bracket + 1, len - (size_t)(bracket - text) - 2);
        if (!platform)
                return err_nomem(err, "annotations");
        ret->has_platform = true;
        r = img_platform_parse(platform, &ret->platform, err);
        return r < 0 ? err_wrap(err, err_recode(err, BLD_E_USAGE), "annotation \"%.200s\"", said)
                     : 0;
}

int bd_notes_flag(const char *text, struct bd_notes *to, struct bld_err *err)
{
        const char *eq = strchr(text, '='), *key = text;
        const char *colon = eq ? memchr(text, ':', (size_t)(eq - text)) : NULL;
        AUTO_FREE char *name = NULL;
        int r = 0;

        key = colon ? colon + 1 : text;
        if (!eq || eq == key)
                return err_set(err, BLD_E_USAGE,
                               "annotation \"%.200s\" is not of the form [LEVEL:]KEY=VALUE", text);
        name = mem_strndup(key, (size_t)(eq - key));
        if (!name)
                return err_nomem(err, "annotations");
        for (const char *at = text, *end; r == 0 && at < key; at = end + 1) {
                struct bd_note n;

                end = at + strcspn(at, ",:");
                r = parse_level(at, (size_t)(end - at), text, &n, err);
                r = r < 0 ? r : add(to, &n, name, eq + 1, err);
        }
        if (r == 0 && !colon)
                r = add(to, &(struct bd_note){.level = BD_NOTE_MANIFEST}, name, eq + 1, err);
        return r;
}

int bd_notes_key(const char *key, const char *value, struct bd_notes *to, struct bld_err *err)
{
        const char *at = key + strlen("annotation"), *dot = strchr(at, '.');
        struct bd_note n;
        int r;

        if (!str_has_prefix(key, "annotation") || !dot || !dot[1] ||
            (*at != '.' && *at != '[' && (*at != '-' || at + 1 == dot)))
                return err_set(err, BLD_E_USAGE,
                               "output: \"%.200s\" is not of the form annotation[-LEVEL].KEY", key);
        at += *at == '-';
        r = parse_level(at, (size_t)(dot - at), key, &n, err);
        return r < 0 ? r : add(to, &n, dot + 1, value, err);
}

static bool same_platform(const struct img_platform *a, const struct img_platform *b)
{
        struct img_platform x = *a, y = *b;
        char s[128], t[128];

        img_platform_normalize(&x);
        img_platform_normalize(&y);
        img_platform_format(&x, s);
        img_platform_format(&y, t);
        return strcmp(s, t) == 0;
}

bool bd_note_is_for(const struct bd_note *n, const struct img_platform *platform)
{
        return !n->has_platform || (platform && same_platform(&n->platform, platform));
}

/* What names a platform counts more than what does not. */
int bd_notes_get(const struct bd_notes *notes, enum bd_note_level level,
                 const struct img_platform *platform, struct img_kvs *ret, struct bld_err *err)
{
        for (int named = 0; named < 2; named++)
                for (size_t i = 0; i < notes->n; i++) {
                        const struct bd_note *n = &notes->v[i];

                        if (n->level == level && n->has_platform == (named == 1) &&
                            bd_note_is_for(n, platform) && img_kvs_set(ret, n->key, n->value) < 0)
                                return err_nomem(err, "annotations");
                }
        return 0;
}

int bd_notes_append(struct bd_notes *dst, const struct bd_notes *src, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < src->n && r == 0; i++)
                r = add(dst, &src->v[i], src->v[i].key, src->v[i].value, err);
        return r;
}
