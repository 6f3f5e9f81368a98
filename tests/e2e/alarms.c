/* A signal every millisecond while files are made: says "TWICE ..." where one was there already,
 * which nobody but this program can have made, "BROKEN ..." where the signal was felt; at the end
 * "made all". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

static volatile int alarms;

static void on_alarm(int signo)
{
        (void)signo;
        alarms++;
}

static void judge(const char *what, int r)
{
        if (r < 0)
                printf("%s %s: %s\n", errno == EEXIST ? "TWICE" : "BROKEN", what, strerror(errno));
}

int main(int argc, char **argv)
{
        const struct itimerval every = {{0, 1000}, {0, 1000}};
        struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
        char name[64];
        int fd;

        if (argc != 2 || chdir(argv[1]) < 0 || sigaction(SIGALRM, &sa, NULL) < 0 ||
            setitimer(ITIMER_REAL, &every, NULL) < 0)
                return 2;
        for (int i = 0; i < 1500 || alarms < 20; i++) {
                (void)snprintf(name, sizeof(name), "d%d", i);
                judge("mkdir", mkdir(name, 0755));
                (void)snprintf(name, sizeof(name), "f%d", i);
                fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
                judge("open", fd);
                if (fd >= 0)
                        close(fd);
                judge("chown", chown(name, geteuid() ? (uid_t)-1 : 1000650000, getegid()));
                (void)snprintf(name, sizeof(name), "l%d", i);
                judge("symlink", symlink("x", name));
                (void)snprintf(name, sizeof(name), "p%d", i);
                judge("mkfifo", mkfifo(name, 0644));
                (void)snprintf(name, sizeof(name), "c%d", i);
                if (geteuid() == 0)
                        judge("mknod", mknod(name, S_IFCHR | 0666, makedev(1, 3)));
        }
        puts("made all");
        return 0;
}
