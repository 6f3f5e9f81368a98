/* Absolute http and https URLs as this module needs them: parse, resolve a reference, compare
 * origins, classify addresses. Everything a server sends as a URL comes through here before curl
 * sees it, so the two cannot disagree about the host. */
#ifndef REGISTRY_URL_PRIV_H
#define REGISTRY_URL_PRIV_H

#include "base/base.h"
#include "base/sb.h"

#define REG_URL_MAX (64u << 10) /* signed storage URLs reach several KiB */

struct reg_url {
        bool https;
        char *host;    /* lower case; IPv6 literals keep their brackets */
        unsigned port; /* effective */
        bool has_port; /* written in the URL */
        char *rest;    /* "/path?query", at least "/"; fragment dropped */
};
#define AUTO_URL AUTO(reg_url_done)

/* INVALID for anything but an absolute http(s) URL with a plain host and no user information. */
int reg_url_parse(const char *s, struct reg_url *ret, struct bld_err *err) MUST_CHECK;
/* A reference (RFC 3986) against the URL of the request that returned it. "host/path" without a
 * scheme is taken as the base's host when it repeats its authority. */
int reg_url_resolve(const struct reg_url *base, const char *ref, struct reg_url *ret,
                    struct bld_err *err) MUST_CHECK;
int reg_url_copy(const struct reg_url *u, struct reg_url *ret, struct bld_err *err) MUST_CHECK;
void reg_url_done(struct reg_url *u);
void reg_url_add(const struct reg_url *u, struct sb *out);    /* append the whole URL */
void reg_url_origin(const struct reg_url *u, struct sb *out); /* append scheme://host[:port] */
bool reg_url_same_origin(const struct reg_url *a, const struct reg_url *b);

/* Percent-encode all but RFC 3986 unreserved characters. */
void reg_url_encode(struct sb *out, const char *s);

/* Where an address is. A server outside a class must not send us into it (SSRF). */
enum reg_addr {
        REG_ADDR_NAME,
        REG_ADDR_PUBLIC,
        REG_ADDR_PRIVATE,
        REG_ADDR_LOOPBACK,
        REG_ADDR_LINK
};
/* Text of an IPv4/IPv6 address, brackets and inet_aton forms allowed; NAME for anything else.
 * "localhost" counts as loopback. */
enum reg_addr reg_addr_class(const char *host);
/* May a server whose own address is of class `from` send us to one of class `to`? */
bool reg_addr_allowed(enum reg_addr from, enum reg_addr to);

#endif
