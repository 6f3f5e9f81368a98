#!/bin/bash
# bld mutate, append, flatten and rebase. skopeo and umoci say what the results are worth, the registry's log what was
# moved for them.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# moved METHOD PATTERN: requests the registry has seen so far
moved() { grep -cE "\"($1) /v2/$2" "$REG_LOG" || true; }
out() { cat "$D/out"; }
remote() { skopeo inspect --tls-verify=false "docker://$1"; }
remote_config() { skopeo inspect --tls-verify=false --config "docker://$1"; }
remote_manifest() { skopeo inspect --tls-verify=false --raw "docker://$1"; }

# layers_of_everything: l0.tar, l1.tar.gz, l2.tar: all kinds of entries, and all that upper layers can do to them.
layers_of_everything() {
	python3 - "$D" <<-'X'
	import io, os, sys, tarfile
	d = sys.argv[1]

	def entry(t, name, kind=tarfile.REGTYPE, data=b"", link="", mode=0o644, uid=0, gid=0, mtime=1500000000, dev=(0, 0),
	          xattrs=()):
	    e = tarfile.TarInfo(name)
	    e.type, e.linkname, e.mode, e.uid, e.gid, e.mtime = kind, link, mode, uid, gid, mtime
	    e.devmajor, e.devminor = dev
	    e.size = len(data)
	    e.pax_headers = {"SCHILY.xattr." + k: v for k, v in xattrs}
	    t.addfile(e, io.BytesIO(data))

	def folder(t, name, mode=0o755, **k):
	    entry(t, name, tarfile.DIRTYPE, mode=mode, **k)

	with tarfile.open(d + "/l0.tar", "w", format=tarfile.PAX_FORMAT) as t:
	    folder(t, "./", mode=0o751, mtime=1500000009)
	    for n in ("a", "a/b", "a/b/c", "gone", "gone/deep", "opaque", "again", "was_dir", "kept"):
	        folder(t, n, uid=3)
	    entry(t, "a/f", data=b"first" * 100, mode=0o4755, uid=1, gid=2)
	    entry(t, "a/b/c/g", data=b"g", xattrs=[("user.color", "green")])
	    entry(t, "a/hard", tarfile.LNKTYPE, link="a/f")
	    entry(t, "a/sym", tarfile.SYMTYPE, link="../nowhere")
	    entry(t, "gone/deep/x", data=b"x")
	    entry(t, "opaque/low", data=b"low")
	    entry(t, "again/old", data=b"old")
	    entry(t, "was_dir/inside", data=b"i")
	    entry(t, "was_file", data=b"file")
	    entry(t, "kept/one", data=b"one" * 5000)
	    entry(t, "kept/two", tarfile.LNKTYPE, link="kept/one")
	    entry(t, "null", tarfile.CHRTYPE, dev=(1, 3), mode=0o666)
	    entry(t, "pipe", tarfile.FIFOTYPE, mode=0o600)
	    entry(t, "longname-" + "n" * 150, data=b"long")
	with tarfile.open(d + "/l1.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as t:
	    entry(t, "a/.wh.hard")
	    entry(t, ".wh.gone")
	    folder(t, "opaque", mode=0o700, mtime=1500000001)
	    entry(t, "opaque/.wh..wh..opq")
	    entry(t, "opaque/high", data=b"high")
	    entry(t, ".wh.was_dir")
	    folder(t, "was_file", mtime=1500000002)
	    entry(t, "was_file/now", data=b"a folder")
	    entry(t, "new", data=b"new" * 1000, uid=7, xattrs=[("user.a", "1"), ("user.b", "2")])
	    entry(t, "new2", tarfile.LNKTYPE, link="new")
	    entry(t, "a/b/c/temp", data=b"goes again")
	with tarfile.open(d + "/l2.tar", "w", format=tarfile.PAX_FORMAT) as t:
	    entry(t, "was_dir", data=b"a file now", mode=0o600)
	    entry(t, "a/b/c/.wh.temp")
	    entry(t, ".wh.again")
	    entry(t, "a/f", data=b"second", mode=0o640, mtime=1500000003)
	    folder(t, "kept", mode=0o711, mtime=1500000004, gid=9)
	    entry(t, "kept/three", tarfile.LNKTYPE, link="kept/one")
	X
}
# listing FOLDER: every path with all that can be told of it; hard links by the first of their names
listing() {
	python3 - "$1" <<-'X'
	import hashlib, os, stat, sys
	top, first = sys.argv[1], {}

	def show(path, name):
	    s = os.lstat(path)
	    what = ""
	    if stat.S_ISREG(s.st_mode):
	        what = hashlib.sha256(open(path, "rb").read()).hexdigest()[:12]
	    elif stat.S_ISLNK(s.st_mode):
	        what = os.readlink(path)
	    elif stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode):
	        what = s.st_rdev
	    x = [(a, os.getxattr(path, a, follow_symlinks=False)) for a in sorted(os.listxattr(path, follow_symlinks=False))]
	    same = first.setdefault(s.st_ino, name) if not stat.S_ISDIR(s.st_mode) else name
	    # a folder whose time no layer gives has that of its unpacking
	    t = int(s.st_mtime) if s.st_mtime < 1600000000 else "-"
	    print(name, oct(s.st_mode), s.st_uid, s.st_gid, t, what, x, same)

	show(top, "/")
	for d, dirs, files in os.walk(top):
	    dirs.sort()
	    for n in sorted(dirs + files):
	        show(os.path.join(d, n), os.path.relpath(os.path.join(d, n), top))
	X
}
# same_tree A B: what umoci unpacks of the two images of the store is one
same_tree() {
	rm -rf "$D/ta" "$D/tb" "$D/lay"
	bld copy "store:$1" "oci:$D/lay:a"
	bld copy "store:$2" "oci:$D/lay:b"
	umoci unpack --image "$D/lay:a" "$D/ta" >/dev/null
	umoci unpack --image "$D/lay:b" "$D/tb" >/dev/null
	listing "$D/ta/rootfs" | sort >"$D/list.a"
	listing "$D/tb/rootfs" | sort >"$D/list.b"
	[ "$(wc -l <"$D/list.a")" -gt "${3:-15}" ]
	diff -u "$D/list.a" "$D/list.b"
}

