/* Parsers of the registry client: challenges, links, ranges, URLs, auth files, helper and token
 * replies, scopes, proxies. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "registry/challenge_priv.h"
#include "registry/client_priv.h"
#include "registry/header_priv.h"

/* A challenge list as text: scheme[token68]{key=value;...} joined by " | ". */
static void show_challenges(const struct reg_chals *a, struct sb *out)
{
        for (size_t i = 0; i < a->n; i++) {
                const struct reg_chal *c = &a->v[i];

                sb_fmt(out, "%s%s", i ? " | " : "", c->scheme);
                if (c->token68)
                        sb_fmt(out, "[%s]", c->token68);
                for (size_t k = 0; k < c->keys.n; k++)
                        sb_fmt(out, " %s=%s", c->keys.v[k], c->values.v[k]);
        }
}

static void test_challenges(void **state UNUSED)
{
        static const struct {
                const char *name, *in, *want;
        } rows[] = {
                {"hub",
                 "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\"",
                 "bearer realm=https://auth.docker.io/token service=registry.docker.io"},
                {"commas in scope",
                 "Bearer realm=\"r\",scope=\"repository:a:pull,push repository:b:pull\"",
                 "bearer realm=r scope=repository:a:pull,push repository:b:pull"},
                {"basic", "Basic realm=\"Registry Realm\"", "basic realm=Registry Realm"},
                {"case", "BEARER Realm=\"R\",SERVICE=s", "bearer realm=R service=s"},
                {"two in a line", "Basic realm=\"a\", Bearer realm=\"b\",service=\"c\"",
                 "basic realm=a | bearer realm=b service=c"},
                {"two without space", "Basic realm=\"a\",Bearer realm=\"b\"",
                 "basic realm=a | bearer realm=b"},
                {"spaces around =", "Bearer realm = \"a\" , service =\"b\"",
                 "bearer realm=a service=b"},
                {"tabs", "Bearer\trealm=\"a\",\tservice=b", "bearer realm=a service=b"},
                {"escapes", "Bearer realm=\"a\\\"b\\\\c\"", "bearer realm=a\"b\\c"},
                {"bare scheme", "Negotiate", "negotiate"},
                {"bare, then full", "Negotiate, Basic realm=x", "negotiate | basic realm=x"},
                {"token68", "Negotiate YWJj==, Basic realm=x", "negotiate[YWJj==] | basic realm=x"},
                {"token68 with slash", "NTLM TlRM/TVNT+A=", "ntlm[TlRM/TVNT+A=]"},
                {"duplicate key", "Bearer realm=a,realm=b", "bearer realm=a"},
                {"empty value", "Bearer realm=\"\",service=", "bearer realm= service="},
                {"empty", "", ""},
                {"only commas", " , ,, ", ""},
                {"parameter first", "realm=\"x\", Bearer realm=\"y\"", "bearer realm=y"},
                {"unclosed quote", "Bearer realm=\"abc", "bearer realm=abc"},
                {"unclosed with comma", "Bearer realm=\"abc,service=x",
                 "bearer realm=abc,service=x"},
                {"garbage between", "Bearer realm=a, @@@, service=b", "bearer realm=a service=b"},
                {"garbage after value", "Bearer realm=\"a\" junk, service=b",
                 "bearer realm=a service=b"},
                {"unquoted URL", "Bearer realm=https://x.y/t?a=b,service=s",
                 "bearer realm=https://x.y/t?a=b service=s"},
                {"error", "Bearer realm=r,error=\"insufficient_scope\"",
                 "bearer realm=r error=insufficient_scope"},
                {"digest", "Digest realm=\"d\", qop=\"auth, auth-int\", nonce=\"n\"",
                 "digest realm=d qop=auth, auth-int nonce=n"},
                {"scheme with digits", "X1-Foo_2 a=b", "x1-foo_2 a=b"},
                {"trailing comma", "Basic realm=a,", "basic realm=a"},
                {"leading comma", ",Basic realm=a", "basic realm=a"},
                {"same scheme twice", "Bearer realm=a, Bearer realm=b",
                 "bearer realm=a | bearer realm=b"},
                {"equals in quotes", "Bearer realm=\"https://a/?b=c&d=e,f\"",
                 "bearer realm=https://a/?b=c&d=e,f"},
                {"backslash at end", "Bearer realm=\"a\\", "bearer realm=a\\"},
                {"only equals", "=, =x, Basic realm=a", "basic realm=a"},
                {"harbor",
                 "Bearer realm=\"https://h/service/token\",service=\"harbor-registry\","
                 "scope=\"repository:p/x:pull\"",
                 "bearer realm=https://h/service/token service=harbor-registry "
                 "scope=repository:p/x:pull"},
                {"acr offers both",
                 "Bearer realm=\"https://x.azurecr.io/oauth2/token\","
                 "service=\"x.azurecr.io\", Basic realm=\"x.azurecr.io\"",
                 "bearer realm=https://x.azurecr.io/oauth2/token service=x.azurecr.io | "
                 "basic realm=x.azurecr.io"},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_CHALS struct reg_chals a = {0};
                AUTO_SB struct sb got = SB_INIT(4096);

                print_message("# %s\n", rows[i].name);
                assert_int_equal(reg_chal_parse(rows[i].in, strlen(rows[i].in), &a, NULL), 0);
                show_challenges(&a, &got);
                assert_string_equal(sb_text(&got), rows[i].want);
        }
}

