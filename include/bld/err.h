/* The error record every bld function fills, and its codes.
 *
 * Convention, everywhere: a function that can fail returns int, 0 for success and a negative
 * enum bld_code for failure, and takes a last `struct bld_err *err` (which may be NULL) that it
 * fills on failure only; what was in it before does not matter. Look-ups with a third answer
 * return 1 (found), 0 (not) or negative. */
#ifndef BLD_ERR_H
#define BLD_ERR_H

#ifdef __cplusplus
extern "C" {
#endif

/* Few, and each exists because some caller acts on it. Branch on these, never on text. */
enum bld_code {
        BLD_OK = 0,
        BLD_E_SYS = -1,         /* from the kernel, err->sys holds errno */
        BLD_E_NOT_FOUND = -2,   /* image, tag, blob, stage does not exist */
        BLD_E_EXISTS = -3,      /* name already taken */
        BLD_E_INVALID = -4,     /* input given by the user is malformed */
        BLD_E_UNSUPPORTED = -5, /* this machine or kernel cannot do it */
        BLD_E_DENIED = -6,      /* credentials missing or refused */
        BLD_E_CORRUPT = -7,     /* bytes do not verify, or a peer's answer is malformed */
        BLD_E_NETWORK = -8,     /* a retry may help */
        BLD_E_TIMEOUT = -9,
        BLD_E_CANCELLED = -10,
        BLD_E_LIMIT = -11, /* a bound on size, count or depth was hit */
        BLD_E_NOMEM = -12,
        BLD_E_CHILD = -13,  /* a program exited non-zero; err->sys holds its wait status */
        BLD_E_USAGE = -14,  /* the call or command line itself is wrong */
        BLD_E_POLICY = -15, /* forbidden by the user's own rules (--locked, entitlements) */
        BLD_E_BUG = -16,
        /* an archive, layout or layer that the caller named is damaged, hostile or no image */
        BLD_E_MALFORMED = -17,
};

/* One flat record, 1 KiB, so that it needs no allocation, nothing to free, and crosses a pipe in
 * one atomic write. msg's first line says what failed on what; further lines, each starting
 * "why: ", "try: " or "note: ", say why and what to do. */
struct bld_err {
        int code; /* enum bld_code */
        int sys;  /* errno, wait status or 0 */
        char msg[1016];
};

/* clang-format off */
#define BLD_ERR_INIT {0, 0, {0}}
/* clang-format on */

#ifdef __cplusplus
}
#endif
#endif
