/* A tree to be measured with: make_tree FOLDER FILES MIB SEED [OTHER PERCENT]
 *
 * FILES files of MIB MiB in all, 100 in a folder, most of them small: six in ten text of words,
 * three records with random fields, one noise. With OTHER, about PERCENT of the files come from
 * that seed: other bytes of the same size, other sizes, other modes, other names, or they are
 * missing. The same arguments make the same tree. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS 4096
#define PER_FOLDER 100
#define TIME 1700000000

static char words[WORDS][12];
static unsigned word_len[WORDS];

static _Noreturn void die(const char *what)
{
        fprintf(stderr, "make_tree: %s: %s\n", what, strerror(errno));
        exit(1);
}

static uint64_t next(uint64_t *s)
{
        uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

static void make_words(void)
{
        uint64_t s = 1;

        for (unsigned i = 0; i < WORDS; i++) {
                word_len[i] = 2 + (unsigned)(next(&s) % 9);
                for (unsigned k = 0; k < word_len[i]; k++)
                        words[i][k] = "etaoinshrdlcumwfgypbvkjxqz"[next(&s) % (1 + next(&s) % 26)];
                words[i][word_len[i]++] = ' ';
        }
}

static void fill(unsigned char *p, size_t n, uint64_t seed, unsigned kind)
{
        uint64_t s = seed;
        size_t at = 0;

        while (kind < 6 && at < n) {
                uint64_t r = next(&s);
                unsigned w = (unsigned)(r % WORDS) >> (r >> 32) % 9; /* few are frequent */
                size_t k = word_len[w];

                if (at + k > n)
                        k = n - at;
                memcpy(p + at, words[w], k);
                at += k;
                if (r >> 60 == 0 && at < n)
                        p[at++] = '\n';
        }
        while (kind >= 6 && at < n) {
                uint64_t r[2] = {next(&s), kind < 9 ? 0x0000000100400000 + at : next(&s)};
                size_t k = sizeof(r) > n - at ? n - at : sizeof(r);

                if (kind < 9)
                        r[0] &= 0x00ffff0000ff00ff;
                memcpy(p + at, r, k);
                at += k;
        }
}

static void write_file(const char *path, const unsigned char *p, size_t n, unsigned mode)
{
        const struct timespec t[2] = {{TIME, 0}, {TIME, 0}};
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

        if (fd < 0 || write(fd, p, n) != (ssize_t)n || fchmod(fd, mode) < 0 ||
            futimens(fd, t) < 0 || close(fd) < 0)
                die(path);
}

int main(int argc, char **argv)
{
        size_t files = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
        size_t mib = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
        uint64_t seed = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
        uint64_t other = argc > 6 ? strtoul(argv[5], NULL, 10) : seed;
        unsigned percent = argc > 6 ? (unsigned)strtoul(argv[6], NULL, 10) : 0;
        size_t mean, max;
        unsigned char *buf;

        if (!files || !mib) {
                fprintf(stderr, "usage: make_tree FOLDER FILES MIB SEED [OTHER PERCENT]\n");
                return 2;
        }
        mean = (mib << 20) / files;
        max = mean * 64;
        buf = malloc(max);
        if (!buf || (mkdir(argv[1], 0755) < 0 && errno != EEXIST) || chdir(argv[1]) < 0)
                die(argv[1]);
        make_words();
        for (size_t i = 0; i < files; i++) {
                uint64_t s = seed * 1000003 + i, choice = other * 7919 + i * 31 + 1, r;
                unsigned changed = next(&choice) % 100 < percent ? 1 + next(&choice) % 10 : 0;
                unsigned kind = (unsigned)(next(&s) % 10);
                char path[64], dir[32];
                size_t n;

                /* Sizes halve in number as they double: the mean is what was asked for. */
                r = next(&s);
                n = mean * 5 / 28;
                for (unsigned k = 0; k < 7 && r & 1u << k; k++)
                        n *= 2;
                n += next(&s) % (n / 2 + 1);
                if (changed == 2)
                        n += n / 3 + 1;
                (void)snprintf(dir, sizeof(dir), "d%zu", i / PER_FOLDER);
                (void)snprintf(path, sizeof(path), "%s/%s%zu", dir, changed == 3 ? "new" : "f", i);
                if (i % PER_FOLDER == 0 && mkdir(dir, 0755) < 0)
                        die(dir);
                if (changed == 4)
                        continue;
                if (n > max)
                        n = max;
                /* 5 differs in its mode only, 6 moves; the others have other bytes. */
                fill(buf, n, changed && changed != 5 ? other * 1000003 + i : s, kind);
                write_file(path, buf, n, changed == 5 ? 0755 : 0644);
        }
        free(buf);
        return 0;
}
