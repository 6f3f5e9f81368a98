#!/bin/bash
# Caches that machines share. A machine is a store of its own.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# machine NAME: a fresh store with base:latest, and it is the one in use.
machine() {
	local to=$T/machines/$1-$T_N
	[ -d "$T/store0" ] || { base "$T/store0" && rm -rf "$T"/store0/tmp/*; }
	mkdir -p "$T/machines"
	rm -rf "$to"
	cp -a "$T/store0" "$to"
	export BLD_ROOT=$to
}

# Two RUNs whose results are random: equal images mean that nothing ran twice.
project() {
	mkdir -p ctx
	echo "${1:-1}" >ctx/f
	cat >ctx/Dockerfile <<-X
	FROM base:latest AS tool
	RUN cat /proc/sys/kernel/random/uuid >/tool
	FROM base:latest
	COPY f /f
	COPY --from=tool /tool /tool
	RUN echo ran; cat /f /proc/sys/kernel/random/uuid >/out
	X
}

requests() { grep -cE '"(GET|HEAD|PUT|POST|PATCH|DELETE) /v2/' "$REG_LOG" || true; }
# requests_since N: "GET manifests 200" and the like, one a line
requests_since() {
	grep -oE '"(GET|HEAD|PUT|POST|PATCH|DELETE) /v2/[^ ]* HTTP[^"]*" [0-9]+' "$REG_LOG" | tail -n "+$(($1 + 1))" |
		sed -E 's/^"([A-Z]+) .*\/(manifests|blobs)\/[^ ]* [^ ]* ([0-9]+)$/\1 \2 \3/'
}
# reg_curl ARGS...: of the registry
reg_curl() { curl -fsS "$@"; }
tags() { reg_curl "http://$REG/v2/$1/tags/list" | jq -r '.tags[]?'; }
# blob_file DIGEST: where the registry keeps it
blob_file() { echo "$REG_DIR/docker/registry/v2/blobs/sha256/${1:7:2}/${1#sha256:}/data"; }
# put_manifest REPO TAG FILE [TYPE]
put_manifest() {
	reg_curl -X PUT -H "Content-Type: ${4:-application/vnd.oci.image.manifest.v1+json}" --data-binary "@$3" \
		"http://$REG/v2/$1/manifests/$2"
}
get_manifest() { reg_curl -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$REG/v2/$1/manifests/$2"; }
# put_blob REPO FILE: prints the digest
put_blob() {
	local d at
	d=sha256:$(sha256sum <"$2" | cut -d' ' -f1)
	at=$(reg_curl -X POST -D - -o /dev/null "http://$REG/v2/$1/blobs/uploads/" |
		sed -n 's/^[Ll]ocation: *//p' | tr -d '\r')
	case $at in *\?*) at="$at&digest=$d" ;; *) at="$at?digest=$d" ;; esac
	reg_curl -X PUT --data-binary "@$2" -H 'Content-Type: application/octet-stream' "$at"
	echo "$d"
}
# every_entry_whole REPO: each tag leads to a record with its key, and to blobs that are what they are named
every_entry_whole() {
	local tag m d n=0 key
	for tag in $(tags "$1"); do
		get_manifest "$1" "$tag" >m.json
		same application/vnd.bld.result.v1+json "$(jq -r .config.mediaType m.json)" "config type of $tag"
		jq -r .config.data m.json | base64 -d >r.json
		same "$(jq -r .config.digest m.json)" "sha256:$(sha256sum <r.json | cut -d' ' -f1)" "record of $tag"
		key=sha256:${tag##*-}
		jq -e --arg k "$key" '.keys | to_entries | any(.value == $k)' r.json >/dev/null || fail "$tag: another key"
		same "$(jq -c '[.layers[].digest]' m.json)" \
			"$(jq -c '[.layers[] | .digest // empty] | reduce .[] as $d ([]; if index($d) then . else . + [$d] end)' r.json)" \
			"layers of $tag"
		for d in $(jq -r '.layers[].digest, .config.digest' m.json); do
			same "$d" "sha256:$(sha256sum <"$(blob_file "$d")" | cut -d' ' -f1)" "blob of $tag"
		done
		n=$((n + 1))
	done
	[ "$n" -gt 0 ] || fail "no entries in $1"
}

# ---- two machines ----

shared() {
	registry_start shared
	project
	machine a
	build --cache-repo "$REG/cache" -t app:1 ctx
	has err '1/5 steps reused, 4 stored in one'
	local first from
	first=$(digest_of app:1)
	same 8 "$(tags cache | wc -l)" "tags: four steps, two keys each"
	every_entry_whole cache
	machine b
	from=$(requests)
	build --cache-repo "$REG/cache" -t app:1 ctx
	hasnt err '\| ran|exit 0'
	has err '5/5 steps reused, 1 result from a shared cache'
	has err "cached .* hit from $REG/cache"
	same "$first" "$(digest_of app:1)" "images of the two machines"
	# What a cold build costs: at most one request per step, one per layer, nothing is written.
	requests_since "$from" >seen
	cat seen
	[ "$(grep -c manifests seen)" -le 4 ]
	same 3 "$(grep -c 'GET blobs' seen)" "blobs fetched"
	hasnt seen 'PUT|POST|PATCH|404'
	# and once it is here, the network is not needed
	kill "$REG_PID"
	build -t app:1 ctx
	has err '5/5 steps reused$'
	store_whole
}

# What one step costs when it misses and is stored: a constant.
cost_of_a_miss() {
	registry_start cost
	project
	machine a
	build --cache-repo "$REG/cache" ctx
	local from n
	echo 2 >ctx/f
	from=$(requests)
	build --cache-repo "$REG/cache" ctx
	has err '3 stored'
	requests_since "$from" >seen
	sort seen | uniq -c
	n=$(wc -l <seen)
	# three steps: 2 look-ups, HEAD POST PUT of layer and record, 2 names; one look at the step that hit
	[ "$n" -le $((3 * 10 + 1)) ] || fail "$n requests for three steps"
}

long_chain() {
	registry_start chain
	mkdir ctx
	echo 'FROM base:latest' >ctx/Dockerfile
	local i from n
	for i in $(seq 30); do
		echo "$i" >"ctx/f$i"
		echo "COPY f$i /" >>ctx/Dockerfile
	done
	machine a
	build --cache-to "$REG/cache" -t chain:1 ctx
	machine b
	from=$(requests)
	build --cache-from "$REG/cache" -t chain:1 ctx
	has err '31/31 steps reused, 1 result'
	requests_since "$from" >seen
	n=$(grep -c manifests seen)
	[ "$n" -le 30 ] || fail "$n look-ups for 30 steps"
	same 30 "$(grep -c 'GET blobs 200' seen)" "layers fetched"
}

early_cutoff() {
	registry_start cutoff
	mkdir ctx
	echo a >ctx/src
	cat >ctx/Dockerfile <<-X
	FROM base:latest AS make
	COPY src /src
	RUN echo constant >/made
	FROM base:latest
	COPY --from=make /made /made
	RUN echo ran; cat /proc/sys/kernel/random/uuid >/out
	X
	machine a
	build --cache-to "type=registry,ref=$REG/cache:ci,mode=max" -t cut:1 ctx
	local want
	want=$(file_in cut:1 -1 out)
	has <(tags cache) '^ci-[0-9a-f]{64}$'
	machine b
	echo b >ctx/src
	build --cache-from "type=registry,ref=$REG/cache:ci" -t cut:1 ctx
	hasnt err '\| ran'
	same "$want" "$(file_in cut:1 -1 out)" "what the step made on the other machine"
}

min_and_max() {
	registry_start minmax
	project
	machine a
	build --cache-to "type=registry,ref=$REG/min" --cache-to "type=registry,ref=$REG/max,mode=max,image-manifest=true" ctx
	same 6 "$(tags min | wc -l)" "tags of the image's own three steps"
	same 8 "$(tags max | wc -l)" "tags of all steps"
	# what the store has already is stored as well, and a second time nothing is
	build --cache-to "type=registry,ref=$REG/later,mode=max" ctx
	has err '5/5 steps reused, 4 stored'
	same 4 "$(tags later | wc -l)"
	local from
	from=$(requests)
	build --cache-to "type=registry,ref=$REG/later,mode=max" ctx
	hasnt err 'stored'
	hasnt <(requests_since "$from") 'PUT|POST'
}

compressed() {
	registry_start zstd
	project
	machine a
	build --cache-to "type=registry,ref=$REG/z,mode=max,compression=zstd" -t z:1 ctx
	has <(get_manifest z "$(tags z | head -n 1)") 'tar\+zstd'
	machine b
	build --cache-from "$REG/z" -t z:2 ctx
	hasnt err '\| ran'
	every_entry_whole z
}

pushed_once() {
	registry_start mount
	mkdir ctx
	head -c 3000000 /dev/urandom >ctx/big
	printf 'FROM scratch\nCOPY big /\n' >ctx/Dockerfile
	machine a
	build --cache-repo "$REG/team/cache" --push -t "$REG/team/app:1" ctx
	local put
	put=$(grep -oE '"PUT /v2/team/app/blobs[^"]*"' "$REG_LOG" | wc -l)
	[ "$put" -le 2 ] || fail "$put blobs sent to the image's repository" # config; the layer is mounted, or was first
}

# ---- many at once ----

fifty() {
	registry_start fifty
	local i k pids=()
	for i in $(seq 10); do
		mkdir -p "v$i" && (cd "v$i" && project "$i")
	done
	machine one
	for i in $(seq 50); do cp -a "$T/store0" "s$i"; done
	for i in $(seq 50); do
		BLD_ROOT=$D/s$i "$BLD" build --progress=plain --cache-repo "$REG/cache" -t "v:$i" \
			"v$(((i - 1) % 10 + 1))/ctx" >"o$i" 2>&1 &
		pids+=($!)
	done
	for i in $(seq 50); do wait "${pids[$((i - 1))]}" || { cat "o$i"; fail "builder $i failed"; }; done
	for i in $(seq 50); do
		hasnt "o$i" '^warning:'
		same "$(((i - 1) % 10 + 1))" "$(BLD_ROOT=$D/s$i file_in "v:$i" -1 out | head -n 1)" "builder $i"
	done
	# 10 variants of 3 steps with 2 keys, and what all share; result keys differ with what the tool stage made
	every_entry_whole cache
	for k in $(seq 10); do
		machine "check$k"
		build --cache-from "$REG/cache" -t "v:$k" "v$k/ctx"
		has err '5/5 steps reused'
		same "$k" "$(file_in "v:$k" -1 out | head -n 1)" "variant $k out of the cache"
	done
}

# ---- trouble ----

dies_in_the_middle() {
	registry_start dies
	machine a
	dockerfile <<-X
	FROM base:latest
	RUN echo one >/one
	RUN echo begins; sleep 2; : $MARK-step
	RUN echo three >/three
	X
	"$BLD" build --progress=plain --cache-repo "$REG/cache" -t dies:1 ctx >o 2>&1 &
	local pid=$!
	for _ in $(seq 200); do grep -q '| begins' o && break; sleep 0.1; done
	kill -9 "$REG_PID"
	wait "$pid" || { cat o; fail "the build failed with its cache"; }
	has o 'warning: .*(cache is not used|results are not stored)'
	same three "$(file_in dies:1 -1 three)"
	# and one that is down from the start
	machine b
	build --cache-repo "$REG/cache" -t dies:2 ctx
	same 1 "$(grep -c 'cache is not used' err)" "warnings about look-ups"
	same 1 "$(grep -c 'results are not stored' err)" "warnings about storing"
	nothing_left
	want 7 "$BLD" build --cache-to "type=registry,ref=$REG/cache,ignore-error=false" -t dies:3 ctx
	has err 'cache export to'
}

unfinished_build() {
	registry_start unfinished
	machine a
	dockerfile <<-X
	FROM base:latest
	RUN echo ran one; cat /proc/sys/kernel/random/uuid >/one
	RUN exit 3
	X
	want 1 "$BLD" build --progress=plain --cache-repo "$REG/cache" ctx
	machine b
	want 1 "$BLD" build --progress=plain --cache-repo "$REG/cache" ctx
	hasnt err '\| ran one'
	has err 'hit from'
}

# bad NAME: after something was done to the entries, a build on a fresh machine runs what it must and warns
bad() {
	machine "bad$1"
	build --cache-repo "$REG/cache" -t "bad:$1" ctx
	has err '^warning: cache '
	same 1 "$(file_in "bad:$1" -1 out | head -n 1)"
	# the writer has put good ones in their place
	machine "good$1"
	build --cache-from "$REG/cache" -t "good:$1" ctx
	hasnt err '^warning: cache |\| ran'
	every_entry_whole cache
}

target_tag() { # the entry of the last step
	local tag best='' n most=0
	for tag in $(tags cache); do
		n=$(get_manifest cache "$tag" | jq '.layers | length')
		[ "$n" -gt "$most" ] && most=$n best=$tag
	done
	echo "$best"
}
# all_targets: both keys of the last step
all_targets() {
	local d
	d=$(get_manifest cache "$(target_tag)" | sha256sum)
	for tag in $(tags cache); do
		[ "$(get_manifest cache "$tag" | sha256sum)" = "$d" ] && echo "$tag"
	done
	true
}

hostile() {
	registry_start hostile
	project
	machine a
	build --cache-repo "$REG/cache" -t app:1 ctx
	local t other d
	t=$(target_tag)
	get_manifest cache "$t" >good.json
	jq -r .config.data good.json | base64 -d >record.json

	echo "== the entry of another key"
	other=$(tags cache | grep -vxFf <(all_targets) | head -n 1)
	get_manifest cache "$other" >x.json
	for tag in $(all_targets); do put_manifest cache "$tag" x.json; done
	bad key

	echo "== a manifest of another type"
	t=$(target_tag)
	printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}' >x.json
	for tag in $(all_targets); do put_manifest cache "$tag" x.json application/vnd.oci.image.index.v1+json; done
	bad type

	echo "== an image where a result should be"
	get_manifest cache "$(target_tag)" |
		jq -c '.config.mediaType = "application/vnd.oci.image.config.v1+json" | del(.config.data)' >x.json
	for tag in $(all_targets); do put_manifest cache "$tag" x.json; done
	bad image

	echo "== a record with other sizes"
	get_manifest cache "$(target_tag)" >g.json
	jq -r .config.data g.json | base64 -d | jq -c '.layers[-1].size += 1' >r.json
	d=$(put_blob cache r.json)
	jq -c --arg d "$d" --argjson n "$(stat -c %s r.json)" \
		'.config.digest = $d | .config.size = $n | del(.config.data)' g.json >x.json
	for tag in $(all_targets); do put_manifest cache "$tag" x.json; done
	bad size

	echo "== sizes that agree with each other and with nothing else"
	get_manifest cache "$(target_tag)" >g.json
	jq -r .config.data g.json | base64 -d | jq -c '.layers[-1].size += 1' >r.json
	d=$(put_blob cache r.json)
	jq -c --arg d "$d" --argjson n "$(stat -c %s r.json)" --arg l "$(jq -r '.layers[-1].digest' r.json)" \
		'.config.digest = $d | .config.size = $n | del(.config.data)
		| .layers |= map(if .digest == $l then .size += 1 else . end)' g.json >x.json
	for tag in $(all_targets); do put_manifest cache "$tag" x.json; done
	bad sizes

	echo "== another diff ID"
	get_manifest cache "$(target_tag)" >g.json
	jq -r .config.data g.json | base64 -d | jq -c '.layers[-1].diffID = .layers[-2].diffID' >r.json
	d=$(put_blob cache r.json)
	jq -c --arg d "$d" --argjson n "$(stat -c %s r.json)" \
		'.config.digest = $d | .config.size = $n | del(.config.data)' g.json >x.json
	for tag in $(all_targets); do put_manifest cache "$tag" x.json; done
	bad diff

	echo "== a record of two megabytes"
	(printf '{"v":1,"x":"'; head -c 2000000 /dev/zero | tr '\0' x; printf '"}') >r.json
	d=$(put_blob cache r.json)
	jq -c --arg d "$d" --argjson n "$(stat -c %s r.json)" \
		'.config.digest = $d | .config.size = $n | del(.config.data)' g.json >x.json
	for tag in $(all_targets); do put_manifest cache "$tag" x.json; done
	bad big
}

