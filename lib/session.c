/* Sessions: opening one costs opening the store and nothing else. */
#include "bld/bld.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"
#include "lib/session_priv.h"
#include "registry/registry.h"
#include "runtime/runtime.h"

#define ROOT_OF_ROOT "/var/lib/bld"

const char *bld_version(void)
{
        return BLD_VERSION;
}

void bld_child_main(int argc, char **argv)
{
        size_t n = 0;
        const struct rt_verb *verbs = bd_verbs(&n);

        rt_child_main(argc, argv, verbs, n);
}

void bld_free(void *p)
{
        free(p);
}

/* ---- small helpers of the adapters ---- */

int lib_json_text(const struct js *j, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(LIB_JSON_MAX);
        char *text;
        int r = js_write(j, JS_INDENT, &b, err);

        if (r < 0)
                return r;
        text = sb_take(&b);
        if (!text)
                return err_nomem(err, "JSON document");
        *ret = text;
        return 0;
}

int lib_platform(const char *s, struct img_platform *ret, struct bld_err *err)
{
        int r;

        if (!s || !s[0]) {
                img_platform_host(ret);
                return 0;
        }
        r = img_platform_parse(s, ret, err);
        return r == BLD_E_INVALID ? err_recode(err, BLD_E_USAGE) : r;
}

void lib_progress_step(void *user, const char *what, uint64_t done, uint64_t total)
{
        const struct lib_progress *p = user;

        if (p->fn)
                p->fn(p->user, what, done, total);
}

/* ---- what builder/ asks of a session ---- */

void lib_session_note(void *user, const char *text)
{
        struct bld *b = user;

        if (!b->o.note)
                return;
        pthread_mutex_lock(&b->note_lock);
        b->o.note(b->o.user, text);
        pthread_mutex_unlock(&b->note_lock);
}

/* A build does as well without its cache: soon is better than surely. */
/* A cache only saves time: one that is not there is soon done without, one that is there and busy
 * (50 writers of one tag make distribution say 500) is worth a few seconds. */
#define CACHE_RETRIES_UNANSWERED 1u
#define CACHE_RETRY_MAX_MS 15000

static int client_new(struct bld *b, const char *creds, const struct cancel *cancel, bool for_cache,
                      struct reg_client **ret, struct bld_err *err)
{
        struct reg_opts o = {
                .authfile = b->authfile,
                .creds = creds ? creds : b->creds,
                .insecure = &b->insecure,
                .cas = &b->cas_files,
                .no_tls_verify = b->o.no_tls_verify,
                .offline = b->o.offline,
                .retries = b->o.retries,
                .no_retry = b->o.no_retry,
                .retry_max_ms = b->o.retry_max_ms,
                .parallel = b->o.parallel,
                .client_certs = &b->client_certs,
                .cert_dir = b->cert_dir,
                .helpers = &b->helpers,
                .mirrors = &b->mirrors,
                .mirror_only = b->o.mirror_only,
                .limit_rate = b->o.limit_rate,
                .cancel = cancel,
                .note = lib_session_note,
                .user = b,
        };

        if (for_cache) {
                o.retries_unanswered = CACHE_RETRIES_UNANSWERED;
                if (!o.retry_max_ms || o.retry_max_ms > CACHE_RETRY_MAX_MS)
                        o.retry_max_ms = CACHE_RETRY_MAX_MS;
        }
        return reg_client_new(&o, ret, err);
}

int lib_client_new(struct bld *b, const char *creds, struct reg_client **ret, struct bld_err *err)
{
        return client_new(b, creds, &b->cancel, false, ret, err);
}

static int client_once(struct bld *b, const struct cancel *cancel, bool for_cache,
                       struct reg_client **at, struct reg_client **ret, struct bld_err *err)
{
        int r = 0;

        pthread_mutex_lock(&b->reg_lock);
        if (!*at)
                r = client_new(b, NULL, cancel, for_cache, at, err);
        if (r == 0)
                *ret = *at;
        pthread_mutex_unlock(&b->reg_lock);
        return r;
}

int lib_client_once(struct bld *b, const struct cancel *cancel, struct reg_client **at,
                    struct reg_client **ret, struct bld_err *err)
{
        return client_once(b, cancel, false, at, ret, err);
}

static int session_registry(void *user, struct reg_client **ret, struct bld_err *err)
{
        struct bld *b = user;

        return lib_client_once(b, &b->cancel, &b->reg, ret, err);
}

static int session_registry_src(void *user, struct reg_client **ret, struct bld_err *err)
{
        struct bld *b = user;

        return lib_client_once(b, &b->cancel, &b->reg_src, ret, err);
}

static int session_cache_registry(void *user, struct reg_client **ret, struct bld_err *err)
{
        struct bld *b = user;

        return client_once(b, &b->cancel, true, &b->cache_reg, ret, err);
}

/* ---- opening ---- */

