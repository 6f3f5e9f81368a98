#include "layer/zstd_priv.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "base/err.h"

static struct zstd zstd_table;
static bool zstd_found;
static pthread_once_t zstd_once = PTHREAD_ONCE_INIT;

static void zstd_open(void)
{
        /* Never closed: threads may be inside it until the process ends. */
        void *lib = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
        const struct {
                const char *name;
                void *slot;
        } syms[] = {
                {"ZSTD_createCCtx", &zstd_table.create},
                {"ZSTD_freeCCtx", &zstd_table.free_ctx},
                {"ZSTD_CCtx_setParameter", &zstd_table.set},
                {"ZSTD_compressStream2", &zstd_table.compress},
        };

        if (!lib)
                return;
        for (size_t i = 0; i < ARRAY_LEN(syms); i++) {
                void *f = dlsym(lib, syms[i].name);

                if (!f)
                        return;
                memcpy(syms[i].slot, &f, sizeof(f));
        }
        zstd_found = true;
}

const struct zstd *zstd_get(struct bld_err *err)
{
        (void)pthread_once(&zstd_once, zstd_open);
        if (zstd_found)
                return &zstd_table;
        (void)err_set(err, BLD_E_UNSUPPORTED, "zstd layers need the library libzstd.so.1");
        (void)err_try(err, BLD_E_UNSUPPORTED, "apt install libzstd1");
        return NULL;
}
