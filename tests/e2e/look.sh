#!/bin/bash
# Looking into images: files, cat, analyze, history.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# layer DIR [TAR ARGUMENTS]...: one more layer for `image`, a tar of DIR.
LAYERS=()
layer() {
	local dir=$1
	shift
	tar -C "$dir" --numeric-owner --owner=0 --group=0 --sort=name --mtime=@1500000000 -cf "layer${#LAYERS[@]}.tar" \
		"${@:-.}"
	LAYERS+=("layer${#LAYERS[@]}.tar")
}
# raw_layer TAR: the same of a tar that is there.
raw_layer() { LAYERS+=("$1"); }
# image NAME: the layers as an image in the store, made without bld's help.
image() {
	python3 - "$D/layout" "${LAYERS[@]}" <<-'P'
	import hashlib, json, os, sys, gzip
	out, tars = sys.argv[1], sys.argv[2:]
	os.makedirs(out + "/blobs/sha256", exist_ok=True)
	def put(data, mt):
	    h = hashlib.sha256(data).hexdigest()
	    open(f"{out}/blobs/sha256/{h}", "wb").write(data)
	    return {"mediaType": mt, "digest": "sha256:" + h, "size": len(data)}
	raw = [open(t, "rb").read() for t in tars]
	layers = [put(gzip.compress(r, 6, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip") for r in raw]
	config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers",
	    "diff_ids": ["sha256:" + hashlib.sha256(r).hexdigest() for r in raw]},
	    "history": [{"created_by": f"step {i}"} for i in range(len(raw))]}
	c = put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
	m = put(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
	    "config": c, "layers": layers}).encode(), "application/vnd.oci.image.manifest.v1+json")
	m["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
	json.dump({"schemaVersion": 2, "manifests": [m]}, open(out + "/index.json", "w"))
	open(out + "/oci-layout", "w").write('{"imageLayoutVersion":"1.0.0"}')
	P
	bld copy "oci:$D/layout:latest" "${1:-store:t}"
	LAYERS=()
}
noise() { head -c "$1" /dev/urandom; }

# Three layers: a file replaced, one removed, a folder emptied, links of all kinds.
sample() {
	mkdir -p a/etc a/usr/lib a/old a/full b/etc c/full
	echo one >a/etc/one
	echo two >a/etc/two
	echo rel >a/usr/lib/os-release
	ln -s ../usr/lib/os-release a/etc/os-release
	ln a/usr/lib/os-release a/usr/lib/hard
	echo x >a/old/x
	echo y >a/full/y
	chmod 4755 a/etc/two
	echo ONE >b/etc/one
	touch b/etc/.wh.two b/.wh.old
	touch c/full/.wh..wh..opq
	echo z >c/full/z
	layer a
	layer b
	layer c
}

