#!/bin/bash
# The store's own commands: images, tag, rmi, inspect, history, save, load, du, prune.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

make_app() {
	dockerfile <<-X
	FROM base:latest
	RUN echo ${1:-one} >/v
	ENV MODE=test
	LABEL name=app
	CMD ["cat", "/v"]
	X
	build -t "${2:-app:v1}" ctx
}

list() {
	make_app
	bld images
	has "$D/out" '^REPOSITORY +TAG'
	has "$D/out" 'app +v1 +'
	bld images --format json
	jq -e 'type == "array" or (.images | type == "array")' "$D/out"
	jq -e '[.. | objects | select(.tag? == "v1")][0] | (.digest | test("^sha256:[0-9a-f]{64}$")) and (.size | type == "number")' "$D/out"
	bld images -q
	has "$D/out" '^[0-9a-f]{12}|^sha256:'
	bld images --format '{{.Repository}}:{{.Tag}}'
	has "$D/out" 'app:v1$'
	bld images app
	hasnt "$D/out" '^[^ ]*base '
}

filters() {
	make_app one fa:v1
	sleep 1.1 # times of images are seconds
	make_app two fb:v1
	bld tag fb:v1 team/fb:v2
	names() { "$BLD" images --format '{{.Repository}}:{{.Tag}}' "$@" | sort | xargs; }
	same "fa:v1 fb:v1" "$(names --filter 'reference=f?')"
	same "fa:v1" "$(names 'fa*')"
	same "team/fb:v2" "$(names --filter 'reference=*/*:v2')"
	same "fa:v1 team/fb:v2" "$(names --filter reference=fa --filter 'reference=team/*')"
	same "fb:v1 team/fb:v2" "$(names --filter since=fa:v1 --filter label=name=app)"
	same "fa:v1" "$(names --filter before=fb:v1 --filter label=name --filter 'reference=f*')"
	same "" "$(names --filter label=name=other)"
	same "" "$(names --filter until=24h --filter label=name)"
	same "fa:v1 fb:v1" "$(names --filter until=2100-01-01T00:00:00Z --filter 'reference=f[ab]')"
	want 2 "$BLD" images --filter size=3; one_error
	want 2 "$BLD" images --filter until=soon; one_error
	want 6 "$BLD" images --filter since=nothing:v1; one_error
}

tags() {
	make_app
	bld tag app:v1 other:x third/name
	same "$(digest_of app:v1)" "$(digest_of other:x)"
	same "$(digest_of app:v1)" "$(digest_of third/name:latest)"
	bld rmi other:x
	want 6 "$BLD" inspect other:x
	bld inspect app:v1
	# By a prefix of either digest.
	bld inspect "$(digest_of app:v1 | cut -c8-20)"
	bld inspect "$(manifest app:v1 | jq -r .config.digest)"
	bld rmi third/name
	store_whole
}

inspect() {
	make_app
	bld inspect app:v1
	jq -e '(if type == "array" then .[0] else . end) | .Config.Cmd == ["cat", "/v"] and .Architecture != "" and .Os == "linux" and
		(.Config.Env | index("MODE=test")) and .Config.Labels.name == "app" and (.RepoTags | length > 0) and
		.RootFS.Type == "layers" and (.RootFS.Layers | length) == 2' "$D/out"
	bld inspect --raw app:v1
	same "$(digest_of app:v1)" "sha256:$(sha256sum <"$D/out" | cut -d' ' -f1)" "bytes of the document"
	bld inspect --format '{{.Config.Cmd}}' app:v1
	has "$D/out" 'cat /v'
	bld inspect --format '{{json .Config.Labels}}' app:v1
	same '{"name":"app"}' "$(cat "$D/out")"
}

history_of() {
	make_app
	bld history app:v1
	has "$D/out" 'CMD \["cat" "/v"\]|CMD \["cat", ?"/v"\]'
	has "$D/out" 'RUN .*echo one'
	bld history --format json app:v1
	jq -e 'length >= 5' "$D/out"
}

# The Dockerfile's lines, oldest entry first.
lines_of() { "$BLD" history --format '{{.Line}}' "$@" | tac | xargs; }

