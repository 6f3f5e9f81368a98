#!/bin/bash
# bld diff: what differs between two images, in every form, and that the forms are true.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# differ, equal: bld diff with that answer; $D/out has it.
differ() { want 1 "$BLD" diff "$@" && empty "$D/err"; }
equal() { want 0 "$BLD" diff "$@" && empty "$D/err"; }
old() { find "$@" -exec touch -h -d @1500000000 {} +; }

# worlds: folders a and b in the current folder, with every kind of change.
worlds() {
	mkdir -p a/etc a/bin a/doc/app/more a/ty a/gone/x b/etc b/bin b/doc b/new/deep b/many
	seq 40 >a/etc/app.conf
	{ seq 10; echo eleven; seq 12 39; printf forty; } >b/etc/app.conf
	for i in 1 2 3; do
		echo "old $i" >"a/doc/app/more/$i"
		echo "new $i" >"b/many/$i"
	done
	printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0\76\0one' >a/bin/prog
	printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0\76\0two' >b/bin/prog
	chmod 755 a/bin/prog b/bin/prog
	echo same | tee a/same >b/same
	echo mode | tee a/mode >b/mode
	chmod 600 b/mode
	echo in >a/ty/in
	echo file >b/ty
	ln -s here a/link
	ln -s there b/link
	echo 'moved as it is' | tee a/before >b/after
	echo x >b/new/deep/only
	echo 'name with blanks' >'b/a b'
	old a b
}
# images: app:v1 and app:v2 of them, on top of one layer both share.
images() {
	worlds
	mkdir -p base
	echo base >base/base
	seq 20000 >base/large
	old base
	printf 'FROM scratch\nCOPY base /\nCOPY a /\nENV KEEP=1 FOO=1\nLABEL gone=x\n' >a.Dockerfile
	printf 'FROM scratch\nCOPY base /\nCOPY b /\nENV KEEP=1 FOO=2 BAR=a=b\nUSER 5\n' >b.Dockerfile
	build -q -t app:v1 -f a.Dockerfile .
	build -q -t app:v2 -f b.Dockerfile .
}

text() {
	images
	differ app:v1 app:v2
	cat >want <<-'X'
	 config  User  +5
	 config  Env  FOO=1 → 2
	 config  Env  +BAR=a=b
	 config  Labels  -gone=x
	 config  history  #1 COPY a / # buildkit → COPY b / # buildkit
	 config  history  #2 ENV KEEP=1 FOO=1 → ENV KEEP=1 FOO=2 BAR=a=b
	 config  history  #3 LABEL gone=x → USER 5
	 A 0644  /a b            17 B
	 A 0644  /after          15 B  was /before
	 D       /before         15 B  now /after
	 M 0755  /bin/prog       23 B  content
	 D       /doc/app        3 files, 18 B
	 M 0644  /etc/app.conf   111 B → 117 B
	 D       /gone/x
	 M       /link           here → there
	 A 0755  /many           3 files, 18 B
	 m 0600  /mode           mode 0644→0600
	 A 0644  /new/deep/only  2 B
	 T 0644  /ty             folder → file
	 D       /ty/in          3 B
	X
	grep -v '^ layers' out | grep -v 'config  created' | diff -u want -
	has out '^ layers  1 shared, 1 changed; pull cost v1→v2: [0-9.]+ k?B$'
	[ "$(tail -n 1 out | cut -c1-7)" = " layers" ]

	differ --stat app:v1 app:v2
	has out '^ config  history  3 differ$'
	has out '^ m 0600  /mode$'
	has out '^ M 0755  /bin/prog       23 B$'
	has out '^ M       /link$'
	differ --stat --mode files app:v1 app:v2
	hasnt out 'config|layers'

	differ --name-only app:v1 app:v2
	cp out names
	differ --name-status app:v1 app:v2
	cut -f 2 out | diff names -
	cat >want <<-'X'
	A	/a b
	A	/after
	D	/before
	M	/bin/prog
	D	/doc/app
	D	/doc/app/more
	D	/doc/app/more/1
	D	/doc/app/more/2
	D	/doc/app/more/3
	M	/etc/app.conf
	D	/gone
	D	/gone/x
	M	/link
	A	/many
	A	/many/1
	A	/many/2
	A	/many/3
	m	/mode
	A	/new
	A	/new/deep
	A	/new/deep/only
	T	/ty
	D	/ty/in
	X
	diff -u want out
}

