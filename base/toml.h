/* TOML 1.0 into the same values as JSON (base/json.h). Floats and dates, which no configuration of
 * ours has, are read as strings. */
#ifndef BASE_TOML_H
#define BASE_TOML_H

#include "base/json.h"

/* Caller: js_free. INVALID with the line in the message. */
int toml_parse(const char *text, size_t len, struct js **ret, struct bld_err *err) MUST_CHECK;

#endif
