#!/bin/bash
# The Dockerfiles that tutorials show (testdata/classics), on stand-ins for their bases (testdata/bases): as root and
# as an ordinary user. RUN reaches Debian's and npm's package registries. BLD_E2E_CACHE keeps the debootstrapped tree
# (build/e2e-cache).
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

CACHE=${BLD_E2E_CACHE:-$TOP/build/e2e-cache}
CLASSICS=$T/classics
cp -r "$TOP/testdata/classics" "$CLASSICS"
chmod -R a+rX "$CLASSICS"

bases() {
	root_only "debootstrap"
	"$TOP/testdata/bases/rootfs-debian" "$CACHE/debian-12.tar"
	"$TOP/tools/mkbase" --tar "$T/alpine.tar"
	"$TOP/testdata/bases/layout" "$CACHE/debian-12.tar" "$T/debian" v bash
	"$TOP/testdata/bases/layout" "$T/alpine.tar" "$T/alpine" v sh
	skopeo copy -q --dest-tls-verify=false "oci:$T/debian:v" "docker://$REG/debian:12"
	skopeo copy -q --dest-tls-verify=false "oci:$T/alpine:v" "docker://$REG/alpine:3"
	local b
	for b in node:18 python:3.11 golang:1.19; do
		build --push --build-arg REGISTRY="$REG" -t "$REG/$b" "$TOP/testdata/bases/${b%:*}"
		skopeo inspect --tls-verify=false "docker://$REG/$b" >/dev/null
	done
}

# executes IMAGE-TAG WANTED [ARGS...]: umoci and runc run the image's own command; the regex is in its output
executes() {
	local tag=$1 re=$2
	shift 2
	need runc
	rm -rf "$D/bundle"
	umoci unpack --image "$BLD_ROOT:$tag" "$D/bundle" >/dev/null
	local args=null
	[ $# = 0 ] || args=$(printf '%s\n' "$@" | jq -R . | jq -sc .)
	jq --argjson args "$args" '.process.terminal = false | .process.args = ($args // .process.args)
		| .linux.namespaces |= map(select(.type != "network"))' "$D/bundle/config.json" >c
	mv c "$D/bundle/config.json"
	timeout 60 runc run -b "$D/bundle" "bld-classics-$$-$tag" >"$D/said" 2>&1 </dev/null || { cat "$D/said"; return 1; }
	has "$D/said" "$re"
}

node() {
	root_only "the bases"
	build --build-arg REGISTRY="$REG" -t classic/node:nodejs "$CLASSICS/node"
	config classic/node:nodejs | jq -e '.config.User == "node" and .config.WorkingDir == "/app" and
		.config.Healthcheck.Interval == 30000000000 and (.config.ExposedPorts | has("3000/tcp"))'
	executes nodejs '"name":"classic-node","user":1000' node server.js --check
	# A change of the source alone does not install again.
	sed 's/classic-node"/classic-node2"/' -i "$CLASSICS/node/server.js"
	build --build-arg REGISTRY="$REG" -t classic/node:nodejs2 "$CLASSICS/node"
	hasnt "$D/err" 'start +RUN npm ci'
	executes nodejs2 'classic-node2' node server.js --check
}
python() {
	root_only "the bases"
	build --build-arg REGISTRY="$REG" -t classic/python:py "$CLASSICS/python"
	config classic/python:py | jq -e '.config.User == "app" and .config.Healthcheck.Retries == 3'
	executes py 'asked 1 times, served by uid [1-9]' python3 app.py --check
	layer_tar classic/python:py -1 | tar -tvf - >l
	has l 'app.py$'
}
golang() {
	root_only "the bases"
	build --build-arg REGISTRY="$REG" --build-arg VERSION=1.2.3 -t classic/go:go "$CLASSICS/go"
	same 1 "$(layers classic/go:go | wc -l)" "layers of the small image"
	same hello "$(layer_names classic/go:go 0)"
	hasnt "$D/err" 'alpine'
	executes go 'hello world, version 1.2.3, uid 65532'
	build --build-arg REGISTRY="$REG" --target debug -t classic/go:debug "$CLASSICS/go"
	executes debug 'hello nobody, version dev'
}
no_change() {
	root_only "the bases"
	local c
	for c in node python go; do
		build --metadata-file m.json --build-arg REGISTRY="$REG" -t "again:$c" "$CLASSICS/$c"
		jq -e '.["bld.cache"].miss <= 3' m.json # go: another VERSION
	done
	build --metadata-file m.json --build-arg REGISTRY="$REG" -t again:go "$CLASSICS/go"
	jq -e '.["bld.cache"].miss == 0' m.json
	store_whole
}
# apt-get inside RUN without root: setgroups, chown to _apt, set-uid drops all have to work in the user's ids.
rootless_apt() {
	root_only "the bases"
	user_setup
	want 0 "${U_RUN[@]}" "$BLD" build --progress=plain --build-arg REGISTRY="$REG" -t classic/python:user "$CLASSICS/python"
	nothing_left
	want 0 "${U_RUN[@]}" "$BLD" inspect --config classic/python:user
	jq -e '.config.User == "app"' "$D/out"
}
rootless_go() {
	root_only "the bases"
	user_setup
	want 0 "${U_RUN[@]}" "$BLD" build --progress=plain --build-arg REGISTRY="$REG" --build-arg VERSION=1.2.3 \
		-t classic/go:user "$CLASSICS/go"
	# The compiler is deterministic, and so is the rest.
	want 0 "${U_RUN[@]}" "$BLD" inspect --config classic/go:user
	same "$(config again:go | jq -r '.rootfs.diff_ids | length')" "$(jq -r '.rootfs.diff_ids | length' "$D/out")"
}

registry_start classics || echo "# no registry"
t "stand-ins for debian, alpine, node, python, golang, pushed to a registry" bases
t "node: npm ci, multi-stage, ordinary user" node
t "python: apt-get, useradd, chown -R, HEALTHCHECK" python
t "go: multi-stage to a tiny image" golang
t "all three again: nothing to do" no_change
t "python as an ordinary user: apt-get in a RUN" rootless_apt
t "go as an ordinary user" rootless_go
t_end
