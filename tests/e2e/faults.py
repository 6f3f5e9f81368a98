#!/usr/bin/env python3
"""faults.py fail|power|damage PRELOAD START COMMAND...

fail: runs COMMAND on copies of the store START ($BLD_ROOT is the place of the copy), with the first, second, ... call
that changes the disk failing: a full disk, which stays full, and an I/O error, which comes once. Each time it must end
with one clear error, or well where what failed is not needed; the store must be whole; the next run must succeed.

power: runs COMMAND once, watched, and then looks at what a disk may hold when the power goes after each of its changes:
nothing that was not synced; all names, but of files only what was synced; and mixtures. Each must be a whole store with
all names of START (AGAIN=6: the command takes names away), and the command must succeed on it. When the command has
ended, its names must be on the disk.

damage: flips a bit of, halves and deletes each file of copies of START that is not a step's own business. A build that
needs what the file was (COMMAND, with --build-arg N=2) must end well, or with one clear error and then well; the images
must be what they are without damage, once they have been built again where something was lost for good.

E2E_FAULTS=all does all of that. Otherwise every fourth case is taken (E2E_FAULTS=N: every N-th), another one for each
command and kind of fault; E2E_FAULTS_OFFSET takes others. The same settings are the same cases."""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import zlib

from layout import check

ROOT = os.environ["BLD_ROOT"]
AGAIN = {0, int(os.environ.get("AGAIN", "0"))}  # how a second run may end

STEP = {"all": 1, "": 4}.get(os.environ.get("E2E_FAULTS", "")) or int(os.environ["E2E_FAULTS"])
OFFSET = int(os.environ.get("E2E_FAULTS_OFFSET", "0"))


class Sample:
    """Which of many cases are taken; what they are called decides where the count begins."""

    def __init__(self, *about):
        self.first = (zlib.crc32(" ".join(about).encode()) + OFFSET) % STEP
        self.taken = self.seen = 0

    def takes(self, always=False):
        chosen = always or self.seen % STEP == self.first
        self.seen += 1
        self.taken += chosen
        return chosen


def copy(start):
    shutil.rmtree(ROOT, ignore_errors=True)
    shutil.copytree(start, ROOT, symlinks=True)


def run(command, **env):
    more = {k: str(v) for k, v in env.items()}
    return subprocess.run(command, env={**os.environ, **more}, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False)


def judge(kind, done):
    """What is wrong with the way it ended."""
    lines = done.stderr.splitlines()
    errors = [s for s in lines if s.startswith("error: ")]
    if done.returncode == 0:
        return "an error, but exit 0" if errors else None
    if len(errors) != 1 or re.search(r"\.$", errors[0]):
        return "no single well-formed error"
    if kind == "CORRUPT":
        return None if done.returncode in (6, 7) else f"exit {done.returncode}"
    want, text = {"ENOSPC": (8, "error: no space left"), "EIO": (1, "error: ")}[kind]
    if done.returncode != want:
        return f"exit {done.returncode}, not {want}"
    if not errors[0].startswith(text) or (kind == "EIO" and "Input/output error" not in errors[0]):
        return f"the error does not say {kind}"
    return None


def every(preload, start, command):
    layer = {"LD_PRELOAD": preload, "FAULT_ROOT": ROOT}
    count = ROOT + ".count"
    copy(start)
    done = run(command, FAULT_COUNT=count, **layer)
    if done.returncode:
        sys.exit(f"without a fault: exit {done.returncode}\n{done.stderr}")
    with open(count, encoding="ascii") as f:
        calls = int(f.read())
    print(f"{calls} calls that can fail: {' '.join(command[1:3])}", flush=True)
    if calls < 3:
        sys.exit("too few")
    harmless = 0
    for kind, more in (("ENOSPC", {"FAULT_STICKY": 1}), ("EIO", {})):
        sample = Sample(kind, *command[1:3])
        for n in range(1, calls + 1):
            if not sample.takes(n == calls):
                continue
            copy(start)
            done = run(command, FAULT_AT=n, FAULT_ERRNO=kind, **more, **layer)
            bad = [judge(kind, done)]
            harmless += done.returncode == 0
            bad += check(ROOT)
            again = run(command)
            if again.returncode not in AGAIN:
                bad.append(f"the next run: exit {again.returncode}\n{again.stderr}")
            bad += check(ROOT)
            bad += [f"tmp/{s} is left" for s in os.listdir(ROOT + "/tmp")]
            bad = [s for s in bad if s]
            if bad:
                sys.exit(f"call {n} fails with {kind}: " + "\n".join(bad) + "\n--- stderr\n" + done.stderr)
        print(f"{kind}: {sample.taken} of {sample.seen}")
    print(f"harmless: {harmless}")


