/* What a build leaves in builds/<id>/build.json: the image it made and the keys of its steps, by
 * which their layers are found again as long as the store has them. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/sys.h"
#include "builder/solve/solve_priv.h"

#define RECORD_FILE "build.json"
#define RECORD_VERSION 1
#define RECORD_MAX ((size_t)16 << 20)
#define ID_LEN 8u

static int add_step(struct js *arr, const struct vertex *v)
{
        AUTO_JS struct js *o = js_obj();
        char key[DIGEST_STR_MAX];
        int r = o ? js_set_str(o, "step", v->step) : BLD_E_NOMEM;

        digest_format(&v->key, key);
        if (r == 0)
                r = js_set_str(o, "key", key);
        return r == 0 ? js_push(arr, js_ref(o)) : r;
}

void build_record_write(struct build *b, const struct graph *g, const char *image)
{
        AUTO_SB struct sb text = SB_INIT(RECORD_MAX);
        AUTO_JS struct js *j = js_obj();
        AUTO_JS struct js *steps = js_arr();
        int r = j && steps ? js_set_i64(j, "v", RECORD_VERSION) : BLD_E_NOMEM;

        if (r == 0 && image[0])
                r = js_set_str(j, "image", image);
        for (size_t i = 0; r == 0 && i < g->v.n; i++) {
                const struct vertex *v = g->v.v[i];

                if (v->step && v->planned && !v->tainted && digest_is_set(&v->key))
                        r = add_step(steps, v);
        }
        if (r == 0)
                r = js_set(j, "steps", js_ref(steps));
        if (r == 0)
                r = js_write(j, 0, &text, NULL);
        if (r == 0) /* a build is none the worse without it */
                (void)!file_write(cas_build_dirfd(b->record), RECORD_FILE, sb_text(&text), text.len,
                                  0644, 0, NULL);
}

/* ---- finding it again ---- */

bool bd_build_is(struct bd_ctx *c, const char *id, size_t n)
{
        char path[32];

        if (n != ID_LEN || strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz") < n)
                return false;
        (void)snprintf(path, sizeof(path), "builds/%.8s", id);
        return faccessat(cas_root_fd(c->cas), path, F_OK, 0) == 0;
}

static int read_record(struct bd_ctx *c, const char *id, struct js **ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(RECORD_MAX);
        char path[48];
        int64_t version = 0;

        (void)snprintf(path, sizeof(path), "builds/%.8s/" RECORD_FILE, id);
        if (file_read(cas_root_fd(c->cas), path, &text, NULL) < 0 ||
            js_parse(sb_text(&text), text.len, ret, NULL) < 0 || !js_get_i64(*ret, "v", &version) ||
            version != RECORD_VERSION)
                return err_set(err, BLD_E_NOT_FOUND, "build %.8s left no record of what it made",
                               id);
        return 0;
}

int bd_build_image(struct bd_ctx *c, const char *id, char ret[DIGEST_STR_MAX], struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        const char *image;
        int r = read_record(c, id, &j, err);

        if (r < 0)
                return r;
        image = js_get_str(j, "image");
        if (!image || !str_copy(ret, DIGEST_STR_MAX, image))
                return err_set(err, BLD_E_NOT_FOUND, "build %.8s made no image", id);
        return 0;
}

/* "deps 2/4"; "deps", its last; "2", of the last stage. */
static bool step_is(const char *step, const char *want, const char *last_stage)
{
        size_t stage = strcspn(step, " "), n = strlen(want);

        if (strcmp(step, want) == 0)
                return true;
        if (strncmp(step, want, stage) == 0 && n == stage)
                return true;
        return want[strspn(want, "0123456789")] == '\0' && strncmp(step, last_stage, stage) == 0 &&
               strcspn(last_stage, " ") == stage && strncmp(step + stage + 1, want, n) == 0 &&
               step[stage + 1 + n] == '/';
}

int bd_build_layers(struct bd_ctx *c, const char *id, const char *want, struct bd_layers *ret,
                    struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        const struct js *steps, *found = NULL;
        const char *last = "";
        struct vx_result res = {0};
        struct digest key;
        int r = read_record(c, id, &j, err);

        if (r < 0)
                return r;
        steps = js_get(j, "steps");
        if (js_len(steps) && js_get_str(js_at(steps, js_len(steps) - 1), "step"))
                last = js_get_str(js_at(steps, js_len(steps) - 1), "step");
        for (size_t i = 0; i < js_len(steps); i++) {
                const char *step = js_get_str(js_at(steps, i), "step");

                if (step && strchr(step, ' ') && step_is(step, want, last))
                        found = js_at(steps, i);
        }
        if (!found)
                return err_set(err, BLD_E_NOT_FOUND, "build %.8s has no step \"%.100s\"", id, want);
        if (!js_get_str(found, "key") || digest_parse(js_get_str(found, "key"), &key, NULL) < 0)
                return err_set(err, BLD_E_NOT_FOUND, "build %.8s: its record is damaged", id);
        r = record_get(c, NULL, &key, &res, err);
        if (r == 1)
                r = bd_layers_append(ret, &res.layers) < 0 ? err_nomem(err, "layers") : 1;
        else if (r == 0)
                r = err_set(err, BLD_E_NOT_FOUND,
                            "what step \"%.100s\" of build %.8s made is no longer in the store",
                            js_get_str(found, "step"), id);
        result_done(&res);
        return MIN(r, 0);
}