setup() {
	base
	registry_start one
	bld copy "store:base:latest" "$REG/team/base:v1"
}

# ---- mutate ----

config_changes() {
	bld mutate -e X=1 -e PATH=/bin -l a=b -l 'c=d=e' -u app:app -w /srv --exposed-ports 80 --exposed-ports 90-91/udp \
		--entrypoint /bin/sh,-c --cmd '["echo hi, you"]' base:latest -t base:m
	has "$D/out" '^docker.io/library/base@sha256:[0-9a-f]{64}$'
	config base:m >c
	jq -e '.config == (.config * {User: "app:app", WorkingDir: "/srv", Entrypoint: ["/bin/sh", "-c"],
		Cmd: ["echo hi, you"], Labels: {a: "b", c: "d=e"}, Env: ["PATH=/bin", "X=1"]})' c
	jq -e '.config.ExposedPorts | keys == ["80/tcp", "90/udp", "91/udp"]' c
	# an entrypoint alone takes the command away, as in a Dockerfile
	bld mutate --entrypoint /x --unset-env X --unset-label a base:m -t base:m2
	config base:m2 >c2
	jq -e '.config | .Entrypoint == ["/x"] and .Cmd == null and .Env == ["PATH=/bin"] and .Labels == {c: "d=e"}' c2
	# what has no new value is the same: layers, history, dates
	same "$(config base:latest | jq -c '[.rootfs, .history, .created]')" "$(jq -c '[.rootfs, .history, .created]' c2)"
	same "$(layers base:latest)" "$(layers base:m2)"
	# nothing to change is no change
	bld mutate base:latest --format json
	same "$(digest_of base:latest)" "$(jq -r .digest "$D/out")"
	jq -e '.changed == false' "$D/out"
}

