/* A URL, as it may come from a Dockerfile or the command line. */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/err.h"
#include "parser/giturl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text = mem_strndup((const char *)data, size);
        struct giturl g;

        if (!text)
                return 0;
        if (giturl_parse(text, &g, NULL) == 1) {
                /* git gets the remote as an argument, and the folder is cleaned. */
                if (!g.remote || !g.ref || !g.subdir || !g.checksum || !g.mtime ||
                    g.remote[0] == '-' || strpbrk(g.remote, "#?\n "))
                        abort();
                giturl_done(&g);
        }
        free(text);
        return 0;
}
