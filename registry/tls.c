/* Trust anchors and client certificates of a host: --ca, --client-cert, --cert-dir, and the certs.d
 * folders that docker and podman use. curl's CAINFO_BLOB replaces its default pool, so extras go
 * behind a copy of the system's bundle. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "registry/client_priv.h"

#define PEM_MAX (16u << 20)

void reg_tls_done(struct reg_tls *t)
{
        sb_done(&t->ca);
        free(t->cert);
        free(t->key);
        free(t->ca_dir);
        t->cert = t->key = t->ca_dir = NULL;
}

static int add_system(struct reg_tls *t, struct bld_err *err)
{
        static const char *const bundles[] = {
                "/etc/ssl/certs/ca-certificates.crt",
                "/etc/pki/tls/certs/ca-bundle.crt",
                "/etc/ssl/ca-bundle.pem",
                "/etc/ssl/cert.pem",
        };
        const char *env = getenv("SSL_CERT_FILE");

        if (t->ca.len > 0)
                return 0;
        if (env && *env)
                return file_read(AT_FDCWD, env, &t->ca, err);
        for (size_t i = 0; i < ARRAY_LEN(bundles); i++)
                if (file_read(AT_FDCWD, bundles[i], &t->ca, NULL) == 0)
                        return 0;
        /* no system pool: only what was added is trusted; a comment keeps the blob from being
         * empty, which would mean curl's default */
        sb_str(&t->ca, "# no system certificates found\n");
        return sb_check(&t->ca, "read certificates", err);
}

static int add_ca(struct reg_tls *t, int dirfd, const char *file, struct bld_err *err)
{
        AUTO_SB struct sb pem = SB_INIT(PEM_MAX);
        int r = add_system(t, err);

        if (r == 0)
                r = file_read(dirfd, file, &pem, err);
        if (r < 0)
                return r;
        if (!strstr(sb_text(&pem), "-----BEGIN"))
                return err_set(err, BLD_E_INVALID, "\"%s\" is not a PEM certificate", file);
        sb_char(&t->ca, '\n');
        sb_add(&t->ca, pem.buf, pem.len);
        return sb_check(&t->ca, "read certificates", err);
}

static char *path_in(const char *dir, const char *name, size_t len, const char *suffix)
{
        AUTO_SB struct sb b = SB_INIT(8192);

        sb_fmt(&b, "%s/%.*s%s", dir, (int)len, name, suffix);
        return sb_take(&b);
}

/* x.cert wants x.key and the other way round. */
static int add_pair(struct reg_tls *t, int fd, const char *dir, const char *name,
                    struct bld_err *err)
{
        bool is_key = str_has_suffix(name, ".key");
        size_t stem = strlen(name) - (is_key ? 4 : 5);
        AUTO_FREE char *cert = path_in(dir, name, stem, ".cert");
        AUTO_FREE char *key = path_in(dir, name, stem, ".key");
        const char *other = is_key ? cert : key;
        int r;

        if (!cert || !key)
                return err_nomem(err, "read certificates");
        if (faccessat(fd, strrchr(other, '/') + 1, R_OK, 0) != 0) {
                r = err_set(err, BLD_E_INVALID, "\"%s/%s\" has no readable partner \"%s\"", dir,
                            name, other);
                if (!is_key)
                        err_try(err, r, "CA certificates should use the extension .crt");
                return r;
        }
        if (is_key || t->cert)
                return 0; /* the first pair is used */
        t->cert = TAKE_PTR(&cert);
        t->key = TAKE_PTR(&key);
        return 0;
}

/* 1 the folder is there. */
static int add_folder(struct reg_tls *t, const char *dir, struct bld_err *err)
{
        AUTO_STRV struct strv names = {0};
        AUTO_FD int fd = sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        int r = fd >= 0 ? path_names(dir, &names, err) : 0;

        for (size_t i = 0; i < names.n && r >= 0; i++) {
                if (str_has_suffix(names.v[i], ".crt"))
                        r = add_ca(t, fd, names.v[i], err);
                else if (str_has_suffix(names.v[i], ".cert") || str_has_suffix(names.v[i], ".key"))
                        r = add_pair(t, fd, dir, names.v[i], err);
                if (r < 0)
                        err_wrap(err, r, "certificates in %s", dir);
        }
        return r < 0 ? r : fd >= 0;
}

/* The name under which certs.d knows a host. */
static const char *certs_name(const struct reg_host *h)
{
        return str_eq(h->name, "registry-1.docker.io") ? "docker.io" : h->name;
}

/* One name in the three places where certs.d folders are. 1: a folder was there. */
static int add_certs_d(struct reg_tls *t, const char *name, struct bld_err *err)
{
        const char *home = getenv("HOME");
        AUTO_SB struct sb dir = SB_INIT(8192);
        static const char *const roots[] = {
                NULL, /* ~/.config */
                "/etc/containers/certs.d",
                "/etc/docker/certs.d",
        };

        for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
                int r;

                sb_reset(&dir);
                if (roots[i])
                        sb_str(&dir, roots[i]);
                else if (home && *home == '/')
                        sb_fmt(&dir, "%s/.config/containers/certs.d", home);
                else
                        continue;
                sb_fmt(&dir, "/%s", name);
                r = add_folder(t, sb_text(&dir), err);
                if (r != 0)
                        return r;
        }
        return 0;
}

