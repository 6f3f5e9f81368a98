/* Challenges, tokens and logins against scripted servers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry_world.h"

static void test_bearer(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .hasnt = {"Authorization"}, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer t0k\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {w->url, .has = {"Authorization: Bearer t0k\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull&account=ann", .has = {"Authorization: " BASIC}, .status = 200,
                 .body = "{\"token\":\"t0k\",\"expires_in\":300}"},
                {0},
        };

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        get_blob_ok();
        sb_reset(&w->got);
        get_blob_ok();
        check_scripts();
}

static void test_bearer_anonymous(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer anon\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull", .hasnt = {"Authorization"}, .status = 200,
                 .body = "{\"access_token\":\"anon\"}"},
                {0},
        };

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        check_scripts();
}

static void test_bearer_post_fallback(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer t\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull&account=ann", .status = 405},
                {"POST /token?x=1", .hasnt = {"Authorization"},
                 .body_has = "grant_type=password&service=reg&scope=repository%3Aa%2Fb%3Apull"
                             "&username=ann&password=s3cret",
                 .status = 200, .body = "{\"token\":\"t\"}"},
                {0},
        };

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        get_blob_ok();
        check_scripts();
}

static void test_bearer_identity(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer t\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {"POST /token?x=1", .body_has = "grant_type=refresh_token", .status = 200,
                 .body = "{\"access_token\":\"t\",\"refresh_token\":\"next\"}"},
                {0},
        };
        char login[256];

        (void)snprintf(login, sizeof(login), "{\"auths\":{\"%s\":{\"identitytoken\":\"idtok\"}}}",
                       mock_host(w->reg));
        (void)setenv("DOCKER_AUTH_CONFIG", login, 1);
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        (void)unsetenv("DOCKER_AUTH_CONFIG");
        check_scripts();
}

/* A realm without the POST form takes an identity token as a password. */
static void test_identity_without_post(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer t\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {"POST /token?x=1", .status = 404},
                /* <token>:idtok */
                {TOKEN_GET "pull", .has = {"Basic PHRva2VuPjppZHRvaw=="}, .status = 200,
                 .body = "{\"token\":\"t\"}"},
                {0},
        };
        char login[256];

        (void)snprintf(login, sizeof(login), "{\"auths\":{\"%s\":{\"identitytoken\":\"idtok\"}}}",
                       mock_host(w->reg));
        (void)setenv("DOCKER_AUTH_CONFIG", login, 1);
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        (void)unsetenv("DOCKER_AUTH_CONFIG");
        check_scripts();
}

/* What the realm gave for the next exchange has aged: the password again. */
static void test_refresh_token_refused(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Bearer t1\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {w->url, .has = {"Bearer t2\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull&account=ann", .status = 200,
                 .body = "{\"token\":\"t1\",\"refresh_token\":\"r1\"}"},
                {"POST /token?x=1", .body_has = "refresh_token=r1", .status = 401},
                {TOKEN_GET "pull&account=ann", .has = {BASIC}, .status = 200,
                 .body = "{\"token\":\"t2\"}"},
                {0},
        };

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        get_blob_ok();
        reg_token_drop(w->c, "Bearer t1");
        sb_reset(&w->got);
        get_blob_ok();
        check_scripts();
}

