#!/bin/bash
# Bad input gives one clear error and the right exit code, and what was there before stays.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# bad STATUS REGEX ARGS...: the build in ./ctx fails so, with one error, and the store is as it was.
bad() {
	local status=$1 re=$2 before
	shift 2
	before=$(sha256sum "$BLD_ROOT/index.json")
	want "$status" "$BLD" build --progress=plain "$@"
	empty "$D/out"
	one_error
	has "$D/err" "$re"
	same "$before" "$(sha256sum "$BLD_ROOT/index.json")" "index.json"
	nothing_left
}
at_line() { has "$D/err" "^  --> .*Dockerfile:$1"; }

usage() {
	mkdir ctx && echo 'FROM scratch' >ctx/Dockerfile
	bad 2 'unknown flag.*--frobnicate' --frobnicate ctx
	bad 2 'unknown flag' -Z ctx
	bad 2 '--no-cache' --no-cach ctx # names the closest
	bad 2 'storage-driver' --storage-driver=x ctx
	bad 2 '' --jobs=many ctx
	bad 2 '' --progress=loud ctx
	bad 2 '' -t 'UPPER CASE' ctx
	bad 2 '' -o type=floppy ctx
	bad 2 '' # no context
	bad 2 '' ctx other
	want 2 "$BLD" biuld ctx
	one_error
	has "$D/err" 'build'
	want 2 "$BLD" --root
	one_error
}

sources() {
	mkdir ctx
	bad 3 'Dockerfile' ctx
	bad 3 'nowhere' nowhere
	bad 3 'Dockerfile.x' -f Dockerfile.x ctx
	dockerfile <<-'X'
	FROM scratch

	COPPY a b
	X
	bad 3 'unknown instruction:? COPPY' ctx
	at_line 3
	has "$D/err" 'did you mean COPY'
	printf '' >ctx/Dockerfile; bad 3 '' ctx
	printf 'RUN x\n' >ctx/Dockerfile; bad 3 '' ctx; at_line 1
	printf 'FROM scratch\nENV\n' >ctx/Dockerfile; bad 3 '' ctx; at_line 2
	printf 'FROM scratch\nCOPY --nope a b\n' >ctx/Dockerfile; bad 3 'nope' ctx; at_line 2
	printf 'FROM scratch\nCOPY <<X /a\nnever ends\n' >ctx/Dockerfile; bad 3 '' ctx; at_line 2
	# shellcheck disable=SC2016
	printf 'FROM scratch\nENV A=${B:?must be set}\n' >ctx/Dockerfile; bad 3 'must be set' ctx; at_line 2
}

copy_sources() {
	mkdir -p ctx/dist
	echo x >ctx/dist/app.js
	dockerfile <<-'X'
	FROM scratch
	COPY missing.txt /
	X
	bad 3 'missing.txt' ctx
	at_line 2
	printf 'FROM scratch\nCOPY dist/app.js /\n' >ctx/Dockerfile
	echo dist >ctx/.dockerignore
	bad 3 'dist/app.js' ctx
	has "$D/err" 'dockerignore:1'
	rm ctx/.dockerignore
	printf 'FROM scratch AS builder\nCOPY dist /dist\nFROM scratch\nCOPY --from=biulder /dist /\n' >ctx/Dockerfile
	bad 3 'biulder' ctx
	at_line 4
	has "$D/err" 'did you mean (the stage )?"builder"'
	printf 'FROM scratch AS builder\nCOPY dist /dist\nFROM scratch\nCOPY --from=builder /nothing /\n' >ctx/Dockerfile
	bad 3 'nothing' ctx
	# A link that leads out of the context is not followed.
	ln -s /etc/passwd ctx/out
	printf 'FROM scratch\nCOPY out/../../../etc/passwd /p\n' >ctx/Dockerfile
	bad 3 '' ctx
}

missing_base() {
	registry_start base
	dockerfile <<-X
	FROM $REG/no/such:tag
	RUN true
	X
	bad 6 "$REG/no/such:tag" ctx
	at_line 1
	printf 'FROM %s/x@sha256:%064d\n' "$REG" 1 >ctx/Dockerfile
	bad 6 '' ctx
	printf 'FROM localhost:%s/x:y\nRUN true\n' "$(dead_port)" >ctx/Dockerfile
	bad 7 '([Rr]efused|connect)' --retry 0 ctx
	at_line 1
	printf 'FROM never-built-here:latest\n' >ctx/Dockerfile
	want 7 "$BLD" --offline build --progress=plain ctx
	one_error
	want 6 "$BLD" build --progress=plain --target nosuch ctx
	one_error
	has "$D/err" nosuch
}

