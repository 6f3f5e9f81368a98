/* A header image (RPM file format, "Header Structure", without its magic): the number of entries,
 * the size of the data, the entries of 16 bytes (tag, type, offset, count), the data. All numbers
 * are big endian. */
#include <string.h>

#include "base/err.h"
#include "image/packages/pkg_rpm_priv.h"

#define ENTRIES_MAX 65535u /* rpm's own limit */
#define ENTRY_SIZE 16

enum type { T_INT32 = 4, T_INT64 = 5, T_STRING = 6 };
enum want { NAME, VERSION, RELEASE, EPOCH, SIZE, ARCH, SOURCERPM, LONGSIZE, NWANTS };

static const struct {
        uint32_t tag;
        enum type type;
} wants[NWANTS] = {
        [NAME] = {1000, T_STRING},      [VERSION] = {1001, T_STRING}, [RELEASE] = {1002, T_STRING},
        [EPOCH] = {1003, T_INT32},      [SIZE] = {1009, T_INT32},     [ARCH] = {1022, T_STRING},
        [SOURCERPM] = {1044, T_STRING}, [LONGSIZE] = {5009, T_INT64},
};

struct found {
        bool has[NWANTS];
        struct pkg_text text[NWANTS];
        uint64_t number[NWANTS];
};

static bool take(struct found *f, enum want w, const unsigned char *data, size_t ndata,
                 const unsigned char *entry)
{
        uint32_t type = get_be32(entry + 4), off = get_be32(entry + 8),
                 count = get_be32(entry + 12);

        if (type != wants[w].type || off >= ndata || count == 0)
                return false;
        f->has[w] = true;
        data += off;
        ndata -= off;
        if (type == T_STRING) {
                const unsigned char *end = memchr(data, '\0', ndata);

                if (end)
                        f->text[w] = (struct pkg_text){.p = (const char *)data,
                                                       .n = (size_t)(end - data)};
                return end != NULL;
        }
        if (ndata < (type == T_INT64 ? 8 : 4))
                return false;
        f->number[w] = get_be32(data);
        if (type == T_INT64)
                f->number[w] = f->number[w] << 32 | get_be32(data + 4);
        return true;
}

static int find_all(struct found *f, const unsigned char *p, size_t n, struct bld_err *err)
{
        uint32_t il, dl;

        if (n < 8)
                return pkg_rpm_damaged(err, "a package of %zu bytes", n);
        il = get_be32(p);
        dl = get_be32(p + 4);
        if (il == 0 || il > ENTRIES_MAX || 8 + (uint64_t)il * ENTRY_SIZE + dl != n)
                return pkg_rpm_damaged(err,
                                       "a package of %zu bytes with %u entries and %u bytes "
                                       "of data",
                                       n, il, dl);
        for (uint32_t i = 0; i < il; i++) {
                const unsigned char *entry = p + 8 + (size_t)i * ENTRY_SIZE;
                uint32_t tag = get_be32(entry);

                for (enum want w = 0; w < NWANTS; w++)
                        if (wants[w].tag == tag && !f->has[w] &&
                            !take(f, w, p + 8 + (size_t)il * ENTRY_SIZE, dl, entry))
                                return pkg_rpm_damaged(err, "a package with a bad tag %u", tag);
        }
        return 0;
}

int pkg_rpm_header(const unsigned char *p, size_t n, struct pkg_list *to, struct bld_err *err)
{
        char epoch[16] = "", evr[3 * PKG_FIELD_MAX];
        struct pkg_fields f = {.manager = "rpm"};
        struct found t = {0};
        int r = find_all(&t, p, n, err), len;

        if (r < 0)
                return r;
        if (pkg_text_is(t.text[NAME], "gpg-pubkey"))
                return 0;
        if (t.text[VERSION].n == 0 || t.text[RELEASE].n == 0)
                return pkg_rpm_damaged(err, "a package without a version");
        if (t.text[VERSION].n > PKG_FIELD_MAX || t.text[RELEASE].n > PKG_FIELD_MAX)
                return pkg_rpm_damaged(err, "a package with a version of more than %d bytes",
                                       PKG_FIELD_MAX);
        if (t.has[EPOCH])
                (void)snprintf(epoch, sizeof(epoch), "%u:", (uint32_t)t.number[EPOCH]);
        len = snprintf(evr, sizeof(evr), "%s%.*s-%.*s", epoch, (int)t.text[VERSION].n,
                       t.text[VERSION].p, (int)t.text[RELEASE].n, t.text[RELEASE].p);
        f.name = t.text[NAME];
        f.version = (struct pkg_text){.p = evr, .n = (size_t)len};
        f.arch = t.text[ARCH];
        f.source = t.text[SOURCERPM];
        f.installed = t.has[LONGSIZE] ? t.number[LONGSIZE] : t.number[SIZE];
        return pkg_list_add(to, &f, err);
}
