/* Tars made by others, and tars made to hurt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "layer_fixture.h"

/* $1: a python program that writes a tar to stdout through t, a TarFile. */
#define A51 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A255 A51 A51 A51 A51 A51

static const char py_frame[] =
        "import sys,tarfile,io\n"
        "F=dict(ustar=tarfile.USTAR_FORMAT,gnu=tarfile.GNU_FORMAT,pax=tarfile.PAX_FORMAT)\n"
        "def add(t,name,type=b'0',data=b'',**kw):\n"
        "  m=tarfile.TarInfo(name); m.type=type; m.size=len(data); m.mode=0o644\n"
        "  for k in kw: setattr(m,k,kw[k])\n"
        "  t.addfile(m,io.BytesIO(data))\n"
        "def tar(fmt,**kw): return "
        "tarfile.open(fileobj=sys.stdout.buffer,mode='w|',format=F[fmt],**kw)\n";

static const struct {
        const char *name, *py, *want;
} foreign[] = {
        {"ustar", "t=tar('ustar'); add(t,'a/'+'b'*90+'/'+'c'*90); t.close()",
         "f 0644 0:0 0 0 a/"
         "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
         "b/"
         "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
         "c\n"},
        {"gnu long name and link",
         "t=tar('gnu'); add(t,'n'*120,b'2',linkname='t'*130); add(t,'x'); t.close()",
         "s 0644 0:0 0 0 "
         "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
         "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn -> "
         "tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt"
         "tttttttttttttttttttttttttttttttttttttttttttttttt\nf 0644 0:0 0 0 x\n"},
        {"gnu base-256",
         "t=tar('gnu'); add(t,'a',uid=3000000000,gid=2**31,mtime=-5); "
         "add(t,'b',b'0',b'xy',mtime=2**33+1);"
         "t.close()",
         "f 0644 3000000000:2147483648 0 -5000000000 a\nf 0644 0:0 2 8589934593000000000 b\n"},
        {"pax",
         "t=tar('pax'); "
         "add(t,'\\u00e9'*60,uid=2**31,mtime=1.25,pax_headers={'SCHILY.xattr.user.k':'v',"
         "'comment':'c'}); add(t,'b',mtime=-1.5); t.close()",
         "f 0644 2147483648:0 0 1250000000 "
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
         " user.k(1)\nf 0644 0:0 0 -1500000000 b\n"},
        {"pax global is ignored",
         "t=tar('pax',pax_headers={'path':'other','uid':'7'}); add(t,'a'); t.close()",
         "f 0644 0:0 0 0 a\n"},
        {"names are cleaned",
         "t=tar('gnu'); add(t,'./'  ,b'5'); add(t,'/abs/./x//y'); add(t,'./d/',b'5');"
         "add(t,'h',b'1',linkname='/abs/x/./y'); t.close()",
         "d 0644 0:0 0 0 \nf 0644 0:0 0 0 abs/x/y\nd 0644 0:0 0 0 d\nl 0644 0:0 0 0 h -> "
         "abs/x/y\n"},
        {"old folders, contiguous files",
         "t=tar('ustar'); add(t,'d/',b'\\0'); add(t,'c',b'7',b'xyz'); t.close()",
         "d 0644 0:0 0 0 d\nf 0644 0:0 3 0 c\n"},
        {"whiteouts",
         "t=tar('gnu'); add(t,'d/.wh.x'); add(t,'.wh.y',b'0',b'data'); add(t,'d/.wh..wh..opq');"
         "add(t,'.wh..wh..opq'); add(t,'.wh..wh.plnk',b'5'); add(t,'.wh..wh.plnk/1.2',b'0',b'z');"
         "add(t,'.wh..wh.aufs'); add(t,'n',b'3',devmajor=0,devminor=0); add(t,'a'); t.close()",
         "w 0644 0:0 0 0 d/x\nw 0644 0:0 0 0 y\no 0644 0:0 0 0 d\no 0644 0:0 0 0 \n"
         "w 0644 0:0 0 0 n\nf 0644 0:0 0 0 a\n"},
        {"whiteout of the longest name", "t=tar('gnu'); add(t,'.wh.'+'a'*255); t.close()",
         "w 0644 0:0 0 0 " A255 "\n"},
        {"no trailer", "sys.stdout.buffer.write(tarfile.TarInfo('a').tobuf())",
         "f 0644 0:0 0 0 a\n"},
        {"links with a size",
         "t=tar('gnu'); add(t,'a',b'0',b'x'); m=tarfile.TarInfo('b'); m.type=b'1'; m.linkname='a';"
         "m.size=700; t.addfile(m); add(t,'c'); t.close()",
         "f 0644 0:0 1 0 a\nl 0644 0:0 0 0 b -> a\nf 0644 0:0 0 0 c\n"},
};

