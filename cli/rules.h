/* What `bld analyze` demands of an image: from flags, and from files as dive reads them. */
#ifndef CLI_RULES_H
#define CLI_RULES_H

#include "base/base.h"

enum rule_id { RULE_EFFICIENCY, RULE_WASTED, RULE_SHARE, RULE_SIZE, RULE_LAYERS, RULES };

struct rule {
        bool set, off; /* off: said to be disabled */
        double ratio;  /* RULE_EFFICIENCY at least, RULE_SHARE at most */
        uint64_t n;    /* the others, at most */
};
struct rules {
        struct rule v[RULES];
};

/* "lowestEfficiency" and so on. */
const char *rules_name(enum rule_id id);

/* One value. flag: its sizes are bld's (20m is 20 * 2^20); else dive's (20MB is 20 * 10^6). where:
 * named by errors ("--max-size"). USAGE. */
int rules_set(struct rules *r, enum rule_id id, const char *value, bool flag, const char *where,
              struct bld_err *err) MUST_CHECK;
/* A .dive-ci file (YAML): the rules it names are set. USAGE with file and line. */
int rules_read(struct rules *r, const char *text, size_t n, const char *file,
               struct bld_err *err) MUST_CHECK;

#endif