# An independent look at the same two folders says the same.
oracle() {
	worlds
	differ --name-only dir:a dir:b
	sort out >names
	python3 - a b >want <<-'X'
	import os, sys
	def look(top):
	    seen = {}
	    for at, dirs, files in os.walk(top):
	        for name in dirs + files:
	            p = os.path.join(at, name)
	            s = os.lstat(p)
	            what = os.readlink(p) if os.path.islink(p) else open(p, "rb").read() if os.path.isfile(p) else ""
	            seen[os.path.relpath(p, top)] = (s.st_mode, s.st_uid, s.st_gid, int(s.st_mtime), what)
	    return seen
	a, b = look(sys.argv[1]), look(sys.argv[2])
	for p in sorted(a.keys() | b.keys()):
	    if a.get(p) != b.get(p):
	        print("/" + p)
	X
	sort want | diff - names
}

exit_codes() {
	mkdir a b
	echo 1 >a/f
	echo 2 >b/f
	equal dir:a dir:a
	empty out
	differ dir:a dir:b
	want 0 "$BLD" diff --exit-code=false dir:a dir:b
	want 0 "$BLD" diff --no-exit-code dir:a dir:b
	want 6 "$BLD" diff dir:a store:no/such:image
	one_error
	want 6 "$BLD" diff dir:a dir:nowhere
	one_error
	local args
	for args in "dir:a" "dir:a dir:b dir:c" "--mode nothing dir:a dir:b" "--ignore time dir:a dir:b" \
		"--format yaml dir:a dir:b" "--stat --name-only dir:a dir:b" "--content --name-only dir:a dir:b" \
		"--content=x dir:a dir:b" "--mode config --report r dir:a dir:b" "--report a dir:a dir:b" \
		"--format patch --mode layers dir:a dir:b" "--compression gzip dir:a dir:b" "--stat --format json dir:a dir:b" \
		"--shared all dir:a dir:b" "-o nowhere/f dir:a dir:b" "oci-archive:- docker-archive:-"; do
		# shellcheck disable=SC2086 # words
		want 2 "$BLD" diff $args
		one_error
		empty out
	done
	want 2 "$BLD" diff --ignore time dir:a dir:b
	has err 'why:  it knows mtime, order'
	# A reader that has seen enough is no trouble.
	head -c 3000000 /dev/urandom >b/large
	want 1 bash -c '"$0" diff --format patch dir:a dir:b | head -c 1 >part; exit ${PIPESTATUS[0]}' "$BLD"
	empty err
	# What status 1 would be elsewhere is trouble here.
	head -c 1000 /dev/urandom >damaged.tar
	want 3 "$BLD" diff dir:a ./damaged.tar
	one_error
	local got
	if [ "$(id -u)" = 0 ]; then
		got=0
		"$BLD" diff dir:a dir:b >/dev/full 2>err || got=$?
		[ "$got" -ge 2 ] || fail "status $got where the output cannot be written"
	fi
	# A reader that has seen enough.
	{ "$BLD" diff --name-status dir:a dir:b 2>err || true; } | true
	empty err
}

# Two layouts that differ in one thing, and the flag that makes them equal.
ignores() {
	mkdir -p one/d two/d
	echo f | tee one/d/f >two/d/f
	old one two
	equal dir:one dir:two
	touch -d @1500000100 two/d/f
	differ dir:one dir:two
	equal --ignore mtime dir:one dir:two
	equal --semantic dir:one dir:two
	old two
	chmod 600 two/d/f
	differ --semantic --ignore uid,gid,xattrs dir:one dir:two
	chmod 644 two/d/f
	root_only chown
	chown 5 two/d/f
	differ --ignore gid dir:one dir:two
	equal --ignore mtime --ignore uid dir:one dir:two
	chown 0:5 two/d/f
	differ --ignore uid dir:one dir:two
	equal --ignore gid dir:one dir:two
	chown 0:0 two/d/f
	setcap cap_net_raw+ep two/d/f
	differ dir:one dir:two
	has out 'xattrs'
	equal --ignore xattrs dir:one dir:two
}

