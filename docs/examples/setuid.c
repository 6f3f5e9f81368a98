/* List what may gain privileges in an image: set-user-ID and set-group-ID files, and files with
 * capabilities, with the layer each comes from. Files that a later layer hides are listed, too:
 * whoever pulls the image has them.
 *
 *   setuid IMAGE...     app:v1, docker://host/app:v1, oci:folder, docker-archive:app.tar, ./rootfs
 *
 * Every layer is read once, as a stream; one that is in a registry goes by without touching the
 * disk. Exit status 0: none found; 1: some; 2: an image could not be read. */
#include <bld/bld.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
        (void)sig;
        interrupted = 1;
}

/* Asked by the library while it works; from any of its threads. */
static bool stop(void *user)
{
        (void)user;
        return interrupted;
}

static bool has_capability(const struct bld_layer_stream *s, const struct bld_layer_entry *e)
{
        const char *name;
        const void *value;
        size_t len;

        for (size_t k = 0; k < e->nxattrs; k++)
                if (bld_layer_stream_xattr(s, k, &name, &value, &len, NULL) == 0 &&
                    strcmp(name, "security.capability") == 0)
                        return true;
        return false;
}

/* The number of findings in one layer, or an error. */
static int scan_layer(struct bld_image *im, size_t layer, struct bld_err *err)
{
        struct bld_layer_stream *s;
        const struct bld_layer_entry *e;
        int found = 0;
        int r = bld_image_stream(im, layer, &s, err);

        if (r < 0)
                return r;
        while ((r = bld_layer_stream_next(s, &e, err)) > 0) {
                bool capable = has_capability(s, e);

                if (e->type != BLD_LAYER_FILE || (!(e->mode & 06000) && !capable))
                        continue;
                printf("%zu  %04o %u:%u  /%s%s\n", layer, e->mode, (unsigned)e->uid,
                       (unsigned)e->gid, e->path, capable ? "  (capabilities)" : "");
                found++;
        }
        /* Only the end proves that the bytes were those the manifest names. */
        if (r == 0)
                r = bld_layer_stream_end(s, NULL, err);
        bld_layer_stream_close(s);
        return r < 0 ? r : found;
}

static int scan_image(struct bld *b, const char *ref, struct bld_err *err)
{
        const struct bld_watch watch = {.size = sizeof(watch), .stop = stop};
        const struct bld_image_open_opts o = {.size = sizeof(o), .watch = &watch};
        struct bld_image *im;
        int found = 0;
        int r = bld_image_open(b, ref, &o, &im, err);

        if (r < 0)
                return r;
        for (size_t i = 0; r >= 0 && i < bld_image_layers(im); i++) {
                r = scan_layer(im, i, err);
                found += r > 0 ? r : 0;
        }
        bld_image_close(im);
        return r < 0 ? r : found;
}

int main(int argc, char **argv)
{
        struct bld_opts o = {.size = sizeof(o)};
        struct bld_err err = BLD_ERR_INIT;
        struct bld *b;
        int status = 0;

        if (argc < 2) {
                fprintf(stderr, "usage: setuid IMAGE...\n");
                return 2;
        }
        signal(SIGINT, on_signal);
        if (bld_open(&o, &b, &err) < 0) {
                fprintf(stderr, "setuid: %s\n", err.msg);
                return 2;
        }
        for (int i = 1; i < argc && status < 2; i++) {
                int r = scan_image(b, argv[i], &err);

                if (r < 0)
                        fprintf(stderr, "setuid: %s: %s\n", argv[i], err.msg);
                status = r < 0 ? 2 : r > 0 ? 1 : status;
        }
        bld_close(b);
        return status;
}
