/* Packages through the public interface: databases found in trees, lists, comparison. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "base/sb.h"
#include "bld/packages.h"
#include "layer_fixture.h"

static void show(const struct bld_packages *p, struct sb *b)
{
        for (size_t i = 0; i < bld_packages_count(p); i++) {
                const struct bld_package *k = bld_packages_at(p, i);

                sb_fmt(b, "%s:%s=%s ", k->manager, k->name, k->version);
        }
        assert_null(bld_packages_at(p, bld_packages_count(p)));
}

/* What is found in the tree of a folder that the script fills, or the error. */
static void read_dir(const char *script, struct sb *b)
{
        char *dir = lf_tmpdir();
        struct bld_packages *p = NULL;
        struct bld_image *im = NULL;
        struct bld_tree *t = NULL;
        struct bld_err err = BLD_ERR_INIT;
        int fd;

        lf_sh(script, dir, NULL, 0, NULL);
        fd = lf_open_dir(dir);
        if (bld_image_open_dir(fd, NULL, &im, &err) < 0 || bld_tree_open(im, NULL, &t, &err) < 0)
                fail_msg("%s", err.msg);
        close(fd);
        if (bld_packages_read(t, &p, &err) < 0) {
                assert_null(p);
                sb_fmt(b, "%d %s", err.code, err.msg);
        } else {
                show(p, b);
        }
        bld_packages_free(p);
        bld_tree_close(t);
        bld_image_close(im);
        lf_rmdir(dir);
}

#define ONE(name) "'Package: " name "\\nVersion: 1\\n'"
#define DPKG "mkdir -p var/lib/dpkg/status.d; "
#define RPM "mkdir -p var/lib usr/lib/sysimage/rpm usr/share/rpm; "
#define TWO "rpm:alpha=1.0-1 rpm:kern=5.1-1 "
#define THREE "rpm:alpha=1.0-1 rpm:alpha=1.0-1 rpm:kern=5.1-1 "

static const struct {
        const char *name, *script, *want;
} places[] = {
        {"none", "mkdir var", ""},
        {"an empty database", DPKG ": >var/lib/dpkg/status", ""},
        {"dpkg", DPKG "printf " ONE("a") " >var/lib/dpkg/status", "dpkg:a=1 "},
        {"without dpkg",
         DPKG "cd var/lib/dpkg/status.d; printf " ONE("b") " >b; printf " ONE(
                 "c") " >c; mkdir d; "
                      "printf " ONE("d") " >d/d; echo x >b.md5sums; ln -s b e; ln b f; ln -s no g",
         "dpkg:b=1 dpkg:b=1 dpkg:c=1 "},
        {"with and without",
         DPKG
         "printf " ONE("a") " >var/lib/dpkg/status; printf " ONE("b") " "
                                                                      ">var/lib/dpkg/status.d/b",
         "dpkg:a=1 dpkg:b=1 "},
        {"apk", "mkdir -p lib/apk/db; printf 'P:a\\nV:1\\n' >lib/apk/db/installed", "apk:a=1 "},
        {"apk, /lib a link",
         "mkdir -p usr/lib/apk/db; ln -s usr/lib lib; printf 'P:a\\nV:1\\n' >lib/apk/db/installed",
         "apk:a=1 "},
        {"apk twice",
         "mkdir -p usr/lib/apk/db lib/apk/db; printf 'P:a\\nV:1\\n' >lib/apk/db/installed; "
         "printf 'P:b\\nV:1\\n' >usr/lib/apk/db/installed",
         "apk:a=1 apk:b=1 "},
        {"rpm", RPM "mkdir var/lib/rpm; cp $S/rpm/bdb-one-page var/lib/rpm/Packages", TWO},
        {"rpm, absolute link",
         RPM "ln -s /usr/lib/sysimage/rpm var/lib; "
             "cp $S/rpm/sqlite usr/lib/sysimage/rpm/rpmdb.sqlite",
         THREE},
        {"rpm, ostree",
         RPM "rmdir usr/lib/sysimage/rpm; ln -s ../../share/rpm usr/lib/sysimage/rpm;"
             "ln -s ../../usr/share/rpm var/lib/rpm; cp $S/rpm/sqlite usr/share/rpm/rpmdb.sqlite",
         THREE},
        {"rpm, what a migration left",
         RPM "mkdir var/lib/rpm; cp $S/rpm/bdb-one-page var/lib/rpm/Packages; "
             "cp $S/rpm/sqlite var/lib/rpm/rpmdb.sqlite",
         THREE},
        {"rpm with a log",
         RPM "cd usr/share/rpm; head -c 2048 $S/rpm/sqlite-wal >rpmdb.sqlite; "
             "tail -c +2049 $S/rpm/sqlite-wal >rpmdb.sqlite-wal",
         "rpm:alpha=1.0-1 rpm:kern=5.1-1 rpm:kern=5.2-1 rpm:zero=0:1-1 "},
        {"rpm with an empty log",
         RPM "cd usr/share/rpm; head -c 2048 $S/rpm/sqlite-wal >rpmdb.sqlite; : >rpmdb.sqlite-wal",
         TWO},
        {"rpm as its own log",
         RPM "cd usr/share/rpm; cp $S/rpm/sqlite rpmdb.sqlite; ln -s rpmdb.sqlite rpmdb.sqlite-wal",
         THREE},
        {"all",
         DPKG RPM "printf " ONE("a") " >var/lib/dpkg/status; mkdir -p lib/apk/db; "
                                     "printf 'P:a\\nV:1\\n' >lib/apk/db/installed; "
                                     "cp $S/rpm/bdb-one-page usr/share/rpm/Packages",
         "apk:a=1 dpkg:a=1 " TWO},
        {"links in a circle",
         "mkdir -p var/lib; ln -s dpkg var/lib/dpkg; ln -s rpm var/lib/rpm; "
         "ln -s /lib lib",
         ""},
        {"links to nowhere", "mkdir -p var; ln -s ../../../../etc var/lib", ""},
        {"folders for files", "mkdir -p var/lib/dpkg/status lib/apk/db/installed", ""},
        {"damaged", DPKG "echo hello >var/lib/dpkg/status",
         "-7 /var/lib/dpkg/status: the dpkg database is damaged: line 1: no field and no "
         "continuation of one"},
        {"damaged of rpm", RPM "echo hello >usr/share/rpm/Packages",
         "-7 /usr/share/rpm/Packages: the rpm database is damaged: it is none of the formats "
         "SQLite, ndb and Berkeley DB hash"},
        {"large", RPM "truncate -s 257M usr/share/rpm/Packages",
         "-11 /usr/share/rpm/Packages: the databases of packages are larger than 256 MiB"},
};

