/* Git URLs: what is one, its parts, and what is wrong with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "parser/giturl.h"

static const struct {
        const char *name, *url;
        const char *want; /* remote|ref|subdir|checksum|mtime, NULL: it is none */
} good[] = {
        {"https", "https://example.com/foo.git", "https://example.com/foo.git||||"},
        {"http", "http://h/foo.git", "http://h/foo.git||||"},
        {"git needs no suffix", "git://h/foo", "git://h/foo||||"},
        {"ssh", "ssh://git@h:22/foo/bar", "ssh://git@h:22/foo/bar||||"},
        {"user and port", "https://u:p@h:8443/foo.git", "https://u:p@h:8443/foo.git||||"},
        {"scp", "git@h:foo/bar", "git@h:foo/bar||||"},
        {"scp, odd names", "a_b-c@x.y-z.org:foo", "a_b-c@x.y-z.org:foo||||"},
        {"scp, ref and folder", "git@h:foo#v1:/a/../b", "git@h:foo|v1|b||"},
        {"scp, query", "git@h:foo.git?subdir=/d#v1", "git@h:foo.git|v1|/d||"},
        {"github", "github.com/a/b", "github.com/a/b||||"},
        {"github, ref", "github.com/a/b#main:x", "github.com/a/b|main|x||"},
        {"ref", "https://h/f.git#release/1.2", "https://h/f.git|release/1.2|||"},
        {"folder only", "https://h/f.git#:d/e", "https://h/f.git||d/e||"},
        {"folder cannot leave", "https://h/f.git#:../../e", "https://h/f.git||e||"},
        {"escaped fragment", "https://h/f.git#a%20b:c%2Fd", "https://h/f.git|a b|c/d||"},
        {"empty fragment", "https://h/f.git#", "https://h/f.git||||"},
        {"query ref", "https://h/f.git?ref=v1&subdir=/s", "https://h/f.git|v1|/s||"},
        {"query tag", "https://h/f.git?tag=v1", "https://h/f.git|refs/tags/v1|||"},
        {"query tag, full", "https://h/f.git?tag=refs/tags/v1", "https://h/f.git|refs/tags/v1|||"},
        {"query branch", "https://h/f.git?branch=b", "https://h/f.git|refs/heads/b|||"},
        {"ref and tag agree", "https://h/f.git?ref=refs/tags/v1&tag=v1",
         "https://h/f.git|refs/tags/v1|||"},
        {"checksum", "https://h/f.git?checksum=dead", "https://h/f.git|||dead|"},
        {"commit", "https://h/f.git?commit=dead&mtime=commit", "https://h/f.git|||dead|commit"},
        {"escaped query", "https://h/f.git?ref=a%2Fb+c", "https://h/f.git|a/b c|||"},
        {"empty query", "https://h/f.git?", "https://h/f.git||||"},
        {"flags without a value",
         "https://h/f.git?keep-git-dir&submodules=", "https://h/f.git||||"},

        {"no suffix over http", "https://example.com/foo", NULL},
        {"suffix is not the end", "https://h/foo.git/x", NULL},
        {"suffix in the query", "https://h/foo?x=.git", NULL},
        {"no host", "https://", NULL},
        {"suffix without a path", "https://a.git", NULL},
        {"other scheme", "ftp://h/foo.git", NULL},
        {"local", "./.git", NULL},
        {"local, above", "../x.git", NULL},
        {"plain name", "foo.git", NULL},
        {"other host without a scheme", "custom.xyz/a/b.git", NULL},
        {"empty", "", NULL},
        {"no user", "@h:x", NULL},
};

static const struct {
        const char *name, *url, *want;
} bad[] = {
        {"unknown key", "https://h/f.git?invalid=123", "unexpected query \"invalid\""},
        {"no value", "https://h/f.git?ref", "query \"ref\" has no value"},
        {"no value, with =", "https://h/f.git?ref=", "query \"ref\" has no value"},
        {"twice", "https://h/f.git?ref=a&ref=a", "query \"ref\" has multiple values"},
        {"ref and tag", "https://h/f.git?ref=v1&tag=v2",
         "ref conflicts: \"v1\" vs \"refs/tags/v2\""},
        {"fragment and ref", "https://h/f.git?ref=a#b", "ref conflicts: \"b\" vs \"a\""},
        {"folders", "https://h/f.git?subdir=a#r:b", "subdir conflicts: \"b\" vs \"a\""},
        {"branch and tag", "https://h/f.git?tag=a&branch=b", "branch conflicts with tag"},
        {"mtime", "https://h/f.git?mtime=now", "invalid mtime value: \"now\""},
        {"flag", "https://h/f.git?submodules=2", "invalid submodules value: \"2\""},
        {"escape", "https://h/f.git?ref=%zz", "invalid escape"},
        {"escape, cut", "https://h/f.git#a%2", "invalid escape"},
        {"NUL", "https://h/f.git#a%00", "invalid escape"},
        {"blank", "https://h/a b.git", "no blanks"},
        {"an option for git", "-u@h:x", "no blanks"},
};

static void good_ones(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(good); i++) {
                AUTO(giturl_done) struct giturl g = {.remote = NULL};
                struct bld_err err = BLD_ERR_INIT;
                char text[500];
                int r = giturl_parse(good[i].url, &g, &err);

                print_message("%s\n", good[i].name);
                assert_int_equal(r, good[i].want != NULL);
                if (r != 1)
                        continue;
                (void)snprintf(text, sizeof(text), "%s|%s|%s|%s|%s", g.remote, g.ref, g.subdir,
                               g.checksum, g.mtime);
                assert_string_equal(text, good[i].want);
        }
}

static void bad_ones(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                struct giturl g;
                struct bld_err err = BLD_ERR_INIT;

                print_message("%s\n", bad[i].name);
                assert_int_equal(giturl_parse(bad[i].url, &g, &err), BLD_E_INVALID);
                if (!strstr(err.msg, bad[i].want))
                        fail_msg("message is: %s", err.msg);
        }
}

static void flags(void **state)
{
        AUTO(giturl_done) struct giturl g = {.remote = NULL}, plain = {.remote = NULL};

        (void)state;
        assert_int_equal(
                giturl_parse("git://h/f?keep-git-dir&submodules=false&fetch-by-commit=1", &g, NULL),
                1);
        assert_int_equal(g.keep_git_dir, 1);
        assert_int_equal(g.submodules, 0);
        assert_true(g.fetch_by_commit);
        assert_true(g.insecure);
        assert_int_equal(giturl_parse("github.com/a/b", &plain, NULL), 1);
        assert_int_equal(plain.keep_git_dir, -1);
        assert_int_equal(plain.submodules, -1);
        assert_true(plain.like_path);
        assert_false(plain.insecure);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(good_ones),
                cmocka_unit_test(bad_ones),
                cmocka_unit_test(flags),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
