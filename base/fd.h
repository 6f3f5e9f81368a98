/* File descriptors: ownership and whole-file helpers. fd sentinel is -1; everything is opened
 * close-on-exec. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "base/base.h"
#include "base/sb.h"

void fd_close(int *fd); /* closes when >= 0, sets -1, preserves errno; the AUTO_FD cleanup */
#define AUTO_FD AUTO(fd_close)
int take_fd(int *fd);

int fd_write_all(int fd, const void *p, size_t n, struct bld_err *err) MUST_CHECK;
/* The same, but bytes that are all zero become a hole. At the end sys_ftruncate() sets the size,
 * which a hole does not. */
int fd_write_sparse(int fd, const void *p, size_t n, struct bld_err *err) MUST_CHECK;
/* Read until n bytes or end of file; *ret_n tells which. */
int fd_read_full(int fd, void *p, size_t n, size_t *ret_n, struct bld_err *err) MUST_CHECK;
/* Append the rest of fd to b, within b's limit (BLD_E_LIMIT beyond it). */
int fd_read_all(int fd, struct sb *b, const char *what, struct bld_err *err) MUST_CHECK;

/* Whole small file relative to dirfd (AT_FDCWD allowed). NOT_FOUND when absent. */
int file_read(int dirfd, const char *path, struct sb *b, struct bld_err *err) MUST_CHECK;

/* The same for a file that somebody else named: what is not a regular file is INVALID and never
 * waited for. */
int file_read_regular(int dirfd, const char *path, struct sb *b, struct bld_err *err) MUST_CHECK;

enum file_flags {
        FILE_SYNC = 1,     /* fsync the file and its folder */
        FILE_IN_PLACE = 2, /* allowed for devices, FIFOs: open and write, no rename */
};
/* Write atomically (temporary name in the same folder, rename). With FILE_IN_PLACE a path that is
 * not a regular file is opened and written as it is. */
int file_write(int dirfd, const char *path, const void *p, size_t n, mode_t mode, unsigned flags,
               struct bld_err *err) MUST_CHECK;

int fd_lock(int fd, int flock_op, struct bld_err *err); /* 0, or 1 when LOCK_NB would block */
int fd_set_cloexec(int fd, bool on);

#endif