/* What was not allowed, to whom, and what other credentials there are; never a secret. */
static void test_refusal_says_who(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->head, .status = 401, .headers = "WWW-Authenticate: Basic realm=x\r\n"},
                {w->head, .has = {"Basic Ym9iOmZyb21lbnY="}, .status = 403},
                {w->post, .status = 403,
                 .body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"not yours\"}]}"},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;
        char login[256], name[96];
        enum reg_put_how how;

        (void)snprintf(login, sizeof(login), "{\"auths\":{\"%s\":{\"auth\":\"YW5uOnMzY3JldA==\"}}}",
                       mock_host(w->reg));
        (void)snprintf(name, sizeof(name), "BLD_REGISTRY_%s_USER", mock_host(w->reg));
        for (char *p = name; *p; p++)
                *p = strchr(".:", *p) ? '_' : *p;
        (void)setenv(name, "bob", 1);
        (void)setenv("DOCKER_AUTH_CONFIG", login, 1);
        {
                char pass[128];

                (void)snprintf(pass, sizeof(pass), "%.*s_PASSWORD", (int)strlen(name) - 5, name);
                (void)setenv(pass, "fromenv", 1);
                mock_script(w->reg, steps);
                connect_with((struct reg_opts){0});
                assert_int_equal(put_blob(NULL, &how, &err), BLD_E_DENIED);
                (void)unsetenv(pass);
        }
        (void)unsetenv(name);
        (void)unsetenv("DOCKER_AUTH_CONFIG");
        assert_non_null(strstr(err.msg, "not allowed to push to "));
        assert_non_null(
                strstr(err.msg, "403 (DENIED: not yours) for scope repository:a/b:pull,push"));
        assert_non_null(strstr(err.msg, "credentials: user \"bob\" from BLD_REGISTRY_"));
        assert_non_null(strstr(err.msg, "not used: user \"ann\" in $DOCKER_AUTH_CONFIG"));
        assert_null(strstr(err.msg, "s3cret"));
        assert_null(strstr(err.msg, "fromenv"));
        check_scripts();
}

/* The body of the POST is a secret: a redirect to another origin is not followed. */
static void test_token_redirect(void **state UNUSED)
{
        char to[96];
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {0},
        };
        const struct mock_step tokens[] = {
                {"POST /token?x=1", .status = 307, .headers = to},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;
        char login[256];

        (void)snprintf(to, sizeof(to), "Location: http://%s/steal\r\n", mock_host(w->reg));
        (void)snprintf(login, sizeof(login), "{\"auths\":{\"%s\":{\"identitytoken\":\"idtok\"}}}",
                       mock_host(w->reg));
        (void)setenv("DOCKER_AUTH_CONFIG", login, 1);
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        assert_int_equal(get_blob(&err), BLD_E_CORRUPT);
        assert_null(strstr(err.msg, "idtok"));
        (void)unsetenv("DOCKER_AUTH_CONFIG");
        check_scripts();
}

static void test_stale_login(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer anon\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull&account=ann", .status = 401},
                {"POST /token?x=1", .status = 401},
                {TOKEN_GET "pull", .hasnt = {"Authorization"}, .status = 200,
                 .body = "{\"token\":\"anon\"}"},
                {0},
        };

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        get_blob_ok();
        check_scripts();
        assert_non_null(strstr(sb_text(&w->notes), "trying anonymously"));
        assert_null(strstr(sb_text(&w->notes), "s3cret"));
}

static void test_login_rejected_on_push(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->head, .status = 401, .headers = bearer_challenge()},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull%2Cpush&account=ann", .status = 401},
                {"POST /token?x=1", .status = 401},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;
        enum reg_put_how how;

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        assert_int_equal(put_blob(NULL, &how, &err), BLD_E_DENIED);
        assert_non_null(strstr(err.msg, "rejected"));
        assert_null(strstr(err.msg, "s3cret"));
        check_scripts();
}

static void test_insufficient_scope_ends(void **state UNUSED)
{
        char again[256];
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Bearer t"}, .status = 401, .headers = again},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull", .status = 200, .body = "{\"token\":\"t\"}"},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        (void)snprintf(again, sizeof(again),
                       "WWW-Authenticate: Bearer realm=\"http://%s/token?x=1\",service=\"reg\","
                       "scope=\"repository:a/b:pull\",error=\"insufficient_scope\"\r\n",
                       mock_host(w->other));
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        assert_int_equal(get_blob(&err), BLD_E_DENIED);
        assert_non_null(strstr(err.msg, "not logged in"));
        check_scripts();
}

