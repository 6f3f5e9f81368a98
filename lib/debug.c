#include "bld/debug.h"

#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/num.h"
#include "base/opt.h"
#include "builder/solve/show.h"
#include "image/image.h"
#include "parser/parser.h"

/* After parser.h: expand.h uses its heredoc type. */
#include "parser/expand.h"
#include "parser/giturl.h"
#include "parser/ignore.h"

#define INPUT_MAX (32u << 20)
#define OUTPUT_MAX (256u << 20)

struct debug_args {
        bool strict;
        const char *escape;
        const char *file;
        const char *platform, *context;
        struct strv build_args, targets;
        struct strv env;
        struct strv pos;
};

static const struct opt ast_opts[] = {
        {"strict", 0, OPT_BOOL, offsetof(struct debug_args, strict), NULL,
         "also refuse what is wrong in any build", NULL},
        {0},
};

static const struct opt expand_opts[] = {
        {"env", 'e', OPT_LIST, offsetof(struct debug_args, env), "K=V", "set a variable", NULL},
        {"escape", 0, OPT_STR, offsetof(struct debug_args, escape), "CHAR", "escape character",
         NULL},
        {0},
};

static const struct opt ignore_opts[] = {
        {"file", 'f', OPT_STR, offsetof(struct debug_args, file), "FILE", "the ignore file", NULL},
        {0},
};

#define PLAN_OPTS                                                                                  \
        {"build-arg",       0,   OPT_LIST, offsetof(struct debug_args, build_args), "K=V",         \
         "value of an ARG", NULL},                                                                 \
                {"target",           0,   OPT_LIST, offsetof(struct debug_args, targets), "STAGE", \
                 "the stage wanted", NULL},                                                        \
        {                                                                                          \
                "platform", 0, OPT_STR, offsetof(struct debug_args, platform), "OS/ARCH",          \
                        "the platform wanted", NULL                                                \
        }

static const struct opt plan_opts[] = {PLAN_OPTS, {0}};

static const struct opt key_opts[] = {
        PLAN_OPTS,
        {"context", 0, OPT_STR, offsetof(struct debug_args, context), "DIR",
         "count the content of the build context", NULL},
        {0},
};

static const struct opt no_opts[] = {{0}};

/* A named file, or standard input for "-". */
static int read_input(const char *path, struct sb *b, struct bld_err *err)
{
        if (strcmp(path, "-") == 0)
                return fd_read_all(0, b, "standard input", err);
        return file_read(AT_FDCWD, path, b, err);
}

static int parse_file(const char *path, struct df_file **ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(INPUT_MAX);
        struct df_err_pos pos = {0};
        int r;

        r = read_input(path, &text, err);
        if (r < 0)
                return r;
        r = df_parse(sb_text(&text), text.len, ret, &pos, err);
        if (r < 0 && pos.pos.line)
                return err_wrap(err, r, "dockerfile parse error on line %u", pos.pos.line);
        return r;
}

static int debug_ast(const struct debug_args *a, struct sb *out, struct bld_err *err)
{
        AUTO(df_free_p) struct df_file *f = NULL;
        struct df_err_pos pos = {0};
        int r;

        r = parse_file(a->pos.v[0], &f, err);
        if (r < 0)
                return r;
        if (a->strict) {
                r = df_check(f, &pos, err);
                if (r < 0)
                        return pos.pos.line ? err_wrap(err, r, "dockerfile parse error on line %u",
                                                       pos.pos.line)
                                            : r;
        }
        return df_dump(f, out, err);
}

/* js_set and friends answer with a code only; these turn it into a message. */
static int built(int r, struct bld_err *err)
{
        if (r == BLD_E_INVALID)
                return err_set(err, r, "text is not UTF-8");
        return r < 0 ? err_nomem(err, "JSON") : 0;
}

static int write_json(const struct js *j, unsigned flags, struct sb *out, struct bld_err *err)
{
        int r = js_write(j, flags, out, err);

        if (r < 0)
                return r;
        sb_char(out, '\n');
        return 0;
}

static int push_heredoc(struct js *list, const struct df_heredoc *h)
{
        AUTO_JS struct js *j = js_obj();
        int r = 0;

        if (!j)
                return BLD_E_NOMEM;
        r = r < 0 ? r : js_set_str(j, "name", h->name);
        r = r < 0 ? r : js_set_str(j, "content", h->content);
        r = r < 0 ? r : js_set_bool(j, "expand", h->expand);
        r = r < 0 ? r : js_set_bool(j, "chomp", h->chomp);
        r = r < 0 ? r : js_set_i64(j, "fd", h->fd);
        return r < 0 ? r : js_push(list, TAKE_PTR(&j));
}