static void test_links(void **state UNUSED)
{
        static const struct {
                const char *name, *in, *want;
        } rows[] = {
                {"plain", "</v2/a/tags/list?last=x>; rel=\"next\"", "/v2/a/tags/list?last=x"},
                {"unquoted", "<u>;rel=next", "u"},
                {"case", "<u>; REL=\"Next\"", "u"},
                {"several types", "<u>; rel=\"prev next\"", "u"},
                {"second link", "<a>; rel=\"prev\", <b>; rel=\"next\"", "b"},
                {"comma in target", "<a,b>; rel=next", "a,b"},
                {"quoted separators", "<a>; title=\"x, <y>; rel=next\"; rel=prev, <b>; rel=next",
                 "b"},
                {"first rel counts", "<a>; rel=prev; rel=next", NULL},
                {"none", "<a>; rel=last", NULL},
                {"no rel", "<a>", NULL},
                {"unclosed", "<a; rel=next", NULL},
                {"garbage", "xx <a> yy ; rel = \"next\"", "a"},
                {"empty", "", NULL},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_FREE char *got = NULL;
                int r = reg_link_next(rows[i].in, strlen(rows[i].in), &got, NULL);

                print_message("# %s\n", rows[i].name);
                assert_int_equal(r, rows[i].want != NULL);
                if (rows[i].want)
                        assert_string_equal(got, rows[i].want);
        }
}

static void test_ranges(void **state UNUSED)
{
        static const struct {
                const char *in;
                bool ok;
                uint64_t first, last, total;
        } rows[] = {
                {"bytes 0-99/100", true, 0, 99, 100},
                {"Bytes 10-19/*", true, 10, 19, UINT64_MAX},
                {"bytes 10-9/20", false, 0, 0, 0},
                {"bytes 0-99/99", false, 0, 0, 0},
                {"bytes */100", false, 0, 0, 0},
                {"bytes 0-99", false, 0, 0, 0},
                {"bytes 0-99/100, bytes 0-1/2", false, 0, 0, 0},
                {"bytes 0-18446744073709551616/*", false, 0, 0, 0},
                {"0-99/100", false, 0, 0, 0},
                {"", false, 0, 0, 0},
        };
        uint64_t size;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                uint64_t a = 0, b = 0, t = 0;

                print_message("# %s\n", rows[i].in);
                assert_int_equal(reg_content_range(rows[i].in, &a, &b, &t), rows[i].ok);
                assert_true(a == rows[i].first && b == rows[i].last && t == rows[i].total);
        }
        assert_true(reg_upload_range("0-99", &size) && size == 100);
        assert_true(reg_upload_range("bytes=0-99", &size) && size == 100);
        assert_true(reg_upload_range("0-0", &size) && size == 0);
        assert_false(reg_upload_range("1-99", &size));
        assert_false(reg_upload_range("0-99/100", &size));
        assert_false(reg_upload_range("", &size));
}

