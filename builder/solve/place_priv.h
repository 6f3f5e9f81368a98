/* Where a failure stands, for the caller's message (place.c). */
#ifndef BUILDER_PLACE_PRIV_H
#define BUILDER_PLACE_PRIV_H

#include "builder/graph/graph_priv.h"
#include "builder/source/source_priv.h"

/* File, position and text of the line. The first place counts; without a line there is none. */
void place_at(struct bld_place *p, const struct source *src, const struct df_pos *pos);
/* And the stage and step. */
void place_vertex(struct bld_place *p, const struct source *src, const struct vertex *v);

#endif
