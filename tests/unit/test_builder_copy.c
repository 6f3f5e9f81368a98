/* COPY and ADD as a whole: sources on disk or in layers, over a base, to the entries of the layer
 * they make. docs/dockerfile.md, "COPY". */
#include "tests/unit/builder_step.h"

#define SRC_MAX 4

struct want {
        const char *name;
        const char *src[SRC_MAX];
        const char *dest;
        const char *chown, *chmod, *exclude, *exclude2;
        bool link, parents, add, unpack_set, unpack;
        int code;         /* else: the failure */
        const char *text; /* the entries, or part of the message */
};

static struct vertex *copy_vertex(const struct want *w, struct vertex *below, struct vertex *from)
{
        struct vertex *v = mem_zalloc(1, sizeof(*v));
        struct vx_copy *c = &v->u.copy;

        assert_non_null(v);
        v->kind = VX_COPY;
        v->inputs = mem_zalloc(2, sizeof(*v->inputs));
        c->src = mem_zalloc(SRC_MAX, sizeof(*c->src));
        assert_true(v->inputs && c->src);
        v->ninputs = 2;
        v->inputs[0] = below;
        v->inputs[1] = from;
        for (size_t i = 0; i < SRC_MAX && w->src[i]; i++) {
                const char *text = w->src[i];

                c->nsrc = i + 1;
                if (str_has_prefix(text, "<<")) { /* "<<NAME text" */
                        size_t n = strcspn(text, " ");

                        c->src[i].kind = COPY_INLINE;
                        c->src[i].path = mem_strndup(text + 2, n - 2);
                        c->src[i].data = mem_strdup(text + n + 1);
                        c->src[i].len = strlen(text + n + 1);
                } else {
                        c->src[i].path = mem_strdup(text);
                }
        }
        c->dest = mem_strdup(w->dest);
        c->chown = w->chown ? mem_strdup(w->chown) : NULL;
        c->chmod = w->chmod ? mem_strdup(w->chmod) : NULL;
        if (w->exclude)
                OK(strv_add(&c->excludes, w->exclude));
        if (w->exclude2)
                OK(strv_add(&c->excludes, w->exclude2));
        c->link = w->link;
        c->parents = w->parents;
        c->is_add = w->add;
        c->unpack_set = w->unpack_set;
        c->unpack = w->unpack;
        return v;
}

static void check(struct step *s, const struct want *rows, size_t n, struct vertex *below,
                  struct vertex *from)
{
        for (size_t i = 0; i < n; i++) {
                struct vertex *v = copy_vertex(&rows[i], below, from);
                AUTO_SB struct sb got = SB_INIT(1u << 20);
                struct bld_err e = BLD_ERR_INIT;
                int r;

                print_message("%s\n", rows[i].name);
                r = op_copy(&s->b, v, &e);
                if (r != rows[i].code)
                        fail_msg("%d, not %d: %s", r, rows[i].code, e.msg);
                if (r < 0) {
                        if (!strstr(e.msg, rows[i].text))
                                fail_msg("\"%s\" is not in \"%s\"", rows[i].text, e.msg);
                } else {
                        list_layer(s, v, false, &got);
                        assert_string_equal(sb_text(&got), rows[i].text);
                }
                vertex_free(v);
        }
}

static struct vertex *context_vertex(void)
{
        struct vertex *v = mem_zalloc(1, sizeof(*v));

        assert_non_null(v);
        v->kind = VX_LOCAL;
        v->u.local = mem_strdup("");
        return v;
}

/* ---- from the context ---- */

static const struct disk tree[] = {
        {"a.txt", 'f', "A", 0640, 100},     {"b.txt", 'f', "B", 0, 100},
        {"run", 'f', "R", 04755, 100},      {"dir", 'd', NULL, 0700, 200},
        {"dir/x", 'f', "X", 0, 300},        {"dir/x.o", 'f', "O", 0, 300},
        {"dir/sub", 'd', NULL, 01777, 200}, {"dir/sub/y", 'f', "Y", 0, 300},
        {"dir/sub/y.o", 'f', "O", 0, 300},  {"dir/to-x", 'l', "x", 0, 300},
        {"dir2", 'd', NULL, 0, 0},          {"dir2/z", 'f', "Z", 0, 0},
        {"to-a", 'l', "a.txt", 0, 0},       {"to-dir", 'l', "dir2", 0, 0},
        {"to-root", 'l', "/b.txt", 0, 0},   {"out", 'l', "../../../../a.txt", 0, 0},
        {"gone", 'l', "nowhere", 0, 0},     {"loop", 'l', "loop", 0, 0},
        {"pipe", 'p', NULL, 0, 0},          {"sock", 's', NULL, 0, 0},
        {".hidden", 'f', "H", 0, 0},        {"empty", 'd', NULL, 0, 0},
};

