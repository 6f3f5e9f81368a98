/* The "installed" file of apk: records of lines, each a letter, a colon and a value, separated by
 * empty lines. The letters in use here are those of the index of a repository (apk-package(5) in
 * Alpine's documentation); those of files, folders and their checksums are passed over. */
#include <string.h>

#include "base/err.h"
#include "image/packages/pkg_priv.h"

static int damaged(struct bld_err *err, size_t line, const char *what)
{
        return err_set(err, BLD_E_CORRUPT, "the apk database is damaged: line %zu: %s", line, what);
}

static int add_line(struct pkg_fields *f, struct pkg_text line, size_t lineno, struct bld_err *err)
{
        struct pkg_text value;

        if (line.n < 2 || line.p[1] != ':')
                return damaged(err, lineno, "no letter with a value");
        value = pkg_trim(line.p + 2, line.n - 2);
        switch (line.p[0]) {
        case 'P':
                f->name = value;
                break;
        case 'V':
                f->version = value;
                break;
        case 'A':
                f->arch = value;
                break;
        case 'o':
                f->source = value;
                break;
        case 'I':
                if (!pkg_number(value, &f->installed))
                        return damaged(err, lineno, "a size that is no number");
                break;
        default:
                break;
        }
        return 0;
}

/* Subpackages are built at one version with their origin. */
static int end_record(struct pkg_fields *f, bool *any, struct pkg_list *to, struct bld_err *err)
{
        int r = 0;

        if (*any) {
                if (f->source.n == 0)
                        f->source = f->name;
                f->source_version = f->version;
                r = pkg_list_add(to, f, err);
        }
        *f = (struct pkg_fields){.manager = "apk"};
        *any = false;
        return r;
}

int pkg_parse_apk(const char *p, size_t n, struct pkg_list *to, struct bld_err *err)
{
        struct pkg_fields f = {.manager = "apk"};
        struct pkg_text line;
        bool any = false;
        size_t at = 0;
        int r = 0;

        for (size_t lineno = 1; r == 0 && pkg_line(p, n, &at, &line); lineno++) {
                if (pkg_trim(line.p, line.n).n == 0) {
                        r = end_record(&f, &any, to, err);
                } else {
                        r = add_line(&f, line, lineno, err);
                        any = true;
                }
        }
        return r < 0 ? r : end_record(&f, &any, to, err);
}