ignores_of_configs() {
	mkdir ctx
	echo f >ctx/f
	old ctx
	printf 'FROM scratch\nCOPY f /\n' >base.Dockerfile
	{ cat base.Dockerfile; echo 'LABEL a=b'; } >label.Dockerfile
	SOURCE_DATE_EPOCH=1600000000 build -q -t c:1 -f base.Dockerfile ctx
	SOURCE_DATE_EPOCH=1600000001 build -q -t c:2 -f base.Dockerfile ctx
	SOURCE_DATE_EPOCH=1600000000 build -q -t c:3 -f label.Dockerfile ctx
	differ --mode config c:1 c:2
	has out 'config  created'
	equal --mode config --ignore created c:1 c:2
	differ --mode config --ignore created,labels c:1 c:3
	has out history
	differ --mode config --ignore history c:1 c:3
	has out 'Labels  \+a=b'
	equal --mode config --ignore history,labels c:1 c:3
}

# layout FOLDER LAYER...: an OCI layout of those tars (or .gz), in that order.
layout() {
	python3 - "$@" <<-'X'
	import gzip, hashlib, json, os, sys
	top = sys.argv[1]
	os.makedirs(top + "/blobs/sha256")
	def put(data):
	    name = hashlib.sha256(data).hexdigest()
	    open(f"{top}/blobs/sha256/{name}", "wb").write(data)
	    return {"digest": "sha256:" + name, "size": len(data)}
	layers, ids = [], []
	for path in sys.argv[2:]:
	    data = open(path, "rb").read()
	    gz = path.endswith(".gz")
	    layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if gz else ""), **put(data)})
	    ids.append("sha256:" + hashlib.sha256(gzip.decompress(data) if gz else data).hexdigest())
	config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}}
	manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
	            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(json.dumps(config).encode())},
	            "layers": layers}
	root = {"mediaType": manifest["mediaType"], **put(json.dumps(manifest).encode()),
	        "platform": {"architecture": "amd64", "os": "linux"}}
	json.dump({"schemaVersion": 2, "manifests": [root]}, open(top + "/index.json", "w"))
	json.dump({"imageLayoutVersion": "1.0.0"}, open(top + "/oci-layout", "w"))
	X
}

layers_mode() {
	mkdir -p r
	echo 1 >r/1
	echo 2 >r/2
	old r
	tar -C r -cf base.tar 1
	tar -C r -cf x.tar 1 2
	tar -C r -cf order.tar 2 1
	tar -C r --format=pax -cf form.tar 1 2
	gzip -nk x.tar
	touch r/2
	tar -C r -cf time.tar 1 2
	echo 22 >r/2
	tar -C r -cf other.tar 1 2
	for i in x x.tar.gz order form time other; do
		layout "L$i" base.tar "${i%.tar.gz}.tar$([ "$i" != x.tar.gz ] || echo .gz)"
	done
	layout Lmore base.tar x.tar other.tar
	equal --mode layers oci:Lx oci:Lx
	differ --mode layers oci:Lx oci:Lx.tar.gz
	has out '^ layer   #1 .* → #1 .*  recompressed$'
	has out '^ layers  1 shared, 1 changed \(1 only compressed otherwise\); pull cost Lx→Lx.tar.gz: '
	equal --mode layers --ignore compression oci:Lx oci:Lx.tar.gz
	equal oci:Lx oci:Lx.tar.gz
	has out '^ layers '
	differ --mode layers oci:Lx oci:Lorder
	has out '  reordered$'
	equal --mode layers --ignore order oci:Lx oci:Lorder
	differ --mode layers oci:Lx oci:Lform
	has out '  equivalent$'
	equal --mode layers --ignore order oci:Lx oci:Lform
	differ --mode layers --ignore order oci:Lx oci:Ltime
	has out '  changed$'
	equal --mode layers --ignore mtime oci:Lx oci:Ltime
	equal --mode all --semantic oci:Lx oci:Ltime
	differ --mode all --semantic oci:Lx oci:Lother
	differ --mode layers oci:Lx oci:Lmore
	has out '^ layer   #2 .*  added$'
	differ --mode layers oci:Lmore oci:Lx
	has out '^ layer   #2 .*  deleted$'
	differ --mode layers --format json oci:Lx oci:Lmore
	jq -e '[.layers[].status] == ["same", "same", "added"] and (has("files") | not)' out
	# One layer of an image.
	differ 'oci:Lx#0' 'oci:Lx#1'
	has out 'A 0644  /2'
	equal 'oci:Lx#-1' 'oci:Lmore#1'
	equal 'oci:Lx#1' ./x.tar
}

