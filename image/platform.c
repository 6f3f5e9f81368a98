/* Platforms: parsing, normalising and matching as containerd/platforms does. */
#include "image/image_priv.h"

#include <ctype.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/err.h"

static const char *const known_os[] = {
        "aix",     "android", "darwin",  "dragonfly", "freebsd", "hurd",
        "illumos", "ios",     "js",      "linux",     "nacl",    "netbsd",
        "openbsd", "plan9",   "solaris", "wasip1",    "windows", "zos",
};

static const char *const known_arch[] = {
        "386",       "amd64",       "amd64p32", "arm",    "armbe",   "arm64",
        "arm64be",   "loong64",     "mips",     "mipsle", "mips64",  "mips64le",
        "mips64p32", "mips64p32le", "ppc",      "ppc64",  "ppc64le", "riscv",
        "riscv64",   "s390",        "s390x",    "sparc",  "sparc64", "wasm",
};

/* Other spellings of an architecture, and the variant they imply. */
static const struct {
        const char *name, *arch, *variant;
} arch_alias[] = {
        {"x86_64", "amd64", ""}, {"x86-64", "amd64", ""},  {"i386", "386", ""},
        {"i686", "386", ""},     {"aarch64", "arm64", ""}, {"armhf", "arm", "v7"},
        {"armel", "arm", "v6"},
};

static bool listed(const char *const *list, size_t n, const char *s)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(list[i], s) == 0)
                        return true;
        return false;
}

static void lower(char *s)
{
        for (; *s; s++)
                *s = (char)tolower((unsigned char)*s);
}

void img_platform_normalize(struct img_platform *p)
{
        lower(p->os);
        lower(p->arch);
        lower(p->variant);
        if (strcmp(p->os, "macos") == 0)
                (void)str_copy(p->os, sizeof(p->os), "darwin");
        for (size_t i = 0; i < ARRAY_LEN(arch_alias); i++) {
                if (strcmp(p->arch, arch_alias[i].name) != 0)
                        continue;
                (void)str_copy(p->arch, sizeof(p->arch), arch_alias[i].arch);
                if (arch_alias[i].variant[0] || strcmp(p->arch, "386") == 0)
                        (void)str_copy(p->variant, sizeof(p->variant), arch_alias[i].variant);
        }
        if (strcmp(p->arch, "arm") == 0) {
                if (p->variant[0] == '\0')
                        (void)str_copy(p->variant, sizeof(p->variant), "v7");
                else if (p->variant[1] == '\0' && strchr("5678", p->variant[0]))
                        memmove(p->variant, (char[3]){'v', p->variant[0], '\0'}, 3);
        } else if (strcmp(p->arch, "arm64") == 0) {
                if (strcmp(p->variant, "8") == 0 || strcmp(p->variant, "v8") == 0)
                        p->variant[0] = '\0';
        } else if (strcmp(p->arch, "amd64") == 0) {
                if (strcmp(p->variant, "v1") == 0)
                        p->variant[0] = '\0';
        }
}

void img_platform_host(struct img_platform *ret)
{
        struct utsname u;

        memset(ret, 0, sizeof(*ret));
        (void)str_copy(ret->os, sizeof(ret->os), "linux");
#if defined(__x86_64__)
        (void)str_copy(ret->arch, sizeof(ret->arch), "amd64");
#elif defined(__aarch64__)
        (void)str_copy(ret->arch, sizeof(ret->arch), "arm64");
#elif defined(__arm__)
        (void)str_copy(ret->arch, sizeof(ret->arch), "arm");
#elif defined(__i386__)
        (void)str_copy(ret->arch, sizeof(ret->arch), "386");
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        (void)str_copy(ret->arch, sizeof(ret->arch), "ppc64le");
#elif defined(__s390x__)
        (void)str_copy(ret->arch, sizeof(ret->arch), "s390x");
#elif defined(__riscv) && __riscv_xlen == 64
        (void)str_copy(ret->arch, sizeof(ret->arch), "riscv64");
#elif defined(__loongarch64)
        (void)str_copy(ret->arch, sizeof(ret->arch), "loong64");
#else
        if (uname(&u) == 0)
                (void)str_copy(ret->arch, sizeof(ret->arch), u.machine);
#endif
        /* "armv6l" on a Raspberry Pi of the first kind; a 64-bit kernel runs v8 */
        if (strcmp(ret->arch, "arm") == 0 && uname(&u) == 0) {
                if (str_has_prefix(u.machine, "armv") && strchr("567", u.machine[4]))
                        memcpy(ret->variant, (char[3]){'v', u.machine[4], '\0'}, 3);
                else if (strcmp(u.machine, "aarch64") == 0)
                        (void)str_copy(ret->variant, sizeof(ret->variant), "v8");
        }
        img_platform_normalize(ret);
}

