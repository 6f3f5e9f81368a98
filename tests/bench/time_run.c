/* Time commands side by side: time_run REPEATS FILE
 *
 * FILE has one command per line: LABEL <tab> PREPARATION <tab> COMMAND. The preparation is given to
 * the shell and not timed (may be empty); the command is split at blanks and executed as it is, so
 * that no shell is part of the time. All commands are run once in turn, then again, REPEATS times:
 * whatever disturbs the machine disturbs all of them. Prints LABEL, the median, minimum and maximum
 * in milliseconds, the median of the CPU time (user and system, children included) in milliseconds,
 * and the largest resident set in KiB. A command that fails ends everything. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_COMMANDS 16
#define MAX_ARGS 64
#define MAX_REPEATS 10000

extern char **environ;

struct command {
        char *label;
        char *prepare;
        char *text; /* as in the file, for messages */
        char *argv[MAX_ARGS + 1];
        double *ms;
        double *cpu_ms;
        long rss_kib;
};

static _Noreturn void die(const char *what, const char *who)
{
        fprintf(stderr, "time_run: %s: %s\n", what, who);
        exit(1);
}

static double now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double seconds_ms(struct timeval t)
{
        return (double)t.tv_sec * 1e3 + (double)t.tv_usec / 1e3;
}

static double run(char *const argv[], const char *text, double *cpu_ms, long *rss_kib)
{
        posix_spawn_file_actions_t fa;
        struct rusage ru;
        double start, end;
        pid_t pid;
        int status, r;

        posix_spawn_file_actions_init(&fa);
        posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
        if (!getenv("TIME_RUN_VERBOSE"))
                posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
        start = now_ms();
        r = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
        if (r != 0)
                die(strerror(r), argv[0]);
        if (wait4(pid, &status, 0, &ru) != pid)
                die(strerror(errno), "wait4");
        end = now_ms();
        posix_spawn_file_actions_destroy(&fa);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                die("failed", text);
        *cpu_ms = seconds_ms(ru.ru_utime) + seconds_ms(ru.ru_stime);
        if (ru.ru_maxrss > *rss_kib)
                *rss_kib = ru.ru_maxrss;
        return end - start;
}

static void parse(char *line, struct command *c, size_t repeats)
{
        char *save = NULL;
        size_t n = 0;

        c->label = strsep(&line, "\t");
        c->prepare = strsep(&line, "\t");
        if (!line)
                die("not three fields", c->label);
        c->text = strdup(line);
        for (char *w = strtok_r(line, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
                if (n == MAX_ARGS)
                        die("too many words", c->label);
                c->argv[n++] = w;
        }
        c->ms = calloc(repeats, sizeof(*c->ms));
        c->cpu_ms = calloc(repeats, sizeof(*c->cpu_ms));
        if (n == 0 || !c->ms || !c->cpu_ms || !c->text)
                die("no command", c->label);
}

static int compare(const void *a, const void *b)
{
        const double x = *(const double *)a, y = *(const double *)b;

        return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
        static struct command c[MAX_COMMANDS];
        size_t n = 0, cap = 0, repeats;
        char *line = NULL;
        FILE *f;

        if (argc != 3)
                die("usage", "time_run REPEATS FILE");
        repeats = (size_t)strtoul(argv[1], NULL, 10);
        if (repeats == 0 || repeats > MAX_REPEATS)
                die("bad number of repeats", argv[1]);
        f = fopen(argv[2], "re");
        if (!f)
                die(strerror(errno), argv[2]);
        while (getline(&line, &cap, f) > 0) {
                if (n == MAX_COMMANDS)
                        die("too many commands", argv[2]);
                parse(line, &c[n++], repeats);
                line = NULL; /* the command keeps it */
                cap = 0;
        }
        fclose(f);
        for (size_t r = 0; r < repeats; r++) {
                for (size_t i = 0; i < n; i++) {
                        char *const prepare[] = {"/bin/sh", "-ec", c[i].prepare, NULL};

                        double unused_ms;
                        long unused_kib = 0;

                        if (c[i].prepare[0])
                                (void)run(prepare, c[i].prepare, &unused_ms, &unused_kib);
                        c[i].ms[r] = run(c[i].argv, c[i].text, &c[i].cpu_ms[r], &c[i].rss_kib);
                }
        }
        for (size_t i = 0; i < n; i++) {
                qsort(c[i].ms, repeats, sizeof(*c[i].ms), compare);
                qsort(c[i].cpu_ms, repeats, sizeof(*c[i].cpu_ms), compare);
                printf("%s %.3f %.3f %.3f %.3f %ld\n", c[i].label, c[i].ms[repeats / 2], c[i].ms[0],
                       c[i].ms[repeats - 1], c[i].cpu_ms[repeats / 2], c[i].rss_kib);
        }
        return 0;
}