static void python(const char *py, struct sb *out)
{
        struct sb prog = SB_INIT(65536);

        sb_fmt(&prog, "%s%s\n", py_frame, py);
        lf_sh("exec python3 -c \"$1\"", sb_text(&prog), NULL, 0, out);
        sb_done(&prog);
}

static void test_foreign(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
                struct sb tar = SB_INIT(LF_MAX);

                print_message("%s\n", foreign[i].name);
                python(foreign[i].py, &tar);
                for (size_t step = 0; step < 1000; step += 499) {
                        struct sb out = SB_INIT(LF_MAX);
                        struct bld_err err = BLD_ERR_INIT;

                        if (lf_list(tar.buf, tar.len, step, &out, &err) < 0)
                                fail_msg("%s", err.msg);
                        assert_string_equal(sb_text(&out), foreign[i].want);
                        sb_done(&out);
                }
                sb_done(&tar);
        }
}

static const struct {
        const char *name, *py;
        int code;
} bad[] = {
        {"..", "t=tar('gnu'); add(t,'a/../../b'); t.close()", BLD_E_CORRUPT},
        {".. in a hard link", "t=tar('gnu'); add(t,'a',b'1',linkname='../b'); t.close()",
         BLD_E_CORRUPT},
        {"unknown type", "t=tar('gnu'); add(t,'a',b'Z'); t.close()", BLD_E_CORRUPT},
        {"long component", "t=tar('gnu'); add(t,'a'*256); t.close()", BLD_E_LIMIT},
        {"long whiteout", "t=tar('gnu'); add(t,'.wh.'+'a'*256); t.close()", BLD_E_LIMIT},
        {"long path", "t=tar('gnu'); add(t,'abc/'*1200); t.close()", BLD_E_LIMIT},
        {"huge pax header",
         "t=tar('pax'); add(t,'a',pax_headers={'comment':'x'*1100000}); t.close()", BLD_E_LIMIT},
        {"file without a name", "t=tar('gnu'); add(t,'./'); t.close()", BLD_E_CORRUPT},
        {"whiteout without a name", "t=tar('gnu'); add(t,'d/.wh.'); t.close()", BLD_E_CORRUPT},
        {"whiteout of ..", "t=tar('gnu'); add(t,'d/.wh...'); t.close()", BLD_E_CORRUPT},
        {"whiteout as folder", "t=tar('gnu'); add(t,'.wh.a/b'); t.close()", BLD_E_CORRUPT},
        {"empty symlink", "t=tar('gnu'); add(t,'a',b'2'); t.close()", BLD_E_CORRUPT},
        {"owner", "t=tar('gnu'); add(t,'a',uid=2**32-1); t.close()", BLD_E_CORRUPT},
        {"bad number",
         "b=bytearray(tarfile.TarInfo('a').tobuf()); b[124:136]=b'zzzzzzzzzzzz';"
         "b[148:156]=b' '*8; b[148:156]=b'%06o\\0 '%sum(b); sys.stdout.buffer.write(bytes(b))",
         BLD_E_CORRUPT},
        {"checksum",
         "b=bytearray(tarfile.TarInfo('a').tobuf()); b[0]=98; sys.stdout.buffer.write(bytes(b))",
         BLD_E_CORRUPT},
        {"negative size",
         "b=bytearray(tarfile.TarInfo('a').tobuf()); b[124:136]=b'\\xff'*12;"
         "b[148:156]=b' '*8; b[148:156]=b'%06o\\0 '%sum(b); sys.stdout.buffer.write(bytes(b))",
         BLD_E_CORRUPT},
        {"enormous size",
         "m=tarfile.TarInfo('a'); m.size=2**62; "
         "sys.stdout.buffer.write(m.tobuf(tarfile.GNU_FORMAT))",
         BLD_E_LIMIT},
        {"cut in a header", "sys.stdout.buffer.write(tarfile.TarInfo('a').tobuf()[:300])",
         BLD_E_CORRUPT},
        {"cut in the data",
         "m=tarfile.TarInfo('a'); m.size=2000; sys.stdout.buffer.write(m.tobuf()+b'x'*1500)",
         BLD_E_CORRUPT},
        {"data after one zero block",
         "b=tarfile.TarInfo('a').tobuf(); sys.stdout.buffer.write(b+b'\\0'*512+b)", BLD_E_CORRUPT},
        {"pax header at the end",
         "b=tarfile.TarInfo('a').create_pax_global_header({'x':'y'}).replace(b'g',b'x',1);"
         "m=tarfile.TarInfo('e'*200).tobuf(tarfile.PAX_FORMAT); "
         "sys.stdout.buffer.write(m[:1536-512]"
         "+b'\\0'*1024)",
         BLD_E_CORRUPT},
        {"pax length",
         "m=tarfile.TarInfo('e'*200).tobuf(tarfile.PAX_FORMAT);"
         "sys.stdout.buffer.write(m.replace(b'210 path',b'999 path'))",
         BLD_E_CORRUPT},
        {"NUL in a pax path", "t=tar('pax'); add(t,'a',pax_headers={'path':'x\\0y'}); t.close()",
         BLD_E_CORRUPT},
        {"sparse without a map",
         "t=tar('pax'); add(t,'a',b'0',b'xx',pax_headers={'GNU.sparse.size':'9'}); t.close()",
         BLD_E_CORRUPT},
        {"sparse overlap",
         "t=tar('pax'); add(t,'a',b'0',b'xxxx',pax_headers={'GNU.sparse.size':'9',"
         "'GNU.sparse.map':'0,2,1,2'}); t.close()",
         BLD_E_CORRUPT},
        {"sparse bomb",
         "t=tar('pax'); add(t,'a',b'0',b'',pax_headers={'GNU.sparse.size':str(2**50),"
         "'GNU.sparse.map':''}); t.close()",
         BLD_E_LIMIT},
        {"sparse 1.0 map not a number",
         "t=tar('pax'); add(t,'a',b'0',b'x'*512,pax_headers={'GNU.sparse.major':'1',"
         "'GNU.sparse.minor':'0','GNU.sparse.realsize':'9'}); t.close()",
         BLD_E_CORRUPT},
};