# A config and a manifest with members of other programs, in an order of their own.
unknown_members() {
	python3 - "$D" "$BLD_ROOT" <<-'X'
	import hashlib, json, os, sys
	d, store = sys.argv[1] + "/odd", sys.argv[2]
	os.makedirs(d + "/blobs/sha256")
	def put(b):
	    h = hashlib.sha256(b).hexdigest()
	    open(d + "/blobs/sha256/" + h, "wb").write(b)
	    return {"digest": "sha256:" + h, "size": len(b)}
	tar = b"\0" * 10240
	diff = "sha256:" + hashlib.sha256(tar).hexdigest()
	conf = {"zzz": {"deep": [1, 2.5, None, "é"]}, "os": "linux", "architecture": "amd64", "docker_version": "1.2",
	        "config": {"Hostname": "h", "Env": ["A=1"], "Weird": {"x": 1}}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
	m = {"schemaVersion": 2, "xNote": ["kept"], "mediaType": "application/vnd.oci.image.manifest.v1+json",
	     "config": dict(put(json.dumps(conf).encode()), mediaType="application/vnd.oci.image.config.v1+json"),
	     "layers": [dict(put(tar), mediaType="application/vnd.oci.image.layer.v1.tar", annotations={"l": "1"})],
	     "annotations": {"k": "v"}, "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json",
	     "digest": "sha256:" + "1" * 64, "size": 5}}
	e = dict(put(json.dumps(m, indent=2).encode()), mediaType=m["mediaType"])
	json.dump({"schemaVersion": 2, "manifests": [e]}, open(d + "/index.json", "w"))
	open(d + "/oci-layout", "w").write('{"imageLayoutVersion": "1.0.0"}')
	X
	bld mutate -l new=1 -a extra=2 oci:odd -t store:odd:v1
	config odd:v1 >c
	jq -e '.zzz == {deep: [1, 2.5, null, "é"]} and .docker_version == "1.2" and .config.Weird == {x: 1}
		and .config.Hostname == "h" and .config.Labels == {new: "1"}' c
	same '["zzz","os","architecture","docker_version","config","rootfs"]' "$(jq -c keys_unsorted c)"
	manifest odd:v1 | jq -e '.xNote == ["kept"] and .annotations == {k: "v", extra: "2"} and .subject.size == 5
		and .layers[0].annotations == {l: "1"}'
	# documents that are not changed keep their very bytes
	bld mutate oci:odd -t oci:odd:again
	same "$(jq -r '.manifests[0].digest' odd/index.json)" "$(jq -r '.manifests[-1].digest' odd/index.json)"
	# without a name it is in the layout, under its digest
	bld mutate -l z=1 oci:odd:again
	has "$D/out" '^oci:odd@sha256:'
	bld inspect --config "$(out)"
	jq -e '.config.Labels == {z: "1"}' "$D/out"
}