static const struct want plain[] = {
        {"file to name", {"a.txt"}, "/f", .text = "f 640 0:0 f = A\n"},
        {"file to folder", {"a.txt"}, "/f/", .text = "d 755 0:0 f\nf 640 0:0 f/a.txt = A\n"},
        {"set-user-ID stays", {"run"}, "/", .text = "f 4755 0:0 run = R\n"},
        {"rooted and dotted", {"/x/../../a.txt"}, "/f", .text = "f 640 0:0 f = A\n"},
        {"slash behind a file", {"a.txt/"}, "/f", .text = "f 640 0:0 f = A\n"},
        {"folder's content, not the folder",
         {"dir2"},
         "/d",
         .text = "d 755 0:0 d\nf 644 0:0 d/z = Z\n"},
        {"made top folder is 0755, subfolders as they are",
         {"dir"},
         "/d/",
         .text = "d 755 0:0 d\nd 1777 0:0 d/sub\nf 644 0:0 d/sub/y = Y\nf 644 0:0 d/sub/y.o = O\n"
                 "l 777 0:0 d/to-x -> x\nf 644 0:0 d/x = X\nf 644 0:0 d/x.o = O\n"},
        {"empty folder", {"empty"}, "/e", .text = "d 755 0:0 e\n"},
        {"parents made",
         {"b.txt"},
         "/p/q/b",
         .text = "d 755 0:0 p\nd 755 0:0 p/q\nf 644 0:0 p/q/b = B\n"},
        {"link followed, lands under its own name",
         {"to-a"},
         "/l/",
         .text = "d 755 0:0 l\nf 640 0:0 l/to-a = A\n"},
        {"link to folder", {"to-dir"}, "/l", .text = "d 755 0:0 l\nf 644 0:0 l/z = Z\n"},
        {"link in the path", {"to-dir/z"}, "/z", .text = "f 644 0:0 z = Z\n"},
        {"absolute link is of the context", {"to-root"}, "/b", .text = "f 644 0:0 b = B\n"},
        {"link cannot lead out", {"out"}, "/o", .text = "f 640 0:0 o = A\n"},
        {"dangling link", {"gone"}, "/g", .code = BLD_E_INVALID, .text = "not found"},
        {"looping link", {"loop"}, "/g", .code = BLD_E_INVALID, .text = "symbolic links"},
        {"FIFO", {"pipe"}, "/p", .text = "p 644 0:0 p\n"},
        {"socket is an empty file", {"sock"}, "/s", .text = "f 644 0:0 s =\n"},
        {"missing", {"nope"}, "/n", .code = BLD_E_INVALID, .text = "\"nope\": not found"},
        {"missing below a file", {"a.txt/b"}, "/n", .code = BLD_E_INVALID, .text = "not found"},
        {"several, folder",
         {"a.txt", "b.txt"},
         "/s/",
         .text = "d 755 0:0 s\nf 640 0:0 s/a.txt = A\nf 644 0:0 s/b.txt = B\n"},
        {"several to one name: the last wins",
         {"a.txt", "b.txt"},
         "/s",
         .text = "f 644 0:0 s = B\n"},
        {"file over a folder of the same step",
         {"dir2", "a.txt"},
         "/s",
         .text = "d 755 0:0 s\nf 640 0:0 s/a.txt = A\nf 644 0:0 s/z = Z\n"},
        {"folder over a file of the same step",
         {"a.txt", "dir2"},
         "/s",
         .code = BLD_E_INVALID,
         .text = "cannot copy to non-directory: /s"},
        {"file over a subfolder",
         {"dir", "<<sub text"},
         "/s/",
         .code = BLD_E_INVALID,
         .text = "cannot replace to directory /s/sub with file"},
};