listing() {
	sample
	image store:t
	bld files t
	sed '1d' "$D/out" | awk '{print $1, $NF}' >got
	# of folders the uppermost layer that names it counts
	cat >want <<-'X'
	1 /etc/
	1 /etc/one
	0 ../usr/lib/os-release
	2 /full/
	2 /full/z
	0 /usr/
	0 /usr/lib/
	0 /usr/lib/hard
	0 /usr/lib/os-release
	X
	diff -u want got
	has "$D/out" '/etc/os-release -> \.\./usr/lib/os-release$'
	bld files -l t /usr/lib
	has "$D/out" '^-rw-r--r-- +0 +0 +4  2017-07-14 02:40 +0  /usr/lib/os-release'
	has "$D/out" 'link to /usr/lib/'
	same 4 "$(wc -l <"$D/out")" "lines"
	bld files -l t etc/os-release
	same 2 "$(wc -l <"$D/out")" "lines"
	has "$D/out" '^lrwxrwxrwx .* /etc/os-release -> '
	bld files --depth 1 t
	same "/etc/ /full/ /usr/" "$(sed 1d "$D/out" | awk '{print $NF}' | xargs)"
	bld files --format jsonl t /etc
	same "/etc /etc/one /etc/os-release" "$(jq -r .path "$D/out" | xargs)"
	bld files --format json t
	same 9 "$(jq length "$D/out")"
	bld files --format '{{.Layer}}:{{.Path}}:{{.Mode}}:{{.Type}}' t /etc/one
	same "1:/etc/one:0644:file" "$(cat "$D/out")"
	bld files -0 t /etc
	same "/etc /etc/one /etc/os-release" "$(tr '\0' ' ' <"$D/out" | xargs)"
	want 6 "$BLD" files t /etc/two
	one_error
	has "$D/err" 'there is no "/etc/two" in t$'
	want 2 "$BLD" files --format nonsense t
	want 2 "$BLD" files --format '{{.Nothing}}' t
	want 2 "$BLD" files --layer x t
	want 6 "$BLD" files no-such-image
	# the merged tree is what tar and the whiteouts make of it, by an independent reader
	skopeo copy -q "oci:$D/layout:latest" "oci:$D/for-umoci:x"
	umoci unpack --rootless --image "$D/for-umoci:x" "$D/bundle" >/dev/null
	(cd bundle/rootfs && find . -mindepth 1 -printf '/%P\n' | sort) >want
	bld files --format '{{.Path}}' t
	sort "$D/out" | diff -u want -
}

one_layer() {
	sample
	image store:t
	bld files --layer 1 t
	has "$D/out" '/etc/two \(removed\)$'
	has "$D/out" '/old \(removed\)$'
	has "$D/out" '^ +1 .* /etc/one$'
	hasnt "$D/out" 'os-release'
	bld files -l --layer -1 t
	has "$D/out" '^o.* 2  /full/ \(emptied\)$'
	bld files --layer 2 --format jsonl t
	same "opaque" "$(jq -r 'select(.path == "/full" and .type != "dir").type' "$D/out")"
	want 6 "$BLD" files --layer 1 t /usr
	want 6 "$BLD" files --layer 7 t
	bld cat --layer 0 t /etc/two
	same two "$(cat "$D/out")"
	want 6 "$BLD" cat --layer 1 t /etc/two
	has "$D/err" 'removed by layer 1'
	want 6 "$BLD" cat --layer 1 t /usr/lib/os-release
}

printing() {
	sample
	image store:t
	for ref in t "oci:$D/layout:latest" "dir:$D/merged"; do
		[ -d merged ] || { mkdir merged && bld export -o x.tar t && tar -xf x.tar -C merged; }
		bld cat "$ref" /etc/os-release
		same rel "$(cat "$D/out")" "$ref"
		bld cat "$ref" usr/lib/hard
		same rel "$(cat "$D/out")" "$ref"
		bld cat --verify "$ref" //etc/./one
		same ONE "$(cat "$D/out")" "$ref"
		want 6 "$BLD" cat "$ref" /etc/two
		one_error
		want 6 "$BLD" cat "$ref" /old/x
		want 6 "$BLD" cat "$ref" /full/y
		want 6 "$BLD" cat "$ref" /etc/one/more
		has "$D/err" '/etc/one is no folder'
		want 2 "$BLD" cat "$ref" /etc
		one_error
		has "$D/err" 'is a folder$'
		has "$D/err" 'try: +bld files'
		want 2 "$BLD" cat "$ref" /
	done
	bld save -o a.tar t
	for ref in docker-archive:a.tar oci-archive:a.tar ./a.tar; do
		bld cat "$ref" /etc/os-release
		same rel "$(cat "$D/out")" "$ref"
	done
	bld cat ./layer0.tar /etc/two # a layer alone
	same two "$(cat "$D/out")"
}

