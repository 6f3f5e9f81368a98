#!/bin/bash
# Against Debian's docker-registry, plain and with a password.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

SK=(--tls-verify=false)

# An image that bld did not write, in the registry: $REG/foreign:v1.
foreign() {
	[ -f "$T/foreign/index.json" ] || "$TOP/testdata/bases/layout" "$BASE_TAR" "$T/foreign" v1 sh
	skopeo copy -q --dest-tls-verify=false "$@" "oci:$T/foreign:v1" "docker://$REG/foreign:v1"
}
# requests METHOD-REGEX: how many of them the registry saw
requests() { grep -cE "\"($1) /v2/" "$REG_LOG" || true; }

push_pull() {
	registry_start plain
	dockerfile <<-'X'
	FROM base:latest
	RUN echo pushed >/p
	CMD ["cat", "/p"]
	X
	build -t "$REG/team/app:v1" ctx
	want 0 "$BLD" push "$REG/team/app:v1"
	empty "$D/out"
	same "$(digest_of "$REG/team/app:v1")" \
		"$(skopeo inspect "${SK[@]}" --format '{{.Digest}}' "docker://$REG/team/app:v1")"
	# Into another store, by tag and by digest: the same bytes.
	BLD_ROOT=$D/s2
	want 0 "$BLD" pull "$REG/team/app:v1"
	same pushed "$(file_in "$REG/team/app:v1" -1 p)"
	store_whole
	BLD_ROOT=$D/s3
	want 0 "$BLD" pull "$REG/team/app@$(BLD_ROOT=$D/s2 digest_of "$REG/team/app:v1")"
	store_whole
}

push_skips() {
	registry_start skip
	dockerfile <<-'X'
	FROM base:latest
	RUN echo one >/p
	X
	build --push -t "$REG/app:v1" ctx
	local before
	before=$(requests 'PUT|PATCH')
	[ "$before" -gt 0 ]
	want 0 "$BLD" push "$REG/app:v1"
	[ "$(($(requests 'PUT|PATCH') - before))" -le 1 ] || fail "an unchanged push uploads again"
	echo 'RUN echo two >/q' >>ctx/Dockerfile
	before=$(requests POST)
	build --push -t "$REG/app:v2" ctx
	# Two new blobs, the layer and the configuration; and the question whether a push is allowed.
	[ "$(($(requests POST) - before))" -le 3 ] || fail "more than the new blobs were uploaded"
	skopeo inspect "${SK[@]}" "docker://$REG/app:v2" >/dev/null
}