static const struct want wild[] = {
        {"star",
         {"*.txt"},
         "/w/",
         .text = "d 755 0:0 w\nf 640 0:0 w/a.txt = A\nf 644 0:0 w/b.txt = B\n"},
        {"one file to a name", {"a.t*"}, "/w", .text = "f 640 0:0 w = A\n"},
        {"hidden files match",
         {"*hidden"},
         "/w/",
         .text = "d 755 0:0 w\nf 644 0:0 w/.hidden = H\n"},
        {"folders are merged", {"dir?"}, "/w/", .text = "d 755 0:0 w\nf 644 0:0 w/z = Z\n"},
        {"class",
         {"[ab].txt"},
         "/w/",
         .text = "d 755 0:0 w\nf 640 0:0 w/a.txt = A\nf 644 0:0 w/b.txt = B\n"},
        {"negated class", {"[^a].txt"}, "/w/", .text = "d 755 0:0 w\nf 644 0:0 w/b.txt = B\n"},
        {"below a literal folder",
         {"dir/*.o"},
         "/w/",
         .text = "d 755 0:0 w\nf 644 0:0 w/x.o = O\n"},
        {"star does not match a slash", {"*/z"}, "/w/", .text = "d 755 0:0 w\nf 644 0:0 w/z = Z\n"},
        {"matched link is followed",
         {"to-r*"},
         "/w/",
         .text = "d 755 0:0 w\nf 644 0:0 w/to-root = B\n"},
        {"no match is no error, and makes nothing", {"*.zip"}, "/w/", .text = ""},
        {"no match beside another source",
         {"*.zip", "b.txt"},
         "/w/",
         .text = "d 755 0:0 w\nf 644 0:0 w/b.txt = B\n"},
        {"no match below a missing folder", {"nope/*"}, "/w/", .text = ""},
        {"bad pattern", {"[a"}, "/w/", .code = BLD_E_INVALID, .text = "pattern"},
        {"bad pattern in an empty folder",
         {"empty/[a"},
         "/w/",
         .code = BLD_E_INVALID,
         .text = "pattern"},
        {"matched file excluded by its name",
         {"dir/x*"},
         "/w/",
         .exclude = "*.o",
         .text = "d 755 0:0 w\nf 644 0:0 w/x = X\n"},
};

static const struct want flags[] = {
        {"chown", {"b.txt"}, "/c/d", .chown = "5:6", .text = "d 755 5:6 c\nf 644 5:6 c/d = B\n"},
        {"chown user alone", {"b.txt"}, "/c", .chown = "5", .text = "f 644 5:5 c = B\n"},
        {"chown of a folder",
         {"dir2"},
         "/c",
         .chown = "5:6",
         .text = "d 755 5:6 c\nf 644 5:6 c/z = Z\n"},
        {"chown of links",
         {"dir"},
         "/c",
         .chown = "5",
         .exclude = "[xs]*",
         .text = "d 755 5:5 c\nl 777 5:5 c/to-x -> x\n"},
        {"chown by name without passwd",
         {"b.txt"},
         "/c",
         .chown = "me",
         .code = BLD_E_INVALID,
         .text = "no user \"me\""},
        {"root needs no passwd",
         {"b.txt"},
         "/c",
         .chown = "root:root",
         .text = "f 644 0:0 c = B\n"},
        {"chmod octal, files and folders and parents",
         {"dir2"},
         "/p/q",
         .chmod = "750",
         .text = "d 750 0:0 p\nd 750 0:0 p/q\nf 750 0:0 p/q/z = Z\n"},
        {"chmod: high bits for files, not for folders made",
         {"b.txt"},
         "/p/q",
         .chmod = "6755",
         .text = "d 755 0:0 p\nf 6755 0:0 p/q = B\n"},
        {"chmod symbolic: each entry's own mode, not the parents",
         {"a.txt", "run"},
         "/p/",
         .chmod = "go+X,o=u",
         .text = "d 755 0:0 p\nf 646 0:0 p/a.txt = A\nf 4757 0:0 p/run = R\n"},
        {"chmod bad",
         {"b.txt"},
         "/c",
         .chmod = "8",
         .code = BLD_E_INVALID,
         .text = "invalid chmod parameter: '8'"},
        {"chmod too large",
         {"b.txt"},
         "/c",
         .chmod = "10000",
         .code = BLD_E_INVALID,
         .text = "invalid chmod"},
        {"chmod leaves links alone",
         {"dir"},
         "/c",
         .chmod = "600",
         .exclude = "[xs]*",
         .text = "d 600 0:0 c\nl 777 0:0 c/to-x -> x\n"},
        {"exclude: top level only",
         {"dir"},
         "/d",
         .exclude = "*.o",
         .text = "d 755 0:0 d\nd 1777 0:0 d/sub\nf 644 0:0 d/sub/y = Y\nf 644 0:0 d/sub/y.o = O\n"
                 "l 777 0:0 d/to-x -> x\nf 644 0:0 d/x = X\n"},
        {"exclude: any depth",
         {"dir"},
         "/d",
         .exclude = "**/*.o",
         .text = "d 755 0:0 d\nd 1777 0:0 d/sub\nf 644 0:0 d/sub/y = Y\n"
                 "l 777 0:0 d/to-x -> x\nf 644 0:0 d/x = X\n"},
        {"exclude: a folder and all in it",
         {"dir"},
         "/d",
         .exclude = "sub",
         .text = "d 755 0:0 d\nl 777 0:0 d/to-x -> x\nf 644 0:0 d/x = X\nf 644 0:0 d/x.o = O\n"},
        {"exclude: taken back",
         {"dir"},
         "/d",
         .exclude = "*",
         .exclude2 = "!x",
         .text = "d 755 0:0 d\nf 644 0:0 d/x = X\n"},
        {"exclude: not a source that is a file",
         {"b.txt"},
         "/d",
         .exclude = "b.txt",
         .text = "f 644 0:0 d = B\n"},
        {"heredoc", {"<<EOF hello"}, "/h", .text = "f 644 0:0 h = hello\n"},
        {"heredoc to folder, owned, with mode",
         {"<<EOF hello"},
         "/h/",
         .chown = "1:2",
         .chmod = "+x",
         .text = "d 755 1:2 h\nf 755 1:2 h/EOF = hello\n"},
        {"files come before heredocs",
         {"<<a.txt later", "a.txt"},
         "/h/",
         .text = "d 755 0:0 h\nf 644 0:0 h/a.txt = later\n"},
};

