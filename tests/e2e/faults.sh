#!/bin/bash
# Every write, sync, create and rename of the store fails once, with a full disk and with an I/O error; and the
# power goes at every moment. After each: one clear error, nothing half there, and the next run succeeds.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need cc
cc -O1 -shared -fPIC -o "$T/faults.so" "$TOP/tests/e2e/faults.c" -ldl -lpthread || exit 1
case $(nm -D "$BLD") in *__asan_init* | *__tsan_init*) PRE=$(cc -print-file-name=libasan.so) ;; *) PRE='' ;; esac
[ -z "$PRE" ] || { echo "1..0 # SKIP a sanitizer must be loaded first"; exit 0; }

# every PREPARE COMMAND...: with call 1, 2, ... failing, each time on a copy of what PREPARE made
# (MODE=fail), or with the power going after each change (MODE=power)
every() {
	local prepare=$1
	shift
	export BLD_ROOT=$D/start
	rm -rf "$BLD_ROOT"
	$prepare
	BLD_ROOT=$D/store PYTHONDONTWRITEBYTECODE=1 python3 "$TOP/tests/e2e/faults.py" $MODE "$T/faults.so" "$D/start" "$@"
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

for MODE in fail power; do
	t "build: $MODE" fault_build
	t "tag and rmi: $MODE" fault_tag
	t "load: $MODE" fault_load
	t "pull: $MODE" fault_registry
	t "prune: $MODE" fault_prune
done
t_end
