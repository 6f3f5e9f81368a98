/* "Why was this step not a hit": what is said after each kind of change. */
#include "tests/unit/builder_step.h"

#include "builder/solve/solve_priv.h"

static const struct disk tree[] = {
        {"d", 'd', NULL, 0, 0},
        {"d/a", 'f', "A", 0, 0},
        {"d/b", 'f', "B", 0, 0},
};

struct ex {
        struct step *s;
        struct bld_build_opts o;
        struct vertex base, local, copy;
        struct vertex *inputs[2];
        struct copy_source src;
};

static char path_d[] = "d", step_name[] = "stage-0 2/2", folder[] = "";

/* The step as the context has it now. */
static void look(struct ex *x)
{
        struct fs *f = NULL;

        fs_free(TAKE_PTR(&x->s->b.context_tree));
        OK(build_open_local(&x->s->b, &x->local, &f, err));
        OK(op_copy_content(&x->copy, 1, f, &x->copy.content, err));
        fs_free(f);
        key_params(&x->copy);
        key_definition(&x->copy);
}

static void begin(struct ex *x, struct step *s)
{
        memset(x, 0, sizeof(*x));
        x->s = s;
        s->b.o = &x->o;
        step_context(s, tree, ARRAY_LEN(tree));
        x->base.kind = VX_MKDIR;
        digest_of("base", 4, &x->base.key);
        x->local.kind = VX_LOCAL;
        x->local.u.local = folder;
        x->copy.kind = VX_COPY;
        x->copy.step = step_name;
        x->copy.inputs = x->inputs;
        x->inputs[0] = &x->base;
        x->inputs[1] = &x->local;
        x->copy.ninputs = 2;
        x->src.path = path_d;
        x->copy.u.copy.src = &x->src;
        x->copy.u.copy.nsrc = 1;
        look(x);
}

static void why(struct ex *x, const char *want)
{
        char got[300] = "";

        look(x);
        explain_miss(&x->s->b, &x->copy, got, sizeof(got));
        assert_string_equal(got, want);
}

static void put_text(struct ex *x, const char *name, const char *text)
{
        AUTO_FD int fd = open(at(x->s->f, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        OK(fd_write_all(fd, text, strlen(text), err));
}

static void reasons(void **state)
{
        static char dest[] = "/x";
        struct ex x;

        begin(&x, *state);
        why(&x, "it was never built here");
        explain_store(&x.s->b, &x.copy);
        why(&x, "its result is no longer in the store");

        put_text(&x, "ctx/d/a", "changed");
        why(&x, "d/a changed");
        put_text(&x, "ctx/d/a", "A");
        put_text(&x, "ctx/d/new", "");
        why(&x, "d/new is new");
        assert_int_equal(unlink(at(x.s->f, "ctx/d/new")), 0);
        assert_int_equal(unlink(at(x.s->f, "ctx/d/b")), 0);
        why(&x, "d/b is gone");
        put_text(&x, "ctx/d/b", "B");
        assert_int_equal(chmod(at(x.s->f, "ctx/d/b"), 0600), 0);
        why(&x, "the mode or type of a file changed");
        assert_int_equal(chmod(at(x.s->f, "ctx/d/b"), 0644), 0);
        why(&x, "its result is no longer in the store");

        digest_of("other", 5, &x.base.key);
        why(&x, "the step before it changed");
        x.base.kind = VX_IMAGE;
        why(&x, "the base image changed");
        x.base.kind = VX_MKDIR;
        x.copy.u.copy.dest = dest;
        why(&x, "the instruction, or a variable it sees, changed");
        x.copy.no_cache = true;
        why(&x, "of --no-cache");
}

/* What is compared with is the last build, also when that one was a hit. */
static void last_word(void **state)
{
        struct ex x;

        begin(&x, *state);
        explain_store(&x.s->b, &x.copy); /* A */
        put_text(&x, "ctx/d/a", "second");
        look(&x);
        explain_store(&x.s->b, &x.copy); /* B */
        put_text(&x, "ctx/d/a", "A");
        look(&x);
        explain_store(&x.s->b, &x.copy); /* A, found again */
        put_text(&x, "ctx/d/b", "third");
        why(&x, "d/b changed");
}

/* Saying the same again writes nothing. */
static void said_once(void **state)
{
        struct stat before, after;
        struct ex x;

        begin(&x, *state);
        explain_store(&x.s->b, &x.copy);
        assert_int_equal(stat(at(x.s->f, "store0/tmp"), &before), 0);
        for (int i = 0; i < 3; i++)
                explain_store(&x.s->b, &x.copy);
        assert_int_equal(stat(at(x.s->f, "store0/tmp"), &after), 0);
        assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(reasons, step_up, step_down),
                cmocka_unit_test_setup_teardown(last_word, step_up, step_down),
                cmocka_unit_test_setup_teardown(said_once, step_up, step_down),
        };

        return cmocka_run_group_tests_name("builder/explain", tests, NULL, NULL);
}