static const struct want parents[] = {
        {"file",
         {"dir/sub/y"},
         "/p/",
         .parents = true,
         .text = "d 755 0:0 p\nd 700 0:0 p/dir\nd 1777 0:0 p/dir/sub\nf 644 0:0 p/dir/sub/y = Y\n"},
        {"destination is a folder, slash or not",
         {"b.txt"},
         "/p",
         .parents = true,
         .text = "d 755 0:0 p\nf 644 0:0 p/b.txt = B\n"},
        {"folder",
         {"dir2"},
         "/p/",
         .parents = true,
         .text = "d 755 0:0 p\nd 755 0:0 p/dir2\nf 644 0:0 p/dir2/z = Z\n"},
        {"pivot",
         {"dir/./sub/y"},
         "/p/",
         .parents = true,
         .text = "d 755 0:0 p\nd 1777 0:0 p/sub\nf 644 0:0 p/sub/y = Y\n"},
        {"double star",
         {"**/*.o"},
         "/p/",
         .parents = true,
         .text = "d 755 0:0 p\nd 700 0:0 p/dir\nd 1777 0:0 p/dir/sub\nf 644 0:0 p/dir/sub/y.o = O\n"
                 "f 644 0:0 p/dir/x.o = O\n"},
        {"wildcards before the pivot",
         {"dir*/./z"},
         "/p/",
         .parents = true,
         .text = "d 755 0:0 p\nf 644 0:0 p/z = Z\n"},
        {"leading dot and slash",
         {"./b.txt"},
         "/p/",
         .parents = true,
         .text = "d 755 0:0 p\nf 644 0:0 p/b.txt = B\n"},
        {"no match of a wildcard makes the destination",
         {"*.zip"},
         "/p/",
         .parents = true,
         .text = "d 755 0:0 p\n"},
        {"missing",
         {"dir/nope"},
         "/p/",
         .parents = true,
         .code = BLD_E_INVALID,
         .text = "not found"},
        {"missing below the pivot",
         {"dir/./nope"},
         "/p/",
         .parents = true,
         .code = BLD_E_INVALID,
         .text = "not found"},
        {"owner and mode reach the parents",
         {"dir/x"},
         "/p/",
         .parents = true,
         .chown = "5:6",
         .chmod = "711",
         .text = "d 711 5:6 p\nd 711 5:6 p/dir\nf 711 5:6 p/dir/x = X\n"},
};

static void from_context(void **state)
{
        struct step *s = *state;
        struct vertex *ctx = context_vertex();

        step_context(s, tree, ARRAY_LEN(tree));
        check(s, plain, ARRAY_LEN(plain), NULL, ctx);
        check(s, wild, ARRAY_LEN(wild), NULL, ctx);
        check(s, flags, ARRAY_LEN(flags), NULL, ctx);
        check(s, parents, ARRAY_LEN(parents), NULL, ctx);
        vertex_free(ctx);
}

/* ---- .dockerignore ---- */