json() {
	images
	printf 'x' >"$(printf 'b/bad\377name')"
	old b
	build -q -t app:v2 -f b.Dockerfile .
	differ --format json --mode all app:v1 app:v2
	jq -e '.apiVersion == "bld/v1" and .version == 1 and .differ == true and .unsure == 0' out
	jq -e '.a.name == "app:v1" and .b.layers == 2 and (.b.digest | startswith("sha256:"))' out
	jq -e '.compared == ["files", "layers", "config", "packages"] and .ignored == []' out
	jq -e '.pull.sharedLayers == 1 and .pull.changedLayers == 1 and .pull.bytes < .pull.totalBytes' out
	jq -e '.config[] | select(.field == "Env" and .key == "FOO") | .before == "1" and .after == "2"' out
	jq -e '.files[] | select(.path == "/etc/app.conf")
		| .status == "modified" and .what == ["content", "size"] and .before.size == 111 and .after.size == 117
			and .after.layer == 1' out
	jq -e '.files[] | select(.path == "/mode") | .status == "metadata" and .what == ["mode"]' out
	jq -e '.files[] | select(.path == "/after") | .renamedFrom == "/before" and (has("before") | not)' out
	jq -e '.files[] | select(.path == "/link") | .before.link == "here" and .after.link == "there"' out
	same "$(printf '/bad\377name' | base64)" "$(jq -r '.files[] | .pathBase64 // empty' out)"
	jq -cS '.files[]' out >files
	differ --format jsonl --mode all app:v1 app:v2
	jq -cS 'select(.type == "file") | del(.type)' out | diff files -
	jq -se 'first.type == "head" and last.type == "summary" and last.differ' out
	same "$(jq -s length out)" "$(wc -l <out)"
	differ --semantic --ignore uid --format json app:v1 app:v2
	jq -e '.ignored == ["mtime", "order", "uid", "history", "created", "compression"]' out
	equal --format json app:v1 app:v1
	jq -e '.differ == false and .files == [] and .config == []' out
	differ --format json -o sub.json app:v1 app:v2
	empty out
	jq -e .differ sub.json
}

# Names in which patch(1) takes a blank, a tab or a quote for something else.
patch_names() {
	mkdir odd-a odd-b
	for x in 'ends in a blank ' ' begins' 'in the middle' $'ta\tb' 'quo"te' 'back\slash ' $'line\nfeed'; do
		echo old >"odd-a/$x"
		echo new >"odd-b/$x"
	done
	differ --content dir:odd-a dir:odd-b
	patch -d odd-a -p1 <out
	diff -r odd-a odd-b
}