static void test_retry_after(void **state UNUSED)
{
        static const struct {
                const char *in;
                int64_t want; /* -1: refused */
        } rows[] = {
                {"0", 0},
                {"120", 120000},
                {"Sun, 06 Nov 1994 08:49:37 GMT", 37000},
                {"Sunday, 06-Nov-94 08:49:37 GMT", 37000},
                {"Sun Nov  6 08:49:37 1994", 37000},
                {"Sun, 06 Nov 1994 08:48:59 GMT", -1},
                {"-1", -1},
                {"1.5", -1},
                {"soon", -1},
                {"99999999999999999999", -1},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                int64_t ms = -1;
                /* 1994-11-06 08:49:00 UTC */
                bool ok = reg_retry_after(rows[i].in, 784111740, &ms);

                print_message("# %s\n", rows[i].in);
                assert_int_equal(ok, rows[i].want >= 0);
                assert_true(ms == rows[i].want);
        }
}

static void test_urls(void **state UNUSED)
{
        static const struct {
                const char *base, *ref, *want; /* want NULL: refused */
        } rows[] = {
                {NULL, "https://R.io/v2/?a#frag", "https://r.io/v2/?a"},
                {NULL, "http://h:5000", "http://h:5000/"},
                {NULL, "https://h:443/x", "https://h/x"},
                {NULL, "https://h?q=1", "https://h/?q=1"},
                {NULL, "https://[2001:DB8::1]:5000/a", "https://[2001:db8::1]:5000/a"},
                {NULL, "HTTPS://h/a%2Fb?c=%3d", "https://h/a%2Fb?c=%3d"},
                {NULL, "https://u:p@h/", NULL},
                {NULL, "https://h/a b", NULL},
                {NULL, "https://h/a\r\nX: y", NULL},
                {NULL, "https://h\\@evil/", NULL},
                {NULL, "https://h:0/", NULL},
                {NULL, "https://h:65536/", NULL},
                {NULL, "https://h:12x/", NULL},
                {NULL, "https:///x", NULL},
                {NULL, "https://../x", NULL},
                {NULL, "ftp://h/", NULL},
                {NULL, "/v2/", NULL},
                {"https://r.io/v2/a/blobs/uploads/", "/v2/x?_state=A%2B",
                 "https://r.io/v2/x?_state=A%2B"},
                {"https://r.io/v2/a/b?x=/y", "c?d", "https://r.io/v2/a/c?d"},
                {"https://r.io/v2/a/b?x", "?d", "https://r.io/v2/a/b?d"},
                {"https://r.io/v2/", "//s.io/x", "https://s.io/x"},
                {"http://r.io:5000/v2/", "https://s.io/x", "https://s.io/x"},
                {"https://r.io:5000/v2/", "r.io:5000/v2/up?x", "https://r.io:5000/v2/up?x"},
                {"https://r.io:5000/v2/", "r.io/v2/up", "https://r.io/v2/up"},
                {"https://r.io:5000/v2/", "s.io/v2/up", "https://r.io:5000/v2/s.io/v2/up"},
                {"https://r.io/v2/", "", NULL},
                {"https://r.io/v2/", "javascript://x", NULL},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_URL struct reg_url base = {0}, u = {0};
                AUTO_SB struct sb got = SB_INIT(4096);
                int r;

                print_message("# %s + %s\n", rows[i].base ? rows[i].base : "", rows[i].ref);
                if (rows[i].base) {
                        assert_int_equal(reg_url_parse(rows[i].base, &base, NULL), 0);
                        r = reg_url_resolve(&base, rows[i].ref, &u, NULL);
                } else {
                        r = reg_url_parse(rows[i].ref, &u, NULL);
                }
                assert_int_equal(r == 0, rows[i].want != NULL);
                if (r == 0) {
                        reg_url_add(&u, &got);
                        assert_string_equal(sb_text(&got), rows[i].want);
                }
        }
}

