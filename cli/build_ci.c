/* What a build tells the system it runs in: --dotenv, --ci-outputs, --termination-log. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "cli/build.h"
#include "cli/report.h"
#include "cli/text.h"

#define TERMINATION_LOG "/dev/termination-log"
#define TERMINATION_MAX 2048u /* the kubelet keeps the last of what all containers wrote */

/* What is known of a finished image, under the names the files of CI systems use. */
struct fact {
        const char *upper, *lower, *value;
};
enum { DIGEST, IMAGEID, REF, METADATA, FACTS };

static void facts_of(const struct build_report *b, const char *ref, const char *metadata,
                     struct fact out[FACTS])
{
        out[DIGEST] = (struct fact){"IMAGE_DIGEST", "digest", b->result->digest};
        out[IMAGEID] = (struct fact){"IMAGE_ID", "imageid", b->result->config_digest};
        out[REF] = (struct fact){"IMAGE_REF", "ref", ref};
        out[METADATA] = (struct fact){NULL, "metadata", metadata};
}

/* NAME[:TAG]@DIGEST of the first name, or nothing. */
static void first_ref(const struct build_report *b, struct sb *out)
{
        if (!b->a->tags.n || !b->result->digest[0])
                return;
        sb_add(out, b->a->tags.v[0], strcspn(b->a->tags.v[0], "@"));
        sb_fmt(out, "@%s", b->result->digest);
}

static int dotenv(const struct build_report *b, const struct fact *f, struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        int r;

        for (size_t i = 0; i < FACTS; i++)
                if (f[i].upper && f[i].value[0])
                        sb_fmt(&out, "%s=%s\n", f[i].upper, f[i].value);
        r = sb_check(&out, "--dotenv", err);
        r = r < 0 ? r
                  : file_write(AT_FDCWD, b->a->dotenv, sb_text(&out), out.len, 0644, FILE_IN_PLACE,
                               err);
        return err_wrap(err, r, "write \"%s\"", b->a->dotenv);
}

static int append(const char *path, const struct sb *text, struct bld_err *err)
{
        AUTO_FD int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
        int r = fd < 0 ? err_sys(err, errno, "open") : 0;

        r = r < 0 ? r : fd_write_all(fd, text->buf, text->len, err);
        return err_wrap(err, r, "write \"%s\"", path);
}

/* NAME<<END lines END, with an end that no value can hold by design. */
static int github(const char *path, const struct fact *f, struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(16u << 20);
        uint64_t word[2];
        int r;

        if (getrandom(word, sizeof(word), 0) != (ssize_t)sizeof(word))
                return err_sys(err, errno, "random bytes");
        for (size_t i = 0; i < FACTS; i++)
                if (f[i].value[0])
                        sb_fmt(&out, "%s<<bld_%016llx%016llx\n%s\nbld_%016llx%016llx\n", f[i].lower,
                               (unsigned long long)word[0], (unsigned long long)word[1], f[i].value,
                               (unsigned long long)word[0], (unsigned long long)word[1]);
        r = sb_check(&out, "--ci-outputs", err);
        return r < 0 ? r : append(path, &out, err);
}

static void teamcity_text(struct sb *out, const char *s)
{
        for (; *s; s++)
                if (strchr("'|[]", *s))
                        sb_fmt(out, "|%c", *s);
                else
                        sb_char(out, *s);
}

static int on_stdout(bool azure, const struct fact *f, struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        int r;

        for (size_t i = 0; i < FACTS; i++) {
                if (!f[i].upper || !f[i].value[0])
                        continue;
                if (azure) {
                        sb_fmt(&out, "##vso[task.setvariable variable=%s;isOutput=true]%s\n",
                               f[i].upper, f[i].value);
                        continue;
                }
                sb_fmt(&out, "##teamcity[setParameter name='%s' value='", f[i].upper);
                teamcity_text(&out, f[i].value);
                sb_str(&out, "']\n");
        }
        r = sb_check(&out, "--ci-outputs", err);
        return r < 0 ? r : cli_write_out(out.buf, out.len, err);
}

static bool is_set(const char *name)
{
        const char *e = getenv(name);

        return e && *e && strcasecmp(e, "false") != 0;
}

static int outputs(const struct build_report *b, const struct fact *f, struct bld_err *err)
{
        const char *path = getenv("GITHUB_OUTPUT");

        if (path && *path)
                return github(path, f, err);
        if (is_set("TF_BUILD") || is_set("TEAMCITY_VERSION"))
                return on_stdout(is_set("TF_BUILD"), f, err);
        cli_note(b->c, "note",
                 "--ci-outputs: neither GITHUB_OUTPUT, TF_BUILD nor TEAMCITY_VERSION is set");
        return 0;
}

int build_ci(const struct build_report *b, struct bld_err *err)
{
        AUTO_SB struct sb ref = SB_INIT(8192);
        struct fact f[FACTS];
        char *metadata = NULL;
        int r = 0;

        if (!b->a->dotenv && !b->a->ci_outputs)
                return 0;
        first_ref(b, &ref);
        if (b->a->ci_outputs)
                r = bld_build_metadata(b->c->b, &b->in->o, b->result, &metadata, err);
        facts_of(b, sb_text(&ref), metadata ? metadata : "", f);
        if (r == 0 && b->a->dotenv)
                r = dotenv(b, f, err);
        if (r == 0 && b->a->ci_outputs)
                r = outputs(b, f, err);
        bld_free(metadata);
        return r;
}

/* The file is the kubelet's: it is there already, or there is none to write. */
void build_termination_log(const struct build_report *b, const struct bld_err *why)
{
        const char *path = b->a->termination_log;
        AUTO_SB struct sb out = SB_INIT(64u << 10);
        AUTO_FD int fd = -1;

        if (!path)
                return;
        fd = open(*path ? path : TERMINATION_LOG, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY);
        if (fd < 0) {
                if (*path)
                        cli_note(b->c, "warning", "cannot write to %s: %s", path, strerror(errno));
                return;
        }
        if (b->result->place.line)
                sb_fmt(&out, "%s:%u: ", b->result->place.file, b->result->place.line);
        (void)text_add(&out, why->msg, strlen(why->msg), TEXT_WIDE, 0);
        sb_char(&out, '\n');
        (void)!fd_write_all(fd, sb_text(&out), MIN(out.len, (size_t)TERMINATION_MAX), NULL);
}
