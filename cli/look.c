#include "cli/look.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/text.h"

int look_open(struct cli *c, const char *ref, const char *layer, const char *platform,
              const struct bld_watch *w, struct bld_image **ret, struct bld_err *err)
{
        const struct bld_image_open_opts o = {
                .size = sizeof(o), .platform = platform, .watch = w, .in_fd = 0};
        AUTO_FREE char *one = NULL;
        int64_t n;
        int r;

        if (layer && !parse_i64(layer, -1000000, 1000000, &n))
                return err_set(err, BLD_E_USAGE,
                               "--layer takes a number: 0 is the bottom, -1 the top, not \"%.50s\"",
                               layer);
        if (layer && asprintf(&one, "%s#%lld", ref, (long long)n) < 0) {
                one = NULL;
                return err_nomem(err, "name");
        }
        r = cli_open(c, err);
        return r < 0 ? r : bld_image_open(c->b, one ? one : ref, &o, ret, err);
}

/* ---- lines ---- */

static char type_letter(enum bld_layer_type t)
{
        static const char letters[] = {
                [BLD_LAYER_FILE] = '-',     [BLD_LAYER_DIR] = 'd',      [BLD_LAYER_SYMLINK] = 'l',
                [BLD_LAYER_HARDLINK] = 'h', [BLD_LAYER_CHAR] = 'c',     [BLD_LAYER_BLOCK] = 'b',
                [BLD_LAYER_FIFO] = 'p',     [BLD_LAYER_WHITEOUT] = 'w', [BLD_LAYER_OPAQUE] = 'o',
        };

        return letters[t];
}

static void mode_text(const struct look_entry *e, char out[11])
{
        static const char bits[] = "rwxrwxrwx";

        out[0] = type_letter(e->type);
        for (unsigned i = 0; i < 9; i++)
                out[1 + i] = e->mode & (0400u >> i) ? bits[i] : '-';
        if (e->mode & 04000)
                out[3] = e->mode & 0100 ? 's' : 'S';
        if (e->mode & 02000)
                out[6] = e->mode & 010 ? 's' : 'S';
        if (e->mode & 01000)
                out[9] = e->mode & 01 ? 't' : 'T';
        out[10] = '\0';
}

static void time_text(int64_t ns, char out[32])
{
        time_t sec = (time_t)(ns / 1000000000 - (ns % 1000000000 < 0));
        struct tm tm;

        out[0] = '\0';
        if (localtime_r(&sec, &tm))
                (void)strftime(out, 32, "%Y-%m-%d %H:%M", &tm);
}

static void size_text(const struct look_entry *e, bool human, char out[32])
{
        out[0] = '\0';
        if (e->type == BLD_LAYER_CHAR || e->type == BLD_LAYER_BLOCK)
                (void)snprintf(out, 32, "%u,%u", e->dev_major, e->dev_minor);
        else if (e->type == BLD_LAYER_FILE && human)
                format_size(e->size, out);
        else if (e->type == BLD_LAYER_FILE)
                (void)snprintf(out, 32, "%llu", (unsigned long long)e->size);
}

static void put_name(struct sb *out, const char *lead, const char *path, const char *tail)
{
        AUTO_SB struct sb full = SB_INIT((size_t)1 << 20);

        sb_fmt(&full, "%s%s%s", lead, path, tail);
        text_name(out, sb_text(&full), full.len);
}

void look_head(struct sb *out, bool wide)
{
        if (wide)
                sb_fmt(out, "%-10s %6s %6s %10s  %-16s  %5s  PATH\n", "MODE", "UID", "GID", "SIZE",
                       "TIME", "LAYER");
        else
                sb_fmt(out, "%5s  %10s  PATH\n", "LAYER", "SIZE");
}

void look_line(struct sb *out, const struct look_entry *e, bool wide, bool human)
{
        char mode[11], size[32], when[32];

        size_text(e, human, size);
        if (wide) {
                mode_text(e, mode);
                time_text(e->mtime_ns, when);
                sb_fmt(out, "%s %6u %6u %10s  %-16s  %5zu  ", mode, e->uid, e->gid, size, when,
                       e->layer);
        } else {
                sb_fmt(out, "%5zu  %10s  ", e->layer, size);
        }
        put_name(out, "/", e->path,
                 *e->path && (e->type == BLD_LAYER_DIR || e->type == BLD_LAYER_OPAQUE) ? "/" : "");
        if (e->type == BLD_LAYER_WHITEOUT)
                sb_str(out, " (removed)");
        if (e->type == BLD_LAYER_OPAQUE)
                sb_str(out, " (emptied)");
        if (e->link) {
                sb_str(out, " -> ");
                put_name(out, "", e->link, "");
        }
        if (e->hardlink && (wide || e->type == BLD_LAYER_HARDLINK)) {
                sb_str(out, " link to ");
                put_name(out, "/", e->hardlink, "");
        }
        sb_char(out, '\n');
}

/* ---- JSON ---- */

static const char *type_name(enum bld_layer_type t)
{
        static const char *const names[] = {
                [BLD_LAYER_FILE] = "file",       [BLD_LAYER_DIR] = "dir",
                [BLD_LAYER_SYMLINK] = "symlink", [BLD_LAYER_HARDLINK] = "hardlink",
                [BLD_LAYER_CHAR] = "char",       [BLD_LAYER_BLOCK] = "block",
                [BLD_LAYER_FIFO] = "fifo",       [BLD_LAYER_WHITEOUT] = "whiteout",
                [BLD_LAYER_OPAQUE] = "opaque",
        };

        return names[t];
}

static void json_name(struct sb *out, const char *key, const char *lead, const char *name, bool all)
{
        AUTO_SB struct sb full = SB_INIT((size_t)1 << 20);

        if (!name && !all)
                return;
        if (name)
                sb_fmt(&full, "%s%s", lead, name);
        sb_char(out, ',');
        text_json_name(out, key, sb_text(&full), full.len);
}

void look_json(struct sb *out, const struct look_entry *e, bool all)
{
        int64_t sec = e->mtime_ns / 1000000000, nsec = e->mtime_ns % 1000000000;
        char mtime[RFC3339_MAX], dev[32] = "";

        sec -= nsec < 0;
        nsec += nsec < 0 ? 1000000000 : 0;
        format_rfc3339(sec, nsec, mtime);
        sb_fmt(out, "{\"layer\":%zu", e->layer);
        json_name(out, "path", "/", e->path, all);
        sb_fmt(out, ",\"type\":\"%s\",\"mode\":\"%04o\",\"uid\":%u,\"gid\":%u,\"mtime\":\"%s\"",
               type_name(e->type), e->mode, e->uid, e->gid, mtime);
        if (all || e->type == BLD_LAYER_FILE)
                sb_fmt(out, ",\"size\":%llu", (unsigned long long)e->size);
        json_name(out, "link", "", e->link, all);
        json_name(out, "hardLinkOf", "/", e->hardlink, all);
        if (e->type == BLD_LAYER_CHAR || e->type == BLD_LAYER_BLOCK)
                (void)snprintf(dev, sizeof(dev), "%u:%u", e->dev_major, e->dev_minor);
        if (all || *dev)
                sb_fmt(out, ",\"device\":\"%s\"", dev);
        if (all || e->implied)
                sb_fmt(out, ",\"implied\":%s", e->implied ? "true" : "false");
        sb_char(out, '}');
}
