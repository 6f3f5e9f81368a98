/* libcurl, opened at the first request: it and its thirty shared objects cost 10 ms that a build
 * without a registry never pays. Only the files that talk to curl include this.
 * No OpenSSL object passes through here: the OpenSSL curl brings is not ours. */
#ifndef REGISTRY_CURL_PRIV_H
#define REGISTRY_CURL_PRIV_H

#include <curl/curl.h>

#include "base/base.h"

/* Every pointer is set once curl_api_get() has succeeded. */
struct curl_api {
        CURLcode (*global_init)(long flags);
        CURL *(*easy_init)(void);
        void (*easy_cleanup)(CURL *h);
        CURLcode (*easy_setopt)(CURL *h, CURLoption o, ...);
        CURLcode (*easy_getinfo)(CURL *h, CURLINFO i, ...);
        CURLcode (*easy_pause)(CURL *h, int bits);
        const char *(*easy_strerror)(CURLcode c);
        struct curl_slist *(*slist_append)(struct curl_slist *l, const char *s);
        void (*slist_free_all)(struct curl_slist *l);
        CURLM *(*multi_init)(void);
        CURLMcode (*multi_cleanup)(CURLM *m);
        CURLMcode (*multi_setopt)(CURLM *m, CURLMoption o, ...);
        CURLMcode (*multi_add_handle)(CURLM *m, CURL *h);
        CURLMcode (*multi_remove_handle)(CURLM *m, CURL *h);
        CURLMcode (*multi_perform)(CURLM *m, int *running);
        CURLMcode (*multi_poll)(CURLM *m, struct curl_waitfd *extra, unsigned n, int timeout_ms,
                                int *ret);
        CURLMcode (*multi_wakeup)(CURLM *m);
        CURLMsg *(*multi_info_read)(CURLM *m, int *left);
        curl_version_info_data *(*version_info)(CURLversion v);
};

/* Open libcurl once per process. UNSUPPORTED with the package to install when it is missing or too
 * old. Threads: MT-Safe. */
int curl_api_get(const struct curl_api **ret, struct bld_err *err) MUST_CHECK;

#endif