damaged_blob() {
	registry_start damaged
	project
	machine a
	build --cache-repo "$REG/cache" -t app:1 ctx
	local d f
	d=$(get_manifest cache "$(target_tag)" | jq -r '.layers[-1].digest')
	f=$(blob_file "$d")
	cp "$f" keep
	tr '\0-\377' '\1-\377\0' <keep >"$f"
	machine b
	build --cache-from "$REG/cache" -t app:1 ctx
	has err '^warning: cache '
	has err '\| ran'
	same 1 "$(file_in app:1 -1 out | head -n 1)"
	store_whole
	# gone: a miss that says so
	rm "$f"
	machine c
	build --cache-from "$REG/cache" -t app:1 ctx
	has err 'entry existed in .* but blob missing'
	same 1 "$(file_in app:1 -1 out | head -n 1)"
}

ttl() {
	registry_start ttl
	project
	machine a
	build --cache-repo "$REG/cache" -t app:1 ctx
	sleep 2
	machine b
	build --cache-repo "$REG/cache" --cache-ttl 1s -t app:1 ctx
	has err '\| ran'
	has err 'older than --cache-ttl'
	has err 'stored in one' # replaced
	machine c
	build --cache-repo "$REG/cache" --cache-ttl 1h -t app:1 ctx
	hasnt err '\| ran'
}