static int debug_heredocs(const struct debug_args *a, struct sb *out, struct bld_err *err)
{
        AUTO(df_free_p) struct df_file *f = NULL;
        AUTO_JS struct js *all = js_arr();
        int r;

        r = parse_file(a->pos.v[0], &f, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < f->n; i++) {
                AUTO_JS struct js *list = js_arr();
                const struct df_instr *in = &f->v[i];

                if (!list)
                        return err_nomem(err, "JSON");
                for (size_t k = 0; k < in->nheredocs; k++) {
                        r = built(push_heredoc(list, &in->heredocs[k]), err);
                        if (r < 0)
                                return r;
                }
                r = built(js_push(all, TAKE_PTR(&list)), err);
                if (r < 0)
                        return r;
        }
        return write_json(all, JS_COMPACT, out, err);
}

static int escape_of(const struct debug_args *a, char *ret, struct bld_err *err)
{
        *ret = '\\';
        if (!a->escape)
                return 0;
        if ((a->escape[0] != '\\' && a->escape[0] != '`') || a->escape[1])
                return err_set(err, BLD_E_USAGE, "--escape takes \\ or `, not \"%s\"", a->escape);
        *ret = a->escape[0];
        return 0;
}

static int debug_expand(const struct debug_args *a, struct sb *out, struct bld_err *err)
{
        struct strv env_copy = a->env;
        struct df_env env = {.get = df_env_strv, .user = &env_copy};
        AUTO_FREE char *text = NULL;
        char escape;
        int r;

        r = escape_of(a, &escape, err);
        if (r < 0)
                return r;
        r = df_expand_word(a->pos.v[0], escape, &env, &text, err);
        if (r < 0)
                return r;
        sb_str(out, text);
        sb_char(out, '\n');
        return 0;
}

static int debug_words(const struct debug_args *a, struct sb *out, struct bld_err *err)
{
        struct strv env_copy = a->env;
        struct df_env env = {.get = df_env_strv, .user = &env_copy};
        AUTO_STRV struct strv words = {0};
        AUTO_JS struct js *list = NULL;
        char escape;
        int r;

        r = escape_of(a, &escape, err);
        if (r < 0)
                return r;
        r = df_expand_words(a->pos.v[0], escape, &env, &words, err);
        if (r < 0)
                return r;
        list = js_from_strv(&words);
        if (!list)
                return err_set(err, BLD_E_INVALID, "the words are not UTF-8");
        return write_json(list, JS_COMPACT, out, err);
}

static int debug_ignore(const struct debug_args *a, struct sb *out, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(INPUT_MAX);
        AUTO(ignore_free_p) struct ignore *ig = NULL;
        int r;

        if (!a->file)
                return err_set(err, BLD_E_USAGE, "bld debug ignore needs --file");
        r = read_input(a->file, &text, err);
        if (r < 0)
                return r;
        r = ignore_parse(sb_text(&text), text.len, a->file, &ig, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < a->pos.n; i++)
                if (ignore_match(ig, a->pos.v[i], NULL))
                        sb_fmt(out, "%s\n", a->pos.v[i]);
        return 0;
}

/* Takes ownership of text; NULL is out of memory. */
static int set_text(struct js *j, const char *key, char *text)
{
        AUTO_FREE char *own = text;

        return own ? js_set_str(j, key, own) : BLD_E_NOMEM;
}

static int debug_ref(const struct debug_args *a, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj();
        AUTO_REF struct img_ref ref = {0};
        char digest[DIGEST_STR_MAX];
        int r;

        r = img_ref_parse(a->pos.v[0], &ref, err);
        if (r < 0)
                return r;
        digest_format(&ref.digest, digest);
        r = js_set_str(j, "domain", ref.domain);
        r = r < 0 ? r : js_set_str(j, "path", ref.path);
        r = r < 0 ? r : js_set_str(j, "tag", ref.tag ? ref.tag : "");
        r = r < 0 ? r : js_set_str(j, "digest", digest);
        r = r < 0 ? r : set_text(j, "normalized", img_ref_format(&ref, 0));
        r = r < 0 ? r : set_text(j, "familiar", img_ref_familiar(&ref, 0));
        r = r < 0 ? r : set_text(j, "pulled", img_ref_format(&ref, IMG_REF_DEFAULT_TAG));
        r = built(r, err);
        return r < 0 ? r : write_json(j, JS_COMPACT, out, err);
}