from_registry() {
	registry_start from
	foreign
	local digest
	digest=$(skopeo inspect "${SK[@]}" --format '{{.Digest}}' "docker://$REG/foreign:v1")
	dockerfile <<-X
	FROM $REG/foreign:v1 AS a
	RUN echo by-tag >/t
	FROM $REG/foreign@$digest
	RUN echo by-digest >/d
	COPY --from=a /t /t
	COPY --from=$REG/foreign:v1 /etc/group /g
	X
	BLD_ROOT=$D/store
	build -t from:t1 ctx
	same by-tag "$(file_in from:t1 -2 t)"
	store_whole
	# The base's layer is kept as it came.
	same "$(jq -r '.layers[0].digest' "$T/foreign/blobs/sha256/${digest#sha256:}")" "$(layers from:t1 | head -n 1)"
	# Once resolved, no registry is needed.
	kill "$REG_PID"
	build -t from:t2 ctx
	same "$(digest_of from:t1)" "$(digest_of from:t2)"
	want 7 "$BLD" build --progress=plain --pull --retry 0 -t from:t3 ctx
}

with_password() {
	registry_start auth htpasswd
	foreign --dest-creds 'alice:wonder land:7'
	dockerfile <<-X
	FROM $REG/foreign:v1
	RUN echo secretly >/s
	X
	BLD_ROOT=$D/store
	want 5 "$BLD" build --progress=plain -t x:1 ctx
	one_error
	hasnt "$D/err" 'wonder land'
	want 5 "$BLD" pull --creds alice:wrong "$REG/foreign:v1"
	one_error
	hasnt "$D/err" 'alice:wrong'
	# Credentials as docker login leaves them.
	mkdir -p cfg
	jq -n --arg h "$REG" --arg a "$(printf '%s' 'alice:wonder land:7' | base64 -w0)" '{auths: {($h): {auth: $a}}}' \
		>cfg/config.json
	DOCKER_CONFIG=$D/cfg build --push -t "$REG/private/app:v1" ctx
	skopeo inspect "${SK[@]}" --creds 'alice:wonder land:7' "docker://$REG/private/app:v1" >/dev/null
	mkdir -p "$HOME/.docker" && cp cfg/config.json "$HOME/.docker/"
	want 0 "$BLD" push "$REG/private/app:v1"
	rm -r "$HOME/.docker"
	want 5 "$BLD" push "$REG/private/app:v1"
	want 0 "$BLD" push --authfile cfg/config.json "$REG/private/app:v1"
	want 0 "$BLD" pull --creds 'alice:wonder land:7' "$REG/private/app:v1"
	# A file that names another host only does not get in the way of the next source.
	printf '{"auths": {"other.test": {"auth": "eDp5"}}}' >other.json
	REGISTRY_AUTH_FILE=other.json DOCKER_CONFIG=$D/cfg want 0 "$BLD" pull "$REG/private/app:v1"
	# The password is nowhere in the store.
	if grep -rqF -e 'wonder land' -e "$(jq -r '.auths[].auth' cfg/config.json)" "$BLD_ROOT"; then
		fail "the password is in the store"
	fi
}

refusals() {
	registry_start refuse
	foreign
	want 6 "$BLD" pull "$REG/foreign:v2"; one_error
	want 6 "$BLD" pull "$REG/nothing:v1"; one_error
	# A damaged blob is not accepted, and nothing of it stays.
	local layer file
	layer=$(skopeo inspect "${SK[@]}" "docker://$REG/foreign:v1" | jq -r '.Layers[0]')
	file=$(find "$REG_DIR" -path "*/${layer#sha256:}/data" -path '*/blobs/*')
	printf 'X' | dd of="$file" bs=1 seek=1000 conv=notrunc status=none
	BLD_ROOT=$D/store
	want 7 "$BLD" pull --retry 0 "$REG/foreign:v1"
	one_error
	has "$D/err" '[Dd]igest|verif|corrupt'
	[ ! -e "$BLD_ROOT/blobs/sha256/${layer#sha256:}" ] || fail "a blob that does not verify was kept"
	store_whole
	dockerfile <<-X
	FROM $REG/foreign:v1
	RUN true
	X
	want 7 "$BLD" build --progress=plain --retry 0 ctx
	one_error
	# One that ends early.
	truncate -s 5000 "$file"
	want 7 "$BLD" pull --retry 0 "$REG/foreign:v1"
	one_error
	store_whole
}

# Five layers: how many requests a push may cost, when nothing is there, when all is, and when all is
# in another repository of the host.
economy() {
	registry_start economy
	mkdir ctx
	{ echo "FROM scratch"; for i in 1 2 3 4 5; do echo "$i" >"ctx/f$i"; echo "COPY f$i /"; done; } >ctx/Dockerfile
	build -t "$REG/eco/app:v1" ctx
	local n
	count() {
		n=$(requests '[A-Z]+')
		want 0 "$BLD" push "$1"
		n=$(($(requests '[A-Z]+') - n))
	}
	count "$REG/eco/app:v1"
	[ "$n" -le 19 ] || fail "the first push: $n requests"
	[ "$n" -ge 13 ] || fail "the requests are not counted: $n"
	count "$REG/eco/app:v1"
	[ "$n" -ge 1 ] && [ "$n" -le 2 ] || fail "a push of nothing new: $n requests"
	want 0 "$BLD" tag "$REG/eco/app:v1" "$REG/eco/other:v1"
	count "$REG/eco/other:v1"
	[ "$n" -ge 1 ] && [ "$n" -le 9 ] || fail "to a second repository: $n requests"
	skopeo inspect "${SK[@]}" "docker://$REG/eco/other:v1" >/dev/null
}

# Restarts of the registry in the middle are survived by retries.
retried() {
	registry_start retry
	foreign
	local port=${REG#*:} log=$REG_LOG
	kill "$REG_PID"
	( sleep 1.5
		sed -i "s/127.0.0.1:0/127.0.0.1:$port/" "$T/reg-retry/config.yml"
		exec docker-registry serve "$T/reg-retry/config.yml" >>"$log" 2>&1 ) &
	echo $! >>"$T/pids"
	BLD_ROOT=$D/store want 0 "$BLD" pull "$REG/foreign:v1"
}

many_layers() {
	registry_start many
	mkdir ctx
	{ echo "FROM scratch"; for i in $(seq 30); do echo "$i" >"ctx/f$i"; echo "COPY f$i /"; done; } >ctx/Dockerfile
	build --push -t "$REG/many:v1" ctx
	BLD_ROOT=$D/store
	want 0 "$BLD" pull --parallel 8 "$REG/many:v1"
	same 30 "$(layers "$REG/many:v1" | wc -l)"
	store_whole
}

# What a registry sends is not the caller's input: 7, never 2 or 3.
odd_types() {
	need python3
	cat >odd.py <<-'X'
	import hashlib, http.server
	class H(http.server.BaseHTTPRequestHandler):
	    def do_GET(self):
	        b = b'{"schemaVersion":2,"config":{},"layers":[]}'
	        self.send_response(200)
	        self.send_header('Content-Type', 'application/vnd.odd+json')
	        self.send_header('Docker-Content-Digest', 'sha256:' + hashlib.sha256(b).hexdigest())
	        self.send_header('Content-Length', str(len(b)))
	        self.end_headers()
	        if self.command != 'HEAD':
	            self.wfile.write(b)
	    do_HEAD = do_GET
	    def log_message(self, *a):
	        pass
	s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
	print(s.server_port, flush=True)
	s.serve_forever()
	X
	python3 odd.py >port &
	echo $! >>"$T/pids"
	for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
	local image
	image=localhost:$(cat port)/odd:v1
	want 7 "$BLD" pull "$image"
	has "$D/err" 'odd\+json" is not the type of an image'
	echo "FROM $image" >Dockerfile
	want 7 "$BLD" build - <Dockerfile
}

push_flags() {
	registry_start flags
	dockerfile <<-'X'
	FROM base:latest
	COPY f /f
	X
	echo f >ctx/f
	build -t "$REG/app:v1" -t "$REG/app:v2" ctx
	local digest n
	digest=$(digest_of "$REG/app:v1")
	want 0 "$BLD" push --dry-run --digest-file df "$REG/app:v1"
	has err "^would push  $REG/app:v1  $digest"
	[ ! -e df ] || fail "a dry run wrote its digest"
	want 6 "$BLD" digest "docker://$REG/app:v1"
	# Every tag, each told; one digest in the file.
	want 0 "$BLD" push --all-tags -q --digest-file df "$REG/app"
	same "$REG/app@$digest $REG/app@$digest" "$(xargs <out)"
	same "$digest" "$(cat df)"
	same "v1 v2" "$("$BLD" tags "$REG/app" | xargs)"
	want 2 "$BLD" push --all-tags "$REG/app:v1"; one_error
	want 6 "$BLD" push --all-tags "$REG/nothing"; one_error
	# One look when nothing changed, and nothing written.
	n=$(requests '[A-Z]+')
	want 0 "$BLD" push --if-changed "$REG/app:v1"
	has err '^unchanged '
	same 1 "$(($(requests '[A-Z]+') - n))" "requests of an unchanged push"
	want 0 "$BLD" push --if-changed --format json "$REG/app:v1" "$REG/app:v3" "$REG/other:v3"
	same "copied copied" "$(jq -r '.[].status' out | xargs)"
	# Other layers, so another digest; asked again it is there.
	want 0 "$BLD" push --compression zstd --force-compression --digest-file dz "$REG/app:v1" "$REG/app:zstd"
	[ "$(cat dz)" != "$digest" ]
	same zstd "$(skopeo inspect --raw "${SK[@]}" "docker://$REG/app@$(cat dz)" | jq -r '.layers[].mediaType' |
		sed 's/.*+//' | sort -u)"
	want 0 "$BLD" push --dry-run --compression zstd --force-compression "$REG/app:v1" "$REG/app:zstd"
	has err "^unchanged  $REG/app:zstd  $(cat dz)"
	want 2 "$BLD" push --compression lzma "$REG/app:v1"; one_error
	# An image of another place goes where it is told, and must be told.
	want 0 "$BLD" save --format oci-archive -o a.tar "$REG/app:v1"
	want 0 "$BLD" push oci-archive:a.tar "$REG/from:file"
	same "$digest" "$("$BLD" digest "docker://$REG/from:file")"
	want 2 "$BLD" push oci-archive:a.tar; one_error
}

pull_flags() {
	registry_start pulls
	foreign
	skopeo copy -q --src-tls-verify=false --dest-tls-verify=false "docker://$REG/foreign:v1" "docker://$REG/foreign:v2"
	printf 'FROM scratch\nARG TARGETARCH\nCOPY f /f\nENV A=$TARGETARCH\n' >Dockerfile
	mkdir -p ctx && echo f >ctx/f
	build --push --platform linux/amd64,linux/arm64 -f Dockerfile -t "$REG/multi:v1" ctx
	local digest
	digest=$(skopeo inspect "${SK[@]}" --format '{{.Digest}}' "docker://$REG/foreign:v1")
	BLD_ROOT=$D/tags
	want 0 "$BLD" pull --all-tags -q "$REG/foreign"
	same "$REG/foreign@$digest $REG/foreign@$digest" "$(xargs <out)"
	same "v1 v2" "$("$BLD" images --format '{{.Tag}}' | sort | xargs)"
	want 2 "$BLD" pull --all-tags "$REG/foreign:v1"; one_error
	# Lazily: no layer is fetched, until something reads it.
	BLD_ROOT=$D/lazy
	local before
	before=$(requests GET)
	want 0 "$BLD" pull --lazy "$REG/foreign:v1"
	same 2 "$(find "$BLD_ROOT/blobs" -type f | wc -l)" "blobs of a lazy pull"
	want 0 "$BLD" history "$REG/foreign:v1"
	want 0 "$BLD" tag "$REG/foreign:v1" other:v1
	same 2 "$(find "$BLD_ROOT/blobs" -type f | wc -l)" "blobs after history"
	[ "$(requests GET)" -gt "$before" ] || fail "the requests are not counted"
	want 0 "$BLD" save --format oci-archive -o whole.tar "$REG/foreign:v1"
	same "$digest" "$("$BLD" digest oci-archive:whole.tar)"
	BLD_ROOT=$D/lazyall
	want 0 "$BLD" pull --lazy --all-platforms "$REG/multi:v1"
	same 5 "$(find "$BLD_ROOT/blobs" -type f | wc -l)" "an index, two manifests, two configs"
	want 0 "$BLD" save --format oci-dir -o lay "$REG/multi:v1"
	same 2 "$(skopeo inspect --raw oci:lay:v1 | jq '.manifests | length')"
	# From files, under the names they have there.
	BLD_ROOT=$D/files
	want 0 "$BLD" pull -q oci-archive:whole.tar
	same "$REG/foreign@$digest" "$(cat out)"
	same "$digest" "$(digest_of "$REG/foreign:v1")"
	want 0 "$BLD" pull --platform linux/arm64 "oci:lay"
	same arm64 "$(config "$REG/multi:v1" | jq -r .architecture)"
	want 0 "$BLD" pull oci-archive:- <whole.tar
	want 2 "$BLD" pull --lazy oci-archive:whole.tar; one_error
	want 2 "$BLD" pull store:x; one_error
	want 6 "$BLD" pull oci:lay:none; one_error
	store_whole
}

t "base image" base
t "push and pull, by tag and digest; skopeo sees the same" push_pull
t "what is there is not sent again" push_skips
t "push: --dry-run, --if-changed, --all-tags, --digest-file, --compression" push_flags
t "pull: --all-tags, --all-platforms, --lazy, from layouts and archives" pull_flags
t "requests of a push are few" economy
t "FROM and COPY --from a registry, by tag and digest" from_registry
t "htpasswd: exit 5 without, config.json, --authfile, --creds with" with_password
t "missing is 6; bytes that do not verify are 7 and not kept" refusals
t "malformed answers are 7" odd_types
t "a registry that comes back is waited for" retried
t "thirty layers in parallel" many_layers
t_end
