#include "cli/images_filter.h"

#include <fnmatch.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/num.h"

static bool created_ns(const struct js *image, int64_t *ret)
{
        const char *s = js_get_str(image, "created");
        int64_t sec, nsec;

        if (!s || !parse_rfc3339(s, &sec, &nsec))
                return false;
        *ret = time_ns(sec, nsec);
        return true;
}

static int image_time(struct cli *c, const char *name, int64_t *ret, struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        char *text = NULL;
        const char *s;
        int64_t sec, nsec;
        int r = bld_inspect(c->b, name, BLD_INSPECT_CONFIG, NULL, &text, err);

        if (r == 0)
                r = js_parse(text, strlen(text), &j, err);
        bld_free(text);
        if (r < 0)
                return r;
        s = js_get_str(j, "created");
        if (!s || !parse_rfc3339(s, &sec, &nsec))
                return err_set(err, BLD_E_USAGE, "%.200s does not say when it was made", name);
        *ret = time_ns(sec, nsec);
        return 0;
}

/* An age, or a time. */
static int point(const char *s, int64_t *ret, struct bld_err *err)
{
        int64_t sec, nsec, ms = 0;
        int r;

        if (parse_rfc3339(s, &sec, &nsec)) {
                *ret = time_ns(sec, nsec);
                return 0;
        }
        r = cli_duration_ms("filter until", s, &ms, err);
        if (r == 0)
                *ret = time_now_ns() - ms * 1000000;
        return r;
}

static int keep(struct strv *to, const char *s, struct bld_err *err)
{
        return strv_add(to, s) < 0 ? err_nomem(err, "filters") : 0;
}

static int read_one(struct cli *c, const char *s, struct images_filter *f, struct bld_err *err)
{
        const char *v = strchr(s, '=');
        size_t n = v ? (size_t)(v - s) : 0;
        int64_t t = 0;
        bool b;
        int r;

        v = v ? v + 1 : "";
        if (str_has_prefix(s, "dangling=") && parse_go_bool(v, &b)) {
                f->dangling = b;
                return 0;
        }
        if (str_has_prefix(s, "reference=") && *v)
                return keep(&f->references, v, err);
        if (str_has_prefix(s, "label=") && *v)
                return keep(&f->labels, v, err);
        if ((str_has_prefix(s, "since=") || str_has_prefix(s, "after=")) && *v) {
                r = image_time(c, v, &t, err);
                f->after_ns = MAX(f->after_ns, t);
                return r;
        }
        if ((str_has_prefix(s, "before=") || str_has_prefix(s, "until=")) && *v) {
                r = n == strlen("until") ? point(v, &t, err) : image_time(c, v, &t, err);
                if (r == 0)
                        f->until_ns = MIN(f->until_ns, t);
                return r;
        }
        r = err_set(err, BLD_E_USAGE, "--filter does not know \"%.100s\"", s);
        return err_try(err, r,
                       "dangling=BOOL, label=KEY[=VALUE], reference=PATTERN, before=IMAGE, "
                       "since=IMAGE, until=AGE or TIME");
}

int images_filter_read(struct cli *c, const struct strv *args, struct images_filter *ret,
                       struct bld_err *err)
{
        int r = 0;

        *ret = (struct images_filter){.dangling = -1, .after_ns = INT64_MIN, .until_ns = INT64_MAX};
        for (size_t i = 0; r == 0 && i < args->n; i++)
                r = read_one(c, args->v[i], ret, err);
        return r;
}

void images_filter_done(struct images_filter *f)
{
        strv_done(&f->references);
        strv_done(&f->labels);
}

/* As path.Match has it: a wildcard stays within a component. */
static bool like(const char *pattern, const char *s)
{
        return s && fnmatch(pattern, s, FNM_PATHNAME) == 0;
}

static bool referred(const struct strv *patterns, const struct js *image)
{
        const char *repo = js_get_str(image, "repository"), *tag = js_get_str(image, "tag");
        AUTO_SB struct sb full = SB_INIT(8192);

        if (repo)
                sb_fmt(&full, "%s:%s", repo, tag ? tag : "");
        for (size_t i = 0; i < patterns->n; i++)
                if (like(patterns->v[i], repo) || like(patterns->v[i], sb_text(&full)) ||
                    like(patterns->v[i], js_get_str(image, "name")))
                        return true;
        return patterns->n == 0;
}

static bool labelled(const char *want, const struct js *labels)
{
        AUTO_FREE char *key = mem_strndup(want, strcspn(want, "="));
        const char *have = key && labels ? js_get_str(labels, key) : NULL;
        const char *value = strchr(want, '=');

        return have && (!value || strcmp(have, value + 1) == 0);
}

bool images_filter_wants(const struct images_filter *f, const struct js *image, bool all)
{
        const char *name = js_get_str(image, "name");
        bool named = name && *name;
        bool timed = f->after_ns != INT64_MIN || f->until_ns != INT64_MAX;
        int64_t t = 0;

        if (f->dangling >= 0 ? named == (f->dangling == 1) : !named && !all)
                return false;
        if (timed && (!created_ns(image, &t) || t <= f->after_ns || t >= f->until_ns))
                return false;
        for (size_t i = 0; i < f->labels.n; i++)
                if (!labelled(f->labels.v[i], js_get(image, "labels")))
                        return false;
        return referred(&f->references, image);
}
