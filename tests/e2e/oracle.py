"""Random trees and changes, packed by GNU tar as chains of layers, against libbld (oracle_driver.c).

What must come out is told by this file alone: it looks at the trees on disk with lstat, getxattr and SHA-256 and
knows nothing of bld. Every case follows from SEED and its number, so a failure is run again with
    SEED=... CASE=... tests/e2e/run oracle
oracle.py DRIVER FOLDER; environment: SEED, CASES, CASE (one alone), KEEP=1 (leaves the folder of a failure).
"""
import gzip
import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import zlib

FILE, DIR, SYMLINK, HARDLINK, CHAR, BLOCK, FIFO = range(7)
ADDED, DELETED, MODIFIED, TYPE, METADATA = range(1, 6)
W_TYPE, W_CONTENT, W_SIZE, W_LINK, W_DEVICE, W_MODE, W_UID, W_GID, W_MTIME, W_XATTRS, W_LINKS = (1 << i for i in range(11))
KINDS = ["", "added", "deleted", "modified", "type", "metadata"]
TYPES = {stat.S_IFREG: FILE, stat.S_IFDIR: DIR, stat.S_IFLNK: SYMLINK, stat.S_IFCHR: CHAR, stat.S_IFBLK: BLOCK, stat.S_IFIFO: FIFO}


class Failure(Exception):
    pass


def want(cond, *text):
    if not cond:
        raise Failure(" ".join(str(t) for t in text))


# ---- trees on disk ----

class Node:
    __slots__ = ("type", "mode", "uid", "gid", "size", "ns", "link", "rdev", "xattrs", "sha", "crc", "names", "implied")

    @property
    def mtime(self):
        return self.ns // 10**9

    def key(self):
        """All that two equal nodes have in common, but the time."""
        mode = None if self.type == SYMLINK else self.mode
        return (self.type, mode, self.uid, self.gid, self.size, self.link, self.rdev, self.xattrs, self.sha, self.names)

    def __repr__(self):
        return "%s %o %d:%d %d @%d %r %s %r %s %r" % ("-dlhcbp"[self.type], self.mode, self.uid, self.gid, self.size, self.ns, self.link,
                                                     self.rdev, self.xattrs, (self.sha or "")[:8], sorted(self.names))


def walk(root):
    """Paths below root, as bytes, relative."""
    out, todo = [], [b""]
    while todo:
        d = todo.pop()
        for e in os.scandir(os.path.join(root, d)):
            p = os.path.join(d, e.name)
            out.append(p)
            if e.is_dir(follow_symlinks=False):
                todo.append(p)
    return sorted(out, key=parts)


def parts(path):
    return path.split(b"/")


def parents(path):
    at = path.rfind(b"/")
    while at > 0:
        path = path[:at]
        yield path
        at = path.rfind(b"/")


def scan(root):
    tree, inodes = {}, {}
    for p in walk(root):
        full = os.path.join(root, p)
        st, n = os.lstat(full), Node()
        n.type, n.mode, n.uid, n.gid, n.ns = TYPES[stat.S_IFMT(st.st_mode)], stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns
        n.size, n.link, n.rdev, n.sha, n.crc = 0, None, (0, 0), None, None
        n.xattrs = {os.fsencode(k): os.getxattr(full, k, follow_symlinks=False) for k in os.listxattr(full, follow_symlinks=False)}
        if n.type == FILE:
            with open(full, "rb") as f:
                data = f.read()
            n.size, n.sha, n.crc = len(data), hashlib.sha256(data).hexdigest(), zlib.crc32(data)
        elif n.type == SYMLINK:
            n.link = os.readlink(full)
        elif n.type in (CHAR, BLOCK):
            n.rdev = (os.major(st.st_rdev), os.minor(st.st_rdev))
        n.names, n.implied = frozenset([p]), False
        if n.type != DIR and st.st_nlink > 1:
            inodes.setdefault(st.st_ino, []).append(p)
        tree[p] = n
    for names in inodes.values():
        for p in names:
            tree[p].names = frozenset(names)
    return tree


def same_trees(got, expected, what, loose=frozenset(), paths=None, ignore=0):
    """loose: folders whose time is not known. paths: only these."""
    for p in sorted(set(got) | set(expected), key=parts):
        if paths is not None and p not in paths:
            continue
        a, b = got.get(p), expected.get(p)
        want(a and b, what, "path", p, "is", a, "should be", b)
        bits = differ(a, b) & ~ignore
        if a.type == b.type == DIR and p in loose:
            bits &= ~W_MTIME
        want(not bits, what, "path", p, "bits", bits, "\n is       ", a, "\n should be", b)


# ---- what differs ----