contents() {
	images
	differ --mode files --content app:v1 app:v2
	has out '^--- a/etc/app.conf$'
	has out '^Binary /bin/prog: ELF 64-bit x86-64, 23 B, sha256 [0-9a-f]{12} → ELF 64-bit x86-64, 23 B, sha256 '
	# patch(1) makes B's texts of A's.
	cp -a a patched
	rm -rf patched/link b/ty b/link
	sed '/^--- \/dev\/null$/{N;/b\/ty$/{N;N;d}}' out >texts.diff
	(cd patched && patch -E -p1 <../texts.diff)
	cp b/bin/prog patched/bin/
	chmod 600 patched/mode
	find patched b -type d -empty -delete
	diff -r patched b
	# The same hunks as diff(1).
	diff -u --label a/etc/app.conf --label b/etc/app.conf a/etc/app.conf b/etc/app.conf >want || true
	awk '/^--- a\/etc\/app.conf/ {on = 1} /^--- / && !/app.conf/ {on = 0} on' out | diff -u want -
	# Too long, and not a text.
	seq 100000 >a/long
	{ seq 99999; echo x; } >b/long
	head -c 3000 /dev/zero >a/zero
	gzip -c a/zero >b/zero
	differ --content --path long --path zero dir:a dir:b
	has out '^Binary /long: text, 588.9 kB, sha256 '
	has out '^Binary /zero: data, 3.0 kB, sha256 [0-9a-f]* → gzip, '
	differ --content=1024 --path long dir:a dir:b
	has out '^\+x$'
	differ --content --format json --path etc --path bin app:v1 app:v2
	jq -e '.files[] | select(.path == "/etc/app.conf") | .diff | startswith("@@ -8,7 +8,7 @@\n")' out
	same "sha256:$(sha256sum <b/etc/app.conf | cut -d' ' -f1)" \
		"$(jq -r '.files[] | select(.path == "/etc/app.conf") | .after.digest' out)"
	jq -e '.files[] | select(.path == "/bin/prog") | .after.content | startswith("ELF")' out
}

which_paths() {
	worlds
	differ --path etc --path 'm*' --exclude '*/2' --name-only dir:a dir:b
	printf '%s\n' /etc/app.conf /many /many/1 /many/3 /mode | diff - out
	differ --path /etc --path '/m*' --exclude '/*/2' --name-only dir:a dir:b
	printf '%s\n' /etc/app.conf /many /many/1 /many/3 /mode | diff - out
	differ --path / --path '!/etc' --name-only dir:a dir:b
	has out '^/mode$'
	hasnt out '^/etc'
	cp out but_etc
	differ --exclude /etc/ --name-only dir:a dir:b
	diff but_etc out
	equal --path nothing dir:a dir:b
	# Names are of files: a configuration alone gives none, and no difference.
	printf 'FROM scratch\nCOPY a /\nENV X=1\n' >x.Dockerfile
	printf 'FROM scratch\nCOPY a /\nENV X=2\n' >y.Dockerfile
	build -q -t t:x -f x.Dockerfile .
	build -q -t t:y -f y.Dockerfile .
	equal --name-only t:x t:y
	differ t:x t:y
}

# as FROM PATCH: an image of both layers.
patches() {
	images
	differ --format patch -o p.tar app:v1 app:v2
	empty out
	tar -tf p.tar >names
	has names '^(\./)?\.wh\.gone/?$'
	hasnt names 'same|large'
	differ --format patch -o p.tar.gz app:v1 app:v2
	gzip -dc p.tar.gz | cmp - p.tar
	differ --format patch -o p.tar.zst app:v1 app:v2
	zstd -dcq p.tar.zst | cmp - p.tar
	differ --format patch --compression zstd -o p app:v1 app:v2
	zstd -dcq p | cmp - p.tar
	want 1 "$BLD" diff --format patch app:v1 app:v2
	cmp out p.tar
	equal --format patch -o none.tar app:v1 app:v1
	same 0 "$(tar -tf none.tar | wc -l)"
	bld append -b app:v1 -f p.tar -t app:patched
	equal --mode files app:patched app:v2
	need umoci
	root_only "umoci unpack"
	bld save --format oci-dir -o layout app:patched app:v2
	umoci unpack --image layout:patched unpacked.p
	umoci unpack --image layout:v2 unpacked.2
	diff -r --no-dereference unpacked.p/rootfs unpacked.2/rootfs
}

