/* What hostile_library.sh asks of the library, through its public headers alone: everything that
 * reads an image, on each image REF: hostile_driver all|record BENIGN FOLDER REF... What is
 * unpacked goes into a folder of its own in FOLDER; with "record" owners are only noted, and
 * nothing else is done. Per image "== REF", then one line per call: its name, its code, its error's
 * first line. Memory is bounded by who calls. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bld/bld.h"

static int bad;

/* Codes a hostile image may end with. */
static int told(const char *call, int r, const struct bld_err *err)
{
        int fine = r >= 0 || r == BLD_E_CORRUPT || r == BLD_E_MALFORMED || r == BLD_E_LIMIT ||
                   r == BLD_E_INVALID || r == BLD_E_NOT_FOUND || r == BLD_E_UNSUPPORTED ||
                   r == BLD_E_SYS;

        if (!fine || (r < 0 && (err->code != r || !*err->msg))) {
                printf("BAD ");
                bad = 1;
        }
        printf("%s %d %.*s\n", call, r < 0 ? r : 0, r < 0 ? (int)strcspn(err->msg, "\n") : 0,
               err->msg);
        return r;
}

static int drop(void *user, const void *p, size_t n)
{
        (void)p;
        *(unsigned long long *)user += n;
        return 0;
}

static void apply(struct bld_image *im, const char *folder, int record)
{
        const struct bld_layer_apply_opts o = {.size = sizeof(o),
                                               .keep_owner = !record,
                                               .record_owner = record,
                                               .skip_devices = true,
                                               .all_xattrs = true};
        struct bld_err err = BLD_ERR_INIT;
        int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        told("apply", fd < 0 ? BLD_E_BUG : bld_image_apply(im, fd, &o, NULL, &err), &err);
        close(fd);
}

static void stream(struct bld_image *im, size_t i)
{
        struct bld_err err = BLD_ERR_INIT;
        const struct bld_layer_entry *e;
        struct bld_layer_stream *s = NULL;
        char buf[4096];
        int r = bld_image_stream(im, i, &s, &err);

        while (!r && (r = bld_layer_stream_next(s, &e, &err)) == 1) {
                int64_t n = 0;

                if (e->path[0] == '/' || !strncmp(e->path, "../", 3)) {
                        printf("BAD path\n");
                        bad = 1;
                }
                if (e->type == BLD_LAYER_FILE && e->index % 3 == 0)
                        n = bld_layer_stream_read(s, buf, sizeof(buf), &err);
                r = n < 0 ? (int)n : 0;
        }
        if (!r)
                r = bld_layer_stream_end(s, NULL, &err);
        told("stream", r, &err);
        bld_layer_stream_close(s);
}

static void tree(struct bld_image *im)
{
        const struct bld_tree_opts o = {.size = sizeof(o), .content = true};
        struct bld_err err = BLD_ERR_INIT, why = BLD_ERR_INIT;
        struct bld_tree *t = NULL;

        if (told("tree", bld_tree_open(im, &o, &t, &err), &err) < 0)
                return;
        for (size_t i = 0; i < bld_tree_count(t); i++) {
                struct bld_tree_node n = {.size = sizeof(n)};
                size_t at;

                if (bld_tree_node(t, i, &n, NULL) < 0 ||
                    bld_tree_find(t, n.path, false, &at, &why) != 1 || at != i ||
                    bld_tree_end(t, i) <= i) {
                        printf("BAD node\n");
                        bad = 1;
                        break;
                }
        }
        bld_tree_close(t);
}

static int nowhere(void *user, const void *p, size_t n)
{
        return drop(user, p, n);
}

static void diff(const char *call, struct bld_image *a, struct bld_image *b)
{
        unsigned long long n = 0;
        const struct bld_output out = {.size = sizeof(out), .write = nowhere, .user = &n};
        struct bld_err err = BLD_ERR_INIT, err2 = BLD_ERR_INIT, err3 = BLD_ERR_INIT;
        struct bld_pull_cost cost = {.size = sizeof(cost)};
        struct bld_diff *d = NULL;

        if (told(call, bld_diff(a, b, NULL, &d, &err), &err) == 0)
                told("patch", bld_diff_patch(d, &out, NULL, NULL, &err2), &err2);
        told("cost", bld_pull_cost(a, b, &cost, &err3), &err3);
        bld_diff_free(d);
}

static void analyze(struct bld_image *im)
{
        struct bld_err err = BLD_ERR_INIT;
        struct bld_analysis *a = NULL;

        told("analyze", bld_analyze(im, NULL, &a, &err), &err);
        bld_analysis_free(a);
}

static void read_file(struct bld_image *im, const char *path)
{
        struct bld_err err = BLD_ERR_INIT;
        unsigned long long n = 0;

        told(path, bld_file_read(im, path, NULL, drop, &n, NULL, &err), &err);
}

static void attempt(struct bld *b, struct bld_image *benign, const char *ref, const char *folder,
                    bool record)
{
        static const char *const paths[] = {"f", "out/hit", "own", "lib/x", "a/b/c", "s/own", "h"};
        struct bld_err err = BLD_ERR_INIT;
        struct bld_image *im = NULL;

        printf("== %s\n", ref);
        if (told("open", bld_image_open(b, ref, NULL, &im, &err), &err) < 0)
                return;
        apply(im, folder, record);
        for (size_t i = 0; !record && i < bld_image_layers(im); i++)
                stream(im, i);
        if (!record) {
                tree(im);
                diff("diff", benign, im);
                diff("diff-back", im, benign);
                analyze(im);
                for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
                        read_file(im, paths[i]);
        }
        bld_image_close(im);
}

int main(int argc, char **argv)
{
        const struct bld_opts o = {.size = sizeof(o), .temporary = true, .offline = true};
        struct bld_err err = BLD_ERR_INIT;
        struct bld_image *benign = NULL;
        struct bld *b = NULL;
        struct rusage use;

        bld_child_main(argc, argv);
        setvbuf(stdout, NULL, _IOLBF, 0);
        if (argc < 5 || bld_open(&o, &b, &err) < 0 ||
            bld_image_open(b, argv[2], NULL, &benign, &err) < 0) {
                fprintf(stderr, "hostile_driver: %s\n", argc < 5 ? "usage" : err.msg);
                return 2;
        }
        for (int i = 4; i < argc; i++) {
                char folder[4096];

                (void)snprintf(folder, sizeof(folder), "%s/%d", argv[3], i);
                if (mkdir(folder, 0755) < 0) {
                        perror(folder);
                        return 2;
                }
                attempt(b, benign, argv[i], folder, !strcmp(argv[1], "record"));
        }
        getrusage(RUSAGE_SELF, &use);
        printf("memory %ld\n", use.ru_maxrss);
        bld_image_close(benign);
        bld_close(b);
        return bad;
}