static int debug_giturl(const struct debug_args *a, struct sb *out, struct bld_err *err)
{
        AUTO(giturl_done) struct giturl g = {.remote = NULL};
        AUTO_JS struct js *j = js_obj();
        int r = giturl_parse(a->pos.v[0], &g, err);

        if (r < 0)
                return r;
        if (r == 0)
                return err_set(err, BLD_E_INVALID, "not a git URL: \"%.200s\"", a->pos.v[0]);
        r = js_set_str(j, "remote", g.remote);
        r = r < 0 ? r : js_set_str(j, "ref", g.ref);
        r = r < 0 ? r : js_set_str(j, "subdir", g.subdir);
        r = r < 0 ? r : js_set_str(j, "checksum", g.checksum);
        r = r < 0 ? r : js_set_str(j, "mtime", g.mtime);
        r = built(r, err);
        return r < 0 ? r : write_json(j, JS_COMPACT, out, err);
}

/* What a Dockerfile is planned as. */
static int debug_plan(const struct debug_args *a, enum bd_show_what what, struct sb *out,
                      struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(INPUT_MAX);
        struct bd_show x = {.what = what,
                            .build_args = {(const char *const *)a->build_args.v, a->build_args.n},
                            .targets = {(const char *const *)a->targets.v, a->targets.n},
                            .platform = a->platform,
                            .context = a->context};
        int r = read_input(a->pos.v[0], &text, err);

        if (r < 0)
                return r;
        r = bd_show(&x, sb_text(&text), text.len, out, err);
        return r < 0 && x.line ? err_wrap(err, r, "line %u", x.line) : r;
}

static int debug_graph(const struct debug_args *a, struct sb *out, struct bld_err *err)
{
        return debug_plan(a, BD_SHOW_GRAPH, out, err);
}

static int debug_key(const struct debug_args *a, struct sb *out, struct bld_err *err)
{
        return debug_plan(a, BD_SHOW_KEY, out, err);
}

static int debug_config(const struct debug_args *a, struct sb *out, struct bld_err *err)
{
        return debug_plan(a, BD_SHOW_CONFIG, out, err);
}

struct debug_cmd {
        const char *name, *args;
        const struct opt *opts;
        int (*run)(const struct debug_args *a, struct sb *out, struct bld_err *err);
};

static const struct debug_cmd cmds[] = {
        {"ast", "[--strict] FILE", ast_opts, debug_ast},
        {"heredocs", "FILE", no_opts, debug_heredocs},
        {"expand", "[--env K=V]... [--escape C] -- WORD", expand_opts, debug_expand},
        {"words", "[--env K=V]... [--escape C] -- WORD", expand_opts, debug_words},
        {"ignore", "--file FILE -- PATH", ignore_opts, debug_ignore},
        {"ref", "-- REF", no_opts, debug_ref},
        {"giturl", "-- URL", no_opts, debug_giturl},
        {"graph", "[--target S] [--build-arg K=V]... [--platform P] FILE", plan_opts, debug_graph},
        {"key", "[--context DIR] [--target S] [--build-arg K=V]... [--platform P] FILE", key_opts,
         debug_key},
        {"config", "[--target S] [--build-arg K=V]... [--platform P] FILE", plan_opts,
         debug_config},
};

static const struct debug_cmd *find(const char *what)
{
        for (size_t i = 0; i < ARRAY_LEN(cmds); i++)
                if (strcmp(cmds[i].name, what) == 0)
                        return &cmds[i];
        return NULL;
}

static int run(const struct debug_cmd *c, int argc, char **argv, struct debug_args *a,
               struct sb *out, struct bld_err *err)
{
        const struct opt *tables[] = {c->opts};
        AUTO_FREE char **full = mem_zalloc((size_t)argc + 2, sizeof(*full));
        int r;

        /* opt_parse begins at argv[1], our arguments at argv[0]. */
        if (!full)
                return err_nomem(err, "arguments");
        for (int i = 0; i < argc; i++)
                full[i + 1] = argv[i];
        r = opt_parse(tables, 1, argc + 1, full, a, &a->pos, NULL, err);
        if (r < 0)
                return r;
        if (a->pos.n != 1)
                return err_set(err, BLD_E_USAGE, "usage: bld debug %s %s", c->name, c->args);
        r = c->run(a, out, err);
        return r < 0 ? r : sb_check(out, "output", err);
}

int bld_debug(const char *what, int argc, char **argv, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(OUTPUT_MAX);
        const struct debug_cmd *c = find(what);
        struct debug_args a = {0};
        char *text;
        int r;

        if (!c)
                return err_set(err, BLD_E_USAGE,
                               "unknown stage \"%s\": ast, heredocs, expand, words, ignore, ref, "
                               "giturl, graph, key or config",
                               what);
        r = run(c, argc, argv, &a, &out, err);
        strv_done(&a.build_args);
        strv_done(&a.targets);
        strv_done(&a.env);
        strv_done(&a.pos);
        if (r < 0)
                return r;
        text = sb_take(&out);
        if (!text)
                return err_nomem(err, "output");
        *ret = text;
        return 0;
}
