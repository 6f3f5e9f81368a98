/* Lists that come in pages: tags, repositories. */
#include <string.h>

#include "base/err.h"
#include "registry/target_priv.h"

#define PAGE 1000
#define PAGES_MAX 10000
#define PAGE_BYTES_MAX (16u << 20)

struct listing {
        struct reg_client *c;
        struct reg_repo *repo;
        const char *what;
        const char *path;   /* of the first page, without a query */
        const char *member; /* of the answer: "tags" */
        bool (*ok)(const char *name);
        struct strv *out;
        struct map seen;   /* names and page URLs, against repeats and loops */
        size_t page_names; /* of the last page, new or not */
        size_t page_new;
};

/* 1 new, 0 seen before. */
static int first_time(struct listing *l, const char *kind, const char *s, struct bld_err *err)
{
        AUTO_SB struct sb key = SB_INIT(REG_URL_MAX + 16);

        sb_fmt(&key, "%s%s", kind, s);
        if (map_get(&l->seen, sb_text(&key)))
                return 0;
        return map_set(&l->seen, sb_text(&key), l) < 0 ? err_nomem(err, "read a list") : 1;
}

static bool tag_ok(const char *s)
{
        size_t n = strlen(s);

        return n > 0 && n <= 128 && *s != '.' && *s != '-' &&
               strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

static bool repo_ok(const char *s)
{
        size_t n = strlen(s);

        return n > 0 && n <= 255 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_.-/") == n;
}

static int take_page(struct listing *l, const struct req *rq, struct bld_err *err)
{
        AUTO_JS struct js *doc = NULL;
        const struct js *names;
        int r = js_parse(sb_text(&rq->res.body), rq->res.body.len, &doc, NULL);

        names = js_get(doc, l->member);
        if (r < 0 || !js_is_obj(doc) || (!js_is_arr(names) && !js_is_null(names)))
                return err_set(err, BLD_E_CORRUPT, "%s: %s did not send a list", l->what,
                               rq->at.host);
        l->page_names = js_len(names);
        l->page_new = 0;
        for (size_t i = 0; i < l->page_names; i++) {
                const char *name = js_str(js_at(names, i));

                if (!name || !l->ok(name))
                        continue; /* nothing that could be pulled, or shown as it is */
                r = first_time(l, "n ", name, err);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                l->page_new++;
                if (strv_add(l->out, name) < 0)
                        return err_nomem(err, "read a list");
        }
        return 0;
}

/* Where the next page is: 1 with the URL, 0 for none. */
static int next_page(struct listing *l, const struct req *rq, struct reg_url *ret,
                     struct bld_err *err)
{
        int r = reg_next_page(rq, ret, err);

        if (r != 0)
                return r;
        /* exactly a page full and no Link: ask once more behind the last one */
        if (l->page_names == PAGE && l->page_new > 0) {
                AUTO_SB struct sb path = SB_INIT(8192);

                sb_fmt(&path, "%s?n=%d&last=", l->path, PAGE);
                reg_url_encode(&path, l->out->v[l->out->n - 1]);
                return reg_url_resolve(&rq->at, sb_text(&path), ret, err) < 0 ? BLD_E_CORRUPT : 1;
        }
        return 0;
}

static int pages(struct listing *l, struct req *rq, struct bld_err *err)
{
        AUTO_URL struct reg_url url = {0};

        for (unsigned page = 0; page < PAGES_MAX; page++) {
                struct reg_url next = {0};
                int r = req_run(rq, err);

                if (r < 0)
                        return r;
                if (rq->res.status == 404)
                        return req_not_found(rq, l->what, err);
                if (rq->res.status != 200)
                        return req_refused(rq, err);
                r = take_page(l, rq, err);
                if (r == 0)
                        r = next_page(l, rq, &next, err);
                if (r == 1)
                        r = first_time(l, "p ", next.rest, err);
                reg_url_done(&url);
                url = next;
                rq->url = NULL;
                if (r <= 0) /* 0: the end, or a page that was there before */
                        return r;
                req_again(rq);
                rq->path = NULL;
                rq->url = &url;
        }
        return err_set(err, BLD_E_CORRUPT, "%s: more than %d pages", l->what, PAGES_MAX);
}

static int list(struct listing *l, const char *scope, struct bld_err *err)
{
        AUTO_SB struct sb first = SB_INIT(4096);
        AUTO_REQ struct req rq = {0};
        int r;

        sb_fmt(&first, "%s?n=%d", l->path, PAGE);
        req_init(&rq, l->c, l->repo, l->what);
        rq.path = sb_text(&first);
        rq.body_max = PAGE_BYTES_MAX;
        if (strv_add(&rq.scopes, scope) < 0)
                return err_nomem(err, "build a request");
        map_init(&l->seen, NULL);
        r = pages(l, &rq, err);
        map_done(&l->seen);
        return r;
}

int reg_tags(struct reg_client *c, const struct img_ref *ref, struct strv *out, struct bld_err *err)
{
        struct listing l = {.c = c, .out = out, .member = "tags", .ok = tag_ok};
        AUTO_SB struct sb what = SB_INIT(4096), path = SB_INIT(4096), scope = SB_INIT(4096);
        int r = reg_repo_get(c, ref, &l.repo, err);

        if (r < 0)
                return r;
        sb_fmt(&what, "tags of %s", l.repo->shown);
        sb_fmt(&path, "/v2/%s/tags/list", l.repo->path);
        sb_fmt(&scope, "repository:%s:pull", l.repo->path);
        l.what = sb_text(&what);
        l.path = sb_text(&path);
        return list(&l, sb_text(&scope), err);
}

int reg_catalog(struct reg_client *c, const char *host, struct strv *out, struct bld_err *err)
{
        struct listing l = {.c = c,
                            .out = out,
                            .member = "repositories",
                            .ok = repo_ok,
                            .path = "/v2/_catalog"};
        AUTO_SB struct sb what = SB_INIT(4096);
        int r = reg_repo_of_host(c, host, &l.repo, err);

        if (r < 0)
                return r;
        sb_fmt(&what, "repositories of %s", host);
        l.what = sb_text(&what);
        return list(&l, "registry:catalog:*", err);
}
