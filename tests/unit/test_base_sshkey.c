/* ssh keys: the public half, and that damaged ones are refused. Signatures are checked against
 * OpenSSH in tests/e2e/sources.sh. The keys were made for this test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/sshkey.h"

static const struct {
        const char *name, *text, *public;
} keys[] = {
        {"ed25519",
         "-----BEGIN OPENSSH PRIVATE KEY-----\n"
         "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n"
         "QyNTUxOQAAACCGX4QqVJ22QO4QFVtgUJnRZFWpy8cWHSPM2nYj4YspuQAAAIg+knQLPpJ0\n"
         "CwAAAAtzc2gtZWQyNTUxOQAAACCGX4QqVJ22QO4QFVtgUJnRZFWpy8cWHSPM2nYj4YspuQ\n"
         "AAAECDRHIIFBK45SG8eusK8fJIyP2yEycIlkImDJupMfB0ZYZfhCpUnbZA7hAVW2BQmdFk\n"
         "VanLxxYdI8zadiPhiym5AAAABHRlc3QB\n"
         "-----END OPENSSH PRIVATE KEY-----\n",
         "AAAAC3NzaC1lZDI1NTE5AAAAIIZfhCpUnbZA7hAVW2BQmdFkVanLxxYdI8za"
         "diPhiym5"},
        {"ecdsa",
         "-----BEGIN OPENSSH PRIVATE KEY-----\n"
         "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS\n"
         "1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQTKCGDQbi4XtNYjWdyEcpnNm14e6rQK\n"
         "ctc4KJVFF6KpPS9/WsHn+5sg11rna/nLNA3OYHSFi0mfZzhiQOV0Bzt3AAAAoE7hjERO4Y\n"
         "xEAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMoIYNBuLhe01iNZ\n"
         "3IRymc2bXh7qtApy1zgolUUXoqk9L39awef7myDXWudr+cs0Dc5gdIWLSZ9nOGJA5XQHO3\n"
         "cAAAAgOt0PE2AZ+r/Ug0L5huzTeKecmtCigPQj2Pt7LjKSjdAAAAAEdGVzdAECAwQ=\n"
         "-----END OPENSSH PRIVATE KEY-----\n",
         "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMoIYNBu"
         "Lhe01iNZ3IRymc2bXh7qtApy1zgolUUXoqk9L39awef7myDXWudr+cs0Dc5g"
         "dIWLSZ9nOGJA5XQHO3c="},
};

static int digit(char c)
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *p = strchr(digits, c);

        return p && c ? (int)(p - digits) : -1;
}

static size_t decode(const char *s, unsigned char *out)
{
        size_t n = 0;
        unsigned v = 0, bits = 0;

        for (; digit(*s) >= 0; s++) {
                v = v << 6 | (unsigned)digit(*s);
                bits += 6;
                if (bits >= 8)
                        out[n++] = (unsigned char)(v >> (bits -= 8));
        }
        return n;
}

static void public_half(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
                unsigned char want[1024];
                struct ssh_key *k = NULL;
                size_t n, len = decode(keys[i].public, want);
                const void *blob;

                print_message("%s\n", keys[i].name);
                assert_int_equal(ssh_key_parse(keys[i].text, strlen(keys[i].text), &k, NULL), 0);
                blob = ssh_key_public(k, &n);
                assert_int_equal(n, len);
                assert_memory_equal(blob, want, n);
                ssh_key_free(k);
        }
}

/* Cut anywhere, or with one character changed: a key or an error, and the error says nothing of
 * the text. */
static void damaged(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
                size_t n = strlen(keys[i].text);

                for (size_t at = 0; at < 2 * n; at++) {
                        struct bld_err err = BLD_ERR_INIT;
                        char *copy = mem_strdup(keys[i].text);
                        struct ssh_key *k = NULL;
                        int r;

                        if (at >= n)
                                copy[at - n] = copy[at - n] == 'A' ? 'B' : 'A';
                        r = ssh_key_parse(copy, at < n ? at : n, &k, &err);
                        assert_true(r == 0 || r == BLD_E_INVALID || r == BLD_E_UNSUPPORTED);
                        if (r < 0)
                                assert_true(err.msg[0] && !strstr(err.msg, "AAAA"));
                        ssh_key_free(k);
                        free(copy);
                }
        }
}

/* A signature has the form of its kind; what a message may hold is no matter to it. */
static void signatures(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
                AUTO_SB struct sb out = SB_INIT(4096);
                struct ssh_key *k = NULL;
                struct ssh_reader r;
                size_t n;

                assert_int_equal(ssh_key_parse(keys[i].text, strlen(keys[i].text), &k, NULL), 0);
                assert_int_equal(ssh_key_sign(k, "", 0, SSH_SIGN_SHA512, &out, NULL), 0);
                r = (struct ssh_reader){.p = (const unsigned char *)out.buf, .left = out.len};
                assert_non_null(strstr((const char *)ssh_get_string(&r, &n), keys[i].name));
                (void)ssh_get_string(&r, &n);
                assert_true(!r.bad && r.left == 0 && n >= 64);
                (void)ssh_get_u32(&r);
                assert_true(r.bad);
                ssh_key_free(k);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(public_half),
                cmocka_unit_test(damaged),
                cmocka_unit_test(signatures),
        };

        return cmocka_run_group_tests_name("base_sshkey", tests, NULL, NULL);
}