# In a registry: the layers are not looked at, let alone moved.
in_place() {
	local got looks puts posts
	looks=$(moved HEAD '.*blobs') puts=$(moved PUT '.*blobs') posts=$(moved POST '.*blobs')
	bld mutate -l in=place "$REG/team/base:v1" -t "$REG/team/base:v2"
	has "$D/out" "^$REG/team/base@sha256:[0-9a-f]{64}\$"
	remote_config "$REG/team/base:v2" | jq -e '.config.Labels.in == "place"'
	skopeo copy -q --src-tls-verify=false "docker://$REG/team/base:v2" "oci:$D/lay:v2"
	# one blob was written, and looked for: the new config
	local layer
	layer=$(remote_manifest "$REG/team/base:v1" | jq -r '.layers[0].digest')
	same "$((puts + 1)) $((posts + 1)) $((looks + 1))" "$(moved PUT '.*blobs') $(moved POST '.*blobs') $(moved HEAD '.*blobs')"
	# by digest when no name is given; the name stays what it was
	got=$(remote_manifest "$REG/team/base:v1" | sha256sum)
	bld mutate -l by=digest "$REG/team/base:v1"
	remote_config "$(out)" | jq -e '.config.Labels == {by: "digest"}'
	same "$got" "$(remote_manifest "$REG/team/base:v1" | sha256sum)"
	bld mutate -l by=repo "$REG/team/base:v1" --repo "$REG/other/place"
	has "$D/out" "^$REG/other/place@sha256:"
	remote_config "$(out)" | jq -e '.config.Labels == {by: "repo"}'
	# to another repository the layer was mounted: nothing but documents was sent
	has "$REG_LOG" "POST /v2/other/place/blobs/uploads/\?.*mount=$layer"
	same 0 "$(moved GET "team/base/blobs/$layer.*bld")" "downloads of the layer by bld"
}

places() {
	bld mutate -l p=1 base:latest -t "oci:lay:p1"
	bld mutate -l p=2 oci:lay:p1 -t "oci-archive:p2.tar:x"
	bld mutate -l p=3 oci-archive:p2.tar -t "docker-archive:p3.tar:place:p3"
	bld mutate -l p=4 docker-archive:p3.tar -t store:place:p4
	bld mutate -l p=5 place:p4 -t "docker://$REG/place:p5"
	bld mutate -l p=6 "$REG/place:p5" -o p6.tar -t place:p6
	same '{"p":"1"}' "$(skopeo inspect --config oci:lay:p1 | jq -c .config.Labels)"
	same '{"p":"2"}' "$(skopeo inspect --config oci-archive:p2.tar | jq -c .config.Labels)"
	same '{"p":"3"}' "$(skopeo inspect --config docker-archive:p3.tar | jq -c .config.Labels)"
	same '{"p":"5"}' "$(remote_config "$REG/place:p5" | jq -c .config.Labels)"
	same '{"p":"6"}' "$(skopeo inspect --config docker-archive:p6.tar:place:p6 | jq -c .config.Labels)"
	want 2 "$BLD" mutate -l a=b docker-archive:p3.tar
	one_error
	store_whole
}

docker_types() {
	bld copy --convert docker store:base:latest "$REG/docker/base:v1"
	bld append -b "$REG/docker/base:v1" -f "$T/base" -t "$REG/docker/base:v2"
	bld flatten "$REG/docker/base:v2" -t "$REG/docker/base:v3"
	for v in v2 v3; do
		remote_manifest "$REG/docker/base:$v" >m
		jq -e '[.mediaType, .config.mediaType, .layers[].mediaType] | all(startswith("application/vnd.docker."))' m
		skopeo copy -q --src-tls-verify=false "docker://$REG/docker/base:$v" "dir:$D/$v"
	done
	want 2 "$BLD" mutate -a x=y "$REG/docker/base:v1" -t "$REG/docker/base:v4"
	one_error
	has "$D/err" 'docker manifests have no annotations'
	want 2 "$BLD" append -b "$REG/docker/base:v1" --compression zstd -f "$T/base" -t "$REG/docker/base:v4"
	one_error
}

