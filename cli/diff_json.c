/* The difference for programs: one document, or a line for each thing (docs/diff.md has the form).
 * Written as it goes: a document of a million changes takes no more memory than one of them. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/diff.h"
#include "cli/text.h"

#define FORM_VERSION 1

struct doc {
        const struct diff_result *r;
        struct diff_content *content;
        struct out *o;
        bool lines;
        bool comma; /* before the next element of a list */
};

static void put_str(struct sb *out, const char *key, const char *s)
{
        sb_fmt(out, "\"%s\":", key);
        text_json(out, s, strlen(s));
}

static void put_opt_str(struct sb *out, const char *key, const char *s)
{
        if (!s)
                return;
        sb_char(out, ',');
        put_str(out, key, s);
}

/* An element of a list, or a line with its type. */
static void begin(struct doc *d, const char *type)
{
        struct sb *out = &d->o->buf;

        if (d->lines) {
                sb_fmt(out, "{\"type\":\"%s\",", type);
                return;
        }
        sb_str(out, d->comma ? ",\n    {" : "\n    {");
        d->comma = true;
}

static int end(struct doc *d, struct bld_err *err)
{
        sb_str(&d->o->buf, d->lines ? "}\n" : "}");
        return out_flow(d->o, err);
}

static void begin_list(struct doc *d, const char *name)
{
        if (!d->lines)
                sb_fmt(&d->o->buf, ",\n  \"%s\": [", name);
        d->comma = false;
}

static void end_list(struct doc *d)
{
        if (!d->lines)
                sb_str(&d->o->buf, d->comma ? "\n  ]" : "]");
}

/* ---- files ---- */

static const char *type_name(enum bld_layer_type t)
{
        static const char *const names[] = {
                [BLD_LAYER_FILE] = "file",       [BLD_LAYER_DIR] = "dir",
                [BLD_LAYER_SYMLINK] = "symlink", [BLD_LAYER_HARDLINK] = "file",
                [BLD_LAYER_CHAR] = "char",       [BLD_LAYER_BLOCK] = "block",
                [BLD_LAYER_FIFO] = "fifo",       [BLD_LAYER_WHITEOUT] = "whiteout",
                [BLD_LAYER_OPAQUE] = "opaque",
        };

        return names[t];
}

static void put_path(struct sb *out, const char *key, const char *path)
{
        AUTO_SB struct sb full = SB_INIT((size_t)1 << 20);

        sb_fmt(&full, "/%s", path);
        text_json_name(out, key, sb_text(&full), full.len);
}

static int put_xattrs(struct sb *out, const struct bld_tree *t, size_t node, size_t n,
                      struct bld_err *err)
{
        sb_str(out, ",\"xattrs\":[");
        for (size_t k = 0; k < n; k++) {
                const char *name;
                const void *value;
                size_t len;
                int r = bld_tree_xattr(t, node, k, &name, &value, &len, err);

                if (r < 0)
                        return r;
                sb_str(out, k ? ",{" : "{");
                text_json_name(out, "name", name, strlen(name));
                sb_str(out, ",\"valueBase64\":\"");
                text_base64(out, value, len);
                sb_str(out, "\"}");
        }
        sb_char(out, ']');
        return 0;
}

static int put_node(struct sb *out, const char *key, const struct bld_tree *t,
                    const struct bld_tree_node *n, size_t index, const char *summary,
                    const unsigned char *sha256, struct bld_err *err)
{
        char mtime[RFC3339_MAX];
        int64_t sec = n->mtime_ns / 1000000000, nsec = n->mtime_ns % 1000000000;
        int r = 0;

        sec -= nsec < 0;
        nsec += nsec < 0 ? 1000000000 : 0;
        format_rfc3339(sec, nsec, mtime);
        sb_fmt(out, ",\"%s\":{\"type\":\"%s\",\"mode\":\"%04o\",\"uid\":%u,\"gid\":%u,", key,
               type_name(n->type), n->mode, n->uid, n->gid);
        put_str(out, "mtime", mtime);
        sb_fmt(out, ",\"layer\":%u", n->layer);
        if (n->type == BLD_LAYER_FILE)
                sb_fmt(out, ",\"size\":%llu", (unsigned long long)n->file_size);
        sha256 = n->sha256 ? n->sha256 : sha256;
        if (sha256) {
                sb_str(out, ",\"digest\":\"sha256:");
                for (size_t i = 0; i < 32; i++)
                        sb_fmt(out, "%02x", sha256[i]);
                sb_char(out, '"');
        }
        if (n->type == BLD_LAYER_SYMLINK && n->link) {
                sb_char(out, ',');
                text_json_name(out, "link", n->link, strlen(n->link));
        }
        if (n->type == BLD_LAYER_CHAR || n->type == BLD_LAYER_BLOCK)
                sb_fmt(out, ",\"device\":\"%u:%u\"", n->dev_major, n->dev_minor);
        if (n->first_name) {
                sb_char(out, ',');
                put_path(out, "hardLinkOf", n->first_name);
        }
        if (n->implied)
                sb_str(out, ",\"implied\":true");
        if (n->nxattrs)
                r = put_xattrs(out, t, index, n->nxattrs, err);
        if (summary && *summary) {
                sb_char(out, ',');
                put_str(out, "content", summary);
        }
        sb_char(out, '}');
        return r;
}

