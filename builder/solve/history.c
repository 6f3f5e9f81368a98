/* The image config's last touch: history entries and times. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "builder/solve/finish_priv.h"

#define HISTORY_COMMENT "buildkit.dockerfile.v0"
#define EXPORTER_COMMENT "buildkit.exporter.image.v0"
#define TIME_KIND "time"

/* An image whose build made no layer has no time of its own: the first one it was made at counts,
 * so that building it again changes nothing. */
static int first_made(struct build *b, const struct plan_target *t, const struct vx_result *res,
                      int64_t *ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX), stamp = SB_INIT(64);
        struct hasher h;
        struct digest key;
        int64_t sec = 0;
        int r = img_config_encode(&t->config, &text, err);

        if (r < 0)
                return r;
        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-time-v1");
        hasher_field(&h, sb_text(&text), text.len);
        hasher_field(&h, res->chain_id.b, sizeof(res->chain_id.b));
        for (size_t i = 0; i < t->history.n; i++)
                hasher_field_str(&h, t->history.v[i].created_by);
        hasher_end(&h, &key);
        r = cas_result_get(b->c->cas, &key, TIME_KIND, &stamp, err);
        if (r < 0)
                return r;
        if (r == 1 && parse_i64(sb_text(&stamp), 0, INT64_MAX, &sec)) {
                *ret = sec;
                return 0;
        }
        *ret = time_now_ns() / 1000000000;
        sb_reset(&stamp);
        sb_fmt(&stamp, "%lld", (long long)*ret);
        return cas_result_put(b->c->cas, &key, TIME_KIND, sb_text(&stamp), stamp.len, NULL, 0, err);
}

/* A base whose history does not account for its layers is put right, as with the peers. */
static int repair_base(struct img_config *c, size_t nbase, struct bld_err *err)
{
        size_t have = 0;

        for (size_t i = 0; i < c->history.n; i++)
                have += !c->history.v[i].empty_layer;
        for (size_t i = 0; i < c->history.n && have > nbase; i++) {
                have -= !c->history.v[i].empty_layer;
                c->history.v[i].empty_layer = true;
        }
        for (; have < nbase; have++) {
                char comment[] = EXPORTER_COMMENT;
                struct img_history h = {.comment = comment};

                if (img_config_add_history(c, &h) < 0)
                        return err_nomem(err, "history");
        }
        return 0;
}

static size_t count_layers(const struct plan_histories *h)
{
        size_t n = 0;

        for (size_t i = 0; i < h->n; i++)
                n += h->v[i].v != NULL;
        return n;
}

/* Times of the new entries: a layer's own; metadata takes that of the next layer, or of the last.
 */
static void entry_times(const struct plan_histories *h, const struct vx_result *res, size_t nbase,
                        int64_t fallback, int64_t *out)
{
        size_t layer = nbase;
        int64_t last = fallback;

        for (size_t i = 0; i < h->n; i++) {
                size_t at = MIN(layer, res->layers.n ? res->layers.n - 1 : 0);

                if (layer < res->layers.n)
                        last = res->layers.v[at].created_sec;
                out[i] = last;
                layer += h->v[i].v != NULL;
        }
}

size_t history_base(const struct plan_target *t, const struct vx_result *res)
{
        size_t made = count_layers(&t->history);

        return res->layers.n - MIN(made, res->layers.n);
}

int history_complete(struct build *b, struct plan_target *t, const struct vx_result *res,
                     struct bld_err *err)
{
        size_t made = count_layers(&t->history), nbase;
        AUTO_FREE int64_t *times = mem_zalloc(t->history.n, sizeof(*times));
        char created[RFC3339_MAX];
        int64_t fallback = 0;
        int r = times ? 0 : err_nomem(err, "history");

        if (r == 0 && made > res->layers.n)
                r = err_set(err, BLD_E_BUG, "fewer layers than steps");
        if (r < 0)
                return r;
        nbase = history_base(t, res);
        r = repair_base(&t->config, nbase, err);
        if (r == 0 && made == 0 && t->history.n && !b->has_epoch)
                r = first_made(b, t, res, &fallback, err);
        if (r < 0)
                return r;
        entry_times(&t->history, res, nbase, fallback, times);
        for (size_t i = 0; i < t->history.n && r == 0; i++) {
                char comment[] = HISTORY_COMMENT;
                struct img_history h = {.created_by = t->history.v[i].created_by,
                                        .comment = comment,
                                        .empty_layer = !t->history.v[i].v,
                                        .created = created};
                int64_t sec = b->has_epoch ? MIN(times[i], b->clamp_sec) : times[i];

                if (b->has_epoch && times[i] == 0)
                        sec = b->clamp_sec;
                format_rfc3339(sec, 0, created);
                if (img_config_add_history(&t->config, &h) < 0)
                        r = err_nomem(err, "history");
        }
        for (size_t i = t->config.history.n; i-- > 0 && r == 0 && !t->config.created;)
                if (t->config.history.v[i].created) {
                        t->config.created = mem_strdup(t->config.history.v[i].created);
                        if (!t->config.created)
                                r = err_nomem(err, "history");
                }
        return r;
}
