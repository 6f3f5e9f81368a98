/* The response headers that need a parser: Link, Content-Range, Range, Retry-After. */
#ifndef REGISTRY_HEADER_PRIV_H
#define REGISTRY_HEADER_PRIV_H

#include "base/base.h"

/* Target of the first rel="next" link in one Link header line (RFC 8288), malloc'ed. 1 found, 0
 * none there, negative on lack of memory. */
int reg_link_next(const char *s, size_t len, char **ret, struct bld_err *err);

/* "bytes 10-19/20" or "bytes 10-19/ *". false: not exactly that. *ret_total is UINT64_MAX for "*".
 */
bool reg_content_range(const char *s, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total);

/* "0-99", "bytes=0-99": number of bytes an upload session holds (100). "0-0" gives 0, because it
 * is sent for none and for one. */
bool reg_upload_range(const char *s, uint64_t *ret_size);

/* Seconds or an HTTP date, as milliseconds from now (a wall clock in seconds). false when malformed
 * or in the past. */
bool reg_retry_after(const char *s, int64_t now_s, int64_t *ret_ms);

#endif
