/* Layers in memory, as the sources and sinks that the engine takes. */
#ifndef TESTS_FUZZ_MEMORY_H
#define TESTS_FUZZ_MEMORY_H

#include "layer/layer.h"

struct memory {
        const uint8_t *p;
        size_t n, pos;
        size_t step; /* most bytes of one read */
};
struct memory memory_of(const struct sb *b, size_t step); /* borrowed, as it is now */
struct ly_source memory_source(struct memory *m);
struct ly_sink memory_sink(struct sb *b);

#endif
