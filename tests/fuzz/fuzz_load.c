/* An image archive as `bld load` gets it on a pipe. What is loaded must be whole: documents decode,
 * blobs have their digests; what is refused must leave no name. The merged tree is read, too. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "builder/builder.h"

static char dir[64];
static struct cas *store;
static struct cancel cancel;

static void remove_store(void)
{
        cas_close(store);
        (void)path_remove_tree(AT_FDCWD, dir, NULL);
}

static void open_store(void)
{
        const char *tmp = getenv("TMPDIR");

        (void)snprintf(dir, sizeof(dir), "%.30s/bld-fuzz-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(dir) || cancel_init(&cancel, NULL) < 0 || cas_open(dir, &store, NULL) < 0)
                abort();
        (void)atexit(remove_store);
}

static int no_registry(void *user, struct reg_client **ret, struct bld_err *err)
{
        (void)user;
        (void)ret;
        return err_set(err, BLD_E_NETWORK, "no registry here");
}

static void check_image(struct bd_ctx *c, const struct img_desc *d, int null_fd)
{
        struct bd_export x = {.desc = d, .dest = "-", .out_fd = null_fd};
        struct bd_image im;

        if (bd_image_load(c, d, NULL, &im, NULL) < 0)
                return; /* another platform, or an artifact */
        for (size_t i = 0; i < im.manifest.layers.n; i++)
                if (!im.manifest.layers.v[i].urls.n &&
                    cas_blob_verify(store, &im.manifest.layers.v[i].digest, NULL) < 0)
                        abort();
        bd_image_done(&im);
        (void)!bd_emit_tar(c, &x, NULL); /* its layers may be no tars */
}

static size_t count_refs(void)
{
        struct cas_refs refs = {.v = NULL};
        size_t n;

        if (cas_ref_list(store, &refs, NULL) < 0)
                abort();
        n = refs.n;
        cas_refs_free(&refs);
        return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct bd_ctx c = {.cancel = &cancel, .registry = no_registry};
        struct strv names = {.v = NULL};
        struct img_descs descs = {.v = NULL};
        AUTO_FD int fd = memfd_create("archive", MFD_CLOEXEC);
        AUTO_FD int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        size_t before;
        int r;

        if (!store)
                open_store();
        c.cas = store;
        if (fd < 0 || null_fd < 0 || fd_write_all(fd, data, size, NULL) < 0 ||
            lseek(fd, 0, SEEK_SET) < 0)
                abort();
        before = count_refs();
        r = bd_load(&c, "-", fd, &names, &descs, NULL);
        if (r < 0 && descs.n == 0 && count_refs() != before)
                abort();
        for (size_t i = 0; i < descs.n; i++)
                check_image(&c, &descs.v[i], null_fd);
        strv_done(&names);
        img_descs_free(&descs);
        return 0;
}
