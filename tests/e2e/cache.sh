#!/bin/bash
# Nothing is done twice: what hits, what misses, and what a no-change build does not do.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# A RUN that leaves something different each time it really runs.
UUID='cat /proc/sys/kernel/random/uuid'

project() {
	mkdir -p ctx/src
	for n in $(seq 20); do echo "file $n" >"ctx/src/f$n"; done
	cat >ctx/Dockerfile <<-X
	FROM base:latest AS build
	WORKDIR /w
	COPY src/ src/
	RUN $UUID >id1 && cat src/* >all
	ENV A=1
	RUN $UUID >id2
	FROM base:latest
	COPY --from=build /w/all /w/id1 /w/id2 /out/
	RUN $UUID >/out/id3
	LABEL done=yes
	X
}
# ids IMAGE: what the three runs left
ids() { file_in "$1" -2 out/id1; file_in "$1" -2 out/id2; file_in "$1" -1 out/id3; }

second_build_hits() {
	project
	build -t c:t1 ctx
	ids c:t1 >a
	build --metadata-file m.json -t c:t2 ctx
	ids c:t2 >b
	cmp a b
	same "$(digest_of c:t1)" "$(digest_of c:t2)" digests
	jq -e '.["bld.cache"] | .steps > 0 and .hit == .steps and .miss == 0' m.json
	hasnt "$D/err" '(^| )start +RUN'
	has "$D/err" 'cached'
}

# The promise: a no-change build mounts nothing, unpacks nothing, opens no socket, starts no child, syncs nothing.
no_change_under_strace() {
	need strace
	project
	build -t s:t1 ctx
	build -t s:t1 ctx # the stat index is older than every file now
	sleep 1.1
	build -t s:t1 ctx
	find "$BLD_ROOT/snapshots" "$BLD_ROOT/blobs" "$BLD_ROOT/results" -printf '%p %C@ %i\n' | sort >before
	want 0 strace -f -qq -o trace -e signal=none "$BLD" build --progress=plain -t s:t1 ctx
	find "$BLD_ROOT/snapshots" "$BLD_ROOT/blobs" "$BLD_ROOT/results" -printf '%p %C@ %i\n' | sort >after
	# Last use is the mtime of a result record: its ctime moves, nothing else.
	grep -v "/results/" before >b2 && grep -v "/results/" after >a2
	diff b2 a2
	same "$(sed 's/ .*//' before | md5sum)" "$(sed 's/ .*//' after | md5sum)" "names in the store"
	hasnt trace '(^|\s)(mount|umount2?|fsopen|fsmount|fsconfig|fspick|move_mount|open_tree|mount_setattr|pivot_root|chroot|unshare|setns)\('
	hasnt trace '(^|\s)(socket|socketpair|connect|bind|listen|accept4?)\('
	hasnt trace '(^|\s)(fsync|fdatasync|syncfs|sync|sync_file_range|msync)\('
	hasnt trace '(^|\s)(fork|vfork)\('
	# Threads are clones, too; a child is a clone without CLONE_THREAD.
	grep -E '(^|\s)(clone|clone3)\(' trace | grep -v CLONE_THREAD >children || true
	empty children
	same 1 "$(grep -cE '(^|\s)execve\(' trace)" "number of execve calls"
	# Selected files are looked at, not read.
	hasnt trace 'open(at|at2)?\(.*src/f[0-9]+".*= [0-9]'
	# Without strace, a process that would be traced into a sandbox may behave differently: same result again.
	build -t s:t2 ctx
	same "$(digest_of s:t1)" "$(digest_of s:t2)"
}

times_do_not_matter() {
	project
	build -t m:t1 ctx
	find ctx -exec touch -d '2001-02-03' {} +
	cp -r ctx copy
	build -t m:t2 ctx
	build -t m:t3 copy
	same "$(digest_of m:t1)" "$(digest_of m:t2)"
	same "$(digest_of m:t1)" "$(digest_of m:t3)"
}

contents_do() {
	project
	build -t k:t1 ctx
	echo changed >ctx/src/f7
	build -t k:t2 ctx
	ids k:t1 >a; ids k:t2 >b
	paste a b | awk '$1 == $2 {exit 1}'
	has "$D/err" 'src/f7'
	# Same size, time put back: still seen.
	touch -r ctx/src/f8 stamp
	sed -i s/file/elif/ ctx/src/f8
	touch -r stamp ctx/src/f8
	build -t k:t3 ctx
	ids k:t3 >c
	paste b c | awk '$1 == $2 {exit 1}'
	# A mode, a new name, a name that is gone.
	chmod 755 ctx/src/f9; build -t k:t4 ctx; ids k:t4 >d
	paste c d | awk '$1 == $2 {exit 1}'
	mv ctx/src/f9 ctx/src/f99; build -t k:t5 ctx; ids k:t5 >e
	paste d e | awk '$1 == $2 {exit 1}'
	# And back again: the old result is still known.
	mv ctx/src/f99 ctx/src/f9; build -t k:t6 ctx; ids k:t6 >f
	cmp d f
}

