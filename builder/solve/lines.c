/* Which line of which Dockerfile an entry of an image's history comes from. It stands in no
 * document of the image, where it would change the digest, but beside it in the store, under the
 * digest of the config: whoever has that config has that history. Builds in which nothing ran leave
 * no record in builds/, yet may make a new config or have moved lines, so it is a result of its
 * own. */
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "builder/solve/finish_priv.h"

#define LINES_KIND "line"

static void lines_key(const struct digest *config, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-lines-v1");
        hasher_field(&h, config->b, sizeof(config->b));
        hasher_end(&h, ret);
}

static struct js *lines_of(const struct build *b, const struct plan_target *t)
{
        AUTO_JS struct js *j = js_obj();
        AUTO_JS struct js *lines = js_arr();
        size_t first = t->config.history.n - MIN(t->history.n, t->config.history.n);
        int r = j && lines ? js_set_str(j, "file", b->dockerfile) : BLD_E_NOMEM;

        for (size_t i = 0; i < t->history.n && r == 0; i++)
                r = js_push(lines, js_new_i64(t->history.v[i].line));
        if (r == 0)
                r = js_set_i64(j, "first", (int64_t)first);
        if (r == 0)
                r = js_set(j, "lines", js_ref(lines));
        return r < 0 ? NULL : TAKE_PTR(&j);
}

void history_lines_put(struct build *b, const struct plan_target *t, const struct digest *config)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX), known = SB_INIT(CAS_RECORD_MAX);
        AUTO_JS struct js *j = NULL;
        struct digest key;

        if (t->config.no_history || t->history.n == 0)
                return;
        j = lines_of(b, t);
        if (!j || js_write(j, JS_COMPACT, &text, NULL) < 0)
                return;
        lines_key(config, &key);
        /* A build that changes nothing writes nothing. */
        if (cas_result_get(b->c->cas, &key, LINES_KIND, &known, NULL) != 1 ||
            !str_eq(sb_text(&known), sb_text(&text)))
                (void)!cas_result_put(b->c->cas, &key, LINES_KIND, sb_text(&text), text.len, config,
                                      1, NULL);
}

struct js *bd_history_lines(struct bd_ctx *c, const struct digest *config)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX);
        struct digest key;
        struct js *j;

        lines_key(config, &key);
        if (cas_result_get(c->cas, &key, LINES_KIND, &text, NULL) != 1 ||
            js_parse(sb_text(&text), text.len, &j, NULL) < 0)
                return NULL;
        return j;
}
