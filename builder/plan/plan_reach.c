/* Which stages the targets need. */
#include "builder/plan/plan_priv.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"

int plan_from_stage(struct plan *p, const struct stage *s, const char *from,
                    const char *mount_target, struct stage **ret, struct bld_err *err)
{
        AUTO_FREE char *lower = mem_strdup(from);
        struct stage *t;
        uint64_t n;

        *ret = NULL;
        if (!lower)
                return err_nomem(err, "stages");
        for (char *c = lower; *c; c++)
                if (*c >= 'A' && *c <= 'Z')
                        *c |= 0x20;
        if (!mount_target && parse_u64(from, 0, UINT32_MAX, &n)) {
                if (n == s->index)
                        return err_set(err, BLD_E_INVALID,
                                       "circular dependency detected on stage: %s", s->title);
                if (n > s->index)
                        return err_set(err, BLD_E_INVALID, "invalid stage index %s", from);
                *ret = &p->stages[n];
                return 0;
        }
        *ret = plan_find_stage(p, lower, s->index);
        if (*ret)
                return 0;
        t = plan_find_stage(p, lower, p->nstages);
        if (t == s)
                return err_set(err, BLD_E_INVALID, "circular dependency detected on stage: %s",
                               s->title);
        if (t && mount_target)
                return err_set(err, BLD_E_INVALID,
                               "cannot mount from stage \"%s\" to \"%s\", stage needs to be "
                               "defined before current command",
                               from, mount_target);
        if (t)
                return err_set(err, BLD_E_INVALID,
                               "cannot copy from stage \"%s\", it needs to be defined before "
                               "current stage \"%s\"",
                               from, s->title);
        return 0;
}

static int mark_from(struct plan *p, struct stage *s, const struct df_instr *in, const char *from,
                     const char *mount_target, struct bld_err *err)
{
        struct stage *t = NULL;
        int r = plan_from_stage(p, s, from, mount_target, &t, err);

        if (r < 0)
                return plan_fail_at(p, in, r);
        if (t && !t->reachable) {
                t->reachable = true;
                p->last_reached = MAX(p->last_reached, t->index + 1);
        }
        return 0;
}

/* The stages an instruction of a wanted stage names are wanted. */
int plan_mark(struct plan *p, struct stage *s, const struct df_instr *in, struct bld_err *err)
{
        const char *from = in->kind == DF_COPY ? df_flag(in, "from") : NULL;
        int r = 0;

        if (from && *from)
                r = mark_from(p, s, in, from, NULL, err);
        for (size_t i = 0; in->kind == DF_RUN && i < in->nflags && r == 0; i++) {
                AUTO_FREE char *mount_from = NULL;
                AUTO_FREE char *target = NULL;

                if (strcmp(in->flags[i].name, "mount") != 0 || !in->flags[i].value)
                        continue;
                r = plan_mount_from(in->flags[i].value, &mount_from, &target, err);
                if (r < 0)
                        return plan_fail(p, &in->flags[i].pos, r);
                if (mount_from && *mount_from)
                        r = mark_from(p, s, in, mount_from, target ? target : "", err);
        }
        return r;
}

/* A --from that can never be right is an error also where nobody needs the stage. */
int plan_check_copies(struct plan *p, struct stage *s, struct bld_err *err)
{
        const struct df_file *f = p->o->file;
        int r = 0;

        for (size_t i = s->first; i < s->end && r == 0; i++) {
                const char *from = f->v[i].kind == DF_COPY ? df_flag(&f->v[i], "from") : NULL;
                struct stage *t;
                uint64_t n;

                if (!from || !*from)
                        continue;
                r = plan_check_from(p, from, err);
                if (r == 0 && parse_u64(from, 0, UINT32_MAX, &n))
                        r = plan_from_stage(p, s, from, NULL, &t, err);
                if (r < 0)
                        return plan_fail_at(p, &f->v[i], r);
        }
        return r;
}

static int mark_stage(struct plan *p, struct stage *s, struct bld_err *err)
{
        const struct df_file *f = p->o->file;
        struct stage *b = s->base_stage;
        int r = 0;

        s->scanned = true;
        if (b)
                b->reachable = true;
        /* The ONBUILD triggers of a base run here and may name other stages. */
        for (size_t i = b ? b->first : 0; b && i < b->end && r == 0; i++)
                if (f->v[i].kind == DF_ONBUILD && f->v[i].sub)
                        r = plan_mark(p, s, f->v[i].sub, err);
        for (size_t i = s->first; i < s->end && r == 0; i++)
                r = plan_mark(p, s, &f->v[i], err);
        return r;
}

/* What the reachable stages before this one need. A stage names earlier ones only, so one way back
 * is enough, however long the chain. */
int plan_reach(struct plan *p, size_t before, struct bld_err *err)
{
        int r = 0;

        p->last_reached = 0;
        for (size_t i = before; i-- > 0 && r == 0;)
                if (p->stages[i].reachable && !p->stages[i].scanned)
                        r = mark_stage(p, &p->stages[i], err);
        return r;
}