static bool valid_part(const char *s, bool dots)
{
        if (!*s)
                return false;
        for (; *s; s++)
                if (!isalnum((unsigned char)*s) && *s != '_' && *s != '-' && !(dots && *s == '.'))
                        return false;
        return true;
}

static int refuse(struct bld_err *err, const char *s, const char *reason)
{
        AUTO_SB struct sb b = SB_INIT(512);

        sb_escaped(&b, s, strnlen(s, 100));
        return err_set(err, BLD_E_INVALID, "invalid platform \"%s\": %s", sb_text(&b), reason);
}

/* "windows(10.0.17763)": the version in parentheses moves to os_version. */
static bool take_os_version(char *os, struct img_platform *p)
{
        char *open = strchr(os, '('), *close;

        if (!open)
                return true;
        close = strchr(open, ')');
        if (!close || close[1] != '\0')
                return false;
        *open = *close = '\0';
        return open[1] == '\0' || (valid_part(open + 1, true) &&
                                   str_copy(p->os_version, sizeof(p->os_version), open + 1));
}

/* A single word is an operating system or an architecture; the rest is the host's. */
static int parse_one(const char *s, const char *word, struct img_platform *p, struct bld_err *err)
{
        struct img_platform host, os = *p, arch = *p;

        img_platform_host(&host);
        if (str_copy(os.os, sizeof(os.os), word)) {
                img_platform_normalize(&os);
                if (listed(known_os, ARRAY_LEN(known_os), os.os)) {
                        memcpy(os.arch, host.arch, sizeof(os.arch));
                        memcpy(os.variant, host.variant, sizeof(os.variant));
                        *p = os;
                        return 0;
                }
        }
        if (str_copy(arch.arch, sizeof(arch.arch), word)) {
                img_platform_normalize(&arch);
                if (listed(known_arch, ARRAY_LEN(known_arch), arch.arch)) {
                        memcpy(arch.os, host.os, sizeof(arch.os));
                        *p = arch;
                        return 0;
                }
        }
        return refuse(err, s, "unknown operating system or architecture");
}

int img_platform_parse(const char *s, struct img_platform *ret, struct bld_err *err)
{
        struct img_platform p = {{0}, {0}, {0}, {0}};
        char buf[192];
        char *part[4], *save = NULL;
        size_t n = 0;
        int r;

        if (!str_copy(buf, sizeof(buf), s))
                return refuse(err, s, "too long");
        if (s[0] == '\0' || s[0] == '/' || s[strlen(s) - 1] == '/' || strstr(s, "//"))
                return refuse(err, s, "an empty part");
        for (char *t = strtok_r(buf, "/", &save); t && n < ARRAY_LEN(part);
             t = strtok_r(NULL, "/", &save))
                part[n++] = t;
        if (n > 3)
                return refuse(err, s, "more than os/arch/variant");
        if (!take_os_version(part[0], &p) || !valid_part(part[0], n == 1))
                return refuse(err, s, "the operating system is malformed");
        for (size_t i = 1; i < n; i++)
                if (!valid_part(part[i], true))
                        return refuse(err, s,
                                      "allowed are letters, digits, \"_\", \".\" and \"-\"");
        if (n == 1) {
                r = parse_one(s, part[0], &p, err);
                if (r < 0)
                        return r;
        } else {
                if (!str_copy(p.os, sizeof(p.os), part[0]) ||
                    !str_copy(p.arch, sizeof(p.arch), part[1]) ||
                    (n == 3 && !str_copy(p.variant, sizeof(p.variant), part[2])))
                        return refuse(err, s, "too long");
        }
        img_platform_normalize(&p);
        *ret = p;
        return 0;
}