static void test_bad(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                struct sb tar = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;

                print_message("%s\n", bad[i].name);
                python(bad[i].py, &tar);
                assert_true(tar.len > 0);
                assert_int_equal(lf_list(tar.buf, tar.len, 0, &out, &err), bad[i].code);
                assert_int_equal(err.code, bad[i].code);
                sb_done(&tar);
                sb_done(&out);
        }
}

/* ADD's archives: by content, any compression; "..", ".wh." and absolute names are only names. */
static void test_archives(void **state)
{
        static const struct {
                const char *name, *script;
                int is_tar;
        } rows[] = {
                {"plain", "cat", 1},
                {"gzip", "gzip -c", 1},
                {"bzip2", "bzip2 -c", 1},
                {"xz", "xz -c", 1},
                {"zstd", "zstd -qc", 1},
                {"gzip, garbage after", "gzip -c; printf garbage", 1},
                {"text", "printf 'hello, world'", 0},
                {"empty", "true", 0},
                {"zeros", "head -c 4096 /dev/zero", 0},
                {"compressed text", "printf 'hello, world' | gzip -c", 0},
                {"looks compressed", "printf 'BZh\\0\\1\\2 no'", 0},
        };
        struct sb tar = SB_INIT(LF_MAX);

        (void)state;
        python("t=tar('gnu'); add(t,'../x/../../y'); add(t,'/z/.wh.q'); add(t,'.wh..wh..opq');"
               "add(t,'n',b'3'); t.close()",
               &tar);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct sb blob = SB_INIT(LF_MAX), out = SB_INIT(4096);
                struct bld_err err = BLD_ERR_INIT;
                struct ly_reader *r = NULL;
                const struct ly_entry *e;
                int fd = memfd_create("a", MFD_CLOEXEC), n = 0;

                print_message("%s\n", rows[i].name);
                lf_sh(rows[i].script, "", tar.buf, tar.len, &blob);
                assert_int_equal(fd_write_all(fd, "skip", 4, NULL), 0);
                if (blob.len)
                        assert_int_equal(fd_write_all(fd, blob.buf, blob.len, NULL), 0);
                assert_int_equal(lseek(fd, 4, SEEK_SET), 4);
                assert_int_equal(ly_archive_sniff(fd, &err), rows[i].is_tar);
                assert_int_equal(lseek(fd, 0, SEEK_CUR), 4);
                if (rows[i].is_tar) {
                        assert_int_equal(ly_archive_open(fd, NULL, &r, &err), 0);
                        while ((n = ly_reader_next(r, &e, &err)) == 1)
                                sb_fmt(&out, "%d:%s ", (int)e->type, e->path);
                        assert_int_equal(n, 0);
                        assert_string_equal(sb_text(&out), "0:y 0:z/.wh.q 0:.wh..wh..opq 4:n ");
                }
                ly_reader_free(r);
                close(fd);
                sb_done(&blob);
                sb_done(&out);
        }
        sb_done(&tar);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_foreign),
                cmocka_unit_test(test_bad),
                cmocka_unit_test(test_archives),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