read_only() {
	registry_start ro
	project
	machine a
	build --cache-repo "$REG/cache" ctx
	kill "$REG_PID"
	sed -i 's/maintenance: {/maintenance: {readonly: {enabled: true}, /' "$T/reg-ro/config.yml"
	: >"$T/reg-ro/log2"
	docker-registry serve "$T/reg-ro/config.yml" >"$T/reg-ro/log2" 2>&1 &
	echo $! >>"$T/pids"
	for _ in $(seq 100); do
		REG=$(sed -nE 's/.*listening on 127\.0\.0\.1:([0-9]+).*/localhost:\1/p' "$T/reg-ro/log2" | head -n 1)
		[ -z "$REG" ] || break
		sleep 0.1
	done
	machine b
	build --cache-repo "$REG/cache" -t ro:1 ctx
	hasnt err '\| ran|warning'
	echo 2 >ctx/f
	build --cache-repo "$REG/cache" -t ro:2 ctx
	same 1 "$(grep -c 'warning: results are not stored' err)"
	same 2 "$(file_in ro:2 -1 out | head -n 1)"
}

auth() {
	registry_start auth htpasswd
	project
	machine a
	build --cache-repo "$REG/cache" -t auth:1 ctx
	same 1 "$(grep -c 'cache is not used' err)"
	hasnt err 'wonder'
	mkdir -p "$D/docker"
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$REG" "$(printf 'alice:wonder land:7' | base64)" >"$D/docker/config.json"
	export DOCKER_CONFIG=$D/docker
	build --cache-repo "$REG/cache" -t auth:1 ctx
	hasnt err warning
	machine b
	build --cache-repo "$REG/cache" -t auth:1 ctx
	has err '5/5 steps reused, 1 result'
	hasnt err warning
}

