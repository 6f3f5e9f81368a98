#!/bin/bash
# Several processes, one store.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

same_build_at_once() {
	dockerfile <<-X
	FROM base:latest AS a
	RUN cat /proc/sys/kernel/random/uuid >/a; sleep 1; : $MARK-step
	FROM base:latest
	COPY --from=a /a /a
	RUN cat /proc/sys/kernel/random/uuid >/b; sleep 0.5; : $MARK-step
	X
	local i pids=()
	for i in 1 2 3 4; do
		"$BLD" build --progress=plain --iidfile "iid$i" -t "share:$i" ctx >"o$i" 2>&1 &
		pids+=($!)
	done
	for i in 1 2 3 4; do
		wait "${pids[$((i - 1))]}" || { cat "o$i"; fail "build $i failed"; }
	done
	# One result is computed once: the random contents are the same everywhere.
	for i in 2 3 4; do
		same "$(diff_ids share:1 | xargs)" "$(diff_ids "share:$i" | xargs)" "layers of builds 1 and $i"
	done
	store_whole
}

owner_dies() {
	dockerfile <<-X
	FROM base:latest
	RUN echo begins; sleep 3; echo ends >/e; : $MARK-step
	X
	"$BLD" build --progress=plain -t dies:1 ctx >o1 2>&1 &
	local first=$!
	for _ in $(seq 100); do grep -q '| begins' o1 && break; sleep 0.1; done
	"$BLD" build --progress=plain -t dies:2 ctx >o2 2>&1 &
	local second=$!
	sleep 0.7
	hasnt o2 '\| begins'
	kill -9 "$first"
	wait "$second" || { cat o2; fail "the one that waited did not take over"; }
	same ends "$(file_in dies:2 -1 e)"
	nothing_left
}

different_builds() {
	local i pids=()
	for i in $(seq 6); do
		mkdir "c$i"
		echo "$i" >"c$i/f"
		printf 'FROM base:latest\nCOPY f /f\nRUN cat /f >/g\n' >"c$i/Dockerfile"
		"$BLD" build --progress=plain -t "diff:$i" "c$i" >"o$i" 2>&1 &
		pids+=($!)
	done
	for i in $(seq 6); do
		wait "${pids[$((i - 1))]}" || { cat "o$i"; fail "build $i failed"; }
		same "$i" "$(file_in "diff:$i" -1 g)"
	done
	store_whole
}

names_at_once() {
	printf 'FROM scratch\nLABEL a=b\n' | want 0 "$BLD" build -t many:src -
	local i pids=()
	for i in $(seq 30); do
		"$BLD" tag many:src "many:n$i" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	bld images many
	same 31 "$(grep -c 'many' "$D/out")" "tags set by 30 processes at once"
	store_whole
}

new_store_at_once() {
	BLD_ROOT=$D/fresh
	printf 'FROM scratch\nLABEL a=b\n' >Dockerfile
	local i pids=()
	for i in $(seq 8); do
		"$BLD" build -q -t "fresh:$i" - <Dockerfile >"o$i" 2>&1 &
		pids+=($!)
	done
	for i in $(seq 8); do wait "${pids[$((i - 1))]}" || { cat "o$i"; fail "build $i in a new store failed"; }; done
	store_whole
}

same_blob_at_once() {
	registry_start share
	mkdir ctx && head -c 20000000 /dev/urandom >ctx/big && printf 'FROM scratch\nCOPY big /\n' >ctx/Dockerfile
	build --push -t "$REG/big:v1" ctx
	BLD_ROOT=$D/puller
	local i pids=() before
	before=$(grep -c 'GET.*blobs/sha256' "$REG_LOG" || true)
	for i in 1 2 3; do
		"$BLD" pull "$REG/big:v1" >"o$i" 2>&1 &
		pids+=($!)
	done
	for i in 1 2 3; do wait "${pids[$((i - 1))]}" || { cat "o$i"; fail "pull $i failed"; }; done
	echo "blob requests: $(($(grep -c 'GET.*blobs/sha256' "$REG_LOG") - before))"
	store_whole
}

t "base image" base
t "four builds of the same at once: each step runs once" same_build_at_once
t "when the owner dies, the one that waits takes over" owner_dies
t "different builds at once" different_builds
t "thirty tags at once" names_at_once
t "a store made by eight at once" new_store_at_once
t "the same image pulled by three at once" same_blob_at_once
t_end
