/* The stat index: what it trusts, and what it must never trust. Times are put on files with
 * utimensat(); ctime cannot be put, so the tests that need an old one wait a moment for it. */
#include "tests/unit/builder_step.h"

#include <time.h>

#include "base/num.h"

static const struct stat_key old_key = {.dev = 1,
                                        .ino = 2,
                                        .size = 3,
                                        .mtime_ns = 1000,
                                        .ctime_ns = 2000,
                                        .mode = 0644,
                                        .uid = 5,
                                        .gid = 6};

static void put(struct stat_index *x, const char *path, const struct stat_key *k)
{
        struct digest d;

        digest_of(path, strlen(path), &d);
        OK(stat_index_put(x, path, strlen(path), k, time_now_ns(), &d));
}

static bool get(struct stat_index *x, const char *path, const struct stat_key *k)
{
        struct digest d = {.algo = DIGEST_NONE}, want;
        bool hit = stat_index_get(x, path, strlen(path), k, &d);

        digest_of(path, strlen(path), &want);
        if (hit)
                assert_true(digest_eq(&d, &want));
        return hit;
}

static struct stat_index *reopen(struct fix *f, struct stat_index *x)
{
        struct stat_index *n = NULL;

        if (x)
                stat_index_save(x, f->cas[0]);
        stat_index_free(x);
        OK(stat_index_open(f->cas[0], "/srv/ctx", &n, err));
        return n;
}

static void round_trip(void **state)
{
        struct fix *f = *state;
        struct stat_index *x = reopen(f, NULL), *other = NULL;

        assert_false(get(x, "a", &old_key));
        put(x, "a", &old_key);
        put(x, "dir/b", &old_key);
        x = reopen(f, x);
        assert_true(get(x, "a", &old_key));
        assert_true(get(x, "dir/b", &old_key));
        assert_false(get(x, "c", &old_key));
        assert_int_equal(stat_index_hits(x), 2);
        /* Another context knows nothing of it. */
        OK(stat_index_open(f->cas[0], "/srv/ctx2", &other, err));
        assert_false(get(other, "a", &old_key));
        stat_index_free(other);
        /* What was known stays when something is added, and the newer word counts. */
        struct stat_key moved = old_key;

        moved.ino = 99;
        put(x, "a", &moved);
        put(x, "c", &old_key);
        x = reopen(f, x);
        assert_true(get(x, "a", &moved));
        assert_false(get(x, "a", &old_key));
        assert_true(get(x, "dir/b", &old_key));
        assert_true(get(x, "c", &old_key));
        stat_index_free(x);
}

static void any_difference(void **state)
{
        static const struct {
                const char *name;
                struct stat_key k;
        } rows[] = {
                {"device", {9, 2, 3, 1000, 2000, 0644, 5, 6}},
                {"inode", {1, 9, 3, 1000, 2000, 0644, 5, 6}},
                {"size", {1, 2, 9, 1000, 2000, 0644, 5, 6}},
                {"mtime", {1, 2, 3, 1001, 2000, 0644, 5, 6}},
                {"mtime back", {1, 2, 3, -1000, 2000, 0644, 5, 6}},
                {"ctime", {1, 2, 3, 1000, 2001, 0644, 5, 6}},
                {"mode", {1, 2, 3, 1000, 2000, 0755, 5, 6}},
                {"uid", {1, 2, 3, 1000, 2000, 0644, 9, 6}},
                {"gid", {1, 2, 3, 1000, 2000, 0644, 5, 9}},
        };
        struct fix *f = *state;
        struct stat_index *x = reopen(f, NULL);

        put(x, "a", &old_key);
        x = reopen(f, x);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                print_message("%s\n", rows[i].name);
                assert_false(get(x, "a", &rows[i].k));
        }
        assert_true(get(x, "a", &old_key));
        stat_index_free(x);
}

/* A file modified about when it was read may have been modified again with the same stamps. */
static void racy(void **state)
{
        static const struct {
                const char *name;
                int64_t mtime_ms, ctime_ms; /* before the reading began */
                bool kept;
        } rows[] = {
                {"long ago", 5000, 5000, true},
                {"just now", 0, 0, false},
                {"a tick ago", 10, 10, false},
                {"status changed just now", 5000, 0, false},
                {"from the future", -60000, 5000, false},
                {"status from the future", 5000, -60000, false},
        };
        struct fix *f = *state;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                int64_t now = time_now_ns() - 1000000000; /* the build took a second */
                struct stat_index *x = reopen(f, NULL);
                struct stat_key k = old_key;
                struct digest d;

                print_message("%s\n", rows[i].name);
                k.mtime_ns = now - rows[i].mtime_ms * 1000000;
                k.ctime_ns = now - rows[i].ctime_ms * 1000000;
                digest_of("a", 1, &d);
                OK(stat_index_put(x, "a", 1, &k, now, &d));
                put(x, "rest", &old_key);
                x = reopen(f, x);
                assert_int_equal(get(x, "a", &k), rows[i].kept);
                /* Nor does writing the index once more make it trustworthy. */
                put(x, "more", &old_key);
                x = reopen(f, x);
                assert_int_equal(get(x, "a", &k), rows[i].kept);
                stat_index_free(x);
        }
}

