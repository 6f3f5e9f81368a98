/* A scripted registry, a second server beside it (tokens, storage, mirrors) and a client of both.
 * One world per test, in w; every test ends with check_scripts. */
#ifndef BLD_TESTS_REGISTRY_WORLD_H
#define BLD_TESTS_REGISTRY_WORLD_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/num.h"
#include "mock_http.h"
#include "registry/client_priv.h"
#include "registry/registry.h"

#define BASIC "Basic YW5uOnMzY3JldA==" /* ann:s3cret */
#define CREDS "ann:s3cret"
#define TOKEN_GET "GET /token?x=1&client_id=bld&service=reg&scope=repository%3Aa%2Fb%3A"

/* One test's world. */
struct world {
        struct mock *reg, *other;
        struct reg_client *c;
        struct img_ref ref;
        struct sb notes;
        char blob[200000];
        struct img_desc desc;
        char url[256]; /* "/v2/a/b/blobs/sha256:..." with "GET " */
        char head[256], post[64], digest[DIGEST_STR_MAX];
        struct sb got;
        unsigned rewinds;
};

extern struct world *w;

#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int world_setup(void **state);
int world_teardown(void **state);
void connect_with(struct reg_opts o);
void check_scripts(void);
int get_blob(struct bld_err *err);
void get_blob_ok(void);
int put_blob(const char *from, enum reg_put_how *how, struct bld_err *err);
void put_blob_ok(const char *from, enum reg_put_how want);
const char *range_of(size_t from);
const char *bearer_challenge(void);

#endif