history_lines() {
	make_app
	bld history app:v1
	has "$D/out" '^LAYER +CREATED +CREATED BY +SIZE +COMMENT +LINE$'
	has "$D/out" 'CMD \[.* +Dockerfile:5$'
	has "$D/out" 'RUN .*echo one.* +Dockerfile:2$'
	same "Dockerfile:2 Dockerfile:3 Dockerfile:4 Dockerfile:5" "$(lines_of app:v1)"
	bld history --format json app:v1
	jq -e '[.[] | select(has("line")) | "\(.file) \(.line) \(.createdBy[:3])"] ==
		["Dockerfile 5 CMD", "Dockerfile 4 LAB", "Dockerfile 3 ENV", "Dockerfile 2 RUN"]' "$D/out"
	jq -e 'any(.[]; has("line") | not)' "$D/out" # of the base
	bld tag app:v1 other:name
	same "$(lines_of app:v1)" "$(lines_of other:name)"
	# Nothing runs, the image stays; the file's lines have moved.
	local before
	before=$(digest_of app:v1)
	sed -i '1i # a comment' ctx/Dockerfile
	build -t app:v1 ctx
	same "$before" "$(digest_of app:v1)"
	same "Dockerfile:3 Dockerfile:4 Dockerfile:5 Dockerfile:6" "$(lines_of app:v1)"
	# Nothing runs, the image is another.
	sed 's/MODE=test/MODE=more/' ctx/Dockerfile >ctx/more.df
	build -f ctx/more.df -t more:v1 ctx
	same "$(printf 'ctx/more.df:%s ' 3 4 5 6)" "$(lines_of more:v1) "
	same "Dockerfile:3 Dockerfile:4 Dockerfile:5 Dockerfile:6" "$(lines_of app:v1)"
	# An image on top of it has lines of its own entries alone.
	printf '\n\nFROM app:v1\nENV top=1\n' >ctx/Dockerfile
	build -t top:v1 ctx
	same "Dockerfile:4" "$(lines_of top:v1)"
	bld history --format '{{.Line}}|{{.CreatedBy}}' top:v1
	has "$D/out" '^Dockerfile:4\|ENV top=1'
	# What changes its layers, their form or its platform does not part it from its lines.
	printf 'FROM base:latest\nRUN echo a >/a\nENV e=1\nRUN echo b >/b\n' >ctx/Dockerfile
	build -t squashed:v1 --squash ctx
	same "Dockerfile:2 Dockerfile:3 Dockerfile:4" "$(lines_of squashed:v1)"
	build -t zstd:v1 --compression zstd --force-compression ctx
	same "Dockerfile:2 Dockerfile:3 Dockerfile:4" "$(lines_of zstd:v1)"
	build -t none:v1 --omit-history ctx
	same "" "$(lines_of none:v1)"
	printf 'FROM scratch\nENV e=1\nCMD ["x"]\n' >ctx/Dockerfile
	build -t both:v1 --platform linux/amd64,linux/arm64 ctx
	same "Dockerfile:2 Dockerfile:3" "$(lines_of --platform linux/arm64 both:v1)"
	same "Dockerfile:2 Dockerfile:3" "$(lines_of --platform linux/amd64 both:v1)"
	# Only the store that built it knows.
	bld save app:v1 -o app.tar
	BLD_ROOT=$D/store.other want 0 "$BLD" load -i app.tar
	BLD_ROOT=$D/store.other want 0 "$BLD" history app:v1
	hasnt "$D/out" 'LINE|Dockerfile'
	store_whole
}

save_and_load() {
	make_app
	local f
	for f in oci-archive docker-archive oci-dir; do
		bld save app:v1 base:latest --format "$f" -o "out.$f"
		BLD_ROOT=$D/store.$f want 0 "$BLD" load -i "out.$f"
		BLD_ROOT=$D/store.$f want 0 "$BLD" images
		has "$D/out" 'app +v1'
		has "$D/out" 'base +latest'
		(BLD_ROOT=$D/store.$f; same one "$(file_in app:v1 -1 v)"; store_whole)
		same "$(config app:v1 | jq -c .rootfs)" "$(BLD_ROOT=$D/store.$f; config app:v1 | jq -c .rootfs)"
	done
	"$BLD" save app:v1 | BLD_ROOT=$D/store.pipe want 0 "$BLD" load
	(BLD_ROOT=$D/store.pipe; same "$(BLD_ROOT=$T/store digest_of app:v1)" "$(digest_of app:v1)")
	gzip -k out.oci-archive
	BLD_ROOT=$D/store.gz want 0 "$BLD" load -i out.oci-archive.gz
	if command -v skopeo >/dev/null; then
		skopeo inspect "docker-archive:out.docker-archive:docker.io/library/app:v1" >/dev/null
	fi
}