static void ignored(void **state)
{
        static const char text[] = "# notes\n*.o\ndir\n!dir/sub/y\n*.txt\n!b.txt\n";
        static const struct want rows[] = {
                {"all",
                 {"."},
                 "/i/",
                 .text = "d 755 0:0 i\nf 644 0:0 i/b.txt = B\nd 700 0:0 i/dir\nd 1777 0:0 "
                         "i/dir/sub\n"
                         "f 644 0:0 i/dir/sub/y = Y\n",
                 .exclude = "[!d]*",
                 .exclude2 = NULL},
                {"excluded file", {"a.txt"}, "/i", .code = BLD_E_INVALID, .text = "not found"},
                {"and the pattern is named",
                 {"a.txt"},
                 "/i",
                 .code = BLD_E_INVALID,
                 .text = ".dockerignore:5 pattern \"*.txt\""},
                {"taken back", {"b.txt"}, "/i", .text = "f 644 0:0 i = B\n"},
                {"wildcard over excluded ones",
                 {"*.txt"},
                 "/i/",
                 .text = "d 755 0:0 i\nf 644 0:0 i/b.txt = B\n"},
                {"below an excluded folder",
                 {"dir"},
                 "/i",
                 .text = "d 755 0:0 i\nd 1777 0:0 i/sub\nf 644 0:0 i/sub/y = Y\n"},
                {"link to an excluded file",
                 {"to-a"},
                 "/i",
                 .code = BLD_E_INVALID,
                 .text = "not found"},
        };
        struct step *s = *state;
        struct vertex *ctx = context_vertex();

        step_context(s, tree, ARRAY_LEN(tree));
        OK(ignore_parse(text, strlen(text), ".dockerignore", &s->b.ignore, err));
        check(s, rows + 1, ARRAY_LEN(rows) - 1, NULL, ctx);
        vertex_free(ctx);
}

/* ---- over a base ---- */

static const struct file base_files[] = {
        {"etc", LY_DIR, NULL, 0},
        {"etc/passwd", LY_FILE, "root:x:0:0::/root:/bin/sh\nme:x:1000:1001::/:\n", 0},
        {"etc/group", LY_FILE, "staff:x:50:\n", 0},
        {"opt", LY_DIR, NULL, 0700},
        {"opt/app", LY_DIR, NULL, 0711},
        {"opt/app/old", LY_FILE, "old", 0},
        {"opt/app/sub", LY_DIR, NULL, 0711},
        {"opt/app/z", LY_DIR, NULL, 0},
        {"opt/file", LY_FILE, "file", 0},
        {"srv", LY_SYMLINK, "opt", 0},
        {"data", LY_SYMLINK, "/nowhere/yet", 0},
        {"opt/app/lnk", LY_SYMLINK, "/etc", 0},
};

static const struct want over[] = {
        {"existing folder without a slash",
         {"b.txt"},
         "/opt/app",
         .text = "d 700 0:0 opt\nd 711 0:0 opt/app\nf 644 0:0 opt/app/b.txt = B\n"},
        {"file replaces file",
         {"b.txt"},
         "/opt/file",
         .text = "d 700 0:0 opt\nf 644 0:0 opt/file = B\n"},
        {"top folder keeps its mode, subfolders take the source's",
         {"dir"},
         "/opt/app",
         .exclude = "[xt]*",
         .text = "d 700 0:0 opt\nd 711 0:0 opt/app\nd 1777 0:0 opt/app/sub\n"
                 "f 644 0:0 opt/app/sub/y = Y\nf 644 0:0 opt/app/sub/y.o = O\n"},
        {"chmod does not touch an existing top folder",
         {"dir2"},
         "/opt",
         .chmod = "600",
         .chown = "7",
         .text = "d 700 0:0 opt\nf 600 7:7 opt/z = Z\n"},
        {"file over folder",
         {"dir2"},
         "/opt/app",
         .code = BLD_E_INVALID,
         .text = "cannot replace to directory /opt/app/z with file"},
        {"folder over file",
         {"dir2"},
         "/opt/file",
         .code = BLD_E_INVALID,
         .text = "cannot copy to non-directory: /opt/file"},
        {"below a file", {"b.txt"}, "/opt/file/x", .code = BLD_E_INVALID, .text = "non-directory"},
        {"link in the destination",
         {"b.txt"},
         "/srv/b",
         .text = "d 700 0:0 opt\nf 644 0:0 opt/b = B\n"},
        {"link as the destination",
         {"b.txt"},
         "/srv",
         .text = "d 700 0:0 opt\nf 644 0:0 opt/b.txt = B\n"},
        {"dangling link: its target is made",
         {"b.txt"},
         "/data/",
         .text = "d 755 0:0 nowhere\nd 755 0:0 nowhere/yet\nf 644 0:0 nowhere/yet/b.txt = B\n"},
        {"link at the end of the destination's folder",
         {"b.txt"},
         "/opt/app/lnk/f",
         .text = "d 755 0:0 etc\nf 644 0:0 etc/f = B\n"},
        {"user by name, with its group",
         {"b.txt"},
         "/b",
         .chown = "me",
         .text = "f 644 1000:1001 b = B\n"},
        {"user and group by name",
         {"b.txt"},
         "/b",
         .chown = "me:staff",
         .text = "f 644 1000:50 b = B\n"},
        {"group unknown",
         {"b.txt"},
         "/b",
         .chown = "me:nope",
         .code = BLD_E_INVALID,
         .text = "no group \"nope\""},
        {"--link: the base is not there",
         {"b.txt"},
         "/srv/b",
         .link = true,
         .text = "d 755 0:0 srv\nf 644 0:0 srv/b = B\n"},
        {"--link: no names",
         {"b.txt"},
         "/b",
         .link = true,
         .chown = "me",
         .code = BLD_E_INVALID,
         .text = "no user \"me\""},
        {"--link: into a folder of the base",
         {"b.txt"},
         "/opt/app/",
         .link = true,
         .text = "d 755 0:0 opt\nd 755 0:0 opt/app\nf 644 0:0 opt/app/b.txt = B\n"},
};

