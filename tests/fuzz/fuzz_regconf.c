/* registries.conf, and with it TOML. */
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "registry/conf_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const names[] = {"docker.io/library/x", "example.com/foo/x",
                                            "a.example.com:5000/b"};
        struct bld_err err = BLD_ERR_INIT;
        struct reg_conf f;

        reg_conf_init(&f);
        if (reg_conf_add(&f, (const char *)data, size, &err) < 0 && !err.msg[0])
                abort();
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                const char *rest = NULL;

                if (reg_conf_find(&f, names[i], &rest) &&
                    (rest < names[i] || rest > names[i] + strlen(names[i])))
                        abort();
        }
        reg_conf_done(&f);
        return 0;
}
