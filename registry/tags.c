/* The tag list and its pages. */
#include <string.h>

#include "base/err.h"
#include "registry/header_priv.h"
#include "registry/request_priv.h"

#define PAGE 1000
#define PAGES_MAX 10000
#define PAGE_BYTES_MAX (16u << 20)

struct listing {
        struct reg_client *c;
        struct reg_repo *repo;
        const char *what;
        struct strv *out;
        struct map seen;  /* tags and page URLs, against repeats and loops */
        size_t page_tags; /* of the last page, new or not */
        size_t page_new;
};

/* 1 new, 0 seen before. */
static int first_time(struct listing *l, const char *kind, const char *s, struct bld_err *err)
{
        AUTO_SB struct sb key = SB_INIT(REG_URL_MAX + 16);

        sb_fmt(&key, "%s%s", kind, s);
        if (map_get(&l->seen, sb_text(&key)))
                return 0;
        return map_set(&l->seen, sb_text(&key), l) < 0 ? err_nomem(err, "list tags") : 1;
}

static bool tag_ok(const char *s)
{
        size_t n = strlen(s);

        return n > 0 && n <= 128 && *s != '.' && *s != '-' &&
               strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

static int take_page(struct listing *l, const struct req *rq, struct bld_err *err)
{
        AUTO_JS struct js *doc = NULL;
        const struct js *tags;
        int r = js_parse(sb_text(&rq->res.body), rq->res.body.len, &doc, NULL);

        tags = js_get(doc, "tags");
        if (r < 0 || !js_is_obj(doc) || (!js_is_arr(tags) && !js_is_null(tags)))
                return err_set(err, BLD_E_CORRUPT, "%s: %s did not send a tag list", l->what,
                               rq->at.host);
        l->page_tags = js_len(tags);
        l->page_new = 0;
        for (size_t i = 0; i < l->page_tags; i++) {
                const char *tag = js_str(js_at(tags, i));

                if (!tag || !tag_ok(tag))
                        continue; /* nothing that could be pulled, or shown as it is */
                r = first_time(l, "t ", tag, err);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                l->page_new++;
                if (strv_add(l->out, tag) < 0)
                        return err_nomem(err, "list tags");
        }
        return 0;
}

/* Where the next page is: 1 with the URL, 0 for none. */
static int next_page(struct listing *l, const struct req *rq, struct reg_url *ret,
                     struct bld_err *err)
{
        const char *line;

        for (size_t i = 0; (line = reg_res_header(&rq->res, "Link", i)); i++) {
                AUTO_FREE char *target = NULL;
                int r = reg_link_next(line, strlen(line), &target, err);

                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                r = reg_url_resolve(&rq->at, target, ret, err);
                if (r < 0)
                        return err_wrap(err, err_recode(err, BLD_E_CORRUPT), "%s: next page",
                                        l->what);
                /* our token goes along: it must not leave the registry */
                if (!reg_url_same_origin(ret, &rq->at))
                        return err_set(err, BLD_E_CORRUPT,
                                       "%s: the next page is said to be on another host (%s)",
                                       l->what, ret->host);
                return 1;
        }
        /* exactly a page full and no Link: ask once more behind the last one */
        if (l->page_tags == PAGE && l->page_new > 0) {
                AUTO_SB struct sb path = SB_INIT(8192);

                sb_fmt(&path, "/v2/%s/tags/list?n=%d&last=%s", l->repo->path, PAGE,
                       l->out->v[l->out->n - 1]);
                return reg_url_resolve(&rq->at, sb_text(&path), ret, err) < 0 ? BLD_E_CORRUPT : 1;
        }
        return 0;
}

static int list(struct listing *l, struct req *rq, struct bld_err *err)
{
        AUTO_URL struct reg_url url = {0};

        for (unsigned page = 0; page < PAGES_MAX; page++) {
                struct reg_url next = {0};
                int r = req_run(rq, err);

                if (r < 0)
                        return r;
                if (rq->res.status == 404)
                        return err_set(err, BLD_E_NOT_FOUND, "%s not found", l->repo->shown);
                if (rq->res.status != 200)
                        return req_refused(rq, err);
                r = take_page(l, rq, err);
                if (r == 0)
                        r = next_page(l, rq, &next, err);
                if (r == 1)
                        r = first_time(l, "p ", next.rest, err);
                reg_url_done(&url);
                url = next;
                if (r <= 0) /* 0: the end, or a page that was there before */
                        return r;
                req_again(rq);
                rq->path = NULL;
                rq->url = &url;
        }
        return err_set(err, BLD_E_LIMIT, "%s: more than %d pages", l->what, PAGES_MAX);
}

int reg_tags(struct reg_client *c, const struct img_ref *ref, struct strv *out,
             struct bld_err *err)
{
        struct listing l = {.c = c, .out = out};
        AUTO_SB struct sb what = SB_INIT(4096), path = SB_INIT(4096);
        AUTO_REQ struct req rq = {0};
        int r = reg_repo_get(c, ref, &l.repo, err);

        if (r < 0)
                return r;
        sb_fmt(&what, "tags of %s", l.repo->shown);
        sb_fmt(&path, "/v2/%s/tags/list?n=%d", l.repo->path, PAGE);
        l.what = sb_text(&what);
        req_init(&rq, c, l.repo, l.what);
        rq.path = sb_text(&path);
        rq.body_max = PAGE_BYTES_MAX;
        r = req_scope(&rq, l.repo->path, "pull", err);
        if (r < 0)
                return r;
        map_init(&l.seen, NULL);
        r = list(&l, &rq, err);
        map_done(&l.seen);
        return r;
}