static void put_what(struct sb *out, unsigned what)
{
        static const char *const names[] = {"type", "content", "size",  "link",   "device", "mode",
                                            "uid",  "gid",     "mtime", "xattrs", "links"};
        const char *sep = "";

        sb_str(out, ",\"what\":[");
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (what & 1u << i) {
                        sb_fmt(out, "%s\"%s\"", sep, names[i]);
                        sep = ",";
                }
        sb_char(out, ']');
}

static int put_change(struct doc *d, size_t i, struct bld_err *err)
{
        static const char *const kinds[] = {
                [BLD_CHANGE_ADDED] = "added",       [BLD_CHANGE_DELETED] = "deleted",
                [BLD_CHANGE_MODIFIED] = "modified", [BLD_CHANGE_TYPE] = "type",
                [BLD_CHANGE_METADATA] = "metadata",
        };
        AUTO_SB struct sb hunks = SB_INIT((size_t)1 << 30);
        struct bld_diff *files = d->r->files;
        struct diff_content_sides c = {.kind = DIFF_CONTENT_NONE};
        struct sb *out = &d->o->buf;
        struct diff_sides s;
        int r = diff_sides(files, i, &s, err);

        if (r == 0 && d->content)
                r = diff_content_of(d->content, i, &c, &hunks, err);
        if (r < 0)
                return r;
        begin(d, "file");
        put_path(out, "path", s.change->path);
        sb_fmt(out, ",\"status\":\"%s\"", kinds[s.change->kind]);
        if (s.change->what)
                put_what(out, s.change->what);
        if (s.change->unsure)
                sb_str(out, ",\"unsure\":true");
        if (s.change->renamed != BLD_NO_NODE) {
                sb_char(out, ',');
                put_path(out, s.has_after ? "renamedFrom" : "renamedTo",
                         bld_diff_change(files, s.change->renamed)->path);
        }
        if (s.has_before)
                r = put_node(out, "before", bld_diff_tree_a(files), &s.before, s.change->before,
                             c.before, c.sha256_before, err);
        if (r == 0 && s.has_after)
                r = put_node(out, "after", bld_diff_tree_b(files), &s.after, s.change->after,
                             c.after, c.sha256_after, err);
        if (c.kind == DIFF_CONTENT_TEXT && hunks.len) {
                sb_char(out, ',');
                text_json_name(out, "diff", sb_text(&hunks), hunks.len);
        }
        return r < 0 ? r : end(d, err);
}

/* ---- the rest ---- */

static int put_files(struct doc *d, struct bld_err *err)
{
        int r = 0;

        begin_list(d, "files");
        for (size_t i = 0; r == 0 && i < bld_diff_count(d->r->files); i++)
                r = put_change(d, i, err);
        end_list(d);
        return r;
}

static int put_config(struct doc *d, struct bld_err *err)
{
        int r = 0;

        begin_list(d, "config");
        for (size_t i = 0; r == 0 && i < bld_config_diff_count(d->r->config); i++) {
                const struct bld_config_change *c = bld_config_diff_change(d->r->config, i);
                struct sb *out = &d->o->buf;

                begin(d, "config");
                put_str(out, "field", c->field);
                put_opt_str(out, "key", c->key);
                put_opt_str(out, "before", c->before);
                put_opt_str(out, "after", c->after);
                r = end(d, err);
        }
        end_list(d);
        return r;
}

static void put_version(struct sb *out, const char *key, const struct bld_package *p)
{
        if (!p)
                return;
        sb_fmt(out, ",\"%s\":{", key);
        put_str(out, "version", p->version);
        put_opt_str(out, "arch", p->arch);
        put_opt_str(out, "source", p->source);
        if (p->installed)
                sb_fmt(out, ",\"size\":%llu", (unsigned long long)p->installed);
        sb_char(out, '}');
}