reports() {
	images
	mknod a/fifo p
	old a
	build -q -t app:v1 -f a.Dockerfile .
	want 1 "$BLD" diff --report r app:v1 app:v2
	(cd r && find a b -type f | sort) >got
	cat >want <<-'X'
	a/before
	a/bin/prog
	a/doc/app/more/1
	a/doc/app/more/2
	a/doc/app/more/3
	a/etc/app.conf
	a/ty/in
	b/a b
	b/after
	b/bin/prog
	b/etc/app.conf
	b/many/1
	b/many/2
	b/many/3
	b/new/deep/only
	b/ty
	X
	diff -u want got
	for f in etc/app.conf bin/prog; do
		cmp "r/a/$f" "a/$f"
		cmp "r/b/$f" "b/$f"
	done
	same 0 "$(find r ! -type f ! -type d | wc -l)" "things that are no files"
	same 0 "$(find r -type f -perm /7000 -o -type f -perm /111 | wc -l)" "programs"
	jq -e '.files[] | select(.path == "/fifo") | .before.type == "fifo"' r/report.json
	jq -e '.files[] | select(.path == "/link") | .after.link == "there"' r/report.json
	cp -r r before
	want 2 "$BLD" diff --report r app:v1 app:v2
	one_error
	diff -r r before
}

# Names that lead out, that command terminals, that are links on the way.
hostile() {
	mkdir plain
	python3 - <<-'X'
	import io, tarfile
	def tar(path, members):
	    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as t:
	        for name, kind, data in members:
	            i = tarfile.TarInfo(name)
	            i.type, i.mode = kind, 0o6777
	            if kind == tarfile.SYMTYPE:
	                i.linkname, data = data, ""
	            i.size = len(data)
	            t.addfile(i, io.BytesIO(data.encode()))
	F, S, D = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
	tar("links.tar", [("out", S, "/tmp"), ("out/escaped-%s" % open("/proc/self/stat").read().split()[0], F, "x")])
	tar("odd.tar", [("\x1b]0;title\x07\x1b[2Jname", F, "\x1b[31mred\x1b]0;x\x07\n"), ("new\nline", F, "n"),
	                ("-rf", F, "d"), ("\u202egnp.exe", F, "b"), ("x" * 255, F, "long"), ("d", D, ""),
	                ('q"\\', F, "q")])
	X
	for tar in links odd; do
		local got=0
		"$BLD" diff --report "r$tar" --content -o "$tar.txt" dir:plain "./$tar.tar" 2>err || got=$?
		[ "$got" -ge 1 ] || fail "status $got"
	done
	same 0 "$(find /tmp -maxdepth 1 -name 'escaped-*' | wc -l)" "files outside"
	differ dir:plain ./odd.tar
	hasnt out "$(printf '[\001-\010\016-\037]')"
	has out '"/\\033\]0;title\\a\\033\[2Jname"'
	has out '"/new\\nline"'
	has out '"/\\342\\200\\256gnp.exe"'
	has out '"/q\\"\\\\"'
	differ --name-only dir:plain ./odd.tar
	same 7 "$(wc -l <out)"
	[ -f "rodd/b/$(printf 'new\nline')" ]
	same 0 "$(find rodd rlinks -type f -perm /7000 2>/dev/null | wc -l)"
	# On a terminal nothing of a file's content commands it, either.
	need script
	want 1 script -qec "$BLD diff --content --color never dir:plain ./odd.tar 2>/dev/null" /dev/null
	mv out tty
	hasnt tty "$(printf '\033')"
	has tty 'red'
}

colours() {
	mkdir a b
	echo 1 >b/f
	NO_COLOR='' differ dir:a dir:b
	hasnt out "$(printf '\033')"
	differ --color always dir:a dir:b
	has out "$(printf '\033\\[32mA')"
}

