/* What the kernel's texts say of our cgroups. */
#include <limits.h>
#include <stdio.h>

#include "base/base.h"
#include "runtime/runtime_priv.h"

bool rt_cgroup_word(const char *list, size_t n, const char *word)
{
        size_t len = strlen(word);

        for (size_t i = 0; i + len <= n; i++)
                if ((i == 0 || strchr(", ", list[i - 1])) && strncmp(list + i, word, len) == 0 &&
                    (i + len == n || strchr(", \n", list[i + len])))
                        return true;
        return false;
}

bool rt_cgroup_path(const char *text, const char *controller, char *out, size_t size)
{
        for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
                const char *list = strchr(p, ':');
                const char *path = list ? strchr(list + 1, ':') : NULL;

                if (!path)
                        return false;
                list++;
                if (controller ? !rt_cgroup_word(list, (size_t)(path - list), controller)
                               : path != list)
                        continue;
                size_t len = strcspn(path + 1, "\n");
                if (len >= size)
                        return false;
                memcpy(out, path + 1, len);
                out[len] = '\0';
                return true;
        }
        return false;
}

/* One line of mountinfo: "ID PARENT MAJ:MIN ROOT POINT OPTIONS [TAGS] - TYPE SOURCE SUPEROPTIONS".
 */
static bool read_mount(const char *line, size_t n, char root[PATH_MAX], char point[PATH_MAX],
                       char type[16], char options[512])
{
        AUTO_FREE char *s = mem_strndup(line, n);
        const char *dash = s ? strstr(s, " - ") : NULL;

        return dash && sscanf(s, "%*s %*s %*s %4095s %4095s", root, point) == 2 &&
               sscanf(dash + 3, "%15s %*s %511s", type, options) == 2;
}

/* The folder of our own cgroup: `path` as seen through a mount whose root is `root`. */
static bool join(const char *point, const char *root, const char *path, char *out, size_t size)
{
        size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);

        if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != '\0'))
                path = "", n = 0; /* outside of what is mounted here: the mount's top stands in */
        int len = snprintf(out, size, "%s%s", point, strcmp(path + n, "/") == 0 ? "" : path + n);
        return len > 0 && (size_t)len < size;
}

bool rt_cgroup_dir(const char *mountinfo, const char *self, const char *controller, bool v2,
                   char *out, size_t size, char point[PATH_MAX])
{
        char root[PATH_MAX], path[PATH_MAX], type[16], options[512];

        if (!rt_cgroup_path(self, v2 ? NULL : controller, path, sizeof(path)))
                return false;
        for (const char *p = mountinfo; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
                if (!read_mount(p, strcspn(p, "\n"), root, point, type, options) ||
                    strchr(point, '\\'))
                        continue;
                if (strcmp(type, v2 ? "cgroup2" : "cgroup") != 0 ||
                    (!v2 && !rt_cgroup_word(options, strlen(options), controller)))
                        continue;
                return join(point, root, path, out, size);
        }
        return false;
}
