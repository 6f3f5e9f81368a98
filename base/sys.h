/* Seams around the system calls whose failure our tests inject (linker --wrap). Thin on purpose;
 * each is the libc call of the same name, retrying EINTR where that is always right. Fork-Safe. */
#ifndef BASE_SYS_H
#define BASE_SYS_H

#include <sys/stat.h>
#include <sys/types.h>

#include "base/base.h"

struct open_how;

int sys_openat(int dirfd, const char *path, int flags, mode_t mode);
int sys_openat2(int dirfd, const char *path, const struct open_how *how); /* the raw call */
ssize_t sys_read(int fd, void *buf, size_t n);
ssize_t sys_write(int fd, const void *buf, size_t n);
ssize_t sys_pread(int fd, void *buf, size_t n, int64_t off);
int sys_fsync(int fd);
int sys_rename(int olddir, const char *old, int newdir, const char *new_name);
int sys_unlinkat(int dirfd, const char *path, int flags);
int sys_mkdirat(int dirfd, const char *path, mode_t mode);
int sys_linkat(int olddir, const char *old, int newdir, const char *new_name, int flags);
int sys_ftruncate(int fd, int64_t size);

#endif