static void test_places(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
                AUTO_SB struct sb script = SB_INIT(1 << 16), b = SB_INIT(1 << 16);

                print_message("%s\n", places[i].name);
                sb_fmt(&script, "set -e; S=$PWD/testdata/fuzz; cd $1; %s", places[i].script);
                read_dir(sb_text(&script), &b);
                assert_string_equal(sb_text(&b), places[i].want);
        }
}

static struct bld_packages *parse(const char *manager, const char *text)
{
        struct bld_packages *p = NULL;
        struct bld_err err = BLD_ERR_INIT;

        if (bld_packages_parse(manager, text, strlen(text), &p, &err) < 0)
                fail_msg("%s", err.msg);
        return p;
}

static void test_parse(void **state)
{
        const struct bld_package *k;
        struct bld_packages *p = parse("dpkg", "Package: a\nVersion: 2:1-1+b1\nArchitecture: amd64"
                                               "\nSource: s (2:1-1)\nInstalled-Size: 2\n");
        struct bld_err err = BLD_ERR_INIT;

        (void)state;
        assert_int_equal(bld_packages_count(p), 1);
        k = bld_packages_at(p, 0);
        assert_string_equal(k->manager, "dpkg");
        assert_string_equal(k->name, "a");
        assert_string_equal(k->version, "2:1-1+b1");
        assert_string_equal(k->arch, "amd64");
        assert_string_equal(k->source, "s");
        assert_string_equal(k->source_version, "2:1-1");
        assert_int_equal(k->installed, 2048);
        bld_packages_free(p);
        bld_packages_free(NULL);

        p = NULL;
        assert_int_equal(bld_packages_parse("pacman", "", 0, &p, &err), BLD_E_USAGE);
        assert_non_null(strstr(err.msg, "pacman"));
        assert_int_equal(bld_packages_parse("rpm", "hello", 5, &p, NULL), BLD_E_CORRUPT);
        assert_null(p);
}

struct told {
        size_t n;
        const struct bld_package *before, *after;
        int answer;
};

static int tell(void *user, const struct bld_package *before, const struct bld_package *after)
{
        struct told *t = user;

        t->n++;
        t->before = before;
        t->after = after;
        return t->answer;
}

static void test_compare(void **state)
{
        struct bld_packages *a = parse("apk", "P:a\nV:1\n\nP:b\nV:1\n"),
                            *b = parse("apk", "P:a\nV:1\n\nP:b\nV:2\n\nP:c\nV:1\n");
        struct told t = {0};

        (void)state;
        assert_int_equal(bld_packages_compare(a, a, tell, &t), 0);
        assert_int_equal(t.n, 0);
        assert_int_equal(bld_packages_compare(a, b, tell, &t), 0);
        assert_int_equal(t.n, 2);
        assert_null(t.before);
        assert_ptr_equal(t.after, bld_packages_at(b, 2));
        t = (struct told){.answer = -5};
        assert_int_equal(bld_packages_compare(a, b, tell, &t), 1);
        assert_int_equal(t.n, 1);
        assert_ptr_equal(t.before, bld_packages_at(a, 1));
        assert_ptr_equal(t.after, bld_packages_at(b, 1));
        bld_packages_free(a);
        bld_packages_free(b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_places),
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_compare),
        };

        return cmocka_run_group_tests_name("lib_packages", tests, NULL, NULL);
}