static void test_addresses(void **state UNUSED)
{
        static const struct {
                const char *in;
                enum reg_addr want;
        } rows[] = {
                {"example.com", REG_ADDR_NAME},         {"8.8.8.8", REG_ADDR_PUBLIC},
                {"127.0.0.1", REG_ADDR_LOOPBACK},       {"localhost", REG_ADDR_LOOPBACK},
                {"LOCALHOST", REG_ADDR_LOOPBACK},       {"[::1]", REG_ADDR_LOOPBACK},
                {"0.0.0.0", REG_ADDR_LOOPBACK},         {"[::]", REG_ADDR_LOOPBACK},
                {"10.1.2.3", REG_ADDR_PRIVATE},         {"172.16.0.1", REG_ADDR_PRIVATE},
                {"172.32.0.1", REG_ADDR_PUBLIC},        {"192.168.1.1", REG_ADDR_PRIVATE},
                {"100.64.0.1", REG_ADDR_PRIVATE},       {"169.254.169.254", REG_ADDR_LINK},
                {"[fd00:ec2::254]", REG_ADDR_LINK},     {"[fd00::1]", REG_ADDR_PRIVATE},
                {"[fe80::1]", REG_ADDR_LINK},           {"[::ffff:169.254.1.1]", REG_ADDR_LINK},
                {"[::ffff:7f00:1]", REG_ADDR_LOOPBACK}, {"[64:ff9b::a00:1]", REG_ADDR_PRIVATE},
                {"2130706433", REG_ADDR_LOOPBACK},      {"0x7f.1", REG_ADDR_LOOPBACK},
                {"[2001:db8::1]", REG_ADDR_PUBLIC},     {"224.0.0.1", REG_ADDR_LINK},
                {"2606:4700::1", REG_ADDR_PUBLIC},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                print_message("# %s\n", rows[i].in);
                assert_int_equal(reg_addr_class(rows[i].in), rows[i].want);
        }
        assert_true(reg_addr_allowed(REG_ADDR_NAME, REG_ADDR_PUBLIC));
        assert_false(reg_addr_allowed(REG_ADDR_PUBLIC, REG_ADDR_PRIVATE));
        assert_false(reg_addr_allowed(REG_ADDR_LOOPBACK, REG_ADDR_LINK));
        assert_true(reg_addr_allowed(REG_ADDR_LOOPBACK, REG_ADDR_PRIVATE));
        assert_false(reg_addr_allowed(REG_ADDR_PRIVATE, REG_ADDR_LOOPBACK));
}

/* ---- auth files ---- */

/* "asked SUFFIX SERVER" lines; answers for the suffix "has". */
static int fake_helper(void *user, const char *suffix, const char *server, struct reg_creds **ret,
                       struct bld_err *err UNUSED)
{
        sb_fmt(user, "asked %s %s\n", suffix, server);
        if (strcmp(suffix, "has") != 0)
                return 0;
        *ret = calloc(1, sizeof(**ret));
        (*ret)->user = strdup("h");
        (*ret)->pass = strdup("p");
        return 1;
}

static void no_warn(void *user, const char *text UNUSED)
{
        sb_str(user, "warned\n");
}

static void show_creds(const struct reg_creds *k, struct sb *out)
{
        if (k->user)
                sb_fmt(out, "%s:%s", k->user, k->pass ? k->pass : "-");
        if (k->identity)
                sb_fmt(out, "id=%s", k->identity);
        if (k->bearer)
                sb_fmt(out, "bearer=%s", k->bearer);
}