def differ(a, b):
    if a.type != b.type:
        return W_TYPE
    w = 0
    if a.sha != b.sha:
        w |= W_CONTENT
    if a.size != b.size:
        w |= W_SIZE
    if a.link != b.link:
        w |= W_LINK
    if a.rdev != b.rdev:
        w |= W_DEVICE
    if a.type != SYMLINK and a.mode != b.mode:
        w |= W_MODE
    if a.uid != b.uid:
        w |= W_UID
    if a.gid != b.gid:
        w |= W_GID
    if a.mtime != b.mtime and not a.implied and not b.implied:
        w |= W_MTIME
    if a.xattrs != b.xattrs:
        w |= W_XATTRS
    if a.names != b.names:
        w |= W_LINKS
    return w


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def below(path, top):
    return path == top or path.startswith(top + b"/")


def compare(a, b, ignore=0, only=None, exclude=None):
    out = []
    for p in sorted(set(a) | set(b), key=parts):
        if (only is not None and not below(p, only)) or (exclude is not None and below(p, exclude)):
            continue
        if p not in a:
            out.append((p, ADDED, 0))
        elif p not in b:
            out.append((p, DELETED, 0))
        else:
            w = differ(a[p], b[p]) & ~ignore
            if w & W_TYPE:
                out.append((p, TYPE, W_TYPE))
            elif w:
                out.append((p, MODIFIED if w & (W_CONTENT | W_SIZE | W_LINK | W_DEVICE) else METADATA, w))
    return out


# ---- making trees ----

NAMES = [b"a", b"b", b"c", b"bin", b"etc", b"lib", b"x.conf", b"Makefile", b".hidden", b"-dash", b"--", b"-rf", b"with space", b" lead",
         b"trail ", b"new\nline", b"tab\tname", b"q'uote", b'd"quote', b"back\\slash", b"*", b"[a]", b"?", b"#hash", b"!bang", b"$HOME", b"~",
         b"\xc3\xa4\xc3\xb6", b"a\xcc\x88", "日本".encode(), "😀".encode(), b"\xff\xfe", b"caf\xe9", b"\x01ctl", b"\x7f", b"a.b", b"a-b", b"a0",
         b"ab", b"A", b".wh", b"wh.x", b"..x", b"...", b"y" * 99, b"z" * 100, b"l" * 101, b"n" * 155, b"L" * 255, "ü".encode() * 127, b"%s%n", b";",
         b"|", b"=", b"a=b", b"usr", b"var", b"tmp"]
TARGETS = [b"a", b"../x", b"/etc/passwd", b"/", b".", b"..", b"nowhere/at/all", b"/proc/self/root", b"loop", b"x" * 99, b"y" * 100, b"z" * 101,
           b"t" * 300, b"\xff", b"new\nline", "ü".encode() * 60, b"./a/../b", b" "]
MODES = [0o644, 0o755, 0o600, 0o700, 0o000, 0o777, 0o4755, 0o2755, 0o1777, 0o6711, 0o7777, 0o444, 0o111]
IDS = [0, 0, 0, 1, 33, 1000, 65534, 65535, 65536, 2097151, 2097152, 4294967294]
SECS = [0, 1, -1, 1, 1600000000, 1600000000, 1700000000, 946684800, 2147483647, 2147483648, -86400, -2000000000, 8589934591, 8589934592, 9000000000]
SUBSECS = [0, 0, 0, 1, 500000000, 999999999, 123456789]