static int put_packages(struct doc *d, struct bld_err *err)
{
        int r = 0;

        begin_list(d, "packages");
        for (size_t i = 0; r == 0 && i < d->r->packages.n; i++) {
                const struct diff_package *p = &d->r->packages.v[i];
                const struct bld_package *any = p->after ? p->after : p->before;
                struct sb *out = &d->o->buf;

                begin(d, "package");
                put_str(out, "manager", any->manager);
                put_opt_str(out, "name", any->name);
                put_version(out, "before", p->before);
                put_version(out, "after", p->after);
                r = end(d, err);
        }
        end_list(d);
        return r;
}

static void put_layer(struct sb *out, const char *key, const struct bld_layer_info *l)
{
        if (!l)
                return;
        sb_fmt(out, ",\"%s\":{\"number\":%zu", key, l->number);
        put_opt_str(out, "digest", l->digest);
        put_opt_str(out, "diffID", l->diff_id);
        put_opt_str(out, "mediaType", l->media_type);
        if (l->digest)
                sb_fmt(out, ",\"size\":%llu", (unsigned long long)l->blob_size);
        put_opt_str(out, "createdBy", l->created_by);
        sb_char(out, '}');
}

static int put_layers(struct doc *d, struct bld_err *err)
{
        int r = 0;

        begin_list(d, "layers");
        for (size_t i = 0; r == 0 && i < d->r->layers.n; i++) {
                const struct diff_layer *l = &d->r->layers.v[i];
                struct sb *out = &d->o->buf;

                begin(d, "layer");
                sb_fmt(out, "\"status\":\"%s\",\"differs\":%s", diff_layer_name(l->kind),
                       l->differs ? "true" : "false");
                put_layer(out, "before", l->before);
                put_layer(out, "after", l->after);
                r = end(d, err);
        }
        end_list(d);
        return r;
}

static void put_image(struct sb *out, const char *key, const struct bld_image *im)
{
        const char *name = bld_image_name(im);

        sb_fmt(out, ",\"%s\":{", key);
        text_json_name(out, "name", name, strlen(name));
        put_opt_str(out, "digest", bld_image_digest(im));
        sb_fmt(out, ",\"layers\":%zu}", bld_image_layers(im));
}

/* What every form begins with, in lines the first of them. */
static void put_head(struct doc *d)
{
        static const char *const modes[] = {"files", "layers", "config", "packages"};
        struct sb *out = &d->o->buf;
        const char *sep = "";

        sb_str(out, d->lines ? "{\"type\":\"head\"," : "{\n  ");
        sb_fmt(out, "\"apiVersion\":\"bld/v1\",\"version\":%d", FORM_VERSION);
        put_image(out, "a", d->r->a);
        put_image(out, "b", d->r->b);
        sb_str(out, ",\"compared\":[");
        for (size_t i = 0; i < ARRAY_LEN(modes); i++)
                if (d->r->ask->modes & 1u << i) {
                        sb_fmt(out, "%s\"%s\"", sep, modes[i]);
                        sep = ",";
                }
        sb_str(out, "],\"ignored\":[");
        sep = "";
        for (const char *s = d->r->ask->ignored; s && *s;) {
                size_t n = strcspn(s, ",");

                sb_str(out, sep);
                text_json(out, s, n);
                sep = ",";
                s += n + (s[n] == ',');
        }
        sb_char(out, ']');
        if (d->lines)
                sb_str(out, "}\n");
}

static void put_tail(struct doc *d)
{
        const struct bld_pull_cost *c = &d->r->cost;
        struct sb *out = &d->o->buf;

        sb_str(out, d->lines ? "{\"type\":\"summary\"," : ",\n  ");
        sb_fmt(out, "\"differ\":%s,\"unsure\":%zu", d->r->differ ? "true" : "false", d->r->unsure);
        if (d->r->has_cost)
                sb_fmt(out,
                       ",\"pull\":{\"bytes\":%llu,\"totalBytes\":%llu,\"sharedLayers\":%zu,"
                       "\"changedLayers\":%zu,\"recompressedLayers\":%zu,\"commonLayers\":%zu}",
                       (unsigned long long)c->bytes, (unsigned long long)c->total, c->shared,
                       c->changed, c->same_tar, c->prefix);
        sb_str(out, d->lines ? "}\n" : "\n}\n");
}

int diff_write_json(const struct diff_result *res, struct diff_content *content, bool lines,
                    struct out *o, struct bld_err *err)
{
        struct doc d = {.r = res, .content = content, .o = o, .lines = lines};
        int r = 0;

        put_head(&d);
        if (res->config)
                r = put_config(&d, err);
        if (r == 0 && res->files && (res->ask->modes & DIFF_FILES))
                r = put_files(&d, err);
        if (r == 0 && (res->ask->modes & DIFF_PACKAGES))
                r = put_packages(&d, err);
        if (r == 0 && (res->ask->modes & DIFF_LAYERS))
                r = put_layers(&d, err);
        if (r == 0)
                put_tail(&d);
        return r;
}
