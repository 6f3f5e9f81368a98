/* Root file systems in and out: import and export. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/input.h"
#include "base/num.h"
#include "base/sys.h"
#include "bld/build.h"
#include "bld/registry.h"
#include "builder/image/pack.h"
#include "builder/transport.h"
#include "layer/layer.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"
#include "registry/registry.h"

#define DOWNLOAD_MAX ((uint64_t)1 << 40)

/* ---- export ---- */

int bld_export(struct bld *b, const char *ref, const char *platform, const char *path, int out_fd,
               struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        struct img_platform want;
        struct bd_open_opts o = {
                .platform = &want, .layers = true, .offline = b->o.offline, .in_fd = -1};
        struct bd_export x = {.desc = &im.desc, .dest = path, .out_fd = out_fd, .platform = &want};
        int r = lib_platform(platform, &want, err);

        if (r == 0)
                r = img_place_parse(ref, &p, err);
        if (r == 0)
                r = bd_open(&b->ctx, &p, &o, &im, &root, err);
        return r == 0 ? bd_emit_tar(&b->ctx, &x, err) : r;
}

/* ---- import: where the tar comes from ---- */

static int room(struct bld *b, int *ret, struct bld_err *err)
{
        *ret = sys_openat(cas_root_fd(b->cas), "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        return *ret < 0 ? err_sys(err, errno, "make room for an archive") : 0;
}

static int file_sink_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        return fd_write_all(*(const int *)user, p, n, err);
}

static int file_sink_rewind(void *user, struct bld_err *err)
{
        int fd = *(const int *)user;

        if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                return err_sys(err, errno, "start a download again");
        return 0;
}

static int download(struct bld *b, const char *url, int *ret_fd, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        struct reg_sink sink = {.write = file_sink_write, .rewind = file_sink_rewind, .user = &fd};
        struct reg_http h = {.url = url, .max_bytes = DOWNLOAD_MAX};
        struct reg_http_res res = {.etag = NULL};
        struct reg_client *reg = NULL;
        int r = room(b, &fd, err);

        if (r == 0)
                r = b->ctx.registry(b->ctx.user, &reg, err);
        if (r == 0)
                r = reg_http_get(reg, &h, &sink, &res, err);
        reg_http_res_done(&res);
        if (r == 0)
                *ret_fd = take_fd(&fd);
        return r;
}

/* A file as it is; what cannot be read twice is copied to one without a name. */
static int open_input(struct bld *b, const char *path, int in_fd, int *ret, struct bld_err *err)
{
        AUTO_FD int fd = -1, copy = -1;
        struct ly_input from;
        struct ly_source in;
        struct ly_sink out;
        struct stat st;
        int r;

        if (str_has_prefix(path, "http://") || str_has_prefix(path, "https://"))
                return download(b, path, ret, err);
        fd = strcmp(path, "-") == 0 ? fcntl(in_fd, F_DUPFD_CLOEXEC, 3) : input_open(path);
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_set(err, BLD_E_INVALID, "open %s: %s", path, strerror(errno));
        if (S_ISDIR(st.st_mode))
                return err_set(err, BLD_E_INVALID, "%s is a folder, not an archive", path);
        if (S_ISREG(st.st_mode)) {
                *ret = take_fd(&fd);
                return 0;
        }
        r = room(b, &copy, err);
        if (r < 0)
                return r;
        from = (struct ly_input){.fd = fd, .cancel = &b->cancel};
        in = ly_source_input(&from);
        out = ly_sink_fd(copy);
        r = ly_copy(&in, &out, NULL, err);
        if (r == 0)
                *ret = take_fd(&copy);
        return r;
}

/* ---- import: the layer ---- */

/* Every entry of the archive, read by the parser that takes hostile ones and written anew: bzip2,
 * xz and odd headers do not get into a layer. */
