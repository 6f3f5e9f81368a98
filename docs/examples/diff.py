#!/usr/bin/env python3
"""List what changed between two images: diff.py OLD NEW. Needs libbld.so.0 and nothing else."""
import ctypes as c
import sys

lib = c.CDLL("libbld.so.0")
sys.stdout.reconfigure(errors="surrogateescape")  # names are bytes


class Err(c.Structure):
    _fields_ = [("code", c.c_int), ("sys", c.c_int), ("msg", c.c_char * 1016)]


class Change(c.Structure):
    _fields_ = [("path", c.c_char_p), ("kind", c.c_int), ("what", c.c_uint),
                ("before", c.c_size_t), ("after", c.c_size_t)]


KIND = {1: "A", 2: "D", 3: "M", 4: "T", 5: "m"}
lib.bld_diff_change.restype = c.POINTER(Change)
lib.bld_diff_change.argtypes = [c.c_void_p, c.c_size_t]
lib.bld_diff_count.restype = c.c_size_t
for name in ("bld_diff_count", "bld_diff_free", "bld_image_close", "bld_close"):
    getattr(lib, name).argtypes = [c.c_void_p]


def made(function, *args):
    """Call FUNCTION(ARGS..., &result, &err): the result, or an exception."""
    result, err = c.c_void_p(), Err()
    if function(*args, c.byref(result), c.byref(err)) < 0:
        sys.exit("diff.py: " + err.msg.decode(errors="replace"))
    return result


session = made(lib.bld_open, None)
a, b = (made(lib.bld_image_open, session, ref.encode(), None) for ref in sys.argv[1:3])
diff = made(lib.bld_diff, a, b, None)
for i in range(lib.bld_diff_count(diff)):
    change = lib.bld_diff_change(diff, i).contents
    print(KIND.get(change.kind, "?"), "/" + change.path.decode(errors="surrogateescape"))
for close, thing in ((lib.bld_diff_free, diff), (lib.bld_image_close, b), (lib.bld_image_close, a), (lib.bld_close, session)):
    close(thing)
