#include "cli/rules.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "base/err.h"
#include "base/num.h"
#include "base/opt.h"

/* dive's names, those of its newer configuration, and bld's own rules. */
static const struct {
        const char *name, *other;
} names[RULES] = {
        [RULE_EFFICIENCY] = {"lowestEfficiency", "lowest-efficiency-threshold"},
        [RULE_WASTED] = {"highestWastedBytes", "highest-wasted-bytes"},
        [RULE_SHARE] = {"highestUserWastedPercent", "highest-user-wasted-percent"},
        [RULE_SIZE] = {"maxSize", "max-size"},
        [RULE_LAYERS] = {"maxLayers", "max-layers"},
};

const char *rules_name(enum rule_id id)
{
        return names[id].name;
}

/* ---- values ---- */

static bool parse_ratio(const char *s, double *ret)
{
        char *end;
        double v;

        if (!*s || s[strspn(s, "0123456789.eE+-")])
                return false;
        v = strtod(s, &end);
        if (*end || !isfinite(v) || v < 0 || v > 1)
                return false;
        *ret = v;
        return true;
}

/* Sizes as dive reads them: 20MB is 20 * 10^6, 20MiB 20 * 2^20. */
static bool parse_dive_size(const char *s, uint64_t *ret)
{
        static const char units[] = "bkmgtp";
        size_t digits = strspn(s, "0123456789.");
        const char *unit = s + digits + strspn(s + digits, " "), *at;
        double v, step = 1000;
        char *end;

        if (!digits)
                return false;
        v = strtod(s, &end);
        if (end != s + digits)
                return false;
        if (*unit) {
                at = strchr(units, *unit | 0x20);
                if (!at || !*at)
                        return false;
                if (at > units && (unit[1] | 0x20) == 'i')
                        step = 1024;
                for (; at > units; at--)
                        v *= step;
                unit += step > 1000 ? 2 : 1;
                if ((*unit | 0x20) == 'b' && (unit[-1] | 0x20) != 'b')
                        unit++;
        }
        if (*unit || v >= 1e18)
                return false;
        *ret = (uint64_t)v;
        return true;
}

static bool is_off(const char *s)
{
        return !*s || strcasecmp(s, "disabled") == 0 || strcasecmp(s, "off") == 0 ||
               strcasecmp(s, "false") == 0;
}

int rules_set(struct rules *r, enum rule_id id, const char *value, bool flag, const char *where,
              struct bld_err *err)
{
        struct rule *k = &r->v[id];
        const char *wants = "a size like 20MB";
        bool ok = true;

        *k = (struct rule){.set = true, .off = is_off(value)};
        if (k->off)
                return 0;
        switch (id) {
        case RULE_EFFICIENCY:
        case RULE_SHARE:
                wants = "a ratio from 0 to 1";
                ok = parse_ratio(value, &k->ratio);
                break;
        case RULE_WASTED:
        case RULE_SIZE:
                ok = flag ? parse_size(value, &k->n) : parse_dive_size(value, &k->n);
                break;
        case RULE_LAYERS:
                wants = "a number";
                ok = parse_u64(value, 0, 1000000, &k->n);
                break;
        case RULES:
                break;
        }
        return ok ? 0
                  : err_set(err, BLD_E_USAGE, "%s takes %s or \"disabled\", not \"%.100s\"", where,
                            wants, value);
}

/* ---- files ---- */

struct yaml {
        yaml_document_t doc;
        bool open;
        const char *file;
        struct rules *r;
};

static int bad(const struct yaml *y, const yaml_node_t *at, const char *what, struct bld_err *err)
{
        return err_set(err, BLD_E_USAGE, "%.500s:%zu: %s", y->file, at->start_mark.line + 1, what);
}

/* NULL: no scalar, or one that C would take for a shorter one. */
static const char *scalar(const yaml_node_t *k)
{
        const char *s;

        if (!k || k->type != YAML_SCALAR_NODE)
                return NULL;
        s = (const char *)k->data.scalar.value;
        return strlen(s) == k->data.scalar.length ? s : NULL;
}

static int unknown(const struct yaml *y, const yaml_node_t *at, const char *key,
                   struct bld_err *err)
{
        const char *known[RULES], *near;

        for (size_t i = 0; i < RULES; i++)
                known[i] = names[i].name;
        near = near_match(key, known, RULES, 6);
        (void)err_set(err, BLD_E_USAGE, "%.500s:%zu: there is no rule \"%.100s\"", y->file,
                      at->start_mark.line + 1, key);
        return near ? err_try(err, BLD_E_USAGE, "%s", near) : BLD_E_USAGE;
}

static int take_rule(const struct yaml *y, const yaml_node_t *key, const yaml_node_t *value,
                     struct bld_err *err)
{
        const char *name = scalar(key), *text = scalar(value);
        char where[700];
        size_t id = 0;

        if (!name)
                return bad(y, key, "a rule's name is expected", err);
        while (id < RULES && strcmp(names[id].name, name) != 0 &&
               strcmp(names[id].other, name) != 0)
                id++;
        if (id == RULES)
                return unknown(y, key, name, err);
        if (!text)
                return bad(y, key, "the rule's value is no number, size or \"disabled\"", err);
        (void)snprintf(where, sizeof(where), "%.500s:%zu: %s", y->file, key->start_mark.line + 1,
                       name);
        return rules_set(y->r, (enum rule_id)id, text, false, where, err);
}

/* Rules stand below `rules:`, or (in dive's newer form) at the top. */
static int take_map(struct yaml *y, const yaml_node_t *map, bool top, struct bld_err *err)
{
        int r = 0;

        if (map->type == YAML_SCALAR_NODE && map->data.scalar.length == 0)
                return 0; /* nothing there */
        if (map->type != YAML_MAPPING_NODE)
                return bad(y, map, "rules are written NAME: VALUE", err);
        for (yaml_node_pair_t *p = map->data.mapping.pairs.start;
             r == 0 && p < map->data.mapping.pairs.top; p++) {
                const yaml_node_t *key = yaml_document_get_node(&y->doc, p->key);
                const yaml_node_t *value = yaml_document_get_node(&y->doc, p->value);
                const char *name = scalar(key);

                if (top && name && strcmp(name, "rules") == 0)
                        r = take_map(y, value, false, err);
                else
                        r = take_rule(y, key, value, err);
        }
        return r;
}

static void yaml_done(struct yaml *y)
{
        if (y->open)
                yaml_document_delete(&y->doc);
}

int rules_read(struct rules *r, const char *text, size_t n, const char *file, struct bld_err *err)
{
        AUTO(yaml_done) struct yaml y = {.file = file, .r = r};
        const yaml_node_t *root;
        yaml_parser_t p;
        int e = 0;

        if (!yaml_parser_initialize(&p))
                return err_nomem(err, "rules");
        yaml_parser_set_input_string(&p, (const unsigned char *)text, n);
        y.open = yaml_parser_load(&p, &y.doc);
        if (!y.open)
                e = p.error == YAML_MEMORY_ERROR
                            ? err_nomem(err, "rules")
                            : err_set(err, BLD_E_USAGE, "%.500s:%zu: %s", file,
                                      p.problem_mark.line + 1,
                                      p.problem ? p.problem : "this is no YAML");
        yaml_parser_delete(&p);
        if (e < 0)
                return e;
        root = yaml_document_get_root_node(&y.doc);
        return root ? take_map(&y, root, true, err) : 0;
}
