#!/usr/bin/env python3
"""Is this folder a whole OCI layout? Every blob is what its name says, and all that a name reaches is there."""
import hashlib
import json
import os
import sys


def check(root, everything=True):
    """A list of what is wrong; root is a folder, or nothing at all. everything: unused blobs, too."""
    if not os.path.exists(os.path.join(root, "format")):
        return []  # not yet a store: the next start makes it one
    bad = []
    blobs = os.path.join(root, "blobs")
    for algo in sorted(os.listdir(blobs)) if everything else []:
        for name in os.listdir(os.path.join(blobs, algo)):
            with open(os.path.join(blobs, algo, name), "rb") as f:
                if hashlib.new(algo, f.read()).hexdigest() != name:
                    bad.append(f"blobs/{algo}/{name} is not what its name says")

    def reach(desc, top):
        path = os.path.join(blobs, *desc["digest"].split(":"))
        document = desc["mediaType"].rsplit(".", 1)[-1] in ("index.v1+json", "manifest.v1+json", "v2+json") and \
            "config" not in desc["mediaType"]
        if not os.path.exists(path):
            if top or not document:
                bad.append(f"{desc['digest']} is named, but not there")
            return
        if os.path.getsize(path) != desc["size"]:
            bad.append(f"{desc['digest']} has another size than is said")
            return
        with open(path, "rb") as f:
            if hashlib.new(desc["digest"].split(":")[0], f.read()).hexdigest() != desc["digest"].split(":")[1]:
                bad.append(f"{desc['digest']} is named, but damaged")
                return
        if document:
            with open(path, encoding="utf-8") as f:
                doc = json.load(f)
            for child in [doc.get("config")] + doc.get("layers", []) + doc.get("manifests", []):
                if child:
                    reach(child, False)

    try:
        with open(os.path.join(root, "oci-layout"), encoding="utf-8") as f:
            if json.load(f) != {"imageLayoutVersion": "1.0.0"}:
                bad.append("oci-layout is another")
        with open(os.path.join(root, "index.json"), encoding="utf-8") as f:
            for desc in json.load(f)["manifests"]:
                reach(desc, True)
    except (OSError, ValueError) as e:
        bad.append(str(e))
    return bad


if __name__ == "__main__":
    found = check(sys.argv[1])
    print("\n".join(found))
    sys.exit(1 if found else 0)
