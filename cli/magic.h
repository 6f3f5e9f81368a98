/* What a file is, by its first bytes: enough to tell a program from an archive from a picture. */
#ifndef CLI_MAGIC_H
#define CLI_MAGIC_H

#include "base/base.h"

#define MAGIC_BYTES 512u /* more are not looked at */

/* "ELF 64-bit x86-64", "gzip", "PNG image"; "data" for what is not known. */
void magic_name(const unsigned char *p, size_t n, char out[48]);

#endif
