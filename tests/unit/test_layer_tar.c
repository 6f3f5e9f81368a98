/* The tar writer, and the reader on what it wrote; python3 and GNU tar as witnesses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/digest.h"
#include "base/err.h"
#include "layer_fixture.h"

#define SEC INT64_C(1000000000)

/* Names built to length n: components of at most 50 bytes. */
static char *long_name(size_t n, char fill)
{
        char *p = malloc(n + 1);

        assert_non_null(p);
        for (size_t i = 0; i < n; i++)
                p[i] = i % 51 == 50 && i != n - 1 ? '/' : fill;
        p[n] = 0;
        return p;
}

static void test_empty(void **state)
{
        struct sb b = SB_INIT(LF_MAX);
        struct digest d;
        char text[DIGEST_STR_MAX];

        (void)state;
        lf_tar(NULL, 0, &b);
        assert_int_equal(b.len, 1024);
        digest_of(b.buf, b.len, &d);
        digest_format(&d, text);
        assert_string_equal(
                text, "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
        sb_done(&b);
}

static char n_root[] = "", n_a[] = "a", n_dir[] = "dir", n_f[] = "dir/file", n_l[] = "dir/link",
            n_h[] = "dir/hard", n_t[] = "../target", n_fifo[] = "dir/p", n_c[] = "dev/c",
            n_b[] = "dev/b", n_utf[] = "dir/\xc3\xa9t\xc3\xa9", n_bad[] = "dir/\xff\xfe",
            n_gone[] = "dir/gone";

static const struct ly_entry basic[] = {
        {.path = n_root, .type = LY_DIR, .mode = 0755},
        {.path = n_a, .type = LY_FILE, .mode = 0644, .size = 5, .mtime_ns = 1700000000 * SEC + 999},
        {.path = n_dir, .type = LY_DIR, .mode = 01777, .uid = 1000, .gid = 1001},
        {.path = n_gone, .type = LY_WHITEOUT, .mode = 0644, .uid = 7, .mtime_ns = 5 * SEC},
        {.path = n_f, .type = LY_FILE, .mode = 04755, .size = 512, .mtime_ns = SEC},
        {.path = n_h, .type = LY_HARDLINK, .mode = 04755, .link = n_f, .mtime_ns = SEC},
        {.path = n_l, .type = LY_SYMLINK, .mode = 0777, .link = n_t},
        {.path = n_fifo, .type = LY_FIFO, .mode = 0600},
        {.path = n_c, .type = LY_CHAR, .mode = 0666, .dev_major = 1, .dev_minor = 3},
        {.path = n_b, .type = LY_BLOCK, .mode = 0660, .dev_major = 259, .dev_minor = 70000},
        {.path = n_utf, .type = LY_FILE, .mode = 0644, .size = 1},
        {.path = n_bad, .type = LY_FILE, .mode = 0644},
};
static const char basic_list[] = "d 0755 0:0 0 0 \n"
                                 "f 0644 0:0 5 1700000000000000000 a\n"
                                 "d 1777 1000:1001 0 0 dir\n"
                                 "w 0000 0:0 0 0 dir/gone\n"
                                 "f 4755 0:0 512 1000000000 dir/file\n"
                                 "l 4755 0:0 0 1000000000 dir/hard -> dir/file\n"
                                 "s 0777 0:0 0 0 dir/link -> ../target\n"
                                 "p 0600 0:0 0 0 dir/p\n"
                                 "c 0666 0:0 0 0 dev/c\n"
                                 "b 0660 0:0 0 0 dev/b\n"
                                 "f 0644 0:0 1 0 dir/\xc3\xa9t\xc3\xa9\n"
                                 "f 0644 0:0 0 0 dir/\xff\xfe\n";

static void test_round_trip(void **state)
{
        static const size_t steps[] = {0, 1, 3, 511, 512, 513, 4096};
        struct sb b = SB_INIT(LF_MAX);

        (void)state;
        lf_tar(basic, ARRAY_LEN(basic), &b);
        for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
                struct sb out = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;

                assert_int_equal(lf_list(b.buf, b.len, steps[i], &out, &err), 0);
                assert_string_equal(sb_text(&out), basic_list);
                sb_done(&out);
        }
        sb_done(&b);
}

static const char py_list[] =
        "import sys,tarfile,os\n"
        "sys.stdout.reconfigure(errors='surrogateescape')\n"
        "for m in tarfile.open(fileobj=sys.stdin.buffer, mode='r|', encoding='utf-8',"
        " errors='surrogateescape'):\n"
        "  k={b'0':'f',b'5':'d',b'2':'s',b'1':'l',b'3':'c',b'4':'b',b'6':'p'}[m.type]\n"
        "  print(k,'%04o'%m.mode,'%d:%d'%(m.uid,m.gid),m.size,int(m.mtime),m.name"
        "+(' -> '+m.linkname if m.linkname else '')"
        "+(' %d,%d'%(m.devmajor,m.devminor) if k in 'cb' else '')"
        "+''.join(' %s(%d)'%(x[13:],len(m.pax_headers[x].encode('utf-8','surrogateescape')))"
        " for x in sorted(m.pax_headers) if x.startswith('SCHILY')))\n";

