#!/bin/bash
# Images opened by the library where they are: of a registry only what is asked for comes, and what is
# no longer wanted stops coming; other tools' archives hold the same; builds that were.
# shellcheck source=tests/e2e/lib.sh
BUILD=$(dirname "${BLD:-build/dev/bld}")
[ "${BUILD#/}" != "$BUILD" ] || BUILD=$PWD/$BUILD
. "$(dirname "$0")/lib.sh"

SK=(--src-tls-verify=false --dest-tls-verify=false)
# The log is cut while it is written to: there are NULs in it.
blobs() { grep -aE '"GET /v2/[^"]*/blobs/sha256:' "$REG_LOG" | grep -o 'sha256:[0-9a-f]*' || true; }
# Its entries and diff IDs; with FIRST only the first entry of each layer.
reader() { "$T/reader" "$@"; }

built() {
	local san=()
	case $(basename "$BUILD") in
	asan) san=("-fsanitize=address,undefined") ;;
	tsan) san=(-fsanitize=thread) ;;
	esac
	gcc -std=c17 -D_GNU_SOURCE -Wall -Werror "${san[@]}" -I"$TOP/include" -o "$T/reader" "$TOP/tests/e2e/reader.c" \
		-L"$BUILD" -lbld -Wl,-rpath,"$BUILD"
}

# Two layers of 8 MB that do not compress, in $REG/src/app:v1.
sources() {
	registry_start "$1"
	mkdir -p ctx
	head -c 8000000 /dev/urandom >ctx/one
	head -c 8000000 /dev/urandom >ctx/two
	printf 'FROM scratch\nCOPY one /one\nCOPY two /two\n' >ctx/Dockerfile
	build --push -t "$REG/src/app:v1" ctx
	reader all app_v1 >/dev/null 2>&1 && return 1
	"$BLD" tag "$REG/src/app:v1" app:v1
	reader all app:v1 >want
	skopeo inspect --raw --tls-verify=false "docker://$REG/src/app:v1" >manifest.json
	L1=$(jq -r '.layers[1].digest' manifest.json)
	CONFIG=$(jq -r .config.digest manifest.json)
	: >"$REG_LOG"
	export BLD_ROOT=$D/empty
}

everywhere() {
	sources one
	reader all "docker://$REG/src/app:v1" >got
	cmp want got
	skopeo copy -q "${SK[@]}" "docker://$REG/src/app:v1" oci:lay:v1
	skopeo copy -q oci:lay:v1 oci-archive:o.tar
	skopeo copy -q oci:lay:v1 docker-archive:d.tar:app:v1
	for at in oci:lay:v1 ./lay oci-archive:o.tar ./o.tar docker-archive:d.tar ./d.tar "$PWD/lay:v1"; do
		reader all "$at" >got
		cmp want got
	done
	# Nothing of it was kept.
	same 0 "$(find "$BLD_ROOT/blobs" -type f | wc -l)" "blobs in the store"
}

one_layer() {
	sources two
	reader all "docker://$REG/src/app:v1#-1" >got
	tail -n "$(wc -l <got)" want | cmp - got
	same "$(printf '%s\n' "$CONFIG" "$L1" | sort)" "$(blobs | sort -u)" "blobs that were read"
}

# What the registry could send before the connection was cut: buffers of two sockets, not 16 MB.
stops_early() {
	sources three
	reader first "docker://$REG/src/app:v1" >got
	same 2 "$(wc -l <got)" "first entries"
	local sent=0 n
	for _ in $(seq 50); do
		n=$(grep -acE '"GET /v2/src/app/blobs/' "$REG_LOG" || true)
		[ "$n" -ge 3 ] && break
		sleep 0.1
	done
	sent=$(tr -d '\0' <"$REG_LOG" | sed -nE 's/.*"GET \/v2\/src\/app\/blobs\/[^"]*" [0-9]+ ([0-9]+).*/\1/p' | awk '{s += $1} END {print s + 0}')
	[ "$sent" -gt 0 ] && [ "$sent" -lt 15000000 ] || { echo "the registry sent $sent bytes"; cat "$REG_LOG"; return 1; }
}

of_builds() {
	mkdir -p ctx
	echo 1 >ctx/a
	printf 'FROM scratch AS deps\nCOPY a /x\nFROM deps\nCOPY a /y\nCOPY a /z\n' >ctx/Dockerfile
	build -t app:v1 --metadata-file m.json ctx
	id=$(jq -r '."bld.build.id"' m.json)
	reader all app:v1 >want
	reader all "$id" >got
	cmp want got
	reader all "$id:deps" >got
	same "x" "$(awk '/^ /{print $1}' got | paste -sd' ')" "up to deps"
	reader all "$id:stage-1 1/2" >got
	same "x y" "$(awk '/^ /{print $1}' got | paste -sd' ')" "up to the first step of the last stage"
	want 1 reader all "$id:nothing"
}

t "the reader is built" built
t "a registry, layouts and archives of skopeo hold the same" everywhere
t "of an image one layer comes, when one is read" one_layer
t "who stops early stops the transfer" stops_early
t "builds that were, and their steps" of_builds
t_end