packages() {
	mkdir -p a/var/lib/dpkg b/var/lib/dpkg
	pkg() { printf 'Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\n\n' "$1" "$2"; }
	{ pkg gone 1; pkg libssl3 3.0.16-1; pkg same 2; } >a/var/lib/dpkg/status
	{ pkg libssl3 3.0.17-1; pkg new 4; pkg same 2; } >b/var/lib/dpkg/status
	old a b
	differ --mode packages dir:a dir:b
	printf '%s\n' ' pkg     gone     -1' ' pkg     libssl3  3.0.16-1 → 3.0.17-1' ' pkg     new      +4' | diff -u - out
	differ --stat dir:a dir:b
	has out '^ pkg     libssl3  3.0.16-1 → 3.0.17-1$'
	differ --mode files dir:a dir:b
	hasnt out '^ pkg'
	differ --mode packages --format json dir:a dir:b
	jq -e '.packages[1] | .manager == "dpkg" and .name == "libssl3" and .before.version == "3.0.16-1"
		and .after.version == "3.0.17-1"' out
	differ --mode packages --path nothing dir:a dir:b
	equal --mode packages dir:a dir:a
	cp a/var/lib/dpkg/status b/var/lib/dpkg/status
	touch b/var/lib/dpkg/status
	equal --mode packages dir:a dir:b
	printf 'Package: x\nVersion' >b/var/lib/dpkg/status
}

places() {
	need skopeo
	images
	bld save --format oci-archive -o v2.oci.tar app:v2
	bld save --format docker-archive -o v2.docker.tar app:v2
	bld save --format oci-dir -o v2.layout app:v2
	skopeo copy -q oci:v2.layout:v2 docker-archive:v2.skopeo.tar:app:v2
	bld export -o rootfs.tar app:v2
	mkdir rootfs
	tar -C rootfs --delay-directory-restore -xf rootfs.tar
	local place
	for place in oci-archive:v2.oci.tar docker-archive:v2.docker.tar ./v2.skopeo.tar oci:v2.layout:v2; do
		equal --mode files "$place" app:v2
		equal --mode config --ignore created "$place" app:v2
	done
	equal --mode files dir:rootfs app:v2
	equal --mode files ./rootfs.tar app:v2
	want 0 "$BLD" diff --mode files oci-archive:- app:v2 <v2.oci.tar
	equal --mode files <(cat v2.oci.tar) <(cat v2.docker.tar)
	want 6 "$BLD" diff rootfs.tar app:v2
	has err '\./rootfs\.tar is what has that name here'
	want 0 "$BLD" diff --mode config dir:rootfs app:v2
	has err 'has no configuration'
}

# A config that claims another image's diff IDs: who reads all takes no word for it.
false_diff_ids() {
	images
	bld copy -q store:app:v1 oci:layout:v1
	bld copy -q store:app:v2 oci:layout:v2
	python3 - <<-'P'
	import hashlib, json
	index = json.load(open("layout/index.json"))
	def blob(d):
	    return "layout/blobs/sha256/" + d["digest"][7:]
	v1, v2 = (json.load(open(blob(m))) for m in index["manifests"])
	v1["layers"] = v2["layers"]
	text = json.dumps(v1).encode()
	d = dict(index["manifests"][0], digest="sha256:" + hashlib.sha256(text).hexdigest(), size=len(text))
	d["annotations"] = {"org.opencontainers.image.ref.name": "liar"}
	open(blob(d), "wb").write(text)
	index["manifests"].append(d)
	json.dump(index, open("layout/index.json", "w"))
	P
	export BLD_ROOT=$D/empty
	differ --shared=read oci:layout:v1 oci:layout:liar
	has out '/etc/app.conf'
}