static void test_auth_files(void **state UNUSED)
{
        /* dTpw = u:p, dTpwOnE= = u:p:q, dTI6cDI= = u2:p2 */
        static const struct {
                const char *name, *doc, *host, *path, *want;
                bool legacy;
        } rows[] = {
                {"plain", "{\"auths\":{\"r.io\":{\"auth\":\"dTpw\"}}}", "r.io", "a/b", "u:p",
                 false},
                {"colon in password", "{\"auths\":{\"r.io\":{\"auth\":\"dTpwOnE=\"}}}", "r.io", "a",
                 "u:p:q", false},
                {"whitespace", "{\"auths\":{\"r.io\":{\"auth\":\" dTpw\\n\"}}}", "r.io", "a", "u:p",
                 false},
                {"NUL padding", "{\"auths\":{\"r.io\":{\"auth\":\"dTpwAAA=\"}}}", "r.io", "a",
                 "u:p", false},
                {"fields", "{\"auths\":{\"r.io\":{\"username\":\"u\",\"password\":\"x\"}}}", "r.io",
                 "a", "u:x", false},
                {"auth wins",
                 "{\"auths\":{\"r.io\":{\"auth\":\"dTpw\",\"username\":\"v\","
                 "\"password\":\"x\"}}}",
                 "r.io", "a", "u:p", false},
                {"no colon", "{\"auths\":{\"r.io\":{\"auth\":\"dQ==\"}}}", "r.io", "a", "warned\n",
                 false},
                {"not base64", "{\"auths\":{\"r.io\":{\"auth\":\"%%%\"}}}", "r.io", "a", "warned\n",
                 false},
                {"identity", "{\"auths\":{\"r.io\":{\"identitytoken\":\"t\"}}}", "r.io", "a",
                 "id=t", false},
                {"registry token", "{\"auths\":{\"r.io\":{\"registrytoken\":\"t\"}}}", "r.io", "a",
                 "bearer=t", false},
                {"empty entry", "{\"auths\":{\"r.io\":{}}}", "r.io", "a", "", false},
                {"other host", "{\"auths\":{\"s.io\":{\"auth\":\"dTpw\"}}}", "r.io", "a", "",
                 false},
                {"port matters", "{\"auths\":{\"r.io:5000\":{\"auth\":\"dTpw\"}}}", "r.io", "a", "",
                 false},
                {"443 tried bare", "{\"auths\":{\"r.io\":{\"auth\":\"dTpw\"}}}", "r.io:443", "a",
                 "u:p", false},
                {"scheme in key", "{\"auths\":{\"https://r.io/v1/\":{\"auth\":\"dTpw\"}}}", "r.io",
                 "a", "u:p", false},
                {"hub key", "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"dTpw\"}}}",
                 "docker.io", "library/x", "u:p", false},
                {"hub by wire name", "{\"auths\":{\"registry-1.docker.io\":{\"auth\":\"dTpw\"}}}",
                 "docker.io", "library/x", "u:p", false},
                {"path first",
                 "{\"auths\":{\"r.io\":{\"auth\":\"dTpw\"},\"r.io/ns\":{\"auth\":"
                 "\"dTI6cDI=\"}}}",
                 "r.io", "ns/x", "u2:p2", false},
                {"path of another",
                 "{\"auths\":{\"r.io\":{\"auth\":\"dTpw\"},\"r.io/ns\":{\"auth\":"
                 "\"dTI6cDI=\"}}}",
                 "r.io", "nsx/x", "u:p", false},
                {"helper", "{\"credHelpers\":{\"r.io\":\"has\"}}", "r.io", "a",
                 "asked has r.io\nh:p", false},
                {"helper without",
                 "{\"credHelpers\":{\"r.io\":\"no\"},\"auths\":{\"r.io\":{\"auth\":"
                 "\"dTpw\"}}}",
                 "r.io", "a", "asked no r.io\nasked no https://r.io\nu:p", false},
                {"helper of another host", "{\"credHelpers\":{\"s.io\":\"has\"}}", "r.io", "a", "",
                 false},
                {"store", "{\"credsStore\":\"has\",\"auths\":{\"r.io\":{\"auth\":\"dTpw\"}}}",
                 "r.io", "a", "asked has r.io\nh:p", false},
                {"store, hub", "{\"credsStore\":\"has\"}", "docker.io", "library/x",
                 "asked has https://index.docker.io/v1/\nh:p", false},
                {"path before store",
                 "{\"credsStore\":\"has\",\"auths\":{\"r.io/a\":{\"auth\":"
                 "\"dTpw\"}}}",
                 "r.io", "a", "u:p", false},
                {"legacy", "{\"https://r.io/v1/\":{\"auth\":\"dTpw\"}}", "r.io", "a", "u:p", true},
                {"wrong types", "{\"auths\":[1],\"credHelpers\":7,\"credsStore\":{}}", "r.io", "a",
                 "", false},
                {"entry not object", "{\"auths\":{\"r.io\":\"x\"}}", "r.io", "a", "", false},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_SB struct sb got = SB_INIT(4096);
                AUTO_JS struct js *doc = NULL;
                AUTO(reg_creds_free_p) struct reg_creds *k = NULL;
                struct reg_auth_query q = {.host = rows[i].host,
                                           .path = rows[i].path,
                                           .legacy = rows[i].legacy,
                                           .helper = fake_helper,
                                           .warn = no_warn,
                                           .user = &got};
                int r;

                print_message("# %s\n", rows[i].name);
                assert_int_equal(js_parse(rows[i].doc, strlen(rows[i].doc), &doc, NULL), 0);
                r = reg_auth_file_find(doc, &q, &k, NULL);
                assert_true(r == 0 || r == 1);
                if (r == 1)
                        show_creds(k, &got);
                assert_string_equal(sb_text(&got), rows[i].want);
        }
}