static void test_python_reads(void **state)
{
        struct sb b = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX);

        (void)state;
        lf_tar(basic, ARRAY_LEN(basic), &b);
        lf_sh("exec python3 -c \"$1\"", py_list, b.buf, b.len, &out);
        assert_string_equal(sb_text(&out), "d 0755 0:0 0 0 .\n"
                                           "f 0644 0:0 5 1700000000 a\n"
                                           "d 1777 1000:1001 0 0 dir\n"
                                           "f 0000 0:0 0 0 dir/.wh.gone\n"
                                           "f 4755 0:0 512 1 dir/file\n"
                                           "l 4755 0:0 0 1 dir/hard -> dir/file\n"
                                           "s 0777 0:0 0 0 dir/link -> ../target\n"
                                           "p 0600 0:0 0 0 dir/p\n"
                                           "c 0666 0:0 0 0 dev/c 1,3\n"
                                           "b 0660 0:0 0 0 dev/b 259,70000\n"
                                           "f 0644 0:0 1 0 dir/\xc3\xa9t\xc3\xa9\n"
                                           "f 0644 0:0 0 0 dir/\xff\xfe\n");
        lf_sh("tar -tf - >/dev/null", "", b.buf, b.len, NULL);
        sb_done(&b);
        sb_done(&out);
}

/* Every length around the field borders: name 100, prefix 155, and PAX beyond. */
static void test_lengths(void **state)
{
        static const size_t lens[] = {1,   49,  50,  98,  99,  100, 101, 102, 150,  154, 155,
                                      156, 157, 200, 254, 255, 256, 257, 258, 1000, 4000};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
                char *name = long_name(lens[i], 'n'), *link = long_name(MIN(lens[i], 4000), 't');
                const struct ly_entry v[] = {
                        {.path = name, .type = LY_FILE, .mode = 0644, .size = 3},
                        {.path = name, .type = LY_DIR, .mode = 0755},
                        {.path = name, .type = LY_SYMLINK, .mode = 0777, .link = link},
                        {.path = name, .type = LY_HARDLINK, .mode = 0777, .link = link},
                };
                struct sb b = SB_INIT(LF_MAX), ours = SB_INIT(LF_MAX), want = SB_INIT(LF_MAX),
                          py = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;

                print_message("length %zu\n", lens[i]);
                lf_tar(v, ARRAY_LEN(v), &b);
                sb_fmt(&want,
                       "f 0644 0:0 3 0 %s\nd 0755 0:0 0 0 %s\ns 0777 0:0 0 0 %s -> %s\n"
                       "l 0777 0:0 0 0 %s -> %s\n",
                       name, name, name, link, name, link);
                assert_int_equal(lf_list(b.buf, b.len, 0, &ours, &err), 0);
                assert_string_equal(sb_text(&ours), sb_text(&want));
                lf_sh("exec python3 -c \"$1\"", py_list, b.buf, b.len, &py);
                assert_string_equal(sb_text(&py), sb_text(&want));
                sb_done(&b);
                sb_done(&ours);
                sb_done(&want);
                sb_done(&py);
                free(name);
                free(link);
        }
}

static void test_numbers(void **state)
{
        static const struct {
                const char *name;
                uint32_t id;
                int64_t mtime;
        } rows[] = {
                {"octal", 07777777, 077777777777},         {"id beyond octal", 010000000, 0},
                {"largest id", UINT32_MAX - 1, 1},         {"before the epoch", 0, -1},
                {"far future", 0, INT64_C(0100000000000)},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct ly_entry e = {.path = n_a,
                                     .type = LY_DIR,
                                     .mode = 0700,
                                     .uid = rows[i].id,
                                     .gid = rows[i].id};
                struct sb b = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX), want = SB_INIT(4096);
                struct bld_err err = BLD_ERR_INIT;

                print_message("%s\n", rows[i].name);
                if (rows[i].mtime > INT64_MAX / SEC)
                        continue;
                e.mtime_ns = rows[i].mtime * SEC;
                lf_tar(&e, 1, &b);
                sb_fmt(&want, "d 0700 %u:%u 0 %lld a\n", rows[i].id, rows[i].id,
                       (long long)e.mtime_ns);
                assert_int_equal(lf_list(b.buf, b.len, 0, &out, &err), 0);
                assert_string_equal(sb_text(&out), sb_text(&want));
                sb_reset(&want);
                sb_reset(&out);
                sb_fmt(&want, "d 0700 %u:%u 0 %lld a\n", rows[i].id, rows[i].id,
                       (long long)rows[i].mtime);
                lf_sh("exec python3 -c \"$1\"", py_list, b.buf, b.len, &out);
                assert_string_equal(sb_text(&out), sb_text(&want));
                sb_done(&b);
                sb_done(&out);
                sb_done(&want);
        }
}