# No byte of a layer that both have is fetched; with --shared=read it is, and the answers are sure.
remote() {
	images
	registry_start diff
	bld push -q app:v1 "$REG/t/app:v1"
	bld push -q app:v2 "$REG/t/app:v2"
	local base top1 top2 mark
	base=$(layers app:v1 | sed -n 1p)
	top1=$(layers app:v1 | sed -n 2p)
	top2=$(layers app:v2 | sed -n 2p)
	same "$base" "$(layers app:v2 | sed -n 1p)"
	differ app:v1 app:v2
	grep -v '^ layers' out >exact
	export BLD_ROOT=$D/empty
	mark=$(wc -l <"$REG_LOG")
	want 1 "$BLD" diff --mode files "$REG/t/app:v1" "$REG/t/app:v2"
	tail -n "+$((mark + 1))" "$REG_LOG" >log
	hasnt log "GET /v2/t/app/blobs/$base"
	has log "GET /v2/t/app/blobs/$top1"
	has log "GET /v2/t/app/blobs/$top2"
	has out '^ [A-Z][? ][0-7 ]{4}  /etc/app.conf'
	has out '\?'
	has out '^ note    17 changes marked \? depend on shared layers, not read: see --shared$'
	want 1 "$BLD" diff --format json "$REG/t/app:v1" "$REG/t/app:v2"
	jq -e '.unsure > 0 and ([.files[] | select(.unsure)] | length) == .unsure' out
	want 1 "$BLD" diff --shared=read "$REG/t/app:v1" "$REG/t/app:v2"
	grep -v '^ layers' out | diff exact -
	# A patch must be exact, so it reads what it needs.
	export BLD_ROOT=$D/empty2
	want 1 "$BLD" diff --format patch -o p.tar "$REG/t/app:v1" "$REG/t/app:v2"
	export BLD_ROOT=$T/store
	want 1 "$BLD" diff --format patch -o want.tar app:v1 app:v2
	cmp p.tar want.tar
	# The same image: nothing of any layer.
	export BLD_ROOT=$D/empty3
	mark=$(wc -l <"$REG_LOG")
	equal "$REG/t/app:v1" "$REG/t/app:v1"
	tail -n "+$((mark + 1))" "$REG_LOG" >log
	for layer in $base $top1; do
		hasnt log "GET /v2/t/app/blobs/$layer"
	done
}

# Ctrl-C while a layer comes: the status of a signal, no output, nothing left.
interrupted() {
	mkdir -p ctx other
	head -c 30000000 /dev/urandom >ctx/large
	echo x >other/x
	printf 'FROM scratch\nCOPY . /\n' >Dockerfile
	build -q -t slow:1 -f Dockerfile ctx
	registry_start slow
	bld push -q slow:1 "$REG/t/slow:1"
	export BLD_ROOT=$D/empty
	"$BLD" diff --limit-rate 1m -o o.txt "$REG/t/slow:1" dir:other >out 2>err &
	local pid=$! got=0
	for _ in $(seq 100); do
		! grep -q "GET /v2/t/slow/blobs/$(layers_of)" "$REG_LOG" || break
		sleep 0.1
	done
	kill -INT "$pid"
	wait "$pid" || got=$?
	same 130 "$got" "status"
	one_error
	[ ! -e o.txt ]
	same 0 "$(find . -maxdepth 1 -name '*.tmp' | wc -l)" "temporary files"
}
layers_of() { BLD_ROOT=$T/store layers slow:1; }

# What one comparison learns of a stored layer the next one needs no bytes for.
learnt() {
	images
	differ --mode files app:v1 app:v2
	cp out first
	ls "$BLD_ROOT"/index/sum-* >/dev/null
	local l size
	for l in $(layers app:v1) $(layers app:v2); do
		chmod u+w "$(blob "$l")"
		size=$(stat -c %s "$(blob "$l")")
		head -c "$size" /dev/zero >"$(blob "$l")"
	done
	differ --mode files app:v1 app:v2
	cmp first out
}

t "a line for each thing" text
t "the same as an independent look" oracle
t "exit statuses" exit_codes
t "--ignore of files" ignores
t "--ignore of configs" ignores_of_configs
t "--mode layers, layers alone" layers_mode
t "json and jsonl" json
t "contents, as patch takes them" contents
t "contents of files with odd names" patch_names
t "--path and --exclude" which_paths
t "a patch turns A into B" patches
t "--report" reports
t "hostile names and contents" hostile
t "colours" colours
t "packages" packages
t "images from anywhere" places
t "false diff IDs" false_diff_ids
t "shared layers stay where they are" remote
t "interrupted" interrupted
t "stored layers are read once" learnt
t_end
