/* --filter of du and prune. */
#ifndef LIB_SPACE_PRIV_H
#define LIB_SPACE_PRIV_H

#include <regex.h>

#include "bld/bld.h"
#include "cas/cas.h"

enum space_op { SPACE_EQ, SPACE_NE, SPACE_MATCH };
struct space_term {
        enum space_key { SPACE_ID, SPACE_TYPE, SPACE_IN_USE, SPACE_SHARED } key;
        enum space_op op;
        unsigned types; /* bits of enum cas_item_kind */
        bool flag;
        bool compiled;
        regex_t re;
};
VEC_DEFINE(space_terms, struct space_term);

struct space_filter {
        struct space_terms terms; /* all must hold */
        int64_t until_sec;        /* unused for so long; 0: any */
        bool names_mounts;
};
int space_filter_parse(const struct bld_list *filters, struct space_filter *ret,
                       struct bld_err *err) MUST_CHECK;
void space_filter_done(struct space_filter *f);
/* The age is not looked at: collection does. */
bool space_filter_match(const struct space_filter *f, const struct cas_item *it);
const char *space_type_name(enum cas_item_kind kind);

#endif
