#include "base/crypto_api_priv.h"

#include <dlfcn.h>
#include <pthread.h>

#include "base/err.h"

struct crypto_api crypto;
static bool found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_library(void)
{
        /* Never closed: threads may be inside it until the process ends. */
        void *lib = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
        void *f;
        const struct {
                const char *name;
                void *slot;
        } syms[] = {
#define SYMBOL(name) {#name, &crypto.name},
                CRYPTO_FUNCTIONS(SYMBOL)
#undef SYMBOL
        };

        for (size_t i = 0; lib && i < ARRAY_LEN(syms); i++) {
                f = dlsym(lib, syms[i].name);
                if (!f)
                        return;
                memcpy(syms[i].slot, &f, sizeof(f));
        }
        found = lib != NULL;
}

int crypto_open(struct bld_err *err)
{
        (void)pthread_once(&once, open_library);
        if (found)
                return 0;
        (void)err_set(err, BLD_E_UNSUPPORTED, "keys need libcrypto.so.3, which is not here");
        return err_try(err, BLD_E_UNSUPPORTED,
                       "apt-get install libssl3, or hand over an ssh agent");
}
