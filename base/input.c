#include "base/input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"

#define ASK_MS 50 /* how often a token is looked at that has somebody to ask */

int input_open(const char *path)
{
        /* Opening a named pipe would wait for its writer, where no token reaches. */
        AUTO_FD int fd =
                sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
        int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
                return -1;
        return take_fd(&fd);
}

ssize_t input_read(int fd, void *p, size_t n, const struct cancel *c, struct bld_err *err)
{
        ssize_t k;

        for (;;) {
                /* A pipe nobody has written to yet is not at its end for poll(), as it is for
                 * read(). */
                struct pollfd w[] = {{.fd = fd, .events = POLLIN},
                                     {.fd = cancel_fd(c), .events = POLLIN}};
                int r = cancel_check(c, err);

                if (r < 0)
                        return r;
                r = poll(w, ARRAY_LEN(w), c && c->ask ? ASK_MS : -1);
                if (r < 0 && errno != EINTR)
                        return err_sys(err, errno, "read");
                if (r > 0 && w[0].revents)
                        break;
        }
        k = sys_read(fd, p, n);
        return k < 0 ? err_sys(err, errno, "read") : k;
}

int input_append(int fd, struct sb *b, size_t n, const char *what, const struct cancel *c,
                 struct bld_err *err)
{
        char buf[16384];

        while (n > 0) {
                ssize_t k = input_read(fd, buf, MIN(n, sizeof(buf)), c, err);

                if (k < 0)
                        return err_wrap(err, (int)k, "%s", what);
                if (k == 0)
                        break;
                sb_add(b, buf, (size_t)k);
                if (b->failed)
                        break;
                n -= (size_t)k;
        }
        return sb_check(b, what, err);
}