# Bytes come out as they are, all of them, and a reader that goes away is no error.
binary() {
	mkdir a
	noise 5000000 >a/big
	printf 'no newline\0' >a/odd
	: >a/empty
	layer a
	image store:t
	bld cat t /big
	cmp "$D/out" a/big
	bld cat t odd
	cmp "$D/out" a/odd
	bld cat t empty
	empty "$D/out"
	{ "$BLD" cat t big || echo "status $?" >status; } | head -c 10 >/dev/null
	[ ! -e status ] || fail "$(cat status)"
	{ "$BLD" files t || echo "status $?" >status; } | true
	[ ! -e status ] || fail "$(cat status)"
	"$BLD" cat t big >/dev/full 2>err && fail "a full disk is no success"
	has err '^error: no space left'
}

# A terminal gets no escape sequences but colours, whatever is in the image.
terminal() {
	need script
	mkdir a
	printf 'x\033[31mred\033[2J\033]0;title\007y\n' >a/esc
	touch "a/$(printf 'name\033[2J')"
	layer a
	image store:t
	script -qec "$BLD cat t /esc" typescript </dev/null >out
	has out 'red'
	hasnt out $'\033\\[2J'
	hasnt out 'title'
	bld files t
	has "$D/out" '"/name\\033\[2J"'
	bld files --format jsonl t
	jq -e 'select(.path == "/name\u001b[2J")' "$D/out" >/dev/null
}

# ---- a registry: what is asked of it ----

# gets: blob bytes the registry sent since `mark`, by its own log.
mark() { wc -l <"$REG_LOG" >mark; }
blob_gets() { tail -n "+$(($(cat mark) + 1))" "$REG_LOG" | grep -c '"GET /v2/.*/blobs/' || true; }
manifest_gets() { tail -n "+$(($(cat mark) + 1))" "$REG_LOG" | grep -cE '"(GET|HEAD) /v2/.*/manifests/' || true; }
got_of() { tail -n "+$(($(cat mark) + 1))" "$REG_LOG" | grep -E "\"GET /v2/.*/blobs/$1" | tail -n 1 |
	sed -E 's/.*HTTP\/1\.1" [0-9]+ ([0-9]+) .*/\1/'; }

remote() {
	registry_start look
	export BLD_ROOT=$D/store # that nothing of it is known here
	mkdir -p a/etc a/z b/etc c/opt
	echo base >a/etc/base
	noise 20000000 >a/z/big
	echo middle >b/etc/middle
	noise 20000000 >b/z
	echo top >c/opt/top
	layer a
	layer b
	layer c
	image "docker://$REG/look:1"
	local top middle bottom
	read -r bottom middle top < <(jq -r '[.layers[].digest] | join(" ")' \
		"layout/blobs/sha256/$(jq -r '.manifests[0].digest[7:]' layout/index.json)")
	mark
	bld cat "$REG/look:1" /opt/top
	same top "$(cat "$D/out")"
	same 2 "$(blob_gets)" "blobs asked for: config and the top layer"
	mark
	bld cat "$REG/look:1" /etc/middle
	same middle "$(cat "$D/out")"
	has <(tail -n "+$(($(cat mark) + 1))" "$REG_LOG") "blobs/$middle"
	hasnt <(tail -n "+$(($(cat mark) + 1))" "$REG_LOG") "blobs/$bottom"
	mark
	bld cat "$REG/look:1" /etc/base
	same base "$(cat "$D/out")"
	[ "$(got_of "$bottom")" -lt 15000000 ] || fail "the connection was not cut: $(got_of "$bottom") bytes of 20 MB"
	[ "$(got_of "$middle")" -gt 19000000 ] || fail "the middle layer was not read to its end"
	mark
	bld cat --layer 0 "$REG/look:1" /etc/base
	hasnt <(tail -n "+$(($(cat mark) + 1))" "$REG_LOG") "blobs/($middle|$top)"
	mark
	bld files --layer 0 "$REG/look:1" /etc/base
	has "$D/out" '/etc/base$'
	[ "$(got_of "$bottom")" -lt 15000000 ] || fail "the connection was not cut: $(got_of "$bottom") bytes"
	mark
	bld cat --verify "$REG/look:1" /etc/base
	[ "$(got_of "$bottom")" -gt 19000000 ] || fail "verified without having read it"
	mark
	bld history "$REG/look:1"
	same 3 "$(grep -c 'step [0-2]' "$D/out")"
	[ "$(blob_gets)" -le 1 ] || fail "history asked for $(blob_gets) blobs"
	bld images -q
	empty "$D/out"
	bld files "$REG/look:1" /etc
	has "$D/out" '^ +0 .* /etc/base$'
	bld analyze --format json "$REG/look:1"
	same 3 "$(jq '.layers | length' "$D/out")"
	want 7 "$BLD" --offline cat "docker://$REG/look:1" /etc/base
}

