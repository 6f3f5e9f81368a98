#include "layer/isal_priv.h"

#if LY_HAVE_ISAL

#include <dlfcn.h>
#include <pthread.h>

static struct isal isal_table;
static bool isal_found;
static pthread_once_t isal_once = PTHREAD_ONCE_INIT;

static void isal_open(void)
{
        /* Never closed: threads may be inside it until the process ends. */
        void *lib = dlopen("libisal.so.2", RTLD_NOW | RTLD_LOCAL);
        struct {
                const char *name;
                void *slot;
        } syms[] = {
                {"isal_deflate_stateless_init", &isal_table.deflate_init},
                {"isal_deflate_stateless", &isal_table.deflate},
                {"isal_inflate_init", &isal_table.inflate_init},
                {"isal_inflate", &isal_table.inflate},
                {"isal_inflate_stateless", &isal_table.inflate_stateless},
        };

        if (!lib)
                return;
        for (size_t i = 0; i < ARRAY_LEN(syms); i++) {
                void *f = dlsym(lib, syms[i].name);

                if (!f)
                        return;
                memcpy(syms[i].slot, &f, sizeof(f));
        }
        isal_found = true;
}

const struct isal *isal_get(void)
{
        pthread_once(&isal_once, isal_open);
        return isal_found ? &isal_table : NULL;
}

bool isal_expected(void)
{
        __builtin_cpu_init();
        return __builtin_cpu_supports("sse4.2");
}

#endif
