/* Looking at Dockerfiles. */
#include "bld/check.h"

#include <string.h>

#include "base/err.h"
#include "builder/plan/check.h"
#include "lib/session_priv.h"

#define DOC_MAX ((size_t)256 << 20)

const struct bld_rule *bld_rule(size_t i)
{
        size_t n;
        const struct bld_rule *all = bd_rules(&n);

        return i < n ? &all[i] : NULL;
}

const struct bld_finding *bld_check_finding(const struct bld_check_result *r, size_t i)
{
        return i < r->n ? &r->v[i] : NULL;
}

void bld_check_done(struct bld_check_result *r)
{
        const struct bld_check_result none = {.v = NULL};

        for (size_t i = 0; i < r->n; i++)
                free(r->v[i].detail);
        free(r->v);
        free(r->file);
        free(r->source);
        lib_ret_put(r, &none, sizeof(none));
}

static int check(struct bld *b, const struct bld_check_opts *o, struct bld_check_result *ret,
                 struct bld_err *err)
{
        struct bd_check c = {.call = BD_CALL_CHECK, .ret = ret, .doc = SB_INIT(DOC_MAX)};
        struct bld_build_opts build;
        struct bld_check_opts own;
        int r = lib_opts_copy(&own, sizeof(own), o, "bld_check", err);

        if (r == 0)
                r = lib_opts_copy(&build, sizeof(build), own.build, "bld_check", err);
        if (r == 0)
                r = bd_check_rules(&c, &own.skip, &own.only, own.experimental, err);
        c.build = &build;
        return r == 0 ? bd_check(&b->ctx, &c, err) : r;
}

int bld_check(struct bld *b, const struct bld_check_opts *o, struct bld_check_result *ret,
              struct bld_err *err)
{
        AUTO_FREE struct bld_check_result *own = mem_zalloc(1, sizeof(*own));
        int r = lib_ret_check(ret, "bld_check", err);

        if (r < 0)
                return r;
        if (!own)
                return err_nomem(err, "checks");
        own->size = sizeof(*own);
        r = check(b, o, own, err);
        if (r < 0)
                bld_check_done(own);
        lib_ret_put(ret, own, sizeof(*own));
        return r;
}

static int take_text(struct sb *doc, char **ret, struct bld_err *err)
{
        char *text;
        int r = sb_check(doc, "document", err);

        if (r < 0)
                return r;
        text = sb_take(doc);
        if (!text)
                return err_nomem(err, "document");
        *ret = text;
        return 0;
}

int bld_check_json(const struct bld_check_result *c, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(DOC_MAX);
        int r = bd_check_json(c, &doc, err);

        return r < 0 ? r : take_text(&doc, ret, err);
}

static int document(struct bld *b, enum bd_call call, const struct bld_build_opts *o, char **ret,
                    struct bld_place *place, struct bld_err *err)
{
        AUTO_FREE struct bld_check_result *result = mem_zalloc(1, sizeof(*result));
        struct bd_check c = {.call = call, .ret = result, .doc = SB_INIT(DOC_MAX)};
        struct bld_build_opts build;
        int r;

        memset(place, 0, sizeof(*place));
        if (!result)
                return err_nomem(err, "document");
        r = lib_opts_copy(&build, sizeof(build), o, "a call", err);
        c.build = &build;
        if (r == 0)
                r = bd_check(&b->ctx, &c, err);
        *place = result->place;
        if (r == 0)
                r = take_text(&c.doc, ret, err);
        sb_done(&c.doc);
        return r;
}

int bld_outline(struct bld *b, const struct bld_build_opts *o, char **ret, struct bld_place *place,
                struct bld_err *err)
{
        return document(b, BD_CALL_OUTLINE, o, ret, place, err);
}

int bld_targets(struct bld *b, const struct bld_build_opts *o, char **ret, struct bld_place *place,
                struct bld_err *err)
{
        return document(b, BD_CALL_TARGETS, o, ret, place, err);
}
