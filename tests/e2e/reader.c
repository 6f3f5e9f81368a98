/* reader all|first REF: what the library reads of an image, as the tests compare it: diff ID of
 * each layer and its entries; with "first" only the first entry of each, the stream closed there.
 */
#include <bld/bld.h>

#include <stdio.h>
#include <string.h>

static int fail(const struct bld_err *err)
{
        fprintf(stderr, "%s\n", err->msg);
        return 1;
}

static int layer(struct bld_image *im, size_t i, int first, struct bld_err *err)
{
        const struct bld_layer_entry *e;
        struct bld_layer_stream *s = NULL;
        int r = bld_image_stream(im, i, &s, err);

        if (r == 0 && !first)
                printf("%s %s\n", bld_image_layer(im, i)->diff_id,
                       bld_image_layer(im, i)->created_by ? bld_image_layer(im, i)->created_by
                                                          : "-");
        while (r == 0 && (r = bld_layer_stream_next(s, &e, err)) > 0) {
                printf(" %s %d %o %llu\n", e->path, (int)e->type, e->mode,
                       (unsigned long long)e->file_size);
                r = first;
                if (first)
                        break;
        }
        if (r == 0)
                r = bld_layer_stream_end(s, NULL, err);
        bld_layer_stream_close(s);
        return r < 0 ? r : 0;
}

int main(int argc, char **argv)
{
        const struct bld_opts o = {.size = sizeof(o)};
        struct bld_err err = BLD_ERR_INIT;
        struct bld_image *im = NULL;
        struct bld *b = NULL;
        int r;

        bld_child_main(argc, argv);
        if (argc != 3)
                return 2;
        r = bld_open(&o, &b, &err);
        if (r == 0)
                r = bld_image_open(b, argv[2], NULL, &im, &err);
        for (size_t i = 0; r == 0 && i < bld_image_layers(im); i++)
                r = layer(im, i, strcmp(argv[1], "first") == 0, &err);
        bld_image_close(im);
        bld_close(b);
        return r < 0 ? fail(&err) : 0;
}