# Of an index every image is changed; what was said of the old ones by attestations is left out.
indexes() {
	local p
	for p in amd64 arm64; do
		bld mutate --set-platform "linux/$p" base:latest -t "multi:$p"
		bld push "multi:$p" "$REG/multi:$p"
	done
	bld index create -t "$REG/multi:v1" "$REG/multi:amd64" "$REG/multi:arm64"
	remote_manifest "$REG/multi:v1" >before
	bld mutate -l i=1 "$REG/multi:v1" -t "$REG/multi:v2"
	remote_manifest "$REG/multi:v2" >after
	same "$(jq -c '[.mediaType, [.manifests[].platform]]' before)" "$(jq -c '[.mediaType, [.manifests[].platform]]' after)"
	for p in amd64 arm64; do
		skopeo inspect --tls-verify=false --override-arch "$p" --config "docker://$REG/multi:v2" |
			jq -e --arg p "$p" '.config.Labels.i == "1" and .architecture == $p'
	done
	bld append -b "$REG/multi:v1" -f "$T/base" -t "$REG/multi:v3" --format json
	jq -e '.manifests | length == 2 and all(.layers[1].new) and ([.[].layers[1].digest] | unique | length == 1)' "$D/out"
	bld flatten "$REG/multi:v3" -t store:multi:flat --format json
	jq -e '.manifests | length == 2 and all(.layers | length == 1)' "$D/out"
	layout_whole "$BLD_ROOT"
	# one of them
	bld mutate --platform linux/arm64 -l one=1 "$REG/multi:v1" -t "$REG/multi:arm" --format json
	jq -e '.platform == "linux/arm64" and (has("manifests") | not)' "$D/out"
	want 2 "$BLD" mutate --set-platform linux/386 "$REG/multi:v1" -t "$REG/multi:v4"
	one_error
	want 6 "$BLD" mutate --platform linux/s390x -l a=b "$REG/multi:v1" -t "$REG/multi:v4"
	one_error
}

wrong_flags() {
	local x
	for x in "-e 1" "-l =x" "-a x" "--exposed-ports 99999" "--exposed-ports 80/quic" "-w relative" "--compression lz4" \
		"--entrypoint [1]" "--set-platform x/y/z/w" "--repo a/b -t c" "--repo a/b -o c"; do
		# shellcheck disable=SC2086 # words
		want 2 "$BLD" mutate $x base:latest
		one_error
	done
	want 2 "$BLD" append -t x
	want 2 "$BLD" append -f - -f - -t x
	for x in Bad//Name base@sha256:00 'base:latest#0'; do
		want 2 "$BLD" mutate -l a=b "$x"
		want 2 "$BLD" append -b base:latest -f "$T/base" -t "$x"
		want 2 "$BLD" flatten "$x"
		want 2 "$BLD" rebase "$x" --new_base base:latest
		one_error
	done
	want 2 "$BLD" flatten --from 9 base:latest
	one_error
	want 2 "$BLD" rebase
	want 6 "$BLD" mutate -l a=b nothing:here
	one_error
	SOURCE_DATE_EPOCH=x want 2 "$BLD" mutate -l a=b base:latest
}

# ---- append ----

appended() {
	layers_of_everything
	bld append -b base:latest -f l1.tar.gz -f l2.tar -t base:a --set-base-image-annotations
	manifest base:a >m
	# a compressed file goes in as it is
	same "sha256:$(sha256sum <l1.tar.gz | cut -d' ' -f1)" "$(jq -r '.layers[1].digest' m)"
	same "sha256:$(sha256sum <l2.tar | cut -d' ' -f1)" "$(config base:a | jq -r '.rootfs.diff_ids[2]')"
	config base:a | jq -e '[.history[] | select(.empty_layer | not)] | length == 3 and .[1].created_by == "append l1.tar.gz"'
	jq -e '.annotations["org.opencontainers.image.base.name"] == "docker.io/library/base:latest"' m
	same "$(digest_of base:latest)" "$(jq -r '.annotations["org.opencontainers.image.base.digest"]' m)"
	zstd -q l2.tar -o l2.tar.zst
	bld append -f l2.tar.zst -t scratch:zst
	jq -e '.layers[0].mediaType | endswith("+zstd")' <<<"$(manifest scratch:zst)"
	want 0 "$BLD" append -f - -t scratch:stdin <l2.tar
	same "$(diff_ids scratch:zst)" "$(diff_ids scratch:stdin)"
	bld append --compression none -f l2.tar.zst -t scratch:plain
	same "sha256:$(sha256sum <l2.tar | cut -d' ' -f1)" "$(layers scratch:plain)"
	skopeo copy -q "oci:$BLD_ROOT:stdin" "dir:$D/dir"
}

