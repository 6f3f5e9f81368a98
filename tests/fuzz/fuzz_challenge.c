/* WWW-Authenticate, and what is done with a scope from it. */
#include <stdint.h>
#include <string.h>

#include "registry/challenge_priv.h"
#include "registry/client_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_CHALS struct reg_chals a = {0};

        if (reg_chal_parse((const char *)data, size, &a, NULL) < 0)
                return 0;
        for (size_t i = 0; i < a.n; i++) {
                AUTO_STRV struct strv scopes = {0};
                AUTO_URL struct reg_url u = {0};
                const char *scope = reg_chal_get(&a.v[i], "scope");
                const char *realm = reg_chal_get(&a.v[i], "realm");

                if (a.v[i].keys.n != a.v[i].values.n)
                        abort();
                if (scope && strv_add(&scopes, "repository:a/b:pull") == 0 &&
                    reg_scopes_merge(&scopes, scope, NULL) == 0 && scopes.n == 0)
                        abort();
                if (realm && reg_url_parse(realm, &u, NULL) == 0 && strpbrk(u.rest, "\r\n \\"))
                        abort();
        }
        return 0;
}