# Where the store knows what is in a layer and its bytes are in the registry only, a part of them is enough.
ranges() {
	registry_start ranges
	mkdir -p ctx/z
	noise 20000000 >ctx/a
	echo needle >ctx/m
	noise 20000000 >ctx/z/big
	printf 'FROM scratch\nCOPY . /\n' >ctx/Dockerfile
	bld build -q --push -t "$REG/ranges:1" ctx
	local l
	l=$(layers "$REG/ranges:1")
	rm "$(blob "$l")"
	mark
	bld cat "docker://$REG/ranges:1" /m
	same needle "$(cat "$D/out")"
	has <(tail -n "+$(($(cat mark) + 1))" "$REG_LOG") "GET /v2/ranges/blobs/$l HTTP/1.1\" 206"
	[ "$(got_of "$l")" -lt 8000000 ] || fail "$(got_of "$l") bytes for a line"
	bld cat "docker://$REG/ranges:1" /z/big
	cmp "$D/out" ctx/z/big
	bld cat --verify "docker://$REG/ranges:1" /m
	same needle "$(cat "$D/out")"
}

# A layer with damaged bytes is told where it is read to its end; half of a file is never a success.
damaged() {
	registry_start bad
	export BLD_ROOT=$D/store
	mkdir -p a b
	noise 3000000 >a/big
	echo x >a/zz
	echo y >b/other
	layer a
	layer b
	image "docker://$REG/bad:1"
	local m f x
	m=$(jq -r '.manifests[0].digest[7:]' layout/index.json)
	f=$(jq -r '.layers[0].digest[7:]' "layout/blobs/sha256/$m")
	f=$REG_DIR/docker/registry/v2/blobs/sha256/${f:0:2}/$f/data
	printf '\377\377\377\377' | dd of="$f" bs=1 seek=1500000 conv=notrunc 2>/dev/null
	want 7 "$BLD" cat --retry 0 --verify "$REG/bad:1" /big
	empty "$D/out"
	one_error
	truncate -s 1500000 "$f"
	want 7 "$BLD" cat --retry 0 "$REG/bad:1" /big
	one_error
	want 7 "$BLD" files --retry 0 "$REG/bad:1"
	want 7 "$BLD" analyze --retry 0 "$REG/bad:1"
	# In a file that was named here it is the file's fault.
	f=layout/blobs/sha256/$(jq -r '.layers[0].digest[7:]' "layout/blobs/sha256/$m")
	printf '\377\377\377\377' | dd of="$f" bs=1 seek=1500000 conv=notrunc 2>/dev/null
	for x in "cat --verify oci:layout /big" "files oci:layout" "analyze oci:layout" "diff oci:layout dir:a"; do
		# shellcheck disable=SC2086 # words
		want 3 "$BLD" $x
		one_error
	done
	tar -C layout -cf cut.tar .
	truncate -s 1000000 cut.tar
	for x in "files ./cut.tar" "inspect oci-archive:cut.tar" "history ./cut.tar" "history oci-archive:cut.tar" "export -o x.tar oci-archive:cut.tar"; do
		# shellcheck disable=SC2086 # words
		want 3 "$BLD" $x
		one_error
	done
}

# ---- hostile images ----