static void test_ping_for_challenge(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401},
                {"GET /v2/", .hasnt = {"Authorization"}, .status = 401,
                 .headers = "WWW-Authenticate: Basic realm=\"x\"\r\n"},
                {w->url, .has = {"Authorization: " BASIC}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){.creds = CREDS});
        get_blob_ok();
        check_scripts();
}

static void test_realm_refused(void **state UNUSED)
{
        static const char *const realms[] = {
                "http://tokens.example.com/token",      /* plain, not loopback */
                "https://u:p@tokens.example.com/token", /* user information */
                "https://169.254.169.254/token",        /* metadata */
                "//tokens.example.com/",
                "file:///etc/passwd",
                "",
        };

        connect_with((struct reg_opts){.creds = CREDS});
        for (size_t i = 0; i < ARRAY_LEN(realms); i++) {
                char h[256];
                const struct mock_step steps[] = {
                        {w->url, .status = 401, .headers = h},
                        {0},
                };
                struct bld_err err = BLD_ERR_INIT;

                print_message("# %s\n", realms[i]);
                (void)snprintf(h, sizeof(h), "WWW-Authenticate: Bearer realm=\"%s\"\r\n",
                               realms[i]);
                mock_script(w->reg, steps);
                assert_int_equal(get_blob(&err), BLD_E_CORRUPT);
        }
        check_scripts();
}

/* Why the token service refuses is the line that helps. */
static void test_rejection_words(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->head, .status = 401, .headers = bearer_challenge()},
                {0},
        };
        const struct mock_step tokens[] = {
                {"GET /token*", .status = 403,
                 .body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"trial is over\"}]}"},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        assert_int_equal(put_blob(NULL, NULL, &err), BLD_E_DENIED);
        assert_non_null(strstr(err.msg, "were rejected by"));
        assert_non_null(strstr(err.msg, "DENIED: trial is over"));
        check_scripts();
}

/* No header of ours could carry it. */
static void test_token_too_long(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {0},
        };
        AUTO_SB struct sb reply = SB_INIT(300000);
        struct bld_err err = BLD_ERR_INIT;

        sb_str(&reply, "{\"token\":\"");
        for (unsigned i = 0; i < 200000; i++)
                sb_char(&reply, 'x');
        sb_str(&reply, "\"}");
        mock_script(w->reg, steps);
        mock_script(
                w->other,
                (struct mock_step[]){{"GET /token*", .status = 200, .body = sb_text(&reply)}, {0}});
        connect_with((struct reg_opts){0});
        assert_int_equal(get_blob(&err), BLD_E_CORRUPT);
        assert_non_null(strstr(err.msg, "a token of 200000 bytes"));
        check_scripts();
}

/* A file that was named and is not there: said at once, not once somebody asks for a password. */
static void test_authfile_missing(void **state UNUSED)
{
        const struct reg_opts o = {.authfile = "/nowhere/auth.json"};
        struct bld_err err = BLD_ERR_INIT;
        struct reg_client *c = NULL;

        assert_int_equal(reg_client_new(&o, &c, &err), BLD_E_NOT_FOUND);
        assert_non_null(strstr(err.msg, "/nowhere/auth.json"));
}

static void test_login_web_page(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {"GET /v2/", .status = 200, .headers = "Content-Type: text/html\r\n",
                 .body = "<html>"},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){.creds = CREDS});
        assert_int_equal(reg_login_check(w->c, mock_host(w->reg), &err), BLD_E_CORRUPT);
        check_scripts();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_bearer),
                T(test_bearer_anonymous),
                T(test_bearer_post_fallback),
                T(test_bearer_identity),
                T(test_identity_without_post),
                T(test_refresh_token_refused),
                T(test_refusal_says_who),
                T(test_rejection_words),
                T(test_token_too_long),
                T(test_authfile_missing),
                T(test_login_web_page),
                T(test_token_redirect),
                T(test_stale_login),
                T(test_login_rejected_on_push),
                T(test_insufficient_scope_ends),
                T(test_ping_for_challenge),
                T(test_realm_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
