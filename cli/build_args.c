/* Lists of K=V whose values may come from the environment or from files. */
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "cli/build.h"

#define FILE_MAX_BYTES (1u << 20)

/* "K" takes its value from the environment, and is nothing when there is none. */
static int add_pair(const char *flag, const char *s, struct strv *out, struct bld_err *err)
{
        const char *e;
        int r = 0;

        if (!*s || *s == '=')
                return err_set(err, BLD_E_USAGE, "--%s \"%.100s\" has no name", flag, s);
        if (strchr(s, '='))
                r = strv_add(out, s);
        else if ((e = getenv(s)))
                r = strv_addf(out, "%s=%s", s, e);
        return r < 0 ? err_nomem(err, flag) : 0;
}

int build_pairs(const char *flag, const struct strv *from, struct strv *out, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < from->n && r == 0; i++)
                r = add_pair(flag, from->v[i], out, err);
        return r;
}

/* A pair on each line; blank lines and those that begin with # are none. Quotes are no syntax. */
static int read_lines(const char *flag, const char *path, char *text, struct strv *out,
                      struct bld_err *err)
{
        unsigned line = 0;
        int r = 0;

        for (char *at = text, *next; *at && r == 0; at = next) {
                size_t n = strcspn(at, "\n"), len = n;

                next = at + n + (at[n] == '\n');
                line++;
                while (len && (at[len - 1] == '\r' || at[len - 1] == ' ' || at[len - 1] == '\t'))
                        len--;
                at[len] = '\0';
                at += strspn(at, " \t");
                if (*at && *at != '#')
                        r = err_wrap(err, add_pair(flag, at, out, err), "%s:%u", path, line);
        }
        return r;
}

static int read_pairs(const char *flag, const char *path, struct strv *out, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(FILE_MAX_BYTES);
        int r = file_read(AT_FDCWD, path, &text, err);

        if (r < 0)
                return err_wrap(err, r == BLD_E_NOT_FOUND ? err_recode(err, BLD_E_USAGE) : r,
                                "--%s", flag);
        if (!text.len)
                return 0;
        if (strlen(text.buf) != text.len)
                return err_set(err, BLD_E_USAGE, "--%s \"%.200s\" is not a text file", flag, path);
        return read_lines(flag, path, text.buf, out, err);
}

int build_pair_files(const char *flag, const struct strv *paths, struct strv *out,
                     struct bld_err *err)
{
        for (size_t i = 0; i < paths->n; i++) {
                int r = read_pairs(flag, paths->v[i], out, err);

                if (r < 0)
                        return r;
        }
        return 0;
}
