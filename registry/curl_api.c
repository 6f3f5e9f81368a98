#include "registry/curl_priv.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "base/err.h"

/* 7.85 has CURLOPT_PROTOCOLS_STR, 7.80 the pre-request callback, which our guard against private
 * addresses rests on. */
#define CURL_OLDEST 0x075500u

static struct curl_api api;
static struct bld_err load_err;
static pthread_once_t load_once = PTHREAD_ONCE_INIT;

/* clang-format off */
#define SYM(member) { "curl_" #member, offsetof(struct curl_api, member) }
static const struct {
        const char *name;
        size_t offset;
} symbols[] = {
        SYM(global_init),      SYM(easy_init),        SYM(easy_cleanup),
        SYM(easy_setopt),      SYM(easy_getinfo),     SYM(easy_pause),
        SYM(easy_strerror),    SYM(slist_append),     SYM(slist_free_all),
        SYM(multi_init),       SYM(multi_cleanup),    SYM(multi_setopt),
        SYM(multi_add_handle), SYM(multi_remove_handle), SYM(multi_perform),
        SYM(multi_poll),       SYM(multi_wakeup),     SYM(multi_info_read),
        SYM(version_info),
};
/* clang-format on */

static int load(struct bld_err *err)
{
        curl_version_info_data *v;
        void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
        int r;

        if (!lib) {
                const char *why = dlerror();

                r = err_set(err, BLD_E_UNSUPPORTED, "libcurl is needed to talk to a registry");
                err_why(err, r, "%s", why ? why : "libcurl.so.4 cannot be opened");
                return err_try(err, r, "apt install libcurl4");
        }
        for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
                void *p = dlsym(lib, symbols[i].name);

                if (!p) {
                        r = err_set(err, BLD_E_UNSUPPORTED, "libcurl lacks %s", symbols[i].name);
                        return err_try(err, r, "apt install libcurl4");
                }
                /* POSIX promises that a function pointer fits; ISO C has no cast for it */
                memcpy((char *)&api + symbols[i].offset, &p, sizeof(p));
        }
        v = api.version_info(CURLVERSION_NOW);
        if (v->version_num < CURL_OLDEST)
                return err_set(err, BLD_E_UNSUPPORTED, "libcurl %s is too old, 7.85 is needed",
                               v->version);
        if (api.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return err_set(err, BLD_E_UNSUPPORTED, "libcurl does not start");
        return 0;
}

static void load_first(void)
{
        (void)load(&load_err); /* kept in load_err for every caller */
}

int curl_api_get(const struct curl_api **ret, struct bld_err *err)
{
        pthread_once(&load_once, load_first);
        if (load_err.code) {
                err_copy(err, &load_err);
                return load_err.code;
        }
        *ret = &api;
        return 0;
}
