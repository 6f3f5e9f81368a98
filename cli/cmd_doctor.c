#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "bld/debug.h"
#include "cli/cli.h"
#include "cli/exit.h"
#include "cli/table.h"
#include "cli/text.h"

struct doctor_args {
        struct cli_common common;
        const char *format;
        bool k8s;
        struct strv registry;
};

#define A(field) offsetof(struct doctor_args, field)
static const struct opt doctor_opts[] = {
        {"format", 0, OPT_STR, A(format), "F", "text, json or a template", "Flags"},
        {"k8s", 0, OPT_BOOL, A(k8s), NULL, "only the pod's settings for the next better level",
         NULL},
        {"registry", 0, OPT_LIST, A(registry), "HOST", "also ask this registry", NULL},
        {0},
};

/* ---- the pod ---- */

/* What to change in a pod for more isolation, from where it is now. */
static const char *pod_snippet(const struct js *doc)
{
        const struct js *iso = js_get(doc, "isolation");
        const char *chosen = js_get_str(iso, "chosen");
        bool shared = js_get_bool(iso, "sharedProc", false);

        if (!chosen || strcmp(chosen, "none") == 0)
                return "# RUN steps: any one of these three\n"
                       "spec:\n"
                       "  containers:\n"
                       "  - securityContext:          # 1. as root with the default capabilities\n"
                       "      runAsUser: 0\n"
                       "  - securityContext:          # 2. as any user, nothing else\n"
                       "      seccompProfile: {type: Unconfined}\n"
                       "  - securityContext:          # 3. in a user namespace, with hostUsers: "
                       "false\n"
                       "      runAsUser: 0\n";
        if (strcmp(chosen, "chroot") == 0)
                return "# user namespaces instead of chroot\n"
                       "spec:\n"
                       "  containers:\n"
                       "  - securityContext:\n"
                       "      seccompProfile: {type: Unconfined}\n";
        if (strcmp(chosen, "solo") == 0)
                return "# real ids instead of emulated ones\n"
                       "spec:\n"
                       "  hostUsers: false\n"
                       "  containers:\n"
                       "  - securityContext:\n"
                       "      runAsUser: 0\n"
                       "      seccompProfile: {type: Unconfined}\n";
        if (shared)
                return "# a /proc of the step's own\n"
                       "spec:\n"
                       "  hostUsers: false\n"
                       "  containers:\n"
                       "  - securityContext:\n"
                       "      procMount: Unmasked\n"
                       "      seccompProfile: {type: Unconfined}\n";
        return NULL;
}

/* ---- text ---- */

static const char *or_empty(const char *s)
{
        return s ? s : "";
}

static void say_level(struct sb *out, const struct js *l, const char *chosen)
{
        const char *name = or_empty(js_get_str(l, "name"));
        const char *error = js_get_str(l, "errno");

        sb_fmt(out, "  %-8s", name);
        if (js_get_bool(l, "ok", false)) {
                sb_fmt(out, "works%s%s\n",
                       js_get_bool(l, "sharedProc", false) ? ", with the container's /proc" : "",
                       strcmp(name, chosen) == 0 ? "  <- chosen" : "");
                return;
        }
        sb_fmt(out, "%s%s%s%s\n", or_empty(js_get_str(l, "what")), error ? " (" : "",
               or_empty(error), error ? ")" : "");
        if (js_get_str(l, "why"))
                sb_fmt(out, "          why: %s\n", js_get_str(l, "why"));
        if (js_get_str(l, "fix"))
                sb_fmt(out, "          try: %s\n", js_get_str(l, "fix"));
}

static void say(struct sb *out, const struct js *doc)
{
        const struct js *iso = js_get(doc, "isolation"), *list = js_get(doc, "levels");
        const char *chosen = or_empty(js_get_str(iso, "chosen"));
        const char *pod = pod_snippet(doc);

        sb_fmt(out, "RUN steps %s\n",
               strcmp(chosen, "none") == 0 ? "cannot work here" : "work here");
        sb_fmt(out, "isolation: %s\n\nlevels\n", or_empty(js_get_str(iso, "why")));
        for (size_t i = 0; i < js_len(list); i++)
                say_level(out, js_at(list, i), chosen);
        sb_str(out, "\nchecks\n");
        list = js_get(doc, "checks");
        for (size_t i = 0; i < js_len(list); i++) {
                const struct js *c = js_at(list, i);
                bool ok = js_get_bool(c, "ok", false);

                sb_fmt(out, "  %-4s%s: %s\n", ok ? "ok" : "--", or_empty(js_get_str(c, "name")),
                       or_empty(js_get_str(c, "detail")));
                if (js_get_str(c, "fix"))
                        sb_fmt(out, "      try: %s\n", js_get_str(c, "fix"));
        }
        if (pod)
                sb_fmt(out, "\nin Kubernetes\n%s", pod);
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct doctor_args *a = args;
        const struct bld_list hosts = cli_list(&a->registry);
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        AUTO_JS struct js *doc = NULL;
        char *text = NULL;
        int r = cli_open(c, err);

        (void)pos;
        r = r < 0 ? r : bld_doctor(c->b, &hosts, &text, err);
        r = r < 0 ? r : take_json(text, &doc, err);
        if (r < 0)
                return r;
        const char *chosen = js_get_str(js_get(doc, "isolation"), "chosen");
        int status = chosen && strcmp(chosen, "none") != 0 ? EXIT_OK : EXIT_ENVIRONMENT;
        if (a->k8s) {
                const char *pod = pod_snippet(doc);

                r = cli_puts(pod ? pod : "# nothing to change: the level cannot be better\n", err);
        } else if (a->format && strcmp(a->format, "text") != 0) {
                r = table_print_one(doc, a->format, err);
        } else {
                say(&out, doc);
                r = cli_write_out(out.buf, out.len, err);
        }
        return r < 0 ? r : status;
}

const struct cli_cmd cmd_doctor = {
        .name = "doctor",
        .args = "[flags]",
        .summary = "tell what bld can do on this machine, and what would allow more",
        .examples = "bld doctor\nbld doctor --format json\nbld doctor --k8s\n"
                    "bld doctor --registry registry.example\n",
        .exits = "9 RUN steps cannot work here",
        .see = "bld-build(1)",
        .opts = doctor_opts,
        .registry = true,
        .args_size = sizeof(struct doctor_args),
        .max_args = 0,
        .run = run,
};