/* As docker and podman name the folder, or with "_5000_" for ":5000" as containerd does where a
 * colon in a name is trouble. */
static int add_host_folder(struct reg_tls *t, const struct reg_host *h, struct bld_err *err)
{
        const char *name = certs_name(h), *colon = strrchr(name, ':');
        AUTO_SB struct sb other = SB_INIT(1024);
        int r = add_certs_d(t, name, err);

        if (r != 0 || !h->has_port || !colon)
                return MIN(r, 0);
        sb_fmt(&other, "%.*s_%s_", (int)(colon - name), name, colon + 1);
        return MIN(add_certs_d(t, sb_text(&other), err), 0);
}

/* What "HOST=REST" says of this host; HOST with or without its port. 1, 0 it is of another. */
static int option_for(const struct reg_host *h, const char *flag, const char *text,
                      const char **ret, struct bld_err *err)
{
        const char *name = certs_name(h), *eq = strchr(text, '=');
        size_t n = eq ? (size_t)(eq - text) : 0;

        if (n == 0 || !eq[1])
                return err_set(err, BLD_E_USAGE, "--%s needs HOST=..., not \"%s\"", flag, text);
        if (strncasecmp(name, text, n) != 0 || (name[n] && name[n] != ':'))
                return 0;
        *ret = eq + 1;
        return 1;
}

static int add_cas(const struct reg_client *c, struct reg_tls *t, const struct reg_host *h,
                   struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; r >= 0 && i < c->cas.n; i++) {
                const char *file = NULL;

                r = option_for(h, "ca", c->cas.v[i], &file, err);
                if (r == 1)
                        r = add_ca(t, AT_FDCWD, file, err);
                if (r < 0)
                        return err_wrap(err, r, "--ca for %s", certs_name(h));
        }
        return r;
}

/* The first that is for the host. */
static int add_client_cert(const struct reg_client *c, struct reg_tls *t, const struct reg_host *h,
                           struct bld_err *err)
{
        for (size_t i = 0; i < c->client_certs.n; i++) {
                const char *files = NULL, *comma;
                int r = option_for(h, "client-cert", c->client_certs.v[i], &files, err);

                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                comma = strchr(files, ',');
                if (!comma || comma == files || !comma[1])
                        return err_set(err, BLD_E_USAGE,
                                       "--client-cert needs HOST=CRT,KEY, not \"%s\"",
                                       c->client_certs.v[i]);
                t->cert = mem_strndup(files, (size_t)(comma - files));
                t->key = mem_strdup(comma + 1);
                if (!t->cert || !t->key)
                        return err_nomem(err, "read certificates");
                for (size_t k = 0; k < 2; k++) {
                        const char *file = k ? t->key : t->cert;

                        if (faccessat(AT_FDCWD, file, R_OK, 0) != 0)
                                return err_sys(err, errno, "--client-cert: read \"%s\"", file);
                }
                return 0;
        }
        return 0;
}

/* Flags before folders: the pair named on the command line is the one that is shown. */
static int load(const struct reg_client *c, struct reg_tls *t, const struct reg_host *h,
                bool registry, struct bld_err *err)
{
        const char *env = getenv("SSL_CERT_FILE"), *dir = getenv("SSL_CERT_DIR");
        int r = add_cas(c, t, h, err);

        if (r == 0)
                r = add_client_cert(c, t, h, err);
        if (r == 0 && c->cert_dir && registry) {
                r = add_folder(t, c->cert_dir, err);
                if (r == 0)
                        return err_set(err, BLD_E_NOT_FOUND, "--cert-dir: no folder \"%s\"",
                                       c->cert_dir);
                r = MIN(r, 0);
        }
        if (r == 0)
                r = add_host_folder(t, h, err);
        if (r == 0 && t->ca.len == 0 && env && *env)
                r = add_system(t, err);
        if (r == 0 && dir && *dir && !(t->ca_dir = mem_strdup(dir)))
                r = err_nomem(err, "read certificates");
        return r;
}

int reg_tls_load(struct reg_client *c, struct reg_host *h, struct bld_err *err)
{
        struct reg_tls t = {.ca = SB_INIT(PEM_MAX)};
        bool ready, registry;
        int r;

        (void)pthread_mutex_lock(&c->lock);
        ready = h->tls_ready;
        registry = h->registry;
        (void)pthread_mutex_unlock(&c->lock);
        if (ready)
                return 0;
        r = load(c, &t, h, registry, err);
        if (r < 0) {
                reg_tls_done(&t);
                return r;
        }
        (void)pthread_mutex_lock(&c->lock);
        if (!h->tls_ready) {
                h->tls = t;
                h->tls_ready = true;
                t = (struct reg_tls){0};
        }
        (void)pthread_mutex_unlock(&c->lock);
        reg_tls_done(&t);
        return 0;
}