folders() {
	mkdir -p f/sub
	echo one >f/sub/one
	ln f/sub/one f/two
	ln -s sub/one f/three
	chmod 640 f/two
	find f -exec touch -h -d @1500000000 {} +
	bld append -f f -t folder:v1
	bld append -f f -t folder:v2
	same "$(digest_of folder:v1)" "$(digest_of folder:v2)"
	layer_tar folder:v1 0 | tar -tvf - --full-time >list
	has list '^-rw-r----- .* 2017-07-14 02:40:00 sub/one'
	has list '^h.* two link to sub/one'
	has list '^l.* three -> sub/one'
	# a time is in the result only when it is given
	config folder:v1 | jq -e '.created == null and .history[0].created == null'
	SOURCE_DATE_EPOCH=1400000000 bld append -f f -t folder:v3
	config folder:v3 | jq -e '.created == "2014-05-13T16:53:20Z" and .history[0].created == .created'
	layer_tar folder:v3 0 | tar -tvf - --full-time | grep -c ' 2014-05-13 16:53:20 ' | grep -qx 4
}

hostile_layers() {
	local before x
	before=$(find "$BLD_ROOT/blobs" -type f | wc -l)
	layers_of_everything
	head -c 2000 /dev/urandom >garbage
	: >empty
	head -c 300 l1.tar.gz >short.gz
	(cat l1.tar.gz; echo more) >trailing.gz
	head -c 1000 l0.tar >short.tar
	python3 - <<-'X'
	import io, tarfile
	for n, (name, kind, link) in {"up.tar": ("../../etc/x", tarfile.REGTYPE, ""), "mid.tar": ("a/../../x", tarfile.REGTYPE, ""),
	                              "hard.tar": ("x", tarfile.LNKTYPE, "../../etc/passwd")}.items():
	    with tarfile.open(n, "w") as t:
	        e = tarfile.TarInfo(name)
	        e.type, e.linkname = kind, link
	        t.addfile(e, io.BytesIO(b""))
	X
	for x in garbage empty short.gz trailing.gz short.tar up.tar mid.tar hard.tar; do
		want 3 "$BLD" append -b base:latest -f "$x" -t bad:v1
		one_error
		has "$D/err" "layer $x"
		want 3 "$BLD" mutate --append "$x" base:latest -t bad:v1
	done
	want 2 "$BLD" append -f missing -t bad:v1
	one_error
	want 6 "$BLD" inspect bad:v1
	same "$before" "$(find "$BLD_ROOT/blobs" -type f | wc -l)" "blobs"
	layout_whole "$BLD_ROOT"
}

# ---- flatten ----

flattened() {
	root_only "umoci unpack keeps owners"
	layers_of_everything
	bld append -f l0.tar -f l1.tar.gz -f l2.tar -t all:v1
	bld flatten all:v1 -t all:flat
	same 1 "$(layers all:flat | wc -l)"
	same_tree all:v1 all:flat
	config all:flat | jq -e '.history | length == 1'
	# what was removed is not in the bytes either, and nothing says that it was
	layer_names all:flat 0 >names
	hasnt names 'gone|\.wh\.|low|temp'
	# only the upper two: they name what they removed of the lowest
	bld flatten --from 1 all:v1 -t all:two
	same "$(layers all:v1 | head -n 1)" "$(layers all:two | head -n 1)"
	same 2 "$(layers all:two | wc -l)"
	same_tree all:v1 all:two
	layer_names all:two 1 >names
	has names '^\.wh\.gone$'
	has names '^\.wh\.again$'
	hasnt names 'temp'
	hasnt names 'kept/(one|two)$'
	# again is the same; one layer is flat
	bld flatten --from 1 all:v1 --format json
	same "$(digest_of all:two)" "$(jq -r .digest "$D/out")"
	bld flatten all:flat
	same "$(digest_of all:flat)" "$(out)"
	bld flatten --compression zstd all:v1 -t all:zst
	same "$(diff_ids all:flat)" "$(diff_ids all:zst)"
}