# ---- power cuts ----

class Node:
    """A file or folder. names: as the running system sees it; kept: as the disk has it; pending: changes since."""

    def __init__(self, is_dir, content=None):
        self.names, self.kept, self.pending = ({}, {}, []) if is_dir else (None, None, None)
        self.content = content  # path of what was synced last; None: nothing

    def set(self, name, node):
        self.pending.append((name, node))
        put(self.names, name, node)

    def sync(self):
        for name, node in self.pending:
            put(self.kept, name, node)
        self.pending = []


def put(names, name, node):
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


class Disk:
    def __init__(self, start, watched):
        self.by_ino = {}
        self.top = self.load(start, watched)

    def load(self, path, live):
        """What was there before, all of it synced. live: where the inode numbers are those of the log."""
        node = Node(os.path.isdir(path), path)
        self.by_ino[os.lstat(live).st_ino] = node
        for name in os.listdir(path) if node.names is not None else []:
            node.names[name] = node.kept[name] = self.load(f"{path}/{name}", f"{live}/{name}")
        return node

    def folder(self, path):
        node = self.top
        for part in path.split("/")[:-1]:
            node = node.names[part]
        return node

    def apply(self, op, ino, a, b, content):
        if op in ("create", "mkdir"):
            node = self.by_ino[ino] = Node(op == "mkdir")
            self.folder(a).set(os.path.basename(a), node)
        elif op == "rename":
            node = self.folder(a).names[os.path.basename(a)]
            self.folder(b).set(os.path.basename(b), node)
            self.folder(a).set(os.path.basename(a), None)
        elif op == "unlink":
            self.folder(a).set(os.path.basename(a), None)
        elif op == "fsync":
            self.by_ino[ino].content = content
        elif op == "syncdir":
            self.by_ino[ino].sync()

    def write(self, node, path, how):
        """how(node): how many of a folder's pending changes reached the disk."""
        if node.names is None:
            if node.content:
                shutil.copyfile(node.content, path)
            else:
                open(path, "wb").close()
            return
        os.makedirs(path)
        names = dict(node.kept)
        for name, child in node.pending[:how(node)]:
            put(names, name, child)
        for name, child in names.items():
            # what is bound to the boot belongs to another one after a power cut
            self.write(child, f"{path}/{re.sub('@[0-9a-f]{32}$', '@' + '0' * 32, name)}", how)


def tags(root):
    try:
        with open(root + "/index.json", encoding="utf-8") as f:
            return {d["annotations"].get("io.containerd.image.name") for d in json.load(f)["manifests"]}
    except FileNotFoundError:
        return set()


def power(preload, start, command):
    log, state = ROOT + ".log", ROOT
    watched = ROOT + ".watched"
    shutil.rmtree(log, ignore_errors=True)
    shutil.rmtree(watched, ignore_errors=True)
    os.mkdir(log)
    copy(start)
    os.rename(ROOT, watched)
    disk = Disk(start, watched)
    done = run(command, LD_PRELOAD=preload, FAULT_ROOT=watched, FAULT_LOG=log, BLD_ROOT=watched)
    if done.returncode:
        sys.exit(f"without a fault: exit {done.returncode}\n{done.stderr}")
    with open(log + "/log", encoding="utf-8") as f:
        changes = [line.rstrip("\n").split("\t") for line in f]
    print(f"{len(changes)} changes: {' '.join(command[1:3])}", flush=True)
    if not any(op == "syncdir" for op, _, _, _ in changes):
        sys.exit("nothing was synced")
    before, after = tags(start), tags(watched)
    dice = random.Random(1 + OFFSET)
    sample = Sample("power", *command[1:3])
    for i, (op, ino, a, b) in enumerate(changes):
        disk.apply(op, int(ino), a, b, f"{log}/{i}")
        last = i + 1 == len(changes)
        if not sample.takes(last):
            continue
        for kind, how in (("nothing unsynced", lambda n: 0), ("all names", lambda n: len(n.pending)),
                          ("some names", lambda n: dice.randint(0, len(n.pending)))):
            shutil.rmtree(state, ignore_errors=True)
            disk.write(disk.top, state, how)
            bad = check(state)
            missing = (before & after) - tags(state)
            if missing:
                bad.append(f"lost the names {missing}")
            if last and kind == "nothing unsynced" and tags(state) != after:
                bad.append(f"it ended, yet the disk says {tags(state)}, not {after}")
            if not bad and (sample.taken % 8 == 1 or last):
                again = run(command)
                if again.returncode not in AGAIN:
                    bad.append(f"the next run: exit {again.returncode}\n{again.stderr}")
                bad += check(state)
            if bad:
                sys.exit(f"power goes after change {i} ({op} {a} {b}), {kind}: " + "\n".join(bad))