interrupted() {
	cat >slow.py <<-'X'
	import http.server, sys, time
	class H(http.server.BaseHTTPRequestHandler):
	    protocol_version = "HTTP/1.1"
	    def log_message(self, *a): pass
	    def do_GET(self):
	        self.send_response(404); self.send_header("Content-Length", "0"); self.end_headers()
	    do_HEAD = do_GET
	    def do_POST(self): time.sleep(1000)
	s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
	print(s.server_port, flush=True)
	s.serve_forever()
	X
	python3 slow.py >port 2>/dev/null &
	echo $! >>"$T/pids"
	for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
	project
	machine a
	"$BLD" build --progress=plain --cache-repo "localhost:$(cat port)/cache" -t int:1 ctx >o 2>&1 &
	local pid=$! status=0
	for _ in $(seq 200); do "$BLD" images 2>/dev/null | grep -q 'int *1' && break; sleep 0.1; done
	kill -INT "$pid"
	wait "$pid" || status=$?
	same 130 "$status" "exit status"
	nothing_left
}

# ---- who may share ----

rootless() {
	root_only "it compares root with an ordinary user"
	user_setup
	registry_start rootless
	project
	chmod -R a+rX "$D"
	machine a
	build --cache-repo "$REG/cache" -t app:1 ctx
	local first
	first=$(digest_of app:1)
	cp -r "$T/base" "$U_DIR/base"
	chown -R bldtest: "$U_DIR"
	# the base's own time makes its digest; as an archive it is the same image
	want 0 "$BLD" save -o "$U_DIR/base.tar" base:latest
	chmod a+r "$U_DIR/base.tar"
	want 0 "${U_RUN[@]}" "$BLD" load -i "$U_DIR/base.tar"
	want 0 "${U_RUN[@]}" "$BLD" build --progress=plain --cache-repo "$REG/cache" -t app:1 "$D/ctx"
	hasnt err '\| ran'
	has err '5/5 steps reused'
	same "$first" "$("${U_RUN[@]}" "$BLD" images --format json | jq -r '.. | objects | select((.name? // "") | endswith("app:1")) | .digest' | head -n 1)"
	echo 2 >ctx/f
	want 0 "${U_RUN[@]}" "$BLD" build --progress=plain --cache-repo "$REG/cache" -t app:2 "$D/ctx"
	has err '\| ran'
	build --cache-repo "$REG/cache" -t app:2 ctx
	hasnt err '\| ran'
}