static int write_one(const struct ly_entry *e, const struct ly_writer_opts *o, struct sb *out,
                     struct bld_err *err)
{
        struct ly_sink sink = lf_sink(out);
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        int r = ly_writer_new(&sink, o, &w, err);

        if (!r)
                r = ly_writer_entry(w, e, err);
        return r < 0 ? r : ly_writer_end(w, err);
}

static void test_refused(void **state)
{
        static char wh[] = "d/.wh.x", wh2[] = ".wh..wh..opq", empty[] = "";
        const struct {
                const char *name;
                struct ly_entry e;
                int code;
        } rows[] = {
                {"whiteout name", {.path = wh, .type = LY_FILE}, BLD_E_INVALID},
                {"opaque name", {.path = wh2, .type = LY_DIR}, BLD_E_INVALID},
                {"no target", {.path = n_a, .type = LY_SYMLINK}, BLD_E_INVALID},
                {"empty target", {.path = n_a, .type = LY_HARDLINK, .link = empty}, BLD_E_INVALID},
                {"no name", {.path = empty, .type = LY_FILE}, BLD_E_INVALID},
                {"device", {.path = n_a, .type = LY_CHAR, .dev_minor = 1 << 30}, BLD_E_INVALID},
                {"missing data", {.path = n_a, .type = LY_FILE, .size = 1}, BLD_E_BUG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct sb b = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;

                print_message("%s\n", rows[i].name);
                assert_int_equal(write_one(&rows[i].e, NULL, &b, &err), rows[i].code);
                assert_int_equal(err.code, rows[i].code);
                sb_done(&b);
        }
}

static void test_xattrs(void **state)
{
        static char cap[] = "security.capability", user[] = "user.x", sel[] = "security.selinux",
                    ovl[] = "trusted.overlay.opaque", own[] = "user.bld.o";
        static unsigned char v3[24] = {1, 0, 0, 3, 0, 4, [20] = 0xe8, 3}, v2[20] = {1, 0, 0, 2},
                             any[3] = {0, '\n', '='};
        struct ly_xattr x[] = {
                {user, any, 3}, {cap, v3, 24}, {sel, any, 3}, {ovl, any, 1}, {own, any, 1}};
        struct ly_entry e = {.path = n_a, .type = LY_FILE, .mode = 0755, .xattrs = x, .nxattrs = 5};
        struct ly_writer_opts all = {.all_xattrs = true};
        struct sb b = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;

        (void)state;
        (void)v2;
        assert_int_equal(write_one(&e, NULL, &b, &err), 0);
        assert_int_equal(lf_list(b.buf, b.len, 0, &out, &err), 0);
        assert_string_equal(sb_text(&out), "f 0755 0:0 0 0 a security.capability(20)\n");
        /* The value in the header: version 2, the rest as it was. */
        assert_memory_equal(strstr(b.buf + 512, "capability=") + 11, "\1\0\0\2\0\4", 6);
        sb_reset(&b);
        sb_reset(&out);
        assert_int_equal(write_one(&e, &all, &b, &err), 0);
        assert_int_equal(lf_list(b.buf, b.len, 0, &out, &err), 0);
        assert_string_equal(sb_text(&out), "f 0755 0:0 0 0 a security.capability(20) user.x(3)\n");
        sb_done(&b);
        sb_done(&out);
}

static void test_clamp(void **state)
{
        struct ly_writer_opts o = {.clamp = true, .clamp_sec = 1000};
        struct ly_entry e = {.path = n_a, .type = LY_DIR, .mode = 0755, .mtime_ns = 2000 * SEC};
        struct sb b = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;

        (void)state;
        assert_int_equal(write_one(&e, &o, &b, &err), 0);
        assert_int_equal(lf_list(b.buf, b.len, 0, &out, &err), 0);
        assert_string_equal(sb_text(&out), "d 0755 0:0 0 1000000000000 a\n");
        sb_reset(&b);
        sb_reset(&out);
        e.mtime_ns = 999 * SEC;
        assert_int_equal(write_one(&e, &o, &b, &err), 0);
        assert_int_equal(lf_list(b.buf, b.len, 0, &out, &err), 0);
        assert_string_equal(sb_text(&out), "d 0755 0:0 0 999000000000 a\n");
        sb_done(&b);
        sb_done(&out);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_empty),        cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_python_reads), cmocka_unit_test(test_lengths),
                cmocka_unit_test(test_numbers),      cmocka_unit_test(test_refused),
                cmocka_unit_test(test_xattrs),       cmocka_unit_test(test_clamp),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
