/* The filter that traps: for each architecture the numbers of the rules, each with its test. Calls
 * it does not name cost nothing, the kernel remembers that they pass. */
#include "runtime/sup_priv.h"

#include <seccomp.h>
#include <stddef.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARG(n) (offsetof(struct seccomp_data, args) + 8 * (size_t)(n))
#else
#define ARG(n) (offsetof(struct seccomp_data, args) + 8 * (size_t)(n) + 4)
#endif

static bool emit(struct filter *f, uint16_t code, size_t k, uint8_t jt, uint8_t jf)
{
        if (f->n == FILTER_MAX)
                return false;
        f->v[f->n++] = (struct sock_filter){code, jt, jf, (uint32_t)k};
        return true;
}

static bool emit_trap(struct filter *f, uint32_t nr, const struct sup_rule *u)
{
        const uint16_t ret = BPF_RET | BPF_K;

        if (u->pass)
                return emit(f, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 4) &&
                       emit(f, BPF_LD | BPF_W | BPF_ABS, ARG(u->pass_arg - 1), 0, 0) &&
                       emit(f, BPF_JMP | BPF_JSET | BPF_K, u->pass, 1, 0) &&
                       emit(f, ret, SECCOMP_RET_USER_NOTIF, 0, 0) &&
                       emit(f, ret, SECCOMP_RET_ALLOW, 0, 0);
        if (u->test_two)
                return emit(f, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 6) &&
                       emit(f, BPF_LD | BPF_W | BPF_ABS, ARG(u->test_arg - 1), 0, 0) &&
                       emit(f, BPF_JMP | BPF_JSET | BPF_K, u->test, 3, 0) &&
                       emit(f, BPF_LD | BPF_W | BPF_ABS, ARG(u->test_arg), 0, 0) &&
                       emit(f, BPF_JMP | BPF_JSET | BPF_K, u->test, 1, 0) &&
                       emit(f, ret, SECCOMP_RET_ALLOW, 0, 0) &&
                       emit(f, ret, SECCOMP_RET_USER_NOTIF, 0, 0);
        if (!u->test)
                return emit(f, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1) &&
                       emit(f, ret, SECCOMP_RET_USER_NOTIF, 0, 0);
        return emit(f, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 4) &&
               emit(f, BPF_LD | BPF_W | BPF_ABS, ARG(u->test_arg - 1), 0, 0) &&
               emit(f, BPF_JMP | BPF_JSET | BPF_K, u->test, 0, 1) &&
               emit(f, ret, SECCOMP_RET_USER_NOTIF, 0, 0) && emit(f, ret, SECCOMP_RET_ALLOW, 0, 0);
}

/* Rules of one table on one architecture; arch is the token its calls carry. */
static bool add_rules(struct sup *s, const struct sup_rules *rules, uint32_t names, uint32_t arch)
{
        for (size_t i = 0; i < rules->n; i++) {
                const struct sup_rule *u = &rules->v[i];
                int nr = seccomp_syscall_resolve_name_arch(names, u->call);
                struct sup_trap *t;

                if (!(u->module & s->modules) || nr < 0)
                        continue;
                t = sup_traps_push(&s->traps);
                if (!t || !emit_trap(&s->filter, (uint32_t)nr, u))
                        return false;
                *t = (struct sup_trap){arch, (uint32_t)nr, u};
        }
        return true;
}

static bool add_block(struct sup *s, uint32_t arch, uint32_t extra)
{
        static const struct sup_rules *const tables[] = {
                &sup_own_rules,   &sup_cred_rules, &sup_create_rules, &sup_stat_rules,
                &sup_vproc_rules, &sup_kill_rules, &sup_beyond_rules};
        struct filter *f = &s->filter;
        size_t at = f->n;
        bool ok = emit(f, BPF_JMP | BPF_JEQ | BPF_K, arch, 1, 0) &&
                  emit(f, BPF_JMP | BPF_JA, 0, 0, 0) &&
                  emit(f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);

        for (size_t i = 0; ok && i < ARRAY_LEN(tables); i++) {
                ok = add_rules(s, tables[i], arch, arch);
                if (ok && extra)
                        ok = add_rules(s, tables[i], extra, arch);
        }
        ok = ok && emit(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
        if (ok)
                f->v[at + 1].k = (uint32_t)(f->n - at - 2);
        return ok;
}

int sup_compile(struct sup *s, struct bld_err *err)
{
        uint32_t other = 0, extra = 0;
        bool ok;

        s->native = seccomp_arch_native();
        if (s->native == SCMP_ARCH_X86_64) {
                other = SCMP_ARCH_X86;
                extra = SCMP_ARCH_X32;
        } else if (s->native == SCMP_ARCH_AARCH64) {
                other = SCMP_ARCH_ARM;
        }
        ok = emit(&s->filter, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
        ok = ok && add_block(s, s->native, extra);
        if (ok && other)
                ok = add_block(s, other, 0);
        ok = ok && emit(&s->filter, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
        return ok ? 0 : err_set(err, BLD_E_BUG, "the supervisor's filter grew too large");
}