nothing_left_over() {
	python3 - <<-'X'
	import io, tarfile
	for n, name in {"add.tar": "x", "del.tar": ".wh.x"}.items():
	    with tarfile.open(n, "w") as t:
	        t.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
	X
	bld append -f add.tar -f del.tar -t none:v1
	bld flatten none:v1 -t none:flat
	same "" "$(layer_tar none:flat 0 | tar -tf -)"
	bld copy store:none:flat oci:lay:x
	umoci unpack --rootless --image lay:x bundle >/dev/null
	same "" "$(ls bundle/rootfs)"
}

# Of a registry's image only what must be read is fetched, and only what is new is sent.
flattened_in_place() {
	local low puts
	layers_of_everything
	bld append -b "$REG/team/base:v1" -f l0.tar -f l1.tar.gz -t "$REG/team/flat:v1"
	low=$(remote_manifest "$REG/team/flat:v1" | jq -r '.layers[0].digest')
	puts=$(moved PUT 'team/flat/blobs')
	bld flatten --from 1 "$REG/team/flat:v1" -t "$REG/team/flat:v2" --format json
	jq -e --arg d "$low" '.layers[0] == (.layers[0] + {digest: $d, new: false}) and .layers[1].new' "$D/out"
	same $((puts + 2)) "$(moved PUT 'team/flat/blobs')"
	skopeo copy -q --src-tls-verify=false "docker://$REG/team/flat:v2" "oci:$D/lay:v2"
	umoci unpack --rootless --image "$D/lay:v2" "$D/bundle" >/dev/null
}

reproducible() {
	layers_of_everything
	for i in 1 2; do
		bld --root "$D/s$i" append -f l0.tar -f l1.tar.gz -f l2.tar -t r:v1
		bld --root "$D/s$i" flatten --from 1 r:v1 -t r:v2
		bld --root "$D/s$i" mutate -l a=b -l c=d r:v2 -t r:v3
		bld --root "$D/s$i" inspect --manifest r:v3
		cp "$D/out" "m$i"
		sleep 1.1
	done
	cmp m1 m2
}

# ---- rebase ----

bases() {
	mkdir -p b1 b2 app
	echo 1 >b1/release
	echo 2 >b2/release
	echo 2 >b2/more
	echo app >app/app
	bld append -f b1 -t os:1
	bld mutate -e PATH=/bin -e LANG=C -l os=1 -l only=old --cmd sh -u nobody os:1 -t os:1
	bld append -f b2 -t os:2
	bld mutate -e PATH=/bin:/sbin -e NEW=1 -l os=2 --cmd bash -u nobody os:2 -t os:2
	bld append -b os:1 -f app -t app:v1 --set-base-image-annotations
	bld mutate -e LANG=de -e MINE=1 -l mine=1 app:v1 -t app:v1
}

