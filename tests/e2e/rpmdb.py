#!/usr/bin/env python3
"""The packages of an rpmdb.sqlite in the other forms rpm has for them.

  rpmdb.py ndb FROM TO              Packages.db, with a free slot and packages out of order
  rpmdb.py dump FROM PAGESIZE LORDER    text for db5.3_load -t hash
  rpmdb.py sqlite FROM TO PAGESIZE  only what names a package, in small pages and with a table before it
  rpmdb.py wal FROM TO              the last package is in the write-ahead log TO-wal only
"""
import os
import sqlite3
import struct
import sys
import zlib

KEEP = {1000, 1001, 1002, 1003, 1009, 1022, 1044, 5009}


def blobs(path):
    with sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True) as db:
        return list(db.execute("SELECT hnum, blob FROM Packages ORDER BY hnum"))


def slim(blob):
    """The header image with the entries of KEEP alone."""
    il, dl = struct.unpack_from(">II", blob)
    data = blob[8 + 16 * il:8 + 16 * il + dl]
    entries, out = [], b""
    for i in range(il):
        tag, kind, off, count = struct.unpack_from(">IIII", blob, 8 + 16 * i)
        if tag not in KEEP:
            continue
        if kind == 6:
            value = data[off:data.index(b"\0", off) + 1]
        else:
            size = {4: 4, 5: 8}[kind]
            out += b"\0" * (-len(out) % size)
            value = data[off:off + size]
        entries.append(struct.pack(">IIII", tag, kind, len(out), count))
        out += value
    return struct.pack(">II", len(entries), len(out)) + b"".join(entries) + out


def ndb(rows):
    slots, body, block = [], b"", 4096 // 16
    for num, blob in reversed(rows):
        pad = -(16 + len(blob) + 12) % 16
        part = b"BlbS" + struct.pack("<III", num, 1, len(blob)) + blob + b"\0" * pad
        part += struct.pack("<II", zlib.adler32(part), len(blob)) + b"BlbE"
        slots.append(b"Slot" + struct.pack("<III", num, block, len(part) // 16))
        body += part
        block += len(part) // 16
    slots.insert(1, b"Slot" + bytes(12))
    while len(slots) < 254:
        slots.append(b"Slot" + bytes(12))
    return b"RpmP" + struct.pack("<IIII", 0, 9, 1, len(rows) + 1) + bytes(12) + b"".join(slots) + body


def dump(rows, page, lorder):
    out = ["VERSION=3", "format=bytevalue", "type=hash", f"db_lorder={lorder}", f"db_pagesize={page}",
           "HEADER=END"]
    out += [" 00000000", " " + struct.pack("<I", len(rows) + 1).hex()]
    for num, blob in rows:
        out += [" " + struct.pack("<I", num).hex(), " " + blob.hex()]
    return "\n".join(out + ["DATA=END", ""])


def table(db, rows, last):
    db.execute("CREATE TABLE IF NOT EXISTS 'Name' (key TEXT, hnum INTEGER)")
    db.execute("CREATE TABLE IF NOT EXISTS 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)")
    db.executemany("INSERT INTO Packages VALUES (?, ?)", rows if last is None else rows[:-1])
    db.commit()


def small(rows, path, page):
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA page_size={page}")
    db.execute("PRAGMA auto_vacuum=1")
    table(db, [(n, slim(b)) for n, b in rows], None)
    db.close()


def wal(rows, path):
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    table(db, rows, 1)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("INSERT INTO Packages VALUES (?, ?)", rows[-1])
    db.commit()
    os._exit(0)  # closing would move the log into the file


def main(argv):
    rows = blobs(argv[1])
    if argv[0] == "ndb":
        with open(argv[2], "wb") as f:
            f.write(ndb(rows))
    elif argv[0] == "dump":
        print(dump(rows, argv[2], argv[3]), end="")
    elif argv[0] == "sqlite":
        small(rows, argv[2], argv[3])
    elif argv[0] == "wal":
        wal(rows, argv[2])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