no_secrets() {
	registry_start secrets
	machine a
	echo "sesame-$MARK" >secret
	dockerfile <<-X
	FROM base:latest
	ARG TOKEN
	RUN --mount=type=secret,id=s --mount=type=cache,target=/c cat /run/secrets/s >/c/kept; echo done >/x
	X
	build --secret id=s,src=secret --build-arg "TOKEN=arg-$MARK" --cache-repo "$REG/cache" ctx
	if grep -rqa "sesame-$MARK\|arg-$MARK" "$REG_DIR"; then fail "a secret went into the cache"; fi
	local d
	for d in $(get_manifest cache "$(target_tag)" | jq -r '.layers[].digest'); do
		if gzip -dc "$(blob_file "$d")" 2>/dev/null | grep -qa "sesame-$MARK"; then fail "a secret is in a layer"; fi
	done
}

# ---- other places ----

folder() {
	project
	machine a
	build --cache-to "type=local,dest=$D/cache,mode=max" -t loc:1 ctx
	local first
	first=$(digest_of loc:1)
	layout_whole "$D/cache"
	machine b
	build --cache-from "type=local,src=$D/cache" -t loc:1 ctx
	hasnt err '\| ran'
	has err "5/5 steps reused, 1 result"
	same "$first" "$(digest_of loc:1)"
	# read-only, another tag, not there
	cp -a cache ro && chmod -R a-w ro
	machine c
	build --cache-from "type=local,src=$D/ro" -t loc:1 ctx
	hasnt err '\| ran|warning'
	machine d
	build --cache-from "type=local,src=$D/cache,tag=other" -t loc:1 ctx
	has err '\| ran'
	hasnt err warning
	machine e
	build --cache-from "type=local,src=$D/none" -t loc:1 ctx
	hasnt err warning
	[ ! -e none ]
	# several writers
	local i pids=()
	for i in $(seq 6); do
		cp -a "$T/store0" "s$i"
		cp -r ctx "ctx$i" && echo "$i" >"ctx$i/f"
		BLD_ROOT=$D/s$i "$BLD" build --progress=plain --cache-to "type=local,dest=$D/many,mode=max" "ctx$i" >"o$i" 2>&1 &
		pids+=($!)
	done
	for i in $(seq 6); do
		wait "${pids[$((i - 1))]}" || { cat "o$i"; fail "writer $i failed"; }
		hasnt "o$i" warning
	done
	layout_whole "$D/many"
	for i in $(seq 6); do
		machine "w$i"
		build --cache-from "type=local,src=$D/many" -t "w:$i" "ctx$i"
		hasnt err '\| ran'
		same "$i" "$(file_in "w:$i" -1 out | head -n 1)"
	done
	# damaged: a miss
	local f
	for f in "$D"/cache/blobs/sha256/*; do echo x >>"$f"; done
	machine f
	build --cache-from "type=local,src=$D/cache" -t loc:1 ctx
	has err '^warning: cache '
	has err '\| ran'
	echo '{' >cache/index.json
	machine g
	build --cache-from "type=local,src=$D/cache" -t loc:1 ctx
	has err '^warning: cache is not used'
}

inline() {
	registry_start inline
	project
	machine a
	build --cache-to type=inline --push -t "$REG/app:1" ctx
	config "$REG/app:1" | jq -e '."vnd.bld.cache.v1".steps | length == 3'
	machine b
	build --cache-from "$REG/app:1" -t app:2 ctx
	hasnt err '\| ran'
	has err "hit from $REG/app:1"
	# a step of the image is found, one after it runs
	echo 'RUN echo more >/more' >>ctx/Dockerfile
	machine c
	build --cache-from "type=registry,ref=$REG/app:1" -t app:3 ctx
	hasnt err '\| ran'
	same more "$(file_in app:3 -1 more)"
	# an image built on it does not carry it on
	printf 'FROM %s\nLABEL a=b\n' "$REG/app:1" | want 0 "$BLD" build -t over:1 -
	config over:1 | jq -e 'has("vnd.bld.cache.v1") | not'
	# an image without one, and none at all
	machine d
	printf 'FROM base:latest\nLABEL a=b\n' | want 0 "$BLD" build --push -t "$REG/plain:1" -
	build --cache-from "$REG/plain:1" --cache-from "$REG/none:1" -t app:4 ctx
	hasnt err warning
}

environment() {
	registry_start env
	project
	machine a
	BLD_CACHE_REPO=$REG/cache build ctx
	machine b
	BLD_CACHE_FROM="$REG/none type=registry,ref=$REG/cache" build ctx
	hasnt err '\| ran'
	machine c
	BLD_CACHE_TO="type=local,dest=$D/l type=registry,ref=$REG/other" build ctx
	[ -f l/index.json ]
	has <(tags other) bld-
}

refused() {
	machine a
	mkdir ctx && echo 'FROM scratch' >ctx/Dockerfile
	local s
	for s in type=gha type=s3,region=x,bucket=y type=azblob,account_url=x type=what ref=x type=registry type=local \
		type=local,src= type=inline type=registry,ref=x,mode=all type=registry,ref=x,what=1 'A b' \
		"type=registry,ref=x:$(printf 'a%.0s' $(seq 64))" type=registry,ref=x,image-manifest=false; do
		want 2 "$BLD" build --cache-from "$s" ctx
		one_error
	done
	want 2 "$BLD" build --cache-to type=gha,mode=max ctx
	has err 'type=gha is not supported'
	has err 'try: +type=registry'
	want 2 "$BLD" build --cache-repo type=inline ctx
}

need docker-registry
t "two machines: the second runs nothing, and asks once per step" shared
t "what a miss costs in requests" cost_of_a_miss
t "a chain of thirty: one look-up per step, one fetch per layer" long_chain
t "early cutoff across machines" early_cutoff
t "mode=min, mode=max, what is there already" min_and_max
t "another compression" compressed
t "a layer goes to the registry once" pushed_once
t "fifty builders, one repository" fifty
t "the registry dies in the middle, or is not there" dies_in_the_middle
t "a build that fails leaves what it had made" unfinished_build
t "hostile entries are passed over and replaced" hostile
t "damaged and missing blobs" damaged_blob
t "--cache-ttl" ttl
t "a registry that is read-only" read_only
t "credentials" auth
t "Ctrl-C ends the wait" interrupted
t "root and an ordinary user share entries" rootless
t "secrets, arguments and cache mounts stay here" no_secrets
t "type=local" folder
t "type=inline" inline
t "variables of the environment" environment
t "what cannot be is refused" refused
t_end