rebased() {
	bases
	bld rebase app:v1 --old_base os:1 --new_base os:2 -t app:v2
	config app:v2 >c
	same "$(diff_ids os:2; diff_ids app:v1 | tail -n 1)" "$(diff_ids app:v2)"
	# from the base: the new one's; the image's own: as it was
	jq -e '.config | .Env == ["PATH=/bin:/sbin", "NEW=1", "LANG=de", "MINE=1"] and .Labels == {os: "2", mine: "1"}
		and .Cmd == ["bash"] and .User == "nobody"' c
	jq -e '[.history[].created_by] == ["append b2", "append app"]' c
	manifest app:v2 | jq -e '.annotations["org.opencontainers.image.base.name"] == "docker.io/library/os:2"'
	same "$(digest_of os:2)" "$(manifest app:v2 | jq -r '.annotations["org.opencontainers.image.base.digest"]')"
	# what the annotations say will do: back, and then with nothing given
	bld rebase app:v2 --new_base os:1 -t app:v3
	same "$(diff_ids app:v1)" "$(diff_ids app:v3)"
	bld tag os:2 os:1
	bld rebase app:v3 -t app:v4
	same "$(diff_ids app:v2)" "$(diff_ids app:v4)"
	# not what it is built on
	want 4 "$BLD" rebase app:v4 --old_base base:latest --new_base os:1 -t app:v5
	one_error
	has "$D/err" 'is not built on base:latest'
	want 2 "$BLD" rebase base:latest --new_base os:1 -t app:v5
	one_error
	bld mutate --set-platform linux/s390x os:2 -t os:s390x
	want 2 "$BLD" rebase app:v4 --new_base os:s390x -t app:v5
	one_error
	store_whole
}

# All in one registry: the new base's layers are mounted, the image's own stay.
rebased_remotely() {
	local own new
	bases
	bld push os:1 "$REG/os:1"
	bld push os:2 "$REG/os:2"
	bld push app:v1 "$REG/app:v1"
	rm -rf "$T/store2"
	own=$(remote_manifest "$REG/app:v1" | jq -r '.layers[1].digest')
	new=$(remote_manifest "$REG/os:2" | jq -r '.layers[0].digest')
	local gets
	gets=$(moved GET '.*blobs')
	bld --root "$T/store2" rebase "$REG/app:v1" --old_base "$REG/os:1" --new_base "$REG/os:2" -t "$REG/app:v2"
	# three configs, no layer
	same $((gets + 3)) "$(moved GET '.*blobs')" "blobs read"
	has "$REG_LOG" "POST /v2/app/blobs/uploads/\?.*mount=$new"
	same "$new $own" "$(remote_manifest "$REG/app:v2" | jq -r '[.layers[].digest] | join(" ")')"
	skopeo copy -q --src-tls-verify=false "docker://$REG/app:v2" "dir:$D/dir"
	# the annotations lead to the bases
	bld --root "$T/store2" rebase "$REG/app:v2" --new_base "$REG/os:1" -t "$REG/app:v3"
	remote_manifest "$REG/app:v3" | jq -e --arg n "$REG/os:1" \
		'.annotations["org.opencontainers.image.base.name"] == $n'
	# from a registry into the store: all of it is there
	bld --root "$T/store2" rebase "$REG/app:v3" --new_base "$REG/os:2" -t store:local:v1
	layout_whole "$T/store2"
}

interrupted() {
	local pid
	head -c 300M /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 >big
	tar -cf big.tar big
	"$BLD" append -f big.tar -t big:v1 2>"$D/err" &
	pid=$!
	for _ in $(seq 200); do
		compgen -G "$BLD_ROOT/tmp/*" >/dev/null && break
		sleep 0.02
	done
	kill -INT "$pid"
	local got=0
	wait "$pid" || got=$?
	same 130 "$got"
	want 6 "$BLD" inspect big:v1
	layout_whole "$BLD_ROOT"
}

setup || { echo "Bail out! no base or registry"; exit 1; }
t "mutate changes what it is told to" config_changes
t "members nobody knows stay" unknown_members
t "in a registry no layer moves" in_place
t "from and to every place" places
t "docker's types stay docker's" docker_types
t "every image of an index, or one" indexes
t "wrong flags and names" wrong_flags
t "append takes tars as they are" appended
t "append packs folders" folders
t "bad layers get nowhere" hostile_layers
t "flatten keeps the tree" flattened
t "flatten to nothing" nothing_left_over
t "flatten in a registry" flattened_in_place
t "equal inputs, equal digests" reproducible
t "rebase merges configs" rebased
t "rebase in a registry moves no layer" rebased_remotely
t "Ctrl-C leaves nothing" interrupted
t_end