failing_run() {
	dockerfile <<-'X'
	FROM base:latest
	RUN echo fine >/a
	RUN echo last words; echo to stderr >&2; exit 7
	RUN echo never
	X
	bad 1 'status 7|exit code:? 7' ctx
	at_line 3
	has "$D/err" '\| *last words'
	has "$D/err" 'to stderr'
	hasnt "$D/err" '\| never'
	want 7 "$BLD" build --progress=plain --exit-code-from-run ctx
	want 1 "$BLD" build -q ctx
	has "$D/err" 'last words'
	printf 'FROM base:latest\nRUN ["/no/such/program"]\n' >ctx/Dockerfile
	bad 1 'no/such/program' ctx
	printf 'FROM base:latest\nRUN kill -9 $$\n' >ctx/Dockerfile
	bad 1 '137|[Kk]illed|KILL' ctx
	printf 'FROM base:latest\nUSER nobodyknows\nRUN true\n' >ctx/Dockerfile
	bad 1 'nobodyknows' ctx
}

# The other branch is ended, and the error is the first cause.
failure_ends_the_rest() {
	dockerfile <<-X
	FROM base:latest AS slow
	RUN echo slow-begins; sleep 60; : $MARK-step
	FROM base:latest AS broken
	RUN sleep 0.5; echo broken; exit 3; : $MARK-step
	FROM scratch
	COPY --from=slow /etc/group /a
	COPY --from=broken /etc/group /b
	X
	local start
	start=$(now_ms)
	bad 1 'status 3|exit code:? 3' --jobs 2 ctx
	at_line 4
	[ $(($(now_ms) - start)) -lt 30000 ] || fail "the slow branch was waited for"
}

image_commands() {
	want 6 "$BLD" inspect nosuch:tag; one_error
	want 6 "$BLD" tag nosuch:tag b:c; one_error
	want 6 "$BLD" rmi nosuch:tag; one_error
	want 6 "$BLD" history nosuch:tag; one_error
	want 6 "$BLD" save nosuch:tag -o x.tar; one_error
	[ ! -e x.tar ]
	want 6 "$BLD" push nosuch:tag; one_error
	echo junk >junk.tar
	want 3 "$BLD" load -i junk.tar; one_error
	want 3 "$BLD" load -i nowhere.tar; one_error
	want 7 "$BLD" pull "localhost:$(dead_port)/a:b" --retry 0; one_error
}

newer_store() {
	cp -r "$BLD_ROOT" newer
	echo 'bld-store 99' >newer/format
	want 9 "$BLD" --root newer images
	one_error
	has "$D/err" 'bld-store 99|99|newer'
}

no_place() {
	root_only "a small file system"
	mkdir -p ctx "$T/mnt/full"
	mount -t tmpfs -o size=12m tmpfs "$T/mnt/full" || skip "cannot mount a tmpfs here"
	base "$T/mnt/full/store"
	dockerfile <<-'X'
	FROM base:latest
	RUN echo small >/small
	RUN head -c 60000000 /dev/urandom >/big; echo written
	X
	BLD_ROOT=$T/mnt/full/store
	want 8 "$BLD" build --progress=plain -t full:t1 ctx || { umount "$T/mnt/full"; return 1; }
	one_error
	has "$D/err" '[Nn]o space|disk full|ENOSPC'
	store_whole
	bld images
	hasnt "$D/out" 'full'
	# With room again, it goes on from where it was.
	mount -o remount,size=300m "$T/mnt/full"
	build -t full:t2 ctx
	store_whole
	umount "$T/mnt/full"
}

# A COPY that does not fit: the blob is what fills the disk, not the step.
no_place_for_a_blob() {
	root_only "a small file system"
	mkdir -p ctx "$T/mnt/full2"
	mount -t tmpfs -o size=12m tmpfs "$T/mnt/full2" || skip "cannot mount a tmpfs here"
	head -c 30000000 /dev/urandom >ctx/big
	printf 'FROM scratch\nCOPY big /\n' >ctx/Dockerfile
	BLD_ROOT=$T/mnt/full2/store
	want 8 "$BLD" build --progress=plain -t full:t1 ctx || { umount "$T/mnt/full2"; return 1; }
	one_error
	store_whole
	same 0 "$(find "$BLD_ROOT/tmp" -type f -size +1M | wc -l)" "left in tmp"
	# Output files, too: no half-written archive.
	BLD_ROOT=$T/store
	want 8 "$BLD" build --progress=plain -o "type=oci,dest=$T/mnt/full2/out.tar" ctx || { umount "$T/mnt/full2"; return 1; }
	[ ! -e "$T/mnt/full2/out.tar" ] || fail "a half-written archive stays"
	umount "$T/mnt/full2"
}

