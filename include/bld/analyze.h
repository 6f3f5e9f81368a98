/* How well an image uses its layers: what is in it twice, replaced or deleted again. The score is
 * the one the dive tool made known. */
#ifndef BLD_ANALYZE_H
#define BLD_ANALYZE_H

#include "bld/open.h"
#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Made by the library only. */
struct bld_waste {
        const char *path;
        uint64_t bytes; /* of all its occurrences, the one that counts included */
        size_t count;   /* layers that write or remove it */
        bool removed;   /* not in the image in the end */
};
struct bld_layer_use {
        uint64_t files, bytes; /* in the layer; uncompressed content */
        uint64_t wasted;       /* of them: replaced or removed by layers above */
};
struct bld_analysis;
/* Layers the store knows are not read again, the others are, several at a time; nothing is kept of
 * the image afterwards. watch is borrowed for the call. Errors: as of bld_image_stream(). */
BLD_API int bld_analyze(struct bld_image *im, const struct bld_watch *watch,
                        struct bld_analysis **ret, struct bld_err *err);
BLD_API void bld_analysis_free(struct bld_analysis *a); /* NULL is fine */
/* 0 to 1. */
BLD_API double bld_analysis_efficiency(const struct bld_analysis *a);
/* Content of all layers; of the paths that several layers write or remove, all occurrences; its
 * share of what the layers above the first hold (infinite where they hold nothing). */
BLD_API uint64_t bld_analysis_bytes(const struct bld_analysis *a);
BLD_API uint64_t bld_analysis_wasted(const struct bld_analysis *a);
BLD_API double bld_analysis_wasted_share(const struct bld_analysis *a);
/* Paths that waste, most first; and each layer. NULL beyond the last. */
BLD_API size_t bld_analysis_count(const struct bld_analysis *a);
BLD_API const struct bld_waste *bld_analysis_at(const struct bld_analysis *a, size_t i);
BLD_API const struct bld_layer_use *bld_analysis_layer(const struct bld_analysis *a, size_t i);

#ifdef __cplusplus
}
#endif

#endif
