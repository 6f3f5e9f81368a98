/* The syntax that filepath.Match and ignore patterns share. */
#ifndef PARSER_GLOB_PRIV_H
#define PARSER_GLOB_PRIV_H

#include "base/base.h"

/* p stands behind a '['. Length of the class with its ']', or 0 when it is malformed. */
size_t glob_class_len(const char *p, size_t n);
/* Does a well-formed class (p and n as above) hold the character? */
bool glob_class_has(const char *p, size_t n, uint32_t c);
/* filepath.Match's check of the whole pattern. */
bool glob_is_valid(const char *p, size_t n);

#endif
