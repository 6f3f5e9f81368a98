/* USER against passwd and group files of an image: three texts, parted by NUL. */
#include <assert.h>
#include <stdint.h>

#include "runtime/runtime_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text = mem_strndup("", 0);
        char *part[3] = {text, text, text};
        struct bld_err err = BLD_ERR_INIT;
        struct rt_rangev ranges = {0};
        struct ident id = {0};
        char *copy = mem_alloc(size + 1);
        char *p = copy;

        assert(text && copy);
        memcpy(copy, data, size);
        copy[size] = '\0';
        for (size_t i = 0; i < ARRAY_LEN(part) && p <= copy + size; i++) {
                part[i] = p;
                p += strlen(p) + 1;
        }
        if (ident_resolve(part[0], part[1], part[2], &id, &err) == 0) {
                assert(id.ngroups > 0 && id.home && *id.home);
                ident_done(&id);
        } else {
                assert(err.code < 0 && err.msg[0]);
        }
        (void)!rt_subid_parse(part[1], part[0], 7, &ranges, NULL);
        rt_rangev_done(&ranges);
        free(copy);
        free(text);
        return 0;
}
