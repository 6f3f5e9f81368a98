/* Credential files, replies of helpers and of token services: text that others wrote, with secrets
 * in it. No message may quote it. */
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "registry/auth_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int no_helper(void *user, const char *suffix, const char *server, struct reg_creds **ret,
                     struct bld_err *err)
{
        (void)user;
        (void)server;
        (void)ret;
        (void)err;
        (void)reg_helper_suffix_ok(suffix);
        return 0;
}

static void look(const struct js *doc, bool legacy)
{
        static const char *const hosts[] = {"docker.io", "r.example:5000", "r.example:443"};

        for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
                struct reg_auth_query q = {
                        .host = hosts[i], .path = "a/b", .legacy = legacy, .helper = no_helper};
                struct reg_creds *k = NULL;

                if (reg_auth_file_find(doc, &q, &k, NULL) == 1 && !reg_creds_any(k))
                        abort();
                reg_creds_free(k);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct reg_token_reply reply = {0};
        struct reg_creds *k = NULL;
        struct js *doc = NULL;

        if (js_parse((const char *)data, size, &doc, NULL) == 0) {
                look(doc, false);
                look(doc, true);
        }
        js_free(doc);
        if (reg_helper_reply((const char *)data, size, &k, NULL) == 1 && !reg_creds_any(k))
                abort();
        reg_creds_free(k);
        if (reg_token_reply_parse((const char *)data, size, 784111740, &reply, NULL) == 0 &&
            (!reply.token || !*reply.token || reply.lifetime_s < 0))
                abort();
        reg_token_reply_done(&reply);
        return 0;
}