static void over_base(void **state)
{
        static const struct disk clash[] = {{"lnk", 'd', NULL, 0, 0}, {"lnk/f", 'f', "F", 0, 0}};
        static const struct want through[] = {
                {"a folder never goes through a link of the base",
                 {"."},
                 "/opt/app",
                 .code = BLD_E_INVALID,
                 .text = "cannot copy to non-directory: /opt/app/lnk"},
        };
        static const struct want file_over[] = {
                {"a file replaces a link, never writes through it",
                 {"lnk"},
                 "/opt/app/",
                 .text = "d 700 0:0 opt\nd 711 0:0 opt/app\nf 644 0:0 opt/app/lnk = L\n"},
        };
        static const struct disk file_ctx[] = {{"lnk", 'f', "L", 0, 0}};
        struct step *s = *state;
        struct vertex *ctx = context_vertex();
        struct vertex *base = step_base(s, base_files, ARRAY_LEN(base_files));

        step_context(s, tree, ARRAY_LEN(tree));
        check(s, over, ARRAY_LEN(over), base, ctx);
        step_context(s, clash, ARRAY_LEN(clash));
        check(s, through, ARRAY_LEN(through), base, ctx);
        step_context(s, file_ctx, ARRAY_LEN(file_ctx));
        check(s, file_over, ARRAY_LEN(file_over), base, ctx);
        vertex_free(base);
        vertex_free(ctx);
}

/* ---- from a stage or image ---- */

static const struct want stage_rows[] = {
        {"file", {"/opt/file"}, "/f", .text = "f 644 0:0 f = file\n"},
        {"folder",
         {"/opt/app"},
         "/d",
         .exclude = "[lsz]*",
         .text = "d 755 0:0 d\nf 644 0:0 d/old = old\n"},
        {"through a link", {"/srv/file"}, "/f", .text = "f 644 0:0 f = file\n"},
        {"wildcard",
         {"/etc/p*"},
         "/e/",
         .text = "d 755 0:0 e\nf 644 0:0 e/passwd = "
                 "root:x:0:0::/root:/bin/sh\nme:x:1000:1001::/:\n\n"},
        {"missing",
         {"/nope"},
         "/f",
         .code = BLD_E_INVALID,
         .text = "\"nope\": not found in the stage"},
};

static void from_stage(void **state)
{
        static const struct want empty_rows[] = {
                {"missing in an empty tree",
                 {"/nope"},
                 "/f",
                 .code = BLD_E_INVALID,
                 .text = "not found"},
                {"no match in an empty tree", {"/*"}, "/f/", .text = ""},
                {"all of an empty tree", {"/"}, "/f/", .text = "d 755 0:0 f\n"},
        };
        struct step *s = *state;
        struct vertex *from = step_base(s, base_files, ARRAY_LEN(base_files));
        struct vertex *empty = step_base(s, NULL, 0);

        check(s, stage_rows, ARRAY_LEN(stage_rows), NULL, from);
        check(s, empty_rows, ARRAY_LEN(empty_rows), NULL, empty);
        /* A stage that is FROM scratch and nothing more, or --from=scratch. */
        check(s, empty_rows, ARRAY_LEN(empty_rows), NULL, NULL);
        vertex_free(from);
        vertex_free(empty);
}

/* ---- hard links ---- */

