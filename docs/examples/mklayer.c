/* Make a layer out of nothing but memory: files below etc/app whose content comes from the command
 * line. The same arguments give the same bytes, on every machine and at any time.
 *
 *   mklayer LAYER NAME=TEXT...                 write it to the file LAYER
 *   mklayer -i IMAGE DST LAYER NAME=TEXT...    and put it on top of an image, which becomes DST
 *   mklayer -d FOLDER LAYER NAME=TEXT...       or unpack it below a folder
 *
 * Prints the diff ID and the digest. Exit status 0, or 2 with a message. */
#include <bld/bld.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int fail(const char *what, const struct bld_err *err)
{
        fprintf(stderr, "mklayer: %s: %s\n", what, err->msg);
        return 2;
}

/* Takes the layer's bytes, compressed. Any place would do: a file, a socket, a buffer. */
static int write_file(void *user, const void *p, size_t n)
{
        FILE *f = (FILE *)user;

        return fwrite(p, 1, n, f) == n ? 0 : EIO;
}

static int add_folder(struct bld_layer_writer *w, const char *path, struct bld_err *err)
{
        const struct bld_layer_entry e = {
                .size = sizeof(e), .path = path, .type = BLD_LAYER_DIR, .mode = 0755};

        return bld_layer_writer_entry(w, &e, NULL, err);
}

/* arg: "NAME=TEXT" */
static int add_file(struct bld_layer_writer *w, const char *arg, struct bld_err *err)
{
        const char *text = strchr(arg, '=');
        size_t len = text ? strlen(++text) : 0;
        char path[256];
        struct bld_layer_entry e = {
                .size = sizeof(e), .path = path, .type = BLD_LAYER_FILE, .mode = 0644};
        int r;

        /* The library refuses paths that lead anywhere else; a slash here would only surprise. */
        snprintf(path, sizeof(path), "etc/app/%.*s", (int)strcspn(arg, "=/"), arg);
        e.file_size = len;
        r = bld_layer_writer_entry(w, &e, NULL, err);
        return r < 0 || len == 0 ? r : bld_layer_writer_data(w, text, len, err);
}

static int write_layer(FILE *f, char *const *args, struct bld_layer_created *ret,
                       struct bld_err *err)
{
        const struct bld_output out = {
                .size = sizeof(out), .fd = -1, .write = write_file, .user = f};
        const struct bld_layer_create_opts o = {
                .size = sizeof(o), .codec = BLD_LAYER_GZIP, .reproducible = true};
        struct bld_layer_writer *w;
        int r = bld_layer_writer_open(&out, &o, &w, err);

        if (r < 0)
                return r;
        r = add_folder(w, "etc", err);
        if (r == 0)
                r = add_folder(w, "etc/app", err);
        for (; r == 0 && *args; args++)
                r = add_file(w, *args, err);
        if (r == 0)
                r = bld_layer_writer_end(w, ret, err);
        bld_layer_writer_close(w);
        return r;
}

static int unpack(const char *layer, const char *folder, const char *diff_id, struct bld_err *err)
{
        const struct bld_layer_apply_opts o = {.size = sizeof(o),
                                               .keep_owner = geteuid() == 0,
                                               .diff_id = diff_id,
                                               .record_owner = geteuid() != 0};
        int fd = open(layer, O_RDONLY | O_CLOEXEC);
        int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd < 0 || dir < 0) {
                snprintf(err->msg, sizeof(err->msg), "cannot open \"%s\"", fd < 0 ? layer : folder);
                r = BLD_E_SYS;
        } else {
                r = bld_layer_apply(fd, dir, &o, NULL, err);
        }
        if (fd >= 0)
                close(fd);
        if (dir >= 0)
                close(dir);
        return r;
}

static int append(const char *src, const char *dst, const char *layer, struct bld_err *err)
{
        const struct bld_opts o = {.size = sizeof(o)};
        const struct bld_list layers = {&layer, 1};
        const struct bld_edit_opts e = {.size = sizeof(e), .dst = dst, .has_epoch = true};
        const struct bld_append_opts a = {.size = sizeof(a), .edit = &e};
        char *json = NULL;
        struct bld *b;
        int r = bld_open(&o, &b, err);

        if (r < 0)
                return r;
        r = bld_append(b, src, &layers, &a, &json, err);
        bld_free(json);
        bld_close(b);
        return r;
}

int main(int argc, char **argv)
{
        struct bld_layer_created made = {.size = sizeof(made)};
        struct bld_err err = BLD_ERR_INIT;
        const char *image = NULL, *dst = NULL, *folder = NULL;
        FILE *f;
        int r, at = 1;

        if (argc > 3 && strcmp(argv[1], "-i") == 0) {
                image = argv[2];
                dst = argv[3];
                at = 4;
        } else if (argc > 2 && strcmp(argv[1], "-d") == 0) {
                folder = argv[2];
                at = 3;
        }
        if (argc - at < 2) {
                fprintf(stderr, "usage: mklayer [-i IMAGE DST | -d FOLDER] LAYER NAME=TEXT...\n");
                return 2;
        }
        f = fopen(argv[at], "wb");
        if (!f) {
                perror(argv[at]);
                return 2;
        }
        r = write_layer(f, argv + at + 1, &made, &err);
        if (fclose(f) != 0 && r == 0) {
                perror(argv[at]);
                return 2;
        }
        if (r < 0)
                return fail(argv[at], &err);
        printf("%s %s\n", made.diff_id, made.digest);
        if (folder && unpack(argv[at], folder, made.diff_id, &err) < 0)
                return fail(folder, &err);
        if (image && append(image, dst, argv[at], &err) < 0)
                return fail(image, &err);
        return 0;
}