static void test_base64(void **state UNUSED)
{
        static const char *const rows[][2] = {
                {"", ""}, {"a", "YQ=="}, {"ab", "YWI="}, {"abc", "YWJj"}, {"abcd", "YWJjZA=="},
        };
        static const char *const bad[] = {"Y", "YQ=", "YQ", "=Q==", "YQ==YQ==", "Y@==", "YW=j"};

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_FREE char *e = reg_base64(rows[i][0], strlen(rows[i][0]));
                AUTO_SB struct sb d = SB_INIT(100);

                assert_string_equal(e, rows[i][1]);
                assert_true(reg_base64_decode(e, &d));
                assert_string_equal(sb_text(&d), rows[i][0]);
        }
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                AUTO_SB struct sb d = SB_INIT(100);

                print_message("# %s\n", bad[i]);
                assert_false(reg_base64_decode(bad[i], &d));
        }
}

/* ---- helpers ---- */

static char dir[64];

static int make_dir(void **state UNUSED)
{
        const char *tmp = getenv("TMPDIR");

        (void)snprintf(dir, sizeof(dir), "%.30s/bld-helper-XXXXXX", tmp ? tmp : "/tmp");
        return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state UNUSED)
{
        return path_remove_tree(AT_FDCWD, dir, NULL);
}

static void helper_script(const char *name, const char *body)
{
        AUTO_SB struct sb path = SB_INIT(4096), text = SB_INIT(4096);
        struct bld_err err = BLD_ERR_INIT;

        sb_fmt(&path, "%s/docker-credential-%s", dir, name);
        sb_fmt(&text, "#!/bin/sh\n%s\n", body);
        assert_int_equal(file_write(AT_FDCWD, sb_text(&path), text.buf, text.len, 0755, 0, &err),
                         0);
}