/* Where the store is when nobody says: docs/cli.md, --root. */
static int default_root(char **ret, struct bld_err *err)
{
        const char *env = getenv("BLD_ROOT"), *base;
        char *path = NULL;

        if (env && env[0])
                path = mem_strdup(env);
        else if (geteuid() == 0)
                path = mem_strdup(ROOT_OF_ROOT);
        else if ((base = getenv("XDG_DATA_HOME")) && base[0] == '/')
                path = path_join(base, "bld");
        else if ((base = getenv("HOME")) && base[0] == '/')
                path = path_join(base, ".local/share/bld");
        else {
                int r = err_set(err, BLD_E_INVALID, "there is no place for the store");

                r = err_why(err, r, "neither BLD_ROOT, XDG_DATA_HOME nor HOME is set");
                return err_try(err, r, "--root DIR");
        }
        if (!path)
                return err_nomem(err, "path of the store");
        *ret = path;
        return 0;
}

static int copy_list(const struct bld_list *from, struct strv *to, struct bld_err *err)
{
        for (size_t i = 0; i < from->n; i++)
                if (strv_add(to, from->v[i]) < 0)
                        return err_nomem(err, "options");
        return 0;
}

static int copy_text(const char *from, char **to, struct bld_err *err)
{
        if (!from)
                return 0;
        *to = mem_strdup(from);
        return *to ? 0 : err_nomem(err, "options");
}

static int copy_options(struct bld *b, struct bld_err *err)
{
        const struct {
                const char *from;
                char **to;
        } texts[] = {
                {b->o.helper, &b->helper},
                {b->o.authfile, &b->authfile},
                {b->o.creds, &b->creds},
                {b->o.cert_dir, &b->cert_dir},
        };
        const struct {
                const struct bld_list *from;
                struct strv *to;
        } lists[] = {
                {&b->o.insecure, &b->insecure},         {&b->o.cas, &b->cas_files},
                {&b->o.client_certs, &b->client_certs}, {&b->o.credential_helpers, &b->helpers},
                {&b->o.mirrors, &b->mirrors},
        };
        int r = 0;

        for (size_t i = 0; r == 0 && i < ARRAY_LEN(texts); i++)
                r = copy_text(texts[i].from, texts[i].to, err);
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(lists); i++)
                r = copy_list(lists[i].from, lists[i].to, err);
        return r;
}

static int session_init(struct bld *b, struct bld_err *err)
{
        AUTO_FREE char *root = NULL;
        int r = copy_options(b, err);

        if (r == 0 && b->o.temporary)
                r = lib_session_tmp(b, err);
        if (r == 0 && b->tmp_path)
                r = copy_text(b->tmp_path, &root, err);
        else if (r == 0)
                r = b->o.root && b->o.root[0] ? copy_text(b->o.root, &root, err)
                                              : default_root(&root, err);
        if (r == 0)
                r = cas_open(root, &b->cas, err);
        if (r < 0)
                return r;
        b->ctx = (struct bd_ctx){
                .cas = b->cas,
                .cancel = &b->cancel,
                .helper = b->helper,
                .registry = session_registry,
                .cache_registry = session_cache_registry,
                .registry_src = session_registry_src,
                .note = lib_session_note,
                .user = b,
        };
        /* the caller's memory is not ours to keep */
        b->o.root = b->o.helper = b->o.authfile = b->o.creds = b->o.cert_dir = NULL;
        b->o.insecure = b->o.cas = b->o.client_certs = (struct bld_list){NULL, 0};
        b->o.credential_helpers = b->o.mirrors = (struct bld_list){NULL, 0};
        return 0;
}

int bld_open(const struct bld_opts *o, struct bld **ret, struct bld_err *err)
{
        struct bld *b = mem_zalloc(1, sizeof(*b));
        int r;

        if (!b)
                return err_nomem(err, "session");
        r = lib_opts_copy(&b->o, sizeof(b->o), o, "bld_open", err);
        if (r == 0)
                r = cancel_init(&b->cancel, err);
        if (r < 0) {
                free(b);
                return r;
        }
        b->tmp_fd = -1;
        pthread_mutex_init(&b->reg_lock, NULL);
        pthread_mutex_init(&b->note_lock, NULL);
        r = session_init(b, err);
        if (r < 0) {
                bld_close(b);
                return r;
        }
        *ret = b;
        return 0;
}

static void wipe_free(char *s)
{
        if (s)
                explicit_bzero(s, strlen(s));
        free(s);
}

void bld_close(struct bld *b)
{
        if (!b)
                return;
        reg_client_free(b->reg_src);
        reg_client_free(b->reg); /* first: its thread notes and reads the token */
        reg_client_free(b->cache_reg);
        cas_close(b->cas);
        lib_session_tmp_done(b);
        cancel_done(&b->cancel);
        free(b->helper);
        free(b->authfile);
        free(b->cert_dir);
        wipe_free(b->creds);
        strv_done(&b->insecure);
        strv_done(&b->cas_files);
        strv_done(&b->client_certs);
        strv_done(&b->helpers);
        strv_done(&b->mirrors);
        pthread_mutex_destroy(&b->reg_lock);
        pthread_mutex_destroy(&b->note_lock);
        free(b);
}

void bld_cancel(struct bld *b, int level)
{
        cancel_fire(&b->cancel, level);
}

const char *bld_root(const struct bld *b)
{
        return cas_root(b->cas);
}
