#!/bin/bash
# The same input gives the same bytes: again, elsewhere, with other numbers of threads.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

export SOURCE_DATE_EPOCH=1600000000

project() {
	mkdir -p ctx/tree/deep
	for n in $(seq 300); do echo "content $n" >"ctx/tree/f$n"; done
	head -c 6000000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 2>/dev/null >ctx/tree/deep/noise
	yes 'some text that packs well' | head -c 5000000 >ctx/tree/deep/text || true
	dockerfile <<-'X'
	FROM base:latest AS one
	RUN mkdir /o && for i in $(seq 50); do echo $i >/o/$i; done
	FROM base:latest
	COPY tree /tree
	COPY --from=one /o /o
	RUN date >/dev/null; seq 1 200000 >/seq && touch /seq
	LABEL a=b
	X
}
fresh() {
	rm -rf "$D/store"
	BLD_ROOT=$D/store base
	BLD_ROOT=$D/store want 0 "$@"
	cat iid
}

threads() {
	project
	local a b c
	a=$(fresh "$BLD" build --jobs 1 --iidfile iid ctx)
	b=$(fresh "$BLD" build --jobs 8 --iidfile iid ctx)
	c=$(fresh taskset 1 "$BLD" build --iidfile iid ctx)
	same "$a" "$b" "--jobs 1 and 8"
	same "$a" "$c" "one CPU and all"
}
places_and_times() {
	project
	local a b
	a=$(fresh "$BLD" build --iidfile iid ctx)
	mkdir elsewhere
	(cd ctx && tar -cf - --sort=none .) | tar -xf - -m -C elsewhere
	find elsewhere -exec touch -d 2024-01-01 {} + # later than the epoch, so clamped
	b=$(fresh env TZ=Asia/Tokyo LANG=ja_JP "$BLD" build --iidfile iid elsewhere)
	same "$a" "$b" "another place, other times"
}
no_cache_again() {
	project
	local a b
	a=$(fresh "$BLD" build --iidfile iid ctx)
	BLD_ROOT=$D/store want 0 "$BLD" build --no-cache --iidfile iid ctx
	b=$(cat iid)
	same "$a" "$b" "built twice"
}
compressors() {
	project
	local c a b
	for c in gzip zstd; do
		a=$(fresh "$BLD" build --jobs 1 -o "type=oci,dest=o.tar,compression=$c,force-compression=true" --iidfile iid ctx)
		b=$(fresh taskset 1 "$BLD" build -o "type=oci,dest=o.tar,compression=$c,force-compression=true" --iidfile iid ctx)
		same "$a" "$b" "$c"
	done
}
# gzip made of many members is still one stream for everybody.
gzip_is_standard() {
	project
	base
	build -t det:gz ctx
	local l
	for l in $(layers det:gz); do
		gzip -t "$(blob "$l")"
		python3 -c 'import gzip, sys
while sys.stdin.buffer and (b := sys.stdin.buffer) and gzip.GzipFile(fileobj=b).read(): break' <"$(blob "$l")"
	done
	paste -d' ' <(layers det:gz) <(diff_ids det:gz) | while read -r l id; do
		same "$id" "sha256:$(gzip -dc "$(blob "$l")" | sha256sum | cut -d' ' -f1)" "diff ID"
	done
}
without_epoch() {
	unset SOURCE_DATE_EPOCH
	mkdir -p ctx && echo 1 >ctx/f1 && echo 2 >ctx/f2
	printf 'FROM scratch\nCOPY f1 f2 /\n' >ctx/Dockerfile
	local a b
	build -t det:e1 ctx
	a=$(diff_ids det:e1)
	sleep 1
	BLD_ROOT=$D/store
	build -t det:e1 ctx
	b=$(diff_ids det:e1)
	same "$a" "$b" "a COPY of files whose times did not change"
}

# What an earlier build without the epoch left in the store must not shine through.
epoch_after_a_build_without() {
	project
	local a b
	a=$(fresh "$BLD" build --iidfile iid ctx)
	rm -rf "$D/store"
	BLD_ROOT=$D/store
	(unset SOURCE_DATE_EPOCH; base; build ctx)
	base
	build --iidfile iid ctx
	b=$(cat iid)
	same "$a" "$b" "in a new store, and after a build without SOURCE_DATE_EPOCH"
}

t "the number of threads does not matter" threads
t "place, times, zone and language do not matter" places_and_times
t "--no-cache gives the same again" no_cache_again
t "gzip and zstd, one thread and many" compressors
t "gzip layers are what their diff IDs say, for gzip and Python" gzip_is_standard
t "a COPY's diff ID without SOURCE_DATE_EPOCH" without_epoch
t "SOURCE_DATE_EPOCH after a build without it" epoch_after_a_build_without
t_end