only_what_follows() {
	project
	build -t p:t1 ctx
	sed -i 's/^ENV A=1/ENV A=2/' ctx/Dockerfile
	build -t p:t2 ctx
	same "$(ids p:t1 | sed -n 1p)" "$(ids p:t2 | sed -n 1p)" "the step before the change"
	[ "$(ids p:t1 | sed -n 2p)" != "$(ids p:t2 | sed -n 2p)" ] || fail "the step after the change was not run"
}

comments_and_order_do_not() {
	project
	build -t o:t1 ctx
	{ echo '# a comment'; sed 's/^LABEL done=yes/LABEL \\\n  # more\n  done=yes/; s/^COPY --from/copy --from/' ctx/Dockerfile; } >d2
	cp d2 ctx/Dockerfile
	build -t o:t2 ctx
	ids o:t1 >a; ids o:t2 >b
	cmp a b
}

early_cutoff() {
	dockerfile <<-X
	FROM base:latest AS gen
	ARG SEED
	RUN echo same >/gen && touch -d 2020-01-01 /gen
	FROM base:latest
	COPY --from=gen /gen /gen
	RUN $UUID >/id
	X
	build --build-arg SEED=1 -t e:t1 ctx
	build --build-arg SEED=2 -t e:t2 ctx
	has "$D/err" 'start +RUN echo same'
	same "$(file_in e:t1 -1 id)" "$(file_in e:t2 -1 id)" "what follows a rebuilt step with the same result"
}

no_cache() {
	project
	build -t n:t1 ctx
	build --no-cache -t n:t2 ctx
	ids n:t1 >a; ids n:t2 >b
	paste a b | awk '$1 == $2 {exit 1}'
	build -t n:t3 ctx
	ids n:t3 >c
	cmp b c # a run without the cache still writes it
}

build_args() {
	dockerfile <<-X
	FROM base:latest
	ARG USED
	ARG UNUSED
	RUN echo "\$USED" >/used && $UUID >/id1
	X
	build --build-arg USED=1 -t a:t1 ctx
	build --build-arg USED=2 -t a:t2 ctx
	build --build-arg USED=1 -t a:t3 ctx
	same "$(file_in a:t1 -1 id1)" "$(file_in a:t3 -1 id1)"
	[ "$(file_in a:t1 -1 id1)" != "$(file_in a:t2 -1 id1)" ]
	# Proxies may change from machine to machine and are never part of a key.
	https_proxy=http://127.0.0.1:9 build --build-arg USED=1 --build-arg HTTP_PROXY=http://127.0.0.1:9 -t a:t4 ctx
	same "$(file_in a:t1 -1 id1)" "$(file_in a:t4 -1 id1)"
}

shared_between_dockerfiles() {
	project
	build -t d:t1 ctx
	head -n 6 ctx/Dockerfile | sed 's/AS build/AS other/' >ctx/Second
	build -f ctx/Second -t d:t2 ctx
	same "$(file_in d:t1 -2 out/id1)" "$(file_in d:t2 -1 w/id2 >/dev/null; file_in d:t2 -2 w/id1)" "same steps of another stage"
}

many_files() {
	mkdir -p ctx/data
	(cd ctx/data && seq 2000 | split -l 1 -a 4 -)
	printf 'FROM scratch\nCOPY data /data\n' >ctx/Dockerfile
	build -t many:t1 ctx
	build --metadata-file m.json -t many:t2 ctx
	same "$(digest_of many:t1)" "$(digest_of many:t2)"
	jq -e '.["bld.cache"].miss == 0' m.json
	rm ctx/data/xaabc
	build -t many:t3 ctx
	[ "$(digest_of many:t1)" != "$(digest_of many:t3)" ]
}

t "base image" base
t "an unchanged build reuses every step, in a new process" second_build_hits
t "a no-change build mounts, unpacks, connects, forks and syncs nothing (strace)" no_change_under_strace
t "times and copies of the context do not matter" times_do_not_matter
t "contents, modes and names do" contents_do
t "a change misses only what follows it" only_what_follows
t "comments, case and layout of the text do not matter" comments_and_order_do_not
t "a rebuilt step with the same result ends the misses" early_cutoff
t "--no-cache runs everything and records it" no_cache
t "build arguments count, proxies do not" build_args
t "the same steps of another file and stage are one" shared_between_dockerfiles
t "many small files" many_files
t_end