void img_platform_format(const struct img_platform *p, char out[128])
{
        (void)snprintf(out, 128, "%s/%s%s%s", p->os, p->arch, p->variant[0] ? "/" : "", p->variant);
}

/* "v7" -> 70, "v8.2" -> 82; -1 when it is not of that form. */
static int variant_level(const char *v, const char *fallback)
{
        int major, minor = 0;

        if (!*v)
                v = fallback;
        if (v[0] != 'v' || !isdigit((unsigned char)v[1]))
                return -1;
        major = v[1] - '0';
        if (v[2] == '.' && isdigit((unsigned char)v[3]) && v[4] == '\0')
                minor = v[3] - '0';
        else if (v[2] != '\0')
                return -1;
        return major * 10 + minor;
}

/* Newer processors of these families run code for older ones. */
static int variant_score(const struct img_platform *want, const struct img_platform *have)
{
        static const struct {
                const char *arch, *fallback;
        } families[] = {{"amd64", "v1"}, {"arm", "v7"}, {"arm64", "v8"}};

        if (strcmp(want->variant, have->variant) == 0)
                return 100;
        for (size_t i = 0; i < ARRAY_LEN(families); i++) {
                int w, h;

                if (strcmp(want->arch, families[i].arch) != 0)
                        continue;
                w = variant_level(want->variant, families[i].fallback);
                h = variant_level(have->variant, families[i].fallback);
                return w >= 0 && h >= 0 && h <= w ? 100 - (w - h) : 0;
        }
        return 0;
}

/* Windows images run on hosts of the same build: the first three numbers of the version. */
static bool same_windows_build(const char *a, const char *b)
{
        int dots = 0;

        while (*a && *a == *b) {
                if (*a == '.' && ++dots == 3)
                        return true;
                a++;
                b++;
        }
        return (*a == '\0' || *a == '.') && (*b == '\0' || *b == '.') && dots >= 2;
}

int img_platform_score(const struct img_platform *want, const struct img_platform *have)
{
        struct img_platform w = *want, h = *have;
        int score;

        img_platform_normalize(&w);
        img_platform_normalize(&h);
        if (strcmp(w.os, h.os) != 0 || strcmp(w.arch, h.arch) != 0)
                return 0;
        score = variant_score(&w, &h);
        if (score == 0)
                return 0;
        if (w.os_version[0] && h.os_version[0]) {
                if (strcmp(w.os_version, h.os_version) == 0)
                        return 2 * score + 1;
                if (strcmp(w.os, "windows") == 0 && !same_windows_build(w.os_version, h.os_version))
                        return 0;
        }
        return 2 * score;
}

int img_platform_decode(const struct js *obj, struct img_platform *p, struct strv *os_features,
                        struct bld_err *err)
{
        int r = img_js_fixed(obj, "os", p->os, sizeof(p->os), err);

        if (r == 0)
                r = img_js_fixed(obj, "architecture", p->arch, sizeof(p->arch), err);
        if (r == 0)
                r = img_js_fixed(obj, "variant", p->variant, sizeof(p->variant), err);
        if (r == 0)
                r = img_js_fixed(obj, "os.version", p->os_version, sizeof(p->os_version), err);
        if (r == 0 && os_features)
                r = img_js_strv(obj, "os.features", os_features, err);
        return r;
}

void img_platform_put(int *r, struct js *obj, const struct img_platform *p,
                      const struct strv *os_features)
{
        img_put_str(r, obj, "architecture", p->arch);
        img_put_str(r, obj, "os", p->os);
        img_put_str_opt(r, obj, "os.version", p->os_version);
        if (os_features)
                img_put_strv_opt(r, obj, "os.features", os_features);
        img_put_str_opt(r, obj, "variant", p->variant);
}
