/* Reading image archives and layouts that come from anywhere. Every name inside is looked up in the
 * list of members (or opened below the folder, no link followed), never on the file system. */
#ifndef BUILDER_LOAD_PRIV_H
#define BUILDER_LOAD_PRIV_H

#include "base/map.h"
#include "builder/builder.h"

#define BD_LOAD_MEMBERS_MAX 200000u
#define BD_LOAD_JSON_MAX (16u << 20)

/* A place that images are loaded from. */
struct bd_input {
        struct bd_ctx *c;
        const char *what; /* as the user named it, for messages */
        int dir;          /* a layout folder, or -1 */
        int fd;           /* a plain tar, or -1 */
        struct cas_tmp *tmp;
        struct map members; /* path -> struct bd_member */
        bool unnamed;       /* what is loaded gets no name in the store */
};
struct bd_member {
        bool link; /* target holds where it leads */
        uint64_t off, size;
        char target[];
};

/* An opened member: bytes [off, off + size) of fd. */
struct bd_part {
        int fd;
        bool owned;
        uint64_t off, size;
};
void bd_part_done(struct bd_part *p);

int bd_input_open(struct bd_ctx *c, const char *path, int in_fd, struct bd_input *ret,
                  struct bld_err *err) MUST_CHECK;
void bd_input_done(struct bd_input *in);
/* 1 and the member (one link followed), 0 when there is none. */
int bd_input_find(struct bd_input *in, const char *name, struct bd_part *ret, struct bld_err *err);
/* 1 and its bytes, 0 when there is none. LIMIT beyond max. */
int bd_input_read(struct bd_input *in, const char *name, size_t max, struct sb *out,
                  struct bld_err *err);
/* Bytes of a part as a stream. */
struct bd_part_source {
        const struct bd_part *part;
        uint64_t at;
        const struct cancel *cancel;
};
ssize_t bd_part_read(void *user, void *p, size_t n, struct bld_err *err);

/* load_docker.c: what manifest.json lists. */
int bd_load_docker(struct bd_input *in, const char *manifest_json, size_t len, struct strv *names,
                   struct img_descs *descs, struct bld_err *err) MUST_CHECK;
/* Name an image that is in the store now, and say so. name NULL: untagged. */
int bd_load_named(struct bd_input *in, const char *name, const struct img_desc *desc,
                  struct strv *names, struct img_descs *descs, struct bld_err *err) MUST_CHECK;

/* The entries of a layout's index.json, their types filled in: 1, or 0 when it is no layout (or one
 * that counts for nothing beside its manifest.json). */
int bd_load_index(struct bd_input *in, struct img_index *ret, struct bld_err *err);
/* "blobs/<algorithm>/<hex>" */
void bd_input_blob_path(const struct digest *d, char out[16 + DIGEST_HEX_MAX]);
/* The whole name an entry has, or NULL where it has none or only a tag. */
const char *bd_entry_name(const struct img_desc *d);
/* Bring one blob of a layout into the store. */
int bd_load_blob(struct bd_input *in, const struct img_desc *d, struct bld_err *err) MUST_CHECK;
/* Bring one manifest or index, with what it reaches, into the store without naming it.
 * d->media_type is filled in when it is missing. */
int bd_load_document(struct bd_input *in, struct img_desc *d, struct bld_err *err) MUST_CHECK;

#endif
