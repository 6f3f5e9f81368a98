/* Numbers, sizes, durations and times as text (cli.md section 1, dockerfile.md Appendix A).
 * Parsers take the whole string and return false when it does not fit the form or range. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <time.h>

#include "base/base.h"

bool parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
bool parse_i64(const char *s, int64_t min, int64_t max, int64_t *ret);
bool parse_octal(const char *s, unsigned max, unsigned *ret);
bool parse_size(const char *s, uint64_t *ret_bytes);    /* "10", "10k", "1.5g", "10GiB" */
bool parse_go_bool(const char *s, bool *ret);           /* strconv.ParseBool */
bool parse_go_duration(const char *s, int64_t *ret_ns); /* "1h30m", "500ms", "0" */
bool parse_duration(const char *s, int64_t *ret_ns);    /* also "90" (seconds), "d", "w" */
void format_go_duration(int64_t ns, char out[32]);      /* "1h2m3.5s", "0s" */
void format_size(uint64_t bytes, char out[24]);         /* "31.2 MB", base 1000 */
void format_elapsed(int64_t ms, char out[24]);          /* "9.8s", "2m05s" */

#define RFC3339_MAX 40
void format_rfc3339(int64_t sec, int64_t nsec, char out[RFC3339_MAX]); /* UTC, fraction if nsec */
bool parse_rfc3339(const char *s, int64_t *ret_sec, int64_t *ret_nsec);

int64_t time_now_ns(void);  /* CLOCK_REALTIME */
int64_t time_mono_ns(void); /* CLOCK_MONOTONIC */
/* Nanoseconds since the epoch; what is before 1677 or after 2262 becomes the first or last whole
 * second that fits. */
int64_t time_ns(int64_t sec, int64_t nsec);
int64_t timespec_ns(struct timespec ts);

#endif