tarball() { # FILE, then lines "TYPE NAME [LINK]" on stdin
	python3 -c '
import io, sys, tarfile
t = tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT)
kinds = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "s": tarfile.SYMTYPE, "h": tarfile.LNKTYPE}
for line in sys.stdin:
    w = line.rstrip("\n").split(" ")
    i = tarfile.TarInfo(w[1].encode().decode("unicode_escape"))
    i.type, i.mode = kinds[w[0]], 0o755
    data = b""
    if w[0] == "f":
        data = (w[2] if len(w) > 2 else "").encode()
        i.size = len(data)
    elif len(w) > 2:
        i.linkname = w[2]
    t.addfile(i, io.BytesIO(data))
t.close()' "$1"
}

hostile() {
	tarball loop.tar <<-'X'
	s a b
	s b a
	s up ../../../../etc/passwd
	s self self/x
	d etc
	f etc/passwd inside
	d lnk
	X
	raw_layer loop.tar
	# behind a link of a layer below; a folder in place of a link
	tarball over.tar <<-'X'
	d real
	f real/x lower
	s l real
	X
	raw_layer over.tar
	tarball behind.tar <<-'X'
	f l/x upper
	f l/new new
	X
	raw_layer behind.tar
	image store:t
	want 2 "$BLD" cat t /a
	one_error
	has "$D/err" 'too many symbolic links'
	want 2 "$BLD" cat t /self
	bld cat t /up
	same inside "$(cat "$D/out")" "a link out of the image"
	bld cat t /real/x
	same upper "$(cat "$D/out")" "an entry behind a link of a layer below"
	bld cat t /l/new
	same new "$(cat "$D/out")"
	bld files t /real
	same "/real/ /real/new /real/x" "$(sed 1d "$D/out" | awk '{print $NF}' | xargs)"

	printf 'h x nothing\n' | tarball nothing.tar
	rm -rf layout
	LAYERS=(nothing.tar)
	image "oci:$D/copy:latest" # which reads no layer
	for c in files analyze; do
		want 3 "$BLD" "$c" "oci:$D/layout:latest"
		one_error
	done
	want 3 "$BLD" cat "oci:$D/layout:latest" /x
	one_error
	[ ! -s "$D/out" ]
}

# ---- analyze ----

# The score by an independent reading of dive's rules.
cat >"$T/score.py" <<'P'
import sys, tarfile, json
trees = []
for f in sys.argv[1:]:
    tree, size = {}, 0          # path of raw names -> [size, is_dir]
    for i in tarfile.open(f):
        n = i.name.strip("/")
        n = "/".join(p for p in n.split("/") if p not in ("", "."))
        if not n:
            continue
        parts = n.split("/")
        if parts[-1].startswith(".wh..wh."):
            parts = parts[:-1]
            for k in range(1, len(parts) + 1):
                tree.setdefault("/".join(parts[:k]), [0, False])
            continue
        for k in range(1, len(parts)):
            tree.setdefault("/".join(parts[:k]), [0, False])
        tree[n] = [i.size if i.isreg() else 0, i.isdir()]
        size += i.size if i.isreg() else 0
    trees.append((tree, size))
data, stack = {}, {}
def gone(path):
    head, _, tail = path.rpartition("/")
    return (head + "/" if head else "") + tail[4:] if tail.startswith(".wh.") else None
for tree, _ in trees:
    inner = {p.rpartition("/")[0] for p in tree}
    for p in tree:
        if p in inner:
            continue
        w = gone(p)
        size = tree[p][0]
        if w is not None:
            size = 0
            if w in stack and stack[w][1]:
                size = sum(s for q, (s, d) in stack.items() if q == w or q.startswith(w + "/"))
        e = data.setdefault(w or p, [0, None, 0])
        e[0] += size
        e[1] = size if e[1] is None else min(e[1], size)
        e[2] += 1
    for p in tree:
        w = gone(p)
        if w is not None:
            for q in [q for q in stack if q == w or q.startswith(w + "/")]:
                del stack[q]
    for p in tree:
        if gone(p) is None:
            stack[p] = tree[p]