hostile_archives() {
	mkdir evil
	python3 - <<-'X'
	import io, json, tarfile
	def make(path, names):
	    with tarfile.open(path, "w") as t:
	        for n, data in names:
	            i = tarfile.TarInfo(n)
	            i.size = len(data)
	            t.addfile(i, io.BytesIO(data))
	lay = b'{"imageLayoutVersion":"1.0.0"}'
	dig = "sha256:" + "0" * 64
	idx = json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
	                  "digest": dig, "size": 3}]}).encode()
	make("evil/dots.tar", [("oci-layout", lay), ("index.json", idx), ("../../evil-outside", b"x")])
	make("evil/wrong.tar", [("oci-layout", lay), ("index.json", idx), ("blobs/sha256/" + "0" * 64, b"abc")])
	make("evil/missing.tar", [("oci-layout", lay), ("index.json", idx)])
	make("evil/deep.tar", [("oci-layout", lay), ("index.json", b"[" * 100000)])
	X
	local f
	for f in evil/*.tar; do
		want 3 "$BLD" load -i "$f"
		one_error
	done
	[ ! -e ../evil-outside ] && [ ! -e evil-outside ]
	store_whole
}

space() {
	make_app one app:old
	make_app two app:new
	bld du
	bld du --format json
	local total real
	total=$(jq -r .total "$D/out")
	real=$(du -s --block-size=1 "$BLD_ROOT" | cut -f1)
	[ $((total > real ? total - real : real - total)) -lt $((real / 20 + 262144)) ] || fail "bld du: $total, du: $real"
	bld rmi app:old
	bld prune -af --dry-run
	[ -e "$(blob "$(digest_of app:new)")" ]
	bld prune -af
	store_whole
	same two "$(file_in app:new -1 v)"
	# What is named stays, all else is gone.
	same 0 "$(find "$BLD_ROOT/results" -type f | wc -l)" "results after prune -a"
	bld rmi app:new
	bld rmi base:latest
	for i in $("$BLD" images -q | sort -u); do want 0 "$BLD" rmi -f "$i"; done
	bld prune -af
	same 0 "$(find "$BLD_ROOT/blobs" -type f | wc -l)" "blobs after everything was removed"
	base
	make_app three app:again
	store_whole
}

# Collection while builds run takes nothing they need.
prune_during_builds() {
	base
	local i pids=()
	for i in 1 2 3; do
		mkdir "c$i"
		printf 'FROM base:latest\nRUN echo %s >/a; sleep 0.3\nRUN echo %s >/b; sleep 0.3\nRUN cat /a /b >/c\n' "$i" "$i" >"c$i/Dockerfile"
		"$BLD" build --progress=plain -t "during:$i" "c$i" >"o$i" 2>&1 &
		pids+=($!)
	done
	for i in 1 2 3 4 5 6; do
		want 0 "$BLD" prune -af
		sleep 0.2
	done
	for i in 1 2 3; do
		wait "${pids[$((i - 1))]}" || { cat "o$i"; fail "build $i failed beside prune"; }
		same "$i $i" "$(file_in "during:$i" -1 c | xargs)"
	done
	store_whole
}

# A base whose config is odd but harmless: BuildKit's rule is that a relative WorkingDir is below /.
relative_workdir() {
	local id
	id=$(sha256sum <"$BASE_TAR" | cut -d' ' -f1)
	mkdir a ctx
	cp "$BASE_TAR" a/l.tar
	echo '{"architecture":"amd64","os":"linux","config":{"WorkingDir":"../srv/./x"},"rootfs":{"type":"layers","diff_ids":["sha256:'"$id"'"]}}' >a/c.json
	echo '[{"Config":"c.json","RepoTags":["odd:1"],"Layers":["l.tar"]}]' >a/manifest.json
	tar -C a -cf odd.tar .
	bld load -i odd.tar
	printf 'FROM odd:1\nRUN echo "in $(pwd)"\n' >ctx/Dockerfile
	build -t odd:2 ctx
	has "$D/err" '\| in /srv/x$'
	same /srv/x "$(config odd:2 | jq -r .config.WorkingDir)"
}

t "base image" base
t "images: table, json, template, filter" list
t "images: filters and patterns" filters
t "tag, rmi, references by digest" tags
t "inspect: docker's shape, raw bytes, templates" inspect
t "history" history_of
t "history: lines of the Dockerfile" history_lines
t "save and load: three formats, pipe, gzip" save_and_load
t "archives that lie are refused with exit 3" hostile_archives
t "a base whose working folder is relative" relative_workdir
t "du agrees with du; prune keeps what is named" space
t "prune beside running builds" prune_during_builds
t_end
