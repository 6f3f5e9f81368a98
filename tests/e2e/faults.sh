#!/bin/bash
# Every write, sync, create and rename of the store fails once, with a full disk and with an I/O error; and the
# power goes at every moment. After each: one clear error, nothing half there, and the next run succeeds.
# By default a sample of all that (E2E_FAULTS=all: everything, some minutes; see faults.py).
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need cc
cc -O1 -shared -fPIC -o "$T/faults.so" "$TOP/tests/e2e/faults.c" -ldl -lpthread || exit 1
# A sanitizer that is a library of its own must be loaded first.
PRELOAD=$T/faults.so
for lib in $(ldd "$BLD" | awk '/lib[at]san/ {print $3}'); do PRELOAD=$lib:$PRELOAD; done

# every PREPARE COMMAND...: with call 1, 2, ... failing, each time on a copy of what PREPARE made
# (MODE=fail), or with the power going after each change (MODE=power)
every() {
	local prepare=$1
	shift
	export BLD_ROOT=$D/start
	rm -rf "$BLD_ROOT"
	$prepare
	# shellcheck disable=SC2086 # words
	BLD_ROOT=$D/store PYTHONDONTWRITEBYTECODE=1 python3 "$TOP/tests/e2e/faults.py" $MODE "$PRELOAD" "$D/start" "$@"
}

context() {
	mkdir -p "$D/ctx/src"
	for n in 1 2 3; do echo "$n" >"$D/ctx/src/$n"; done
	printf 'FROM scratch AS a\nCOPY src /src\nFROM scratch\nCOPY --from=a /src/1 /one\nADD src/2 /\nWORKDIR /w\n' >"$D/ctx/Dockerfile"
}
nothing() { rm -rf "$BLD_ROOT"; mkdir -m 700 "$BLD_ROOT"; }
an_image() {
	context
	want 0 "$BLD" build -q -t "$1" "$D/ctx"
}
some_image() { an_image app:v1; }

fault_build() {
	context
	every nothing "$BLD" build --progress=plain -t app:v1 ctx
}
fault_tag() {
	every some_image "$BLD" tag app:v1 app:v2
	AGAIN=6 every some_image "$BLD" rmi app:v1
}
fault_load() {
	BLD_ROOT=$D/other an_image app:v1
	BLD_ROOT=$D/other bld save -o "$D/app.tar" app:v1
	every nothing "$BLD" load -i "$D/app.tar"
}
fault_registry() {
	registry_start "$MODE"
	an_image "$REG/app:v1"
	bld push "$REG/app:v1"
	every nothing "$BLD" pull "$REG/app:v1"
}
fault_prune() {
	untagged() { some_image; echo 4 >>"$D/ctx/src/1"; want 0 "$BLD" build -q "$D/ctx"; }
	every untagged "$BLD" prune -af
}

# A base from a registry, layers of our own, a step that unpacks them, one that reads them through their tables.
damaged() {
	root_only "snapshots are looked into"
	registry_start damage
	base
	"$BLD" tag base:latest "$REG/base:1"
	bld push "$REG/base:1"
	context
	cat >ctx/Dockerfile <<-X
	FROM $REG/base:1 AS a
	COPY src /src
	RUN cat /src/* >/all
	FROM $REG/base:1
	ARG N
	COPY --from=a /all /out/\$N
	RUN cat /out/* /etc/passwd >/end
	X
	based() { nothing; want 0 "$BLD" build -q --reproducible --build-arg N=1 -t app:v1 ctx; }
	every based "$BLD" build --reproducible --progress=plain ctx
	# The file of names itself: nothing is guessed, nothing collected.
	export BLD_ROOT=$D/start
	local before
	before=$(find "$BLD_ROOT/blobs" -type f | sort)
	truncate -s 100 "$BLD_ROOT/index.json"
	for c in images "prune -af" "build ctx" du; do
		# shellcheck disable=SC2086 # words
		want 7 "$BLD" $c
		one_error
		has "$D/err" 'index\.json'
	done
	same "$before" "$(find "$BLD_ROOT/blobs" -type f | sort)" "blobs"
}

# Bytes that are taken in anew replace damaged ones of the same size.
healed() {
	export BLD_ROOT=$D/store
	registry_start heal
	an_image "$REG/app:v1"
	bld push "$REG/app:v1"
	bld save -o app.tar "$REG/app:v1"
	local d f how n=0
	for d in $(digest_of "$REG/app:v1") $(manifest "$REG/app:v1" | jq -r '.config.digest, .layers[].digest'); do
		f=$(blob "$d")
		for how in "pull $REG/app:v1" "load -i app.tar"; do
			printf x | dd of="$f" bs=1 seek=5 conv=notrunc status=none
			# shellcheck disable=SC2086 # words
			bld $how
			store_whole
			n=$((n + 1))
		done
	done
	[ "$n" -ge 10 ]
	bld prune -f
	same '' "$(ls "$BLD_ROOT/tmp")" "tmp/ after prune"
}

for MODE in fail power; do
	t "build: $MODE" fault_build
	t "tag and rmi: $MODE" fault_tag
	t "load: $MODE" fault_load
	t "pull: $MODE" fault_registry
	t "prune: $MODE" fault_prune
done
MODE=damage
t "pull and load heal the store" healed
t "damaged files: found, fetched or made again" damaged
t_end