least, all_ = sum(e[1] for e in data.values()), sum(e[0] for e in data.values())
wasted = sum(e[0] for e in data.values() if e[2] > 1)
user = sum(s for _, s in trees[1:])
print(json.dumps({"efficiency": least / all_ if all_ else 1, "wasted": wasted,
    "share": wasted / user if user else (0 if not wasted else None)}))
P

score() {
	mkdir -p a/d/e b/d c/d
	noise 100000 >a/d/one
	noise 50000 >a/d/e/two
	noise 30000 >a/three
	noise 40000 >b/three
	touch b/d/.wh.one
	touch c/d/.wh.e
	noise 7000 >c/three
	layer a
	layer b
	layer c
	local tars=("${LAYERS[@]}")
	image store:t
	# By hand: three 30000 + 40000 + 7000, least 7000; d/one 100000 + 0, least 0; d/e/two 50000; d/e 50000 removed.
	bld analyze --format json t
	same "277000 177000" "$(jq -r '[.wastedBytes + 100000, .wastedBytes] | join(" ")' "$D/out")"
	same "$(python3 -c 'print("%.4f" % (107000 / 277000))')" "$(jq -r .efficiency "$D/out" | xargs printf '%.4f')"
	jq -e '.paths[0] | .path == "/d/one" and .bytes == 100000 and .removed' "$D/out"
	jq -e '.layers[0].wastedBytes == 180000 and .layers[1].wastedBytes == 40000' "$D/out"
	python3 "$T/score.py" "${tars[@]}" >want.json
	same "$(jq -r '.efficiency * 100000 | round' want.json)" "$(jq -r '.efficiency * 100000 | round' "$D/out")"
	same "$(jq .wasted want.json)" "$(jq .wastedBytes "$D/out")"
	bld analyze t
	has "$D/out" '^efficiency:  38\.63 %$'
	has "$D/out" '^ +2 +100\.0 kB  /d/one \(removed\)$'
	hasnt "$D/out" 'PASS|FAIL'
}

# Random layers: the same numbers as the independent reading.
random_score() {
	local seed
	for seed in 1 2 3 4 5 6; do
		rm -rf r* layout
		LAYERS=()
		python3 - "$seed" <<-'P'
		import random, tarfile, io, sys
		random.seed(int(sys.argv[1]))
		lower = {}
		for n in range(5):
		    t = tarfile.open(f"r{n}.tar", "w")
		    done = set()
		    def dirs(path):
		        parts = path.split("/")[:-1]
		        for k in range(1, len(parts) + 1):
		            d = "/".join(parts[:k])
		            if d not in done:
		                done.add(d)
		                i = tarfile.TarInfo(d); i.type = tarfile.DIRTYPE; t.addfile(i)
		                lower[d] = True
		    for p in random.sample([q for q in lower], min(len(lower), 2)) if n else []:
		        if any(p == q or q.startswith(p + "/") or p.startswith(q + "/") for q in done):
		            continue
		        dirs(p)
		        head, _, tail = p.rpartition("/")
		        t.addfile(tarfile.TarInfo((head + "/" if head else "") + ".wh." + tail))
		        done.add(p)
		        for q in [q for q in lower if q == p or q.startswith(p + "/")]:
		            del lower[q]
		    for _ in range(12):
		        p = "/".join("d" + random.choice("abc") for _ in range(random.randint(0, 2)))
		        p = (p + "/" if p else "") + "f" + random.choice("abcd")
		        if p in done or any(p.startswith(q + "/") and lower.get(q) is not True for q in done):
		            continue
		        dirs(p)
		        done.add(p)
		        lower[p] = False
		        i = tarfile.TarInfo(p); i.size = random.randint(0, 5000)
		        t.addfile(i, io.BytesIO(b"x" * i.size))
		    t.close()
		P
		for n in 0 1 2 3 4; do raw_layer "r$n.tar"; done
		image "store:r$seed"
		bld analyze --format json "r$seed"
		python3 "$T/score.py" r?.tar >want.json
		same "$(jq -r '.efficiency * 100000 | round' want.json)" "$(jq -r '.efficiency * 100000 | round' "$D/out")" "score $seed"
		same "$(jq .wasted want.json)" "$(jq .wastedBytes "$D/out")" "waste $seed"
		same "$(jq '.share // 0 | . * 10000 | round' want.json)" \
			"$(jq '.userWastedPercent // 0 | . * 10000 | round' "$D/out")" "share $seed"
	done
}