/* By the clock of the store: an index as old as the file is not believed. */
static void older_index(void **state)
{
        struct fix *f = *state;
        struct stat_index *x = reopen(f, NULL);
        char hex[DIGEST_HEX_MAX], name[120];
        struct stat_key k = old_key;
        struct digest d;

        k.mtime_ns = k.ctime_ns = (int64_t)1000 * 1000000000;
        put(x, "a", &k);
        x = reopen(f, x);
        assert_true(get(x, "a", &k));
        stat_index_free(x);
        digest_of("/srv/ctx", 8, &d);
        digest_hex(&d, hex);
        (void)snprintf(name, sizeof(name), "ctx-%.40s", hex);
        for (int i = 0; i < 2; i++) {
                const struct timespec t[] = {{.tv_sec = i ? 1001 : 1000, .tv_nsec = 1000},
                                             {.tv_sec = i ? 1001 : 1000, .tv_nsec = 1000}};
                AUTO_FD int fd = -1;

                assert_int_equal(cas_index_open(f->cas[0], name, &fd, NULL), 1);
                assert_int_equal(futimens(fd, t), 0);
                x = NULL;
                OK(stat_index_open(f->cas[0], "/srv/ctx", &x, err));
                assert_int_equal(get(x, "a", &k), i == 1);
                stat_index_free(x);
        }
}

static void damaged(void **state)
{
        struct fix *f = *state;
        struct stat_index *x = reopen(f, NULL);
        AUTO_SB struct sb good = SB_INIT(1u << 20);
        char hex[DIGEST_HEX_MAX], name[120];
        AUTO_FD int fd = -1;
        struct digest d;

        put(x, "a", &old_key);
        put(x, "b", &old_key);
        stat_index_save(x, f->cas[0]);
        stat_index_free(x);
        digest_of("/srv/ctx", 8, &d);
        digest_hex(&d, hex);
        (void)snprintf(name, sizeof(name), "ctx-%.40s", hex);
        assert_int_equal(cas_index_open(f->cas[0], name, &fd, NULL), 1);
        OK(fd_read_all(fd, &good, "index", err));
        for (size_t i = 0; i < good.len; i += i < 64 ? 1 : 7) {
                good.buf[i] ^= 1;
                OK(cas_index_put(f->cas[0], name, good.buf, good.len, err));
                good.buf[i] ^= 1;
                x = NULL;
                OK(stat_index_open(f->cas[0], "/srv/ctx", &x, err));
                if (i < 24 || i >= 32) /* the header's last word is spare */
                        assert_false(get(x, "a", &old_key) || get(x, "b", &old_key));
                stat_index_free(x);
        }
        for (size_t n = 0; n < good.len; n++) {
                OK(cas_index_put(f->cas[0], name, good.buf, n, err));
                x = NULL;
                OK(stat_index_open(f->cas[0], "/srv/ctx", &x, err));
                assert_false(get(x, "a", &old_key));
                stat_index_free(x);
        }
        OK(cas_index_put(f->cas[0], name, good.buf, good.len, err));
        x = reopen(f, NULL);
        assert_true(get(x, "a", &old_key));
        stat_index_free(x);
}

/* The index file: a header, then entries. */
enum { HEADER = 32, ENTRY = 96, USED = 60, SUM = 16 };

static const char *file_of(const char *context)
{
        static char name[120];
        char hex[DIGEST_HEX_MAX];
        struct digest d;

        digest_of(context, strlen(context), &d);
        digest_hex(&d, hex);
        (void)snprintf(name, sizeof(name), "ctx-%.40s", hex);
        return name;
}

static void load(struct fix *f, struct sb *out)
{
        AUTO_FD int fd = -1;

        assert_int_equal(cas_index_open(f->cas[0], file_of("/srv/ctx"), &fd, NULL), 1);
        OK(fd_read_all(fd, out, "index", err));
        assert_int_equal((out->len - HEADER) % ENTRY, 0);
}

/* As if days had passed: every entry's last use is so many days back. */
static void age(struct fix *f, uint32_t days)
{
        AUTO_SB struct sb b = SB_INIT(1u << 20);
        uint64_t sum;

        load(f, &b);
        for (size_t i = HEADER; i < b.len; i += ENTRY) {
                uint32_t used;

                memcpy(&used, b.buf + i + USED, sizeof(used));
                assert_in_range(used, 20000, 40000); /* a day of this century */
                used -= days;
                memcpy(b.buf + i + USED, &used, sizeof(used));
        }
        sum = hash64(b.buf + HEADER, b.len - HEADER);
        memcpy(b.buf + SUM, &sum, sizeof(sum));
        OK(cas_index_put(f->cas[0], file_of("/srv/ctx"), b.buf, b.len, err));
}