static int repack(struct ly_reader *in, struct ly_writer *out, struct bld_err *err)
{
        AUTO_FREE char *buf = mem_alloc(256u << 10);
        const struct ly_entry *e = NULL;
        int r;

        if (!buf)
                return err_nomem(err, "layer");
        while ((r = ly_reader_next(in, &e, err)) > 0) {
                ssize_t k = 0;

                r = ly_writer_entry(out, e, err);
                while (r == 0 && e->type == LY_FILE &&
                       (k = ly_reader_data(in, buf, 256u << 10, err)) > 0)
                        r = ly_writer_data(out, buf, (size_t)k, err);
                if (r == 0 && k < 0)
                        r = (int)k;
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : ly_writer_end(out, err);
}

static int make_layer(struct bld *b, int fd, struct bd_layer *ret, struct bld_err *err)
{
        struct ly_writer_opts wo = {.all_xattrs = true};
        struct ly_pack_opts po = {.codec = LY_CODEC_GZIP};
        AUTO(ly_reader_free_p) struct ly_reader *in = NULL;
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        AUTO(bd_packer_free_p) struct bd_packer *pack = NULL;
        struct ly_sink tar;
        int r = bd_packer_new(&b->ctx, &po, &pack, err);

        if (r < 0)
                return r;
        tar = bd_packer_tar(pack);
        r = ly_writer_new(&tar, &wo, &w, err);
        if (r == 0)
                r = ly_archive_open(fd, NULL, &in, err);
        if (r == 0)
                r = repack(in, w, err);
        if (r == 0)
                r = bd_packer_end(pack, ret, err);
        ret->created_sec = time_now_ns() / 1000000000;
        return r;
}

/* ---- import: the image ---- */

static int fill_config(struct img_config *c, const struct bd_layer *l, const char *path,
                       const struct bld_import_opts *o, struct bld_err *err)
{
        char created[RFC3339_MAX];
        AUTO_FREE char *by = NULL, *comment = NULL;
        struct img_history h = {.created = created};
        int r = lib_platform(o->platform, &c->platform, err);

        if (r < 0)
                return r;
        format_rfc3339(l->created_sec, 0, created);
        if (asprintf(&by, "import %s", strcmp(path, "-") == 0 ? "from standard input" : path) < 0)
                by = NULL;
        comment = o->message ? mem_strdup(o->message) : NULL;
        c->created = mem_strdup(created);
        if (!by || !c->created || (o->message && !comment))
                return err_nomem(err, "config");
        h.created_by = by;
        h.comment = comment;
        return img_config_add_history(c, &h) < 0 ? err_nomem(err, "config") : 0;
}

/* What docker import takes; anything else would run or copy something. */
static int check_change(const char *s, struct bld_err *err)
{
        static const char *const known[] = {"CMD",         "ENTRYPOINT", "ENV",        "EXPOSE",
                                            "HEALTHCHECK", "LABEL",      "MAINTAINER", "ONBUILD",
                                            "SHELL",       "STOPSIGNAL", "USER",       "VOLUME",
                                            "WORKDIR"};
        size_t n = strcspn(s, " \t");

        if (strchr(s, '\n'))
                return err_set(err, BLD_E_USAGE, "--change takes one instruction");
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
                if (strlen(known[i]) == n && strncasecmp(s, known[i], n) == 0)
                        return 0;
        return err_set(err, BLD_E_USAGE, "--change does not take %.*s", (int)MIN(n, (size_t)50), s);
}

/* The changes are instructions, so a build applies them: FROM the image of the layer. */
static int apply(struct bld *b, const struct img_desc *desc, const struct bld_import_opts *o,
                 const char *name, char ret_digest[160], struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(1u << 20);
        AUTO_SB struct sb base = SB_INIT(4096);
        struct bld_build_result res = {.size = sizeof(res)};
        char hex[DIGEST_HEX_MAX], base_name[64];
        const char *context;
        AUTO_FD int fd = -1;
        struct bld_build_opts bo = {.size = sizeof(bo)};
        int r = room(b, &fd, err);

        /* FROM needs a name, which is gone again when the build is over */
        digest_hex(&desc->digest, hex);
        (void)snprintf(base_name, sizeof(base_name), "localhost/bld-import:%.32s", hex);
        if (r == 0)
                r = cas_ref_set(b->cas, base_name, desc, err);
        if (r < 0)
                return r;
        sb_fmt(&base, "imported=store:%s", base_name);
        r = sb_check(&base, "changes", err);
        context = sb_text(&base);
        sb_str(&text, "FROM imported\n");
        for (size_t i = 0; i < o->changes.n; i++)
                sb_fmt(&text, "%s\n", o->changes.v[i]);
        if (r == 0)
                r = sb_check(&text, "changes", err);
        if (r == 0)
                r = fd_write_all(fd, sb_text(&text), text.len, err);
        if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
                r = err_sys(err, errno, "read the changes");
        bo.context = "-";
        bo.stdin_fd = fd;
        bo.build_contexts = (struct bld_list){&context, 1};
        bo.tags = (struct bld_list){&name, name ? 1 : 0};
        bo.platforms = (struct bld_list){&o->platform, o->platform ? 1 : 0};
        if (r == 0)
                r = bld_build(b, &bo, &res, err);
        (void)!cas_ref_remove(b->cas, base_name, NULL);
        if (r == 0)
                (void)str_copy(ret_digest, 160, res.digest);
        return r;
}

int bld_import(struct bld *b, const char *path, const char *name, const struct bld_import_opts *o,
               char ret_digest[160], struct bld_err *err)
{
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        AUTO(img_config_done) struct img_config config;
        AUTO(img_desc_done) struct img_desc desc = {.media_type = NULL};
        AUTO_FREE char *full = NULL;
        AUTO_FD int fd = -1;
        struct bld_import_opts own;
        char digest[DIGEST_STR_MAX];
        struct bd_layer *l;
        int r = lib_opts_copy(&own, sizeof(own), o, "import", err);

        img_config_init(&config);
        if (r == 0 && name)
                r = lib_full_name(name, &full, err);
        for (size_t i = 0; r == 0 && i < own.changes.n; i++)
                r = check_change(own.changes.v[i], err);
        if (r == 0)
                r = open_input(b, path, own.in_fd, &fd, err);
        if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
                r = err_sys(err, errno, "read %s", path);
        if (r == 0 && ly_archive_sniff(fd, NULL) <= 0)
                r = err_set(err, BLD_E_MALFORMED, "%s is not a tar archive", path);
        l = r == 0 ? bd_layers_push(&layers) : NULL;
        if (r == 0 && !l)
                r = err_nomem(err, "layer");
        if (r == 0)
                r = make_layer(b, fd, l, err);
        if (r == BLD_E_CORRUPT)
                return bd_file_fault(r, err);
        if (r == 0)
                r = fill_config(&config, l, path, &own, err);
        if (r == 0)
                r = bd_assemble(&b->ctx, &config, &layers, BD_FORMAT_OCI, NULL, &desc, NULL, err);
        if (r < 0)
                return r;
        if (own.changes.n)
                return apply(b, &desc, &own, full, ret_digest, err);
        r = cas_ref_set(b->cas, full, &desc, err);
        digest_format(&desc.digest, digest);
        if (r == 0)
                (void)str_copy(ret_digest, 160, digest);
        return r;
}