# A layer damaged on the disk is named, moved aside, and taken anew where it is to be had.
damaged_layer() {
	local layer blob
	"$BLD" save base:latest -o base.tar
	layer=$(layers base:latest | head -1)
	blob=$(blob "$layer")
	chmod u+w "$blob"
	printf 'damage!!' | dd of="$blob" bs=1 seek=$(($(stat -c %s "$blob") / 2)) conv=notrunc status=none
	rm -rf "$BLD_ROOT"/snapshots/*/*
	dockerfile <<-'X'
	FROM base:latest
	RUN echo mended
	X
	want 7 "$BLD" build --progress=plain ctx
	one_error
	has "$D/err" "^error: .*blob $layer was damaged"
	hasnt "$D/err" '^  log:' # there is none
	[ ! -e "$blob" ] || fail "the damaged blob is still there"
	bld load -i base.tar
	build ctx
	store_whole
}

streams() {
	dockerfile <<-'X'
	FROM base:latest
	RUN echo once; exit 5
	X
	want 1 sh -c '"$0" build ctx 2>&-' "$BLD"
	want 1 sh -c '"$0" build ctx >&-' "$BLD"
	want 1 bash -c 'set -o pipefail; "$0" build ctx 2>&1 | cat' "$BLD"
	hasnt "$D/out" $'\033'
	printf 'FROM base:latest\nRUN echo twice\n' >ctx/Dockerfile
	want 0 sh -c '"$0" build ctx 2>&-' "$BLD"
	want 0 sh -c '"$0" build ctx >&-' "$BLD" # it prints nothing there
	local cmd
	for cmd in "images" "files base" "history base" "save base" "build -q ctx" "--help" "version"; do
		want 1 sh -c '"$0" $1 >&-' "$BLD" "$cmd"
		one_error
		has "$D/err" '^error: write .*output: Bad file descriptor$'
	done
	want 0 bash -c '"$0" images | head -c 1; exit ${PIPESTATUS[0]}' "$BLD"
	local args
	for args in "export base" "save base"; do
		want 0 bash -c '"$0" $1 | head -c 1 >part; exit ${PIPESTATUS[0]}' "$BLD" "$args"
		empty "$D/err"
	done
}

# A pipe in the context is never waited for.
pipes_in_the_context() {
	mkdir p
	echo 'FROM scratch' >p/Dockerfile
	mkfifo p/.dockerignore
	want 3 timeout -k 1 20 "$BLD" build p
	has "$D/err" 'is not a file'
	rm p/.dockerignore p/Dockerfile
	mkfifo p/Dockerfile
	want 3 timeout -k 1 20 "$BLD" build p
	has "$D/err" 'is not a file'
}

# Of a slip the command is named; of a habit from elsewhere, what bld does instead. Never one that removes things.
foreign_commands() {
	want 2 "$BLD" imgaes
	has "$D/err" 'bld images'
	local c
	for c in run exec ps; do
		# shellcheck disable=SC2086 # words
		want 2 "$BLD" $c app
		one_error
		has "$D/err" 'builds images and runs none'
		hasnt "$D/err" 'rmi|prune'
	done
	want 2 "$BLD" system df
	has "$D/err" 'bld du'
}

# Where nothing can be written is said before anything runs.
unwritable_targets() {
	mkdir c
	printf 'FROM scratch\nCOPY Dockerfile /\n' >c/Dockerfile
	local flags
	for flags in "--iidfile=/nonexist/x" "--metadata-file=c" "-otype=tar,dest=/nonexist/x" "-otype=oci,dest=c/"; do
		want 3 "$BLD" build "$flags" c
		has "$D/err" 'cannot write to'
		hasnt "$D/err" 'start'
	done
}

t "base image" base
t "usage: exit 2, the closest name, nothing done" usage
t "commands of other programs" foreign_commands
t "Dockerfile and context: exit 3 with file and line" sources
t "COPY sources: missing, ignored, of a misspelt stage" copy_sources
t "base images: missing is 6, unreachable is 7" missing_base
t "a failing RUN: exit 1, its line, its last words" failing_run
t "a failure ends the other branches" failure_ends_the_rest
t "image commands: exit 6, 3, 7" image_commands
t "a newer store is refused with exit 9" newer_store
t "disk full in a RUN: exit 8, the store whole, then it goes on" no_place
t "disk full while packing and exporting" no_place_for_a_blob
t "a layer damaged on the disk" damaged_layer
t "files that cannot be written are refused before the build" unwritable_targets
t "pipes in the context" pipes_in_the_context
t "closed and piped streams keep the exit code" streams
t_end