class Maker:
    def __init__(self, rng, root):
        self.rng, self.root = rng, root

    def full(self, p):
        return os.path.join(self.root, p)

    def time(self):
        return self.rng.choice(SECS) * 10**9 + self.rng.choice(SUBSECS)

    def set_time(self, p, ns):
        os.utime(self.full(p), ns=(ns, ns), follow_symlinks=False)

    def content(self):
        r = self.rng
        n = r.choice([0, 1, 5, 100, 511, 512, 513, 1024, 4096, 9000])
        return r.choice([r.randbytes(n), b"text\n" * (n // 5), b"\0" * n])

    def write(self, p):
        if self.rng.random() < 0.06:
            with open(self.full(p), "wb") as f:
                for _ in range(self.rng.randrange(4)):
                    f.seek(self.rng.choice([0, 4096, 65536, 200000]), 1)
                    f.write(self.rng.randbytes(self.rng.choice([1, 512, 5000])))
                f.truncate(f.tell() + self.rng.choice([0, 1, 70000]))
        else:
            with open(self.full(p), "wb") as f:
                f.write(self.content())

    def attributes(self, p):
        """Mode, owner, extended attributes, time; in that order, or chown undoes some."""
        r, full = self.rng, self.full(p)
        st = os.lstat(full)
        os.chown(full, r.choice(IDS), r.choice(IDS), follow_symlinks=False)
        if not stat.S_ISLNK(st.st_mode):
            os.chmod(full, r.choice(MODES))
        if (stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode)) and r.random() < 0.25:
            self.xattr(p)
        self.set_time(p, self.time())

    def xattr(self, p):
        r, full = self.rng, self.full(p)
        for k in os.listxattr(full, follow_symlinks=False):
            if r.random() < 0.5:
                os.removexattr(full, k)
        for _ in range(r.randrange(3)):
            os.setxattr(full, r.choice(["user.a", "user.b", "user.with space", "user.\xe4", "user.x" + "y" * 60]),
                        r.choice([b"", b"1", b"\0\1\2", b"line\nline", r.randbytes(100)]))
        if stat.S_ISREG(os.lstat(full).st_mode) and r.random() < 0.4:
            os.setxattr(full, "security.capability", b"\1\0\0\2" + bytes([r.randrange(256), r.randrange(32), 0, 0]) + b"\0" * 12)

    def folders(self):
        return [b""] + [p for p in walk(self.root) if stat.S_ISDIR(os.lstat(self.full(p)).st_mode)]

    def linkable(self):
        """GNU tar keeps the links of files and symbolic links, not of devices and pipes."""
        return [p for p in walk(self.root) if stat.S_IFMT(os.lstat(self.full(p)).st_mode) in (stat.S_IFREG, stat.S_IFLNK)]

    def fresh(self, folder=None):
        """A path that is not there."""
        for _ in range(50):
            d = self.rng.choice(self.folders()) if folder is None else folder
            p = os.path.join(d, self.rng.choice(NAMES))
            if len(p) < 1500 and not os.path.lexists(self.full(p)):
                return p
        return os.path.join(b"", b"n%d" % self.rng.randrange(10**9))

    def make(self, p, kind=None):
        r, full = self.rng, self.full(p)
        kind = kind or r.choice(["file"] * 8 + ["dir"] * 6 + ["symlink"] * 3 + ["hard"] * 3 + ["fifo", "char", "block"])
        if kind == "hard":
            old = self.linkable()
            if old:
                os.link(self.full(r.choice(old)), full, follow_symlinks=False)
                return
            kind = "file"
        if kind == "file":
            self.write(p)
        elif kind == "dir":
            os.mkdir(full)
        elif kind == "symlink":
            os.symlink(r.choice(TARGETS), full)
        elif kind == "fifo":
            os.mkfifo(full)
        else:
            dev = os.makedev(r.choice([1, 8, 255, 4095]), r.choice([0, 3, 255, 256, 65535]))
            if kind == "char" and dev == 0:
                dev = os.makedev(1, 3)
            os.mknod(full, (stat.S_IFCHR if kind == "char" else stat.S_IFBLK) | 0o600, dev)
        self.attributes(p)
        if kind == "dir":
            for _ in range(r.choice([0, 0, 1, 3])):
                self.make(self.fresh(p))

    def remove(self, p):
        full = self.full(p)
        if stat.S_ISDIR(os.lstat(full).st_mode):
            shutil.rmtree(full)
        else:
            os.unlink(full)

    def settle(self, before):
        """Folders got the time of now: some get their old one back, the others one that the seed says."""
        for p in walk(self.root):
            st = os.lstat(self.full(p))
            if stat.S_ISDIR(st.st_mode) and (p not in before or before[p] != st.st_mtime_ns):
                self.set_time(p, before[p] if p in before and self.rng.random() < 0.4 else self.time())

    def plain(self):
        """Some folders as if nobody had given them any attributes."""
        for p in self.folders()[1:]:
            if self.rng.random() < 0.5:
                full = self.full(p)
                os.chown(full, 0, 0)
                os.chmod(full, 0o755)
                for k in os.listxattr(full):
                    os.removexattr(full, k)

    def times(self):
        return {p: os.lstat(self.full(p)).st_mtime_ns for p in walk(self.root)}

    def grow(self, n):
        before = self.times()
        for _ in range(n):
            self.make(self.fresh())
        self.settle(before)

    def change(self, n):
        before = self.times()
        for _ in range(n):
            self.step(before)
        self.settle(before)

    def step(self, before):
        r, paths = self.rng, walk(self.root)
        if not paths or r.random() < 0.2:
            return self.make(self.fresh())
        p = r.choice(paths)
        full = self.full(p)
        st = os.lstat(full)
        is_dir, is_file, is_link = stat.S_ISDIR(st.st_mode), stat.S_ISREG(st.st_mode), stat.S_ISLNK(st.st_mode)
        op = r.choice(["delete", "delete", "replace", "replace", "content", "content", "mode", "owner", "xattr", "time", "subsec", "hard", "unlink",
                       "rename", "swap", "again", "target"])
        if op == "delete":
            self.remove(p)
        elif op == "replace":
            self.remove(p)
            self.make(p)
        elif op == "content" and is_file:
            if r.random() < 0.4 and st.st_size:  # other bytes of the same number
                with open(full, "rb+") as f:
                    f.write(r.randbytes(min(st.st_size, 16)))
            else:
                self.write(p)
            self.set_time(p, st.st_mtime_ns if r.random() < 0.5 else self.time())
        elif op == "mode" and not is_link:
            os.chmod(full, r.choice(MODES))
        elif op == "owner":
            caps = "security.capability" in os.listxattr(full, follow_symlinks=False) and os.getxattr(full, "security.capability")
            os.chown(full, r.choice(IDS), r.choice(IDS), follow_symlinks=False)
            if caps:
                os.setxattr(full, "security.capability", caps)
        elif op == "xattr" and (is_file or is_dir):
            self.xattr(p)
        elif op == "time":
            self.set_time(p, self.time())
        elif op == "subsec":
            self.set_time(p, st.st_mtime_ns // 10**9 * 10**9 + r.choice(SUBSECS))
        elif op == "hard" and (is_file or is_link):
            q = self.fresh() if r.random() < 0.5 or len(self.linkable()) < 2 else r.choice(self.linkable())
            if p != q and not (os.path.lexists(self.full(q)) and os.path.samestat(os.lstat(self.full(q)), st)):
                if os.path.lexists(self.full(q)):
                    os.unlink(self.full(q))
                os.link(full, self.full(q), follow_symlinks=False)
        elif op == "unlink" and is_file and st.st_nlink > 1:  # the same file, no longer linked
            subprocess.run([b"cp", b"-a", b"--", full, full + b".tmp"], check=True) if len(p.split(b"/")[-1]) < 250 else None
            if os.path.lexists(full + b".tmp"):
                os.rename(full + b".tmp", full)
        elif op == "rename":
            q = self.fresh()
            if not below(q, p):
                os.rename(full, self.full(q))
        elif op == "swap":
            q = r.choice(paths)
            if not below(p, q) and not below(q, p):
                os.rename(full, os.path.join(self.root, b"swap.tmp"))
                os.rename(self.full(q), full)
                os.rename(os.path.join(self.root, b"swap.tmp"), self.full(q))
        elif op == "again" and is_dir:
            self.remove(p)
            self.make(p, "dir")
        elif op == "target" and is_link:
            os.unlink(full)
            os.symlink(r.choice(TARGETS), full)
            os.chown(full, st.st_uid, st.st_gid, follow_symlinks=False)
            self.set_time(p, st.st_mtime_ns)


# ---- packing, by GNU tar ----

def tar(rng, mode, root, paths, out, pax):
    names = b"".join((b"./" if rng.random() < 0.5 else b"") + p + b"\0" for p in paths)
    cmd = ["tar", mode, "-f", out, "-C", root, "--no-recursion", "--null", "--verbatim-files-from", "-T", "-"]
    cmd.append("--format=" + ("pax" if pax else rng.choice(["gnu", "gnu", "oldgnu", "pax"])))
    if pax:
        cmd += ["--xattrs", "--xattrs-include=*"]
    if rng.random() < 0.3:
        cmd.append("--sparse")
    if rng.random() < 0.7:
        cmd.append("--numeric-owner")
    p = subprocess.run(cmd, input=names, capture_output=True)
    if p.returncode:
        raise RuntimeError(p.stderr.decode(errors="replace"))


def squeeze(rng, path):
    how = rng.choice(["none", "gzip", "members", "zstd"])
    if how == "none":
        return
    with open(path, "rb") as f:
        data = f.read()
    if how == "zstd":
        zstd = shutil.which("zstd")
        if not zstd:
            return
        data = subprocess.run([zstd, "-q", "-1", "-c"], input=data, capture_output=True, check=True).stdout
    else:
        cut = rng.randrange(len(data)) if how == "members" else 0
        data = (gzip.compress(data[:cut], 1, mtime=0) if cut else b"") + gzip.compress(data[cut:], 1, mtime=0)
    with open(path, "wb") as f:
        f.write(data)


class Chain:
    """Layers, and what is known of the tree they give: the layer of each path, folders of unknown time."""

    def __init__(self):
        self.layers, self.diff_ids, self.origin, self.loose, self.tree, self.implied = [], [], {}, set(), {}, set()

    def copy(self):
        c = Chain()
        c.layers, c.diff_ids, c.origin, c.loose, c.tree = list(self.layers), list(self.diff_ids), dict(self.origin), set(self.loose), self.tree
        c.implied = set(self.implied)
        return c

    def spec(self):
        return "layers:" + ":".join(self.layers)

    def layout(self, folder):
        """The chain as an image in an OCI layout."""
        os.makedirs(os.path.join(folder, "blobs", "sha256"))

        def put(data, media_type):
            d = digest(data)
            with open(os.path.join(folder, "blobs", *d.split(":")), "wb") as f:
                f.write(data)
            return {"mediaType": media_type, "digest": d, "size": len(data)}

        def put_json(doc, media_type):
            return put(json.dumps(doc).encode(), "application/vnd.oci.image." + media_type + "+json")

        layers = []
        for path in self.layers:
            with open(path, "rb") as f:
                data = f.read()
            kind = "+gzip" if data[:2] == b"\x1f\x8b" else "+zstd" if data[:4] == b"\x28\xb5\x2f\xfd" else ""
            layers.append(put(data, "application/vnd.oci.image.layer.v1.tar" + kind))
        config = put_json({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": self.diff_ids}}, "config.v1")
        manifest = put_json({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers},
                            "manifest.v1")
        for name, doc in ("index.json", {"schemaVersion": 2, "manifests": [manifest]}), ("oci-layout", {"imageLayoutVersion": "1.0.0"}):
            with open(os.path.join(folder, name), "w") as f:
                json.dump(doc, f)
        return "oci:" + folder

    def add(self, rng, root, out):
        """One more layer, that makes the tree what is in root now."""
        old, new = self.tree, scan(root)
        changed = {p for p in new if p not in old or old[p].key() != new[p].key() or old[p].ns != new[p].ns}
        gone = {p for p in old if p not in new and all(q in new and new[q].type == DIR and old[q].type == DIR for q in parents(p))
                and not any(q not in new for q in parents(p))}
        opaque, early = set(), set()
        for p in [p for p in new if new[p].type == DIR and p in old and old[p].type == DIR]:
            roll = rng.random()
            if roll < 0.06:
                opaque.add(p)
            elif roll < 0.09 and not any(p in parents(q) or q == p for q in early):
                early.add(p)  # removed, and made again in the same layer
        for p in new:
            if any(below(p, q) and p != q for q in opaque) or any(below(p, q) for q in early) or rng.random() < 0.03:
                changed.add(p)
        gone = {p for p in gone if not any(below(p, q) for q in opaque | early)}
        for p in list(changed):  # a link's file is in the same layer
            changed |= new[p].names
        extra = {p for p in new if p in changed and p in old and old[p].type != new[p].type and rng.random() < 0.3}
        touched = changed | gone | opaque | early
        implied = set()
        for p in sorted(touched):
            for q in list(parents(p)):
                if q in changed or q in implied:
                    continue
                if rng.random() < 0.75 or q not in old or old[q].type != DIR:
                    implied.add(q)
        written = changed | implied
        unnamed = {p for p in self.implied if p not in written and p in new and new[p].type == DIR}
        if not self.layers:  # folders that nobody names have these attributes
            unnamed = {p for p, n in new.items() if n.type == DIR and (n.mode, n.uid, n.gid, n.xattrs) == (0o755, 0, 0, {}) and rng.random() < 0.7
                       and any(p in parents(q) and new[q].type != DIR for q in new)}
            written -= unnamed
        loose = {p for p in self.loose if p not in written and p in new}
        for p in touched | extra:
            q = next(parents(p), None)
            if q is not None and q not in written:
                loose.add(q)
        loose |= {p for p in opaque if p not in written} | unnamed
        whiteouts = {os.path.join(os.path.dirname(p), b".wh." + os.path.basename(p)) for p in gone | extra | early}
        if any(len(os.path.basename(w)) > 255 for w in whiteouts):
            raise Unpackable()
        whiteouts |= {p + b"/.wh..wh..opq" for p in opaque}
        grown = any(n.type == DIR and p in old and old[p].type != DIR for p, n in new.items())
        self.pack(rng, root, out, sorted(written, key=parts), sorted(whiteouts, key=parts), bool(early), not grown)
        for p in list(self.origin):
            if p not in new or any(below(p, q) for q in early):
                del self.origin[p]
        for p in written:
            self.origin[p] = len(self.layers)
        self.layers.append(out)
        for p in unnamed:
            new[p].implied = True
        self.loose, self.tree, self.implied = loose, new, unnamed

    def pack(self, rng, root, out, paths, whiteouts, first, any_order):
        pax = any(n.xattrs for n in scan(root).values()) or rng.random() < 0.5
        if any_order and rng.random() < 0.15:  # but nothing goes into a folder before it took the place of a file
            rng.shuffle(paths)
        stage = out + ".wh"
        os.mkdir(stage)
        for w in whiteouts:
            full = os.path.join(os.fsencode(stage), w)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            open(full, "wb").close()
        steps = [(stage, whiteouts), (root, paths)]
        if not first and rng.random() < 0.4:
            steps.reverse()
        if not whiteouts:
            steps = [(root, paths)]
        tar(rng, "-c", *steps[0], out, pax)
        for s in steps[1:]:
            tar(rng, "-r", *s, out, pax)
        shutil.rmtree(stage)
        with open(out, "rb") as f:
            self.diff_ids.append(digest(f.read()))
        squeeze(rng, out)


class Unpackable(Exception):
    """A change that GNU tar cannot be told: the whiteout would be a file with too long a name."""


# ---- the library ----

class Driver:
    def __init__(self, path):
        self.p = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, *words):
        self.p.stdin.write(("\t".join(str(w) for w in words) + "\n").encode())
        self.p.stdin.flush()
        out = []
        while True:
            line = self.p.stdout.readline()
            if not line:
                raise Failure("the driver died (status %s) on %r" % (self.p.wait(), words))
            line = line.decode(errors="replace").rstrip("\n")
            if line == ".":
                return out
            if line.startswith("! "):
                raise Failure("%s: %s" % (" ".join(str(w) for w in words), line[2:]))
            out.append(line.split("\t"))

    def close(self):
        self.p.stdin.close()
        want(self.p.wait() == 0, "the driver ended with", self.p.returncode)


def unhex(s):
    return None if s == "-" else bytes.fromhex(s[1:])


def read_tree(driver, spec, content):
    nodes, order, sums = {}, [], {}
    for w in driver.ask("tree", spec, int(content)):
        if w[0] == "sum":
            want(w[2] == w[3] and w[4] == "1" and w[5] == "0", "contents read in two ways differ", w)
            sums[int(w[1])] = int(w[2], 16)
            continue
        want(w[0] == "node", "not found again", w)
        n = Node()
        path, first = unhex(w[1]), unhex(w[14])
        n.type, n.mode, n.uid, n.gid, n.size, n.ns = int(w[2]), int(w[3], 8), int(w[4]), int(w[5]), int(w[6]), int(w[7])
        n.link, n.rdev, n.crc = unhex(w[8]), (int(w[9]), int(w[10])), None
        n.sha = None if w[15] == "-" else unhex(w[15]).hex()
        n.xattrs = {} if w[16] == "-" else {unhex(kv.split("=")[0]): unhex(kv.split("=")[1]) for kv in w[16].split(",")}
        n.names, n.implied = first or path, w[12] == "1"
        nodes[path] = n
        order.append((path, int(w[11]), w[12] == "1", int(w[13])))
    for i, crc in sums.items():
        nodes[order[i][0]].crc = crc
    groups = {}
    for p, n in nodes.items():
        groups.setdefault(n.names, set()).add(p)
    for n in nodes.values():
        n.names = frozenset(groups[n.names])
    return nodes, order


def check_tree(driver, chain, spec, what):
    content = bool(len(chain.layers) % 2)
    nodes, order = read_tree(driver, spec, content)
    want([o[0] for o in order] == sorted(chain.tree, key=parts), what, "paths", [o[0] for o in order], "should be", sorted(chain.tree, key=parts))
    for i, (p, layer, implied, end) in enumerate(order):
        n, e = nodes[p], chain.tree[p]
        if not content and n.type == FILE:
            n.sha = n.sha or e.sha
        want(not differ(n, e), what, "node", p, differ(n, e), "\n is       ", n, "\n should be", e)
        want(n.crc == e.crc, what, "content of", p)
        want(implied == e.implied, what, "implied", p)
        want(implied or layer == chain.origin[p], what, "layer of", p, "is", layer, "should be", chain.origin.get(p))
        last = i + 1
        while last < len(order) and below(order[last][0], p):
            last += 1
        want(end == last, what, "end of", p, "is", end, "should be", last)


def read_diff(driver, a, b, ignore=0, only=None, exclude=None):
    pattern = [os.fsdecode(x) if x is not None else "-" for x in (only, exclude)]
    out, renames = [], {}
    for w in driver.ask("diff", a, b, ignore, *pattern):
        p, kind, bits = unhex(w[1]), int(w[2]), int(w[3])
        want(w[4] == "0", "unsure", p)
        want((w[6] == "1") == (kind != ADDED) and (w[7] == "1") == (kind != DELETED), "nodes of", p, w)
        if w[5] != "-":
            renames[p] = unhex(w[5])
        out.append((p, kind, W_TYPE if kind == TYPE and bits & W_TYPE else bits))
    return out, renames


def check_diff(driver, a, b, tree_a, tree_b, ignore=0, only=None, exclude=None):
    got, renames = read_diff(driver, a, b, ignore, only, exclude)
    expected = compare(tree_a, tree_b, ignore, only, exclude)
    for x, y in zip(got + [None] * len(expected), expected + [None] * len(got)):
        want(x == y, "change", x, "should be", y, "(ignore %d only %s exclude %s)" % (ignore, only, exclude), "\n A:",
             *[repr((t[0], tree_a.get(t[0]))) + "\n B: " + repr(tree_b.get(t[0])) for t in (x, y) if t])
    went = {p for p, kind, _ in expected if kind == DELETED and tree_a[p].type == FILE and tree_a[p].size}
    came = {p for p, kind, _ in expected if kind == ADDED and tree_b[p].type == FILE and tree_b[p].size}
    for p, q in renames.items():
        want(renames.get(q) == p and (p in went) != (p in came), "rename", p, q)
        old, new = (p, q) if p in went else (q, p)
        want(old in went and new in came and tree_a[old].sha == tree_b[new].sha, "rename", old, new)
    left_went = {tree_a[p].sha for p in went if p not in renames}
    left_came = {tree_b[p].sha for p in came if p not in renames}
    want(not left_went & left_came, "a rename was not seen")
    return expected


def check_order(path, what, unnamed=frozenset()):
    """Canonical: folders before what is in them, whiteouts first in each, names by bytes, none twice."""
    raw = subprocess.run(["tar", "-tf", path, "--quoting-style=escape"], capture_output=True, check=True)
    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as t:
        names = [m.name.encode("utf-8", "surrogateescape") for m in t]
        links = [(m.name, m.linkname) for m in t if m.islnk()]
    want(len(raw.stdout.splitlines()) == len(names), what, "GNU tar and Python count", len(raw.stdout.splitlines()), len(names))

    def key(p):
        return [(not c.startswith(b".wh.") or i + 1 < len(parts(p)), c.removeprefix(b".wh.")) for i, c in enumerate(parts(p))]
    want(names == sorted(names, key=key), what, "order", names)
    want(len(set(names)) == len(names), what, "twice", names)
    at = {n: i for i, n in enumerate(names)}
    for n in names:
        for q in parents(n):
            want(q in unnamed or (q in at and at[q] < at[n]), what, "folder of", n)
    for n, target in links:
        want(target.encode("utf-8", "surrogateescape") in at, what, "link", n, target)


# ---- one case ----

class Case:
    def __init__(self, driver, seed, number, folder):
        self.driver, self.rng, self.dir = driver, random.Random("%s/%d" % (seed, number)), folder
        self.count = 0

    def path(self, name):
        self.count += 1
        return os.path.join(self.dir, "%d-%s" % (self.count, name))

    def folder(self, name):
        p = self.path(name)
        os.mkdir(p)
        return p

    def copy(self, src):
        p = self.folder("copy")
        subprocess.run(["cp", "-a", src + "/.", p], check=True)
        return p

    def grow(self, chain, root, layers, steps):
        """More layers on a chain; the folder that holds what the last makes."""
        for _ in range(layers):
            for _ in range(20):
                new = self.copy(root)
                Maker(self.rng, os.fsencode(new)).change(self.rng.randrange(1, steps + 1))
                try:
                    chain.add(self.rng, os.fsencode(new), self.path("layer"))
                    root = new
                    break
                except Unpackable:
                    shutil.rmtree(new)
        return root

    def make(self):
        r = self.rng
        root = self.folder("root")
        maker = Maker(r, os.fsencode(root))
        maker.grow(r.choice([0, 1, 3, 8, 15, 25]))
        if r.random() < 0.4:
            maker.plain()
        base = Chain()
        base.add(r, os.fsencode(root), self.path("layer"))
        root = self.grow(base, root, r.choice([0, 0, 1, 2]), 6)
        a, b = base.copy(), base.copy()
        self.root_a = self.grow(a, root, r.choice([0, 0, 1, 2]), 6)
        if r.random() < 0.3:  # nothing in common but the tree
            b = Chain()
            b.add(r, os.fsencode(self.root_a), self.path("layer"))
            root = self.root_a
        self.root_b = self.grow(b, root, r.choice([0, 1, 1, 2, 3]), 8)
        self.a, self.b = a, b

    def unpack(self, spec, what):
        out = self.folder("out")
        self.driver.ask("apply", spec, out)
        return scan(os.fsencode(out)), out

    def specs(self, chain, root):
        """The tree of a chain in one of the forms it has, and what is known of it."""
        how = self.rng.choice(["layers", "layers", "folder", "layout"])
        if how == "folder":
            return "dir:" + root, scan(os.fsencode(root))
        return chain.layout(self.folder("layout")) if how == "layout" else chain.spec(), chain.tree

    def selection(self):
        """Bits to ignore, and a path that is the only one, or left out."""
        r = self.rng
        ignore = r.choice([0, 0, W_MTIME, W_MTIME | W_UID | W_GID, W_XATTRS, W_LINKS, W_MODE | W_MTIME, r.randrange(2, 2048) & ~W_TYPE])
        safe = [p for p in set(self.a.tree) | set(self.b.tree) if all(c in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-" for c in p)
                and not p.startswith(b"-")]
        pick = r.choice(sorted(safe)) if safe and r.random() < 0.5 else None
        return ignore, *((pick, None) if r.random() < 0.5 else (None, pick))

    def run(self):
        d, r, a, b = self.driver, self.rng, self.a, self.b
        want(scan(os.fsencode(self.root_a)).keys() == a.tree.keys(), "the test's own tree changed")
        for c, root, what in ((a, self.root_a, "A"), (b, self.root_b, "B")):
            spec = c.layout(self.folder("layout")) if r.random() < 0.3 else c.spec()
            check_tree(d, c, spec, "tree of " + what)
            got, _ = self.unpack(spec, what)
            same_trees(got, c.tree, "unpacked " + what, c.loose)
        check_diff(d, a.spec(), b.spec(), a.tree, b.tree)
        (one, tree_a), (two, tree_b) = self.specs(a, self.root_a), self.specs(b, self.root_b)
        check_diff(d, one, two, tree_a, tree_b, *self.selection())
        want(not read_diff(d, a.spec(), "dir:" + self.root_a)[0], "A differs from its own folder")
        self.round_trip()
        self.patch()
        self.partial_patch()

    def round_trip(self):
        """write -> read -> write -> unpack"""
        codec, layer, again = self.rng.choice(["gzip", "zstd", "none"]), self.path("made"), self.path("again")
        made = self.driver.ask("create", self.root_b, layer, codec)[0]
        with open(layer, "rb") as f:
            data = f.read()
        want(made[2] == digest(data) and int(made[4]) == len(data), "digest of a layer", made)
        if codec != "zstd":
            check_order(layer, "created")
        out = self.folder("out")
        self.driver.ask("apply-layer", layer, out)
        same_trees(scan(os.fsencode(out)), self.b.tree, "created and unpacked")
        was, now = self.driver.ask("rewrite", layer, again, self.rng.choice(["gzip", "zstd", "none"]))
        want(was[1:] == made[1:], "what a stream says of itself", was, "and its maker", made)
        want(now[1] == made[1], "written again it is another", now, made)
        layers = []
        for l in self.a.layers:
            try:
                layers.append(self.path("rewritten"))
                self.driver.ask("rewrite", l, layers[-1], "none")
            except Failure as e:  # an order, or a whiteout of what is made again, that only readers take
                want(any(s in str(e) for s in ("comes after what is in it", "comes twice", "is no folder")), e)
                layers[-1] = l
        check_tree(self.driver, self.a, "layers:" + ":".join(layers), "written again")

    def write_patch(self, a, b, ignore, only, exclude):
        out, codec = self.path("patch"), self.rng.choice(["gzip", "zstd", "none"])
        pattern = [os.fsdecode(x) if x is not None else "-" for x in (only, exclude)]
        way = self.rng.choice(["fd", "call"])
        made = self.driver.ask("patch", a, b, ignore, *pattern, out, codec, way)[0]
        with open(out, "rb") as f:
            data = f.read()
        want(made[2] == digest(data) and int(made[4]) == len(data), "digest of a patch", made)
        if codec != "zstd":
            check_order(out, "patch", self.a.implied)  # a made-up entry would be worse than none
        return out, made

    def patch(self):
        """A and the patch are B."""
        a, b = self.a, self.b
        out, made = self.write_patch(self.specs(a, self.root_a)[0], self.specs(b, self.root_b)[0], 0, None, None)
        if not a.implied and not b.implied:
            want(made[1] == self.write_patch(a.spec(), b.spec(), 0, None, None)[1][1], "patches of the same trees differ", made)
        both = a.spec() + ":" + out
        got, _ = self.unpack(both, "A and the patch")
        same_trees(got, b.tree, "A and the patch", a.loose)
        want(not read_diff(self.driver, both, b.spec())[0], "A and the patch differ from B")
        copy = self.copy(self.root_a)
        self.driver.ask("apply-layer", out, copy)
        same_trees(scan(os.fsencode(copy)), b.tree, "the patch on a folder", a.implied)

    def partial_patch(self):
        """What was ignored or left out may differ; nothing else does, and what was left out stays."""
        ignore, only, exclude = self.selection()
        a, b = self.a, self.b
        if only is None and exclude is None and not ignore:
            return
        changes = compare(a.tree, b.tree, ignore, only, exclude)
        out, _ = self.write_patch(a.spec(), b.spec(), ignore, only, exclude)
        copy = self.copy(self.root_a)
        self.driver.ask("apply-layer", out, copy)
        got = scan(os.fsencode(copy))
        inside = {p for p in set(a.tree) | set(b.tree) if (only is None or below(p, only)) and (exclude is None or not below(p, exclude))}
        bits = ignore | W_LINKS if only is not None or exclude is not None else ignore
        if not ignore & W_TYPE:
            same_trees({p: n for p, n in got.items() if p in inside}, {p: n for p, n in b.tree.items() if p in inside}, "partial patch", a.implied, ignore=bits)
        replaced = {p for p, kind, _ in changes if kind in (TYPE, DELETED)}
        made = {q for p, kind, _ in changes if kind != DELETED for q in parents(p) if q not in a.tree or a.tree[q].type != DIR}
        for p in set(a.tree) - inside:
            if any(below(p, q) for q in replaced | made):
                continue
            want(p in got and not differ(got[p], a.tree[p]) & ~W_LINKS, "left out", p, got.get(p), "should be", a.tree[p])


def main():
    driver_path, top = sys.argv[1:]
    seed = os.environ.get("SEED") or "%d" % random.SystemRandom().randrange(10**9)
    one = os.environ.get("CASE")
    cases = [int(one)] if one else range(int(os.environ.get("CASES") or 300))
    print("SEED=%s" % seed, flush=True)
    driver = Driver(driver_path)
    for i in cases:
        folder = os.path.join(top, "case-%d" % i)
        os.mkdir(folder)
        case = Case(driver, seed, i, folder)
        try:
            case.make()
            case.run()
        except Failure as e:
            print("case %d failed; again: SEED=%s CASE=%d tests/e2e/run oracle\n%s" % (i, seed, i, e))
            if not os.environ.get("KEEP"):
                shutil.rmtree(folder)
            return 1
        shutil.rmtree(folder)
    driver.close()
    print("%d cases" % len(cases))
    return 0


if __name__ == "__main__":
    sys.exit(main())