static size_t entries(struct fix *f)
{
        AUTO_SB struct sb b = SB_INIT(1u << 20);

        load(f, &b);
        return (b.len - HEADER) / ENTRY;
}

/* Files that are gone for a while: their entries go, those of use stay. */
static void forgets(void **state)
{
        static const struct {
                uint32_t days;
                bool asked, adds; /* "a" is looked up; something new comes in */
                size_t left;      /* of a, b and perhaps the new one */
                bool has_a;
        } rows[] = {
                {10, false, true, 3, true}, {40, false, true, 1, false},
                {40, true, true, 2, true},  {40, false, false, 2, true}, /* nothing to write */
                {20, true, false, 2, true}, {40, true, false, 1, true},
        };
        struct fix *f = *state;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct stat_index *x;

                print_message("row %zu\n", i);
                OK(cas_index_put(f->cas[0], file_of("/srv/ctx"), "x", 1, err)); /* none */
                x = reopen(f, NULL);
                put(x, "a", &old_key);
                put(x, "b", &old_key);
                stat_index_save(x, f->cas[0]);
                stat_index_free(x);
                age(f, rows[i].days);
                x = reopen(f, NULL);
                if (rows[i].asked)
                        assert_true(get(x, "a", &old_key));
                if (rows[i].adds)
                        put(x, "new", &old_key);
                x = reopen(f, x);
                assert_int_equal(entries(f), rows[i].left);
                assert_int_equal(get(x, "a", &old_key), rows[i].has_a);
                stat_index_free(x);
        }
}

static void many(void **state)
{
        struct fix *f = *state;
        struct stat_index *x = reopen(f, NULL);

        for (int round = 0; round < 3; round++) {
                for (unsigned i = 0; i < 2000; i++) {
                        char path[40];

                        (void)snprintf(path, sizeof(path), "d/%u", i * 3 + (unsigned)round);
                        put(x, path, &old_key);
                }
                x = reopen(f, x);
        }
        for (unsigned i = 0; i < 6000; i++) {
                char path[40];

                (void)snprintf(path, sizeof(path), "d/%u", i);
                assert_true(get(x, path, &old_key));
        }
        stat_index_free(x);
}

/* ---- with real files ---- */

static void tree_digest(struct fix *f, struct stat_index *x, const char *name, struct digest *ret)
{
        struct fs_node *n = NULL;
        struct fs *t = NULL;

        OK(fs_open_local(at(f, "ctx"), NULL, x, &t, err));
        OK(fs_resolve(t, NULL, name, true, &n, err));
        assert_non_null(n);
        OK(fs_digest(t, n, err));
        *ret = n->digest;
        fs_free(t);
}

static void write_in_place(const char *path, const char *text)
{
        AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

/* The same size, the same mtime put back: ctime tells. */
static void changed_files(void **state)
{
        static const struct disk files[] = {{"a", 'f', "one", 0, 1000}, {"b", 'f', "two", 0, 1000}};
        const struct timespec old[] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
        const struct timespec nap = {.tv_nsec = 60000000};
        struct fix *f = *state;
        struct stat_index *x = reopen(f, NULL);
        struct digest a, a2, b, want;

        make_disk(at(f, "ctx"), files, ARRAY_LEN(files));
        assert_int_equal(nanosleep(&nap, NULL), 0);
        tree_digest(f, x, "a", &a);
        tree_digest(f, x, "b", &b);
        assert_int_equal(nanosleep(&nap, NULL), 0);
        x = reopen(f, x);
        tree_digest(f, x, "a", &a2);
        assert_true(digest_eq(&a, &a2));
        assert_int_equal(stat_index_hits(x), 1);

        write_in_place(at(f, "ctx/a"), "ONE");
        assert_int_equal(utimensat(AT_FDCWD, at(f, "ctx/a"), old, 0), 0);
        tree_digest(f, x, "a", &a2);
        digest_of("ONE", 3, &want);
        assert_true(digest_eq(&a2, &want));
        assert_int_equal(stat_index_hits(x), 1);
        /* Written just now: it is hashed again the next time, too. */
        x = reopen(f, x);
        write_in_place(at(f, "ctx/a"), "Two");
        assert_int_equal(utimensat(AT_FDCWD, at(f, "ctx/a"), old, 0), 0);
        tree_digest(f, x, "a", &a2);
        digest_of("Two", 3, &want);
        assert_true(digest_eq(&a2, &want));
        assert_int_equal(stat_index_hits(x), 0);
        /* Replaced by rename: another inode. */
        tree_digest(f, x, "b", &a2);
        assert_int_equal(stat_index_hits(x), 1);
        assert_int_equal(rename(at(f, "ctx/a"), at(f, "ctx/b")), 0);
        tree_digest(f, x, "b", &a2);
        assert_true(digest_eq(&a2, &want));
        stat_index_free(x);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(round_trip, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(any_difference, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(racy, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(older_index, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(damaged, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(forgets, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(many, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(changed_files, fix_up, fix_down),
        };

        return cmocka_run_group_tests_name("builder/stat_index", tests, NULL, NULL);
}