static void test_helpers(void **state UNUSED)
{
        static const struct {
                const char *name, *body;
                int want;
                const char *creds;
        } rows[] = {
                {"good",
                 "read s; test \"$1 $s\" = \"get r.io\" || exit 9\n"
                 "echo '{\"ServerURL\":\"r.io\",\"Username\":\"u\",\"Secret\":\"p\"}'",
                 1, "u:p"},
                {"lower", "cat >/dev/null; echo '{\"username\":\"u\",\"secret\":\"p\"}'", 1, "u:p"},
                {"token", "cat >/dev/null; echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}'", 1,
                 "id=t"},
                {"absent",
                 "cat >/dev/null; echo 'credentials not found in native keychain'; exit 1", 0, ""},
                {"broken", "cat >/dev/null; echo oops; exit 1", BLD_E_CHILD, ""},
                {"nojson", "cat >/dev/null; echo hello", BLD_E_INVALID, ""},
                {"slow", "exec sleep 60", BLD_E_TIMEOUT, ""},
                {"deaf", "echo '{\"Username\":\"u\",\"Secret\":\"p\"}'", 1, "u:p"},
        };
        AUTO_SB struct sb path = SB_INIT(8192);
        AUTO_FREE char *old = strdup(getenv("PATH"));

        sb_fmt(&path, "%s:%s", dir, old);
        (void)setenv("PATH", sb_text(&path), 1);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO(reg_creds_free_p) struct reg_creds *k = NULL;
                AUTO_SB struct sb got = SB_INIT(4096);
                struct bld_err err = BLD_ERR_INIT;

                print_message("# %s\n", rows[i].name);
                helper_script(rows[i].name, rows[i].body);
                assert_int_equal(reg_helper_get(rows[i].name, "r.io",
                                                rows[i].want == BLD_E_TIMEOUT ? 300 : 20000, NULL,
                                                &k, &err),
                                 rows[i].want);
                if (k)
                        show_creds(k, &got);
                assert_string_equal(sb_text(&got), rows[i].creds);
        }
        {
                struct reg_creds *k = NULL;
                struct bld_err err = BLD_ERR_INIT;

                assert_int_equal(reg_helper_get("missing", "r.io", 1000, NULL, &k, &err),
                                 BLD_E_NOT_FOUND);
                assert_non_null(strstr(err.msg, "docker-credential-missing is not installed"));
        }
        (void)setenv("PATH", old, 1);
        assert_false(reg_helper_suffix_ok("../x"));
        assert_false(reg_helper_suffix_ok(""));
        assert_false(reg_helper_suffix_ok("a b"));
        assert_true(reg_helper_suffix_ok("ecr-login_2.0"));
}

/* ---- tokens and scopes ---- */

static void test_token_replies(void **state UNUSED)
{
        static const struct {
                const char *in, *token;
                int64_t lifetime;
                int want;
        } rows[] = {
                {"{\"token\":\"a\"}", "a", 60, 0},
                {"{\"access_token\":\"b\",\"expires_in\":300}", "b", 300, 0},
                {"{\"token\":\"a\",\"access_token\":\"b\",\"expires_in\":5}", "a", 60, 0},
                {"{\"token\":\"\",\"access_token\":\"b\"}", "b", 60, 0},
                {"{\"token\":\"a\",\"expires_in\":300,\"issued_at\":\"1970-01-01T00:16:30Z\"}", "a",
                 290, 0},
                {"{\"token\":\"a\",\"expires_in\":300,\"issued_at\":\"1969-01-01T00:00:00Z\"}", "a",
                 300, 0},
                {"{\"token\":\"a\",\"expires_in\":\"300\"}", "a", 60, 0},
                {"{\"token\":\"a\\r\\nX: y\"}", NULL, 0, BLD_E_CORRUPT},
                {"{\"token\":7}", NULL, 0, BLD_E_CORRUPT},
                {"{}", NULL, 0, BLD_E_CORRUPT},
                {"<html>", NULL, 0, BLD_E_CORRUPT},
                {"", NULL, 0, BLD_E_CORRUPT},
                {"{\"token\":\"t\",\"expires_in\":1000000000000000000000}", "t", 60, 0},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO(reg_token_reply_done) struct reg_token_reply t = {0};

                print_message("# %s\n", rows[i].in);
                assert_int_equal(
                        reg_token_reply_parse(rows[i].in, strlen(rows[i].in), 1000, &t, NULL),
                        rows[i].want);
                if (rows[i].want == 0) {
                        assert_string_equal(t.token, rows[i].token);
                        assert_int_equal(t.lifetime_s, rows[i].lifetime);
                }
        }
}