static void hard_links(void **state)
{
        static const struct disk links[] = {
                {"d", 'd', NULL, 0, 0},          {"d/one", 'f', "1", 0, 0},
                {"d/sub", 'd', NULL, 0, 0},      {"d/sub/two", 'h', "d/one", 0, 0},
                {"d/three", 'h', "d/one", 0, 0}, {"d/alone", 'f', "2", 0, 0},
        };
        static const struct want rows[] = {
                {"kept within a folder",
                 {"d"},
                 "/",
                 .text = "f 644 0:0 alone = 2\nf 644 0:0 one = 1\nd 755 0:0 sub\n"
                         "h 644 0:0 sub/two -> one\nh 644 0:0 three -> one\n"},
                {"what is left of them",
                 {"d"},
                 "/",
                 .exclude = "one",
                 .text = "f 644 0:0 alone = 2\nd 755 0:0 sub\nf 644 0:0 sub/two = 1\n"
                         "h 644 0:0 three -> sub/two\n"},
                {"with --parents",
                 {"d"},
                 "/p/",
                 .parents = true,
                 .exclude = "d/alone",
                 .text = "d 755 0:0 p\nd 755 0:0 p/d\nf 644 0:0 p/d/one = 1\nd 755 0:0 p/d/sub\n"
                         "h 644 0:0 p/d/sub/two -> p/d/one\nh 644 0:0 p/d/three -> p/d/one\n"},
                {"among the matches of one source with --parents",
                 {"d/*o*"},
                 "/p/",
                 .parents = true,
                 .exclude = "**/alone",
                 .text = "d 755 0:0 p\nd 755 0:0 p/d\nf 644 0:0 p/d/one = 1\n"},
                {"and with a folder's",
                 {"d/./**/t*"},
                 "/p/",
                 .parents = true,
                 .text = "d 755 0:0 p\nd 755 0:0 p/sub\nf 644 0:0 p/sub/two = 1\n"
                         "h 644 0:0 p/three -> p/sub/two\n"},
                {"never across sources",
                 {"d/one", "d/three"},
                 "/",
                 .text = "f 644 0:0 one = 1\nf 644 0:0 three = 1\n"},
                {"nor across matches",
                 {"d/[ot]*"},
                 "/",
                 .text = "f 644 0:0 one = 1\nf 644 0:0 three = 1\n"},
        };
        static const struct file layer[] = {
                {"d", LY_DIR, NULL, 0},
                {"d/a", LY_FILE, "1", 0},
                {"d/b", LY_HARDLINK, "d/a", 0},
        };
        static const struct want of_stage[] = {
                {"of a stage", {"/d"}, "/", .text = "f 644 0:0 a = 1\nh 644 0:0 b -> a\n"},
                {"the second name alone", {"/d/b"}, "/", .text = "f 644 0:0 b = 1\n"},
        };
        struct step *s = *state;
        struct vertex *ctx = context_vertex(), *from = step_base(s, layer, ARRAY_LEN(layer));

        step_context(s, links, ARRAY_LEN(links));
        check(s, rows, ARRAY_LEN(rows), NULL, ctx);
        check(s, of_stage, ARRAY_LEN(of_stage), NULL, from);
        vertex_free(ctx);
        vertex_free(from);
}

/* ---- times ---- */

static void times(void **state)
{
        static const struct want all = {"all", {"dir"}, "/d", .exclude = "sub", .exclude2 = "*.o"};
        struct step *s = *state;
        struct vertex *ctx = context_vertex(), *v;
        AUTO_SB struct sb got = SB_INIT(1u << 16);

        step_context(s, tree, ARRAY_LEN(tree));
        v = copy_vertex(&all, NULL, ctx);
        OK(op_copy(&s->b, v, err));
        list_layer(s, v, true, &got);
        assert_string_equal(sb_text(&got), "d 755 0:0 200 d\nl 777 0:0 300 d/to-x -> x\n"
                                           "f 644 0:0 300 d/x = X\n");
        vertex_free(v);
        vertex_free(ctx);
}

/* ---- ADD of archives ---- */

static void write_file(const char *path, const void *p, size_t n)
{
        AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        OK(fd_write_all(fd, p, n, err));
}

