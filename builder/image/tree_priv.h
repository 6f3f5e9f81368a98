/* Layers of the store as trees: tables of contents, merged views, file bytes. Nothing here needs a
 * snapshot or a sandbox: COPY --from, --chown by name and the flattening outputs read blobs. */
#ifndef BUILDER_TREE_PRIV_H
#define BUILDER_TREE_PRIV_H

#include "builder/builder.h"
#include "layer/layer.h"

/* A chain opened for reading. MT-Object. */
struct bd_tree;
/* Fetches layers that are missing, makes tables of contents that are missing (verifying diff IDs).
 * layers is borrowed and must outlive the tree. */
int bd_tree_open(struct bd_ctx *c, const struct bd_layers *layers, struct bd_tree **ret,
                 struct bld_err *err) MUST_CHECK;
/* Keeps it for the next bd_tree_open() of this chain, or of one that goes on from it, where the
 * context has a place for that. */
void bd_tree_free(struct bd_tree *t);
DEFINE_AUTO_PTR(struct bd_tree, bd_tree_free);
const struct ly_view *bd_tree_view(const struct bd_tree *t);
/* The table of layer i. Borrowed. */
const struct ly_toc *bd_tree_toc(const struct bd_tree *t, size_t i);
/* Bytes of a regular file (hard links included) to out. */
int bd_tree_read(struct bd_tree *t, const struct ly_node *n, const struct ly_sink *out,
                 struct bld_err *err) MUST_CHECK;
/* Small file as text, at most max bytes; links followed inside the root. 1/0/negative. */
int bd_tree_read_text(struct bd_tree *t, const char *path, size_t max, struct sb *out,
                      struct bld_err *err);

/* The TOC of one layer: from the store's index, else made from the blob. Caller: ly_toc_free. */
int bd_toc_get(struct bd_ctx *c, const struct bd_layer *l, struct ly_toc **ret,
               struct bld_err *err) MUST_CHECK;
int bd_toc_put(struct bd_ctx *c, const struct digest *diff_id, const struct ly_toc *t,
               struct bld_err *err) MUST_CHECK;

#endif
