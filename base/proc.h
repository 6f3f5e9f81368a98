/* Starting other programs, from threaded code: posix_spawn only. */
#ifndef BASE_PROC_H
#define BASE_PROC_H

#include <sys/types.h>

#include "base/base.h"
#include "base/cancel.h"
#include "base/sb.h"

struct proc_fd {
        int from; /* ours */
        int to;   /* number in the child */
};

/* Spawn path (searched on PATH when it has no slash); every fd not listed is closed on exec.
 * stdin defaults to /dev/null. envp NULL: ours. *ret_pid is to be waited for. */
int proc_spawn(const char *path, char *const argv[], char *const envp[], const struct proc_fd *fds,
               size_t nfds, pid_t *ret_pid, struct bld_err *err) MUST_CHECK;

/* Wait; *ret_status as wait(2). */
int proc_wait(pid_t pid, int *ret_status, struct bld_err *err) MUST_CHECK;

/* Run to the end with `input` on stdin, capturing at most the limits of out and errout (either
 * may be NULL). Killed after timeout_ms (0: none) or when cancelled. */
int proc_run(const char *path, char *const argv[], const void *input, size_t input_len,
             struct sb *out, struct sb *errout, int64_t timeout_ms, const struct cancel *cancel,
             int *ret_status, struct bld_err *err) MUST_CHECK;
/* The same in another environment. */
int proc_run_env(const char *path, char *const argv[], char *const envp[], const void *input,
                 size_t input_len, struct sb *out, struct sb *errout, int64_t timeout_ms,
                 const struct cancel *cancel, int *ret_status, struct bld_err *err) MUST_CHECK;

#endif