static void test_scopes(void **state UNUSED)
{
        static const struct {
                const char *have, *more, *want;
        } rows[] = {
                {"repository:a/b:pull", "repository:a/b:pull", "repository:a/b:pull"},
                {"repository:a/b:pull", "repository:a/b:pull,push", "repository:a/b:pull,push"},
                {"repository:a/b:pull,push", "repository:a/b:push", "repository:a/b:pull,push"},
                {"repository:a/b:pull", "repository:c:pull",
                 "repository:c:pull repository:a/b:pull"},
                {"repository:a/b:pull", "aws", "aws repository:a/b:pull"},
                {"repository:h:5000/a:pull", "repository:h:5000/a:push",
                 "repository:h:5000/a:pull,push"},
                {"repository:a:pull,push", "repository:a:pull,push repository:b:pull",
                 "repository:b:pull repository:a:pull,push"},
                {"repository:a:pull", "", "repository:a:pull"},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_STRV struct strv s = {0};
                AUTO_SB struct sb got = SB_INIT(4096);

                print_message("# %s + %s\n", rows[i].have, rows[i].more);
                assert_int_equal(strv_add(&s, rows[i].have), 0);
                assert_int_equal(reg_scopes_merge(&s, rows[i].more, NULL), 0);
                for (size_t k = 0; k < s.n; k++)
                        sb_fmt(&got, "%s%s", k ? " " : "", s.v[k]);
                assert_string_equal(sb_text(&got), rows[i].want);
        }
}

static void test_proxies(void **state UNUSED)
{
        static const struct {
                const char *host;
                bool https, loopback;
                const char *no_proxy, *want;
        } rows[] = {
                {"r.io", true, false, "", "http://s:1"},
                {"r.io", false, false, "", "http://p:1"},
                {"127.0.0.1:5000", true, true, "", ""},
                {"r.io", true, false, "x.io, r.io", ""},
                {"a.r.io", true, false, ".r.io", ""},
                {"ar.io", true, false, "r.io", "http://s:1"},
                {"r.io:5000", true, false, "r.io:5000", ""},
                {"r.io:5000", true, false, "r.io:5001", "http://s:1"},
                {"r.io:5000", true, false, "r.io", ""},
                {"10.1.2.3:5000", true, false, "10.0.0.0/8", ""},
                {"11.1.2.3", true, false, "10.0.0.0/8", "http://s:1"},
                {"[fd00::1]:5000", true, false, "fd00::/8", ""},
                {"r.io", true, false, "*", ""},
        };

        (void)setenv("HTTPS_PROXY", "http://s:1", 1);
        (void)setenv("HTTP_PROXY", "http://p:1", 1);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                char name[64];
                struct reg_host h = {.name = name, .loopback = rows[i].loopback};
                AUTO_FREE char *got = NULL;

                print_message("# %s %s\n", rows[i].host, rows[i].no_proxy);
                (void)snprintf(name, sizeof(name), "%s", rows[i].host);
                (void)setenv("NO_PROXY", rows[i].no_proxy, 1);
                got = reg_proxy_for(NULL, &h, rows[i].https);
                assert_string_equal(got, rows[i].want);
        }
        (void)unsetenv("HTTPS_PROXY");
        (void)unsetenv("HTTP_PROXY");
        (void)unsetenv("NO_PROXY");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_challenges),
                cmocka_unit_test(test_links),
                cmocka_unit_test(test_ranges),
                cmocka_unit_test(test_retry_after),
                cmocka_unit_test(test_urls),
                cmocka_unit_test(test_addresses),
                cmocka_unit_test(test_auth_files),
                cmocka_unit_test(test_base64),
                cmocka_unit_test_setup_teardown(test_helpers, make_dir, remove_dir),
                cmocka_unit_test(test_token_replies),
                cmocka_unit_test(test_scopes),
                cmocka_unit_test(test_proxies),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