static void archives(void **state)
{
        static const struct file members[] = {
                {"bin", LY_DIR, NULL, 0700},           {"bin/a", LY_FILE, "a", 0755},
                {"bin/b", LY_HARDLINK, "bin/a", 0755}, {"lib/deep/f", LY_FILE, "f", 0},
                {"ln", LY_SYMLINK, "/etc", 0777},      {"ln/x", LY_FILE, "x", 0},
        };
        static const struct want rows[] = {
                {"unpacked",
                 {"t.tar"},
                 "/u",
                 .add = true,
                 .text = "d 755 0:0 u\nd 700 0:0 u/bin\nf 755 0:0 u/bin/a = a\n"
                         "h 755 0:0 u/bin/b -> u/bin/a\nd 755 0:0 u/etc\nf 644 0:0 u/etc/x = x\n"
                         "d 755 0:0 u/lib\nd 755 0:0 u/lib/deep\nf 644 0:0 u/lib/deep/f = f\n"
                         "l 777 0:0 u/ln -> /etc\n"},
                {"owned as asked, folders left out are root's",
                 {"t.tar"},
                 "/u/",
                 .add = true,
                 .chown = "5",
                 .exclude = "ignored",
                 .text = "d 755 5:5 u\nd 700 5:5 u/bin\nf 755 5:5 u/bin/a = a\n"
                         "h 755 5:5 u/bin/b -> u/bin/a\nd 755 0:0 u/etc\nf 644 5:5 u/etc/x = x\n"
                         "d 755 0:0 u/lib\nd 755 0:0 u/lib/deep\nf 644 5:5 u/lib/deep/f = f\n"
                         "l 777 5:5 u/ln -> /etc\n"},
                {"--unpack=false",
                 {"small"},
                 "/u",
                 .add = true,
                 .unpack_set = true,
                 .text = "f 644 0:0 u = not a tar\n"},
                {"not an archive",
                 {"small"},
                 "/u",
                 .add = true,
                 .text = "f 644 0:0 u = not a tar\n"},
                {"empty file", {"none"}, "/u", .add = true, .text = "f 644 0:0 u =\n"},
        };
        static const struct disk files[] = {{"small", 'f', "not a tar", 0, 0},
                                            {"none", 'f', "", 0, 0}};
        AUTO_SB struct sb tar = SB_INIT(1u << 20);
        struct step *s = *state;
        struct vertex *ctx = context_vertex(), *v;
        AUTO_SB struct sb got = SB_INIT(1u << 20);

        step_context(s, files, ARRAY_LEN(files));
        make_tar(members, ARRAY_LEN(members), &tar);
        write_file(at(s->f, "ctx/t.tar"), sb_text(&tar), tar.len);
        check(s, rows, ARRAY_LEN(rows), NULL, ctx);

        /* COPY never unpacks: the bytes are the file's. */
        v = copy_vertex(&(struct want){.name = "copy", .src = {"t.tar"}, .dest = "/u"}, NULL, ctx);
        OK(op_copy(&s->b, v, err));
        list_layer(s, v, false, &got);
        assert_true(str_has_prefix(sb_text(&got), "f 644 0:0 u = bin"));
        vertex_free(v);
        /* Cut short in the middle of a header: the user's own file is at fault. */
        write_file(at(s->f, "ctx/t.tar"), sb_text(&tar), 700);
        check(s,
              &(struct want){"cut",
                             {"t.tar"},
                             "/u",
                             .add = true,
                             .code = BLD_E_INVALID,
                             .text = "unpack \"t.tar\""},
              1, NULL, ctx);
        vertex_free(ctx);
}

/* A name that climbs stays inside DEST. */
static void archive_names(void **state)
{
        static const char script[] =
                "cd \"$1\" && mkdir x && echo x >x/f && echo o >o && "
                "tar -P -cf t.tar --transform 's,^x/f,../../up,;s,^o,/abs,' x/f o";
        struct step *s = *state;
        struct vertex *ctx = context_vertex();
        char cmd[700];

        step_context(s, NULL, 0);
        (void)snprintf(cmd, sizeof(cmd), "set -- '%s'; %s", s->b.context_path, script);
        pid_t pid = fork();
        if (pid == 0) {
                execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
                _exit(127);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        check(s,
              &(struct want){"climbing",
                             {"t.tar"},
                             "/u",
                             .add = true,
                             .text = "d 755 0:0 u\nf 644 0:0 u/abs = o\n\nf 644 0:0 u/up = x\n\n"},
              1, NULL, ctx);
        vertex_free(ctx);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(from_context, step_up, step_down),
                cmocka_unit_test_setup_teardown(ignored, step_up, step_down),
                cmocka_unit_test_setup_teardown(over_base, step_up, step_down),
                cmocka_unit_test_setup_teardown(from_stage, step_up, step_down),
                cmocka_unit_test_setup_teardown(hard_links, step_up, step_down),
                cmocka_unit_test_setup_teardown(times, step_up, step_down),
                cmocka_unit_test_setup_teardown(archives, step_up, step_down),
                cmocka_unit_test_setup_teardown(archive_names, step_up, step_down),
        };

        return cmocka_run_group_tests_name("builder/copy", tests, NULL, NULL);
}