rules() {
	mkdir a b
	noise 100000 >a/x
	noise 100000 >b/x
	layer a
	layer b
	image store:t # efficiency 0.5, 200000 wasted, share 2
	bld analyze t
	want 1 "$BLD" analyze --lowest-efficiency 0.9 t
	has "$D/out" '^FAIL  lowestEfficiency: 0\.5000, at least 0\.9$'
	empty "$D/err"
	bld analyze --lowest-efficiency 0.5 t
	has "$D/out" '^PASS  lowestEfficiency'
	want 1 "$BLD" analyze --highest-wasted 100k t
	bld analyze --highest-wasted 1m --max-layers 2 --max-size 1m t
	want 1 "$BLD" analyze --max-layers 1 t
	want 1 "$BLD" analyze --max-size 1k t
	want 2 "$BLD" analyze --max-size much t
	want 2 "$BLD" analyze --lowest-efficiency 90 t
	want 1 "$BLD" analyze --highest-wasted-percent 0.1 --format json t
	jq -e '.passed == false and .rules[0].status == "failed" and .rules[0].limit == 0.1' "$D/out"

	# the rules dive has when nobody says any
	want 1 "$BLD" analyze --ci t
	has "$D/out" '^FAIL  lowestEfficiency: .* 0\.9$'
	has "$D/out" '^SKIP  highestWastedBytes'
	has "$D/out" '^FAIL  highestUserWastedPercent: 2\.0000, at most 0\.1$'
	BLD_CI='' CI=true want 1 "$BLD" analyze t
	BLD_CI='' CI=true want 0 "$BLD" --no-ci analyze t
	BLD_CI='' CI=false want 0 "$BLD" analyze t

	cat >.dive-ci <<-'X'
	rules:
	  # as dive documents it
	  lowestEfficiency: 0.4
	  highestWastedBytes: "200KB"     # 200000 bytes, as dive counts
	  highestUserWastedPercent: disabled
	X
	bld analyze --ci t
	has "$D/out" '^PASS  highestWastedBytes: 200000 bytes, at most 200000$'
	bld analyze t
	hasnt "$D/out" 'PASS'
	sed -i s/200KB/199KB/ .dive-ci
	want 1 "$BLD" analyze --ci t
	bld analyze --ci --highest-wasted 1m t # flags win
	want 1 "$BLD" analyze --rules .dive-ci t
	want 2 "$BLD" analyze --rules none t
	printf 'rules: {lowestEficiency: 0.4}\n' >.dive-ci
	want 2 "$BLD" analyze --ci t
	one_error
	has "$D/err" '\.dive-ci:1: there is no rule "lowestEficiency"'
	has "$D/err" 'try: +lowestEfficiency'
	printf 'rules: [\n' >.dive-ci
	want 2 "$BLD" analyze --ci t
	one_error
	printf 'rules:\n  lowestEfficiency: many\n' >.dive-ci
	want 2 "$BLD" analyze --ci t
	has "$D/err" '\.dive-ci:2: lowestEfficiency takes a ratio'
	printf 'lowest-efficiency-threshold: 0.1\nhighest-user-wasted-percent: off\n' >.dive-ci
	bld analyze --ci t
	: >.dive-ci
	want 1 "$BLD" analyze --ci t
}

t "the merged tree and where it is from" listing
t "one layer alone" one_layer
t "a file of every kind of place" printing
t "bytes as they are" binary
t "a terminal is not steered" terminal
t "a registry is asked for no more than needed" remote
t "a part of a layer" ranges
t "damaged layers" damaged
t "hostile images" hostile
t "the score, by hand and by another program" score
t "the score of random layers" random_score
t "rules" rules
t_end