# ---- damaged files ----

def victims(start):
    for folder, _, names in os.walk(start):
        below = os.path.relpath(folder, start)
        if below.split("/")[0] in ("builds", "tmp", "mounts") or "/fs" in f"/{below}":
            continue
        for name in sorted(names):
            if name not in ("lock", "format", "oci-layout", "index.json"):
                yield os.path.normpath(f"{below}/{name}")


def spoil(path, kind):
    if kind == "gone":
        os.unlink(path)
        return
    with open(path, "r+b") as f:
        size = os.fstat(f.fileno()).st_size
        if kind == "cut":
            f.truncate(size // 2)
        else:
            f.seek(size // 2)
            byte = f.read(1)
            f.seek(size // 2)
            f.write(bytes([byte[0] ^ 4]))


def digests():
    with open(ROOT + "/index.json", encoding="utf-8") as f:
        return {d["annotations"].get("io.containerd.image.name"): d["digest"] for d in json.load(f)["manifests"]}


def build(command, n, bad, tries=2):
    """Until it ends well, at most so often; every failure is one clear error."""
    argv = command[:2] + ["--build-arg", f"N={n}", "-t", f"app:v{n}"] + command[2:]
    for i in range(tries):
        done = run(argv)
        what = judge("CORRUPT", done)
        if what:
            bad.append(f"build {n}, try {i + 1}: {what}\n{done.stderr}")
        if done.returncode == 0:
            return
    bad.append(f"build {n} did not succeed in {tries} tries: {done.stderr}")


def damage(_preload, start, command):
    copy(start)
    bad = []
    build(command, 2, bad)
    expected = digests()
    files = list(victims(start))
    print(f"{len(files)} files", flush=True)
    if bad or len(files) < 10:
        sys.exit("without damage: " + "\n".join(bad))
    failed = 0
    sample = Sample("damage", *command[1:3])
    for name in files:
        for kind in ("flip", "cut", "gone"):
            if not sample.takes():
                continue
            copy(start)
            spoil(f"{ROOT}/{name}", kind)
            bad = []
            build(command, 2, bad)
            saved = run([command[0], "save", "-o", ROOT + ".tar", "app:v1"])
            failed += saved.returncode != 0
            what = judge("CORRUPT", saved)
            if what:
                bad.append(f"save: {what}\n{saved.stderr}")
            build(command, 1, bad)
            saved = run([command[0], "save", "-o", ROOT + ".tar", "app:v1", "app:v2"])
            if saved.returncode:
                bad.append(f"save after all: {saved.stderr}")
            if digests() != expected:
                bad.append(f"images {digests()}, not {expected}")
            bad += check(ROOT, everything=False)
            again = run([command[0], "prune", "-af"])
            if again.returncode:
                bad.append(again.stderr)
            if bad:
                sys.exit(f"{name}, {kind}: " + "\n".join(bad))
    print(f"{sample.taken} of {sample.seen}; saves that found damage: {failed}")
    if not failed:
        sys.exit("no damage was found by save")


if __name__ == "__main__":
    {"fail": every, "power": power, "damage": damage}[sys.argv[1]](sys.argv[2], sys.argv[3], sys.argv[4:])
