/* Paths as text (Go's path.Clean semantics, spec dockerfile.md Appendix A) and folders. */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <sys/types.h>

#include "base/base.h"
#include "base/vec.h"

/* path.Clean: "a//b/./c/.." -> "a/b"; rooted paths lose leading ".."; empty gives ".".
 * Result is malloc'ed; NULL when memory is out. */
char *path_clean(const char *p);
char *path_cleann(const char *p, size_t n);
/* clean(a + "/" + b); b alone when it is absolute. */
/* Names in a folder, sorted, "." and ".." left out. 1, 0 there is no such folder (or it is not ours
 * to read). */
int path_names(const char *dir, struct strv *out, struct bld_err *err) MUST_CHECK;
char *path_join(const char *a, const char *b);
/* Last component, borrowed; "" for "/" and "". */
const char *path_base(const char *p);
/* Folder part, malloc'ed; "." when there is none. */
char *path_dir(const char *p);

/* mkdir -p relative to dirfd, mode for created components; existing folders are fine. */
int path_mkdirs(int dirfd, const char *p, mode_t mode, struct bld_err *err) MUST_CHECK;
/* Could a file be written under this name? Looked at before long work, so that a slip costs
 * nothing: INVALID with the reason. */
int path_check_target(const char *p, struct bld_err *err) MUST_CHECK;
/* rm -rf relative to dirfd, never following a link, within one file system tree; missing is fine.
 * Folders without u+rwx are opened up first. */
int path_remove_tree(int dirfd, const char *p, struct bld_err *err);

#endif
