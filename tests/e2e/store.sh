#!/bin/bash
# The store's size and health: what prune and du do to the byte, limits, a full disk, damaged files.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# fat TAG KB [LINE]: an image with a random layer of so many kB
fat() {
	mkdir -p "f-$1"
	head -c "${2}000" /dev/urandom >"f-$1/blob"
	printf 'FROM scratch\nCOPY blob /\n%s\n' "${3:-}" >"f-$1/Dockerfile"
	build -t "$1:latest" "${@:4}" "f-$1"
}
results() { find "$BLD_ROOT/results" -type f | wc -l; }
used() { du -s --block-size=1 "$BLD_ROOT" | cut -f1; }
fresh() { export BLD_ROOT=$D/store; }

du_agrees() {
	base
	fat a 300
	printf 'FROM base:latest\nRUN --mount=type=cache,target=/c head -c 100000 /dev/urandom >/c/x; echo 1 >/1\n' >f-a/Dockerfile
	build -t run f-a
	bld du --format json
	local said real
	said=$(jq -r .total "$D/out")
	real=$(used)
	[ $((said > real ? said - real : real - said)) -le 16384 ] || fail "bld du: $said, du: $real"
	same "$said" "$(jq '[.kinds[].bytes] | add' "$D/out")" "sum of the kinds"
	bld du --verbose
	has "$D/out" '^ID +TYPE +SIZE +LAST USED +STATE'
	has "$D/out" ' mount +'
	bld du --filter type=mount --format json
	same 1 "$(jq length "$D/out")" "cache mounts"
	jq -e '.[0] | .type == "mount" and .bytes > 100000 and (.inUse | not) and .reclaimable' "$D/out"
	bld du --filter type=result --filter id=^no-hex --format json
	same 0 "$(jq length "$D/out")"
	bld du --filter 'type!=mount' --format '{{.Type}}'
	hasnt "$D/out" mount
	bld du --filter unused-for=1h --format json
	same 0 "$(jq length "$D/out")" "what was not used for an hour"
	want 2 "$BLD" du --filter color=red
	one_error
	want 2 "$BLD" du --filter type=thing
	want 2 "$BLD" prune -f --filter label=x
	want 2 "$BLD" prune -f --filter id='('
	want 2 "$BLD" prune -f --max-used-space 120%
	has "$D/err" 'share of the disk'
}

# A hit needs the record; the mount's contents are seen by the next RUN.
prune_filters() {
	printf 'FROM base:latest\nARG N\nRUN --mount=type=cache,target=/mine echo $N >>/mine/x; cp /mine/x /x\n' >Dockerfile
	build --build-arg N=1 -t m .
	fat b 100
	"$BLD" rmi b >/dev/null
	bld prune -f --until 1h
	has "$D/out" '^freed 0 B'
	find "$BLD_ROOT/results" -type f -exec touch -d '3 days ago' {} +
	bld prune -f --until 4d
	has "$D/out" '^freed 0 B'
	local n
	n=$(results)
	bld prune -f --until 2d --dry-run
	same "$n" "$(results)" "records after a dry run"
	bld prune -f --filter until=2d --filter type=result
	same 0 "$(results)" "records"
	[ -n "$(ls "$BLD_ROOT"/snapshots/*/)" ]
	build --build-arg N=2 -t m .
	same "1 2" "$(file_in m -1 x | xargs)" "the cache mount"
	bld prune -f --filter type=exec.cachemount
	build --build-arg N=3 -t m .
	same 3 "$(file_in m -1 x | xargs)" "the cache mount after it was pruned"
	bld prune -f --until 1s --filter type=build
	store_whole
}

# Untagged results go by age; what has a name stays whatever the limit.
ceiling() {
	fresh
	local i
	fat named 900
	for i in 1 2 3 4 5; do
		mkdir "u$i"
		head -c 900000 /dev/urandom >"u$i/blob"
		printf 'FROM scratch\nCOPY blob /\n' >"u$i/Dockerfile"
		build --max-used-space 3m "u$i"
		[ "$(used)" -lt 3500000 ] || fail "the store is $(used) bytes after build $i"
		sleep 1 # last use is told apart by seconds
	done
	store_whole
	same 900000 "$(layer_tar named -1 | wc -c | awk '{print int($1/900000)*900000}')" "the named layer"
	bld images --format json
	build --max-used-space 3m u5
	has "$D/err" 'cache +1/1 steps reused'
	build --max-used-space 3m u1
	has "$D/err" 'cache +0/1 steps reused'
	# named images alone above the limit: said once, and their cache is not wiped for nothing
	fat more 900 '' --max-used-space 1m
	has "$D/err" 'above its limits'
	build --max-used-space 1m -t more f-more
	has "$D/err" 'cache +1/1 steps reused'
	build --max-used-space 1m -t named f-named
	has "$D/err" 'cache +1/1 steps reused'
	# the environment, and no limit at all
	want 2 env BLD_CACHE_MAX_SIZE=lots "$BLD" build f-named
	has "$D/err" 'BLD_CACHE_MAX_SIZE takes a size'
	want 2 env BLD_CACHE_KEEP=x "$BLD" build f-named
	export BLD_CACHE_MAX_SIZE=0 BLD_CACHE_MIN_FREE=off
	for i in 1 2 3 4 5; do build "u$i"; done
	[ "$(used)" -gt 4500000 ] || fail "the store is $(used) bytes"
	unset BLD_CACHE_MAX_SIZE BLD_CACHE_MIN_FREE
	# age alone
	find "$BLD_ROOT/results" -type f -exec touch -d '20 days ago' {} +
	BLD_CACHE_KEEP=14d fat last 10
	same 0 "$(find "$BLD_ROOT/results" -type f -mtime +13 | wc -l)" "records not used within 14 days"
	# by hand
	bld prune -f --max-used-space 2m
	[ "$(used)" -lt 3400000 ] || fail "the store is $(used) bytes after prune --max-used-space"
	store_whole
}

read_only() {
	root_only "a read-only mount"
	base
	mkdir -p "$T/mnt/ro"
	mount --bind "$BLD_ROOT" "$T/mnt/ro"
	mount -o remount,bind,ro "$T/mnt/ro"
	local said c
	for c in du "du --verbose" images "inspect base:latest" "history base:latest" "prune -af --dry-run"; do
		# shellcheck disable=SC2086 # words
		want 0 "$BLD" --root "$T/mnt/ro" $c
		empty "$D/err"
	done
	want 1 "$BLD" --root "$T/mnt/ro" prune -af
	one_error
	has "$D/err" 'Read-only file system'
	want 1 "$BLD" --root "$T/mnt/ro" tag base:latest x:y
	one_error
	want 0 "$BLD" --root "$T/mnt/ro" du --format json
	said=$(jq -r .total "$D/out")
	umount "$T/mnt/ro"
	[ $((said - $(used))) -lt 16384 ]
}

# A snapshot's record says what du says, whether a RUN made it or a layer was unpacked.
recorded_sizes() {
	fresh
	base
	mkdir ctx
	cat >ctx/Dockerfile <<-'X'
	FROM base:latest AS a
	RUN mkdir -p /a/b/c; cd /a; for i in $(seq 300); do head -c $((i * 37)) /dev/zero | tr '\0' x >f$i; done; ln f1 b/l; ln -s f2 b/s; head -c 3000000 /dev/urandom >big
	FROM a
	RUN rm /a/f3; echo 1 >/a/f4
	X
	build -t sized ctx
	look_at_sizes 2
	rm -rf "$BLD_ROOT"/snapshots/*/*
	printf 'FROM sized\nRUN true\n' >ctx/Dockerfile
	build ctx # unpacks all of it
	look_at_sizes 3
}
look_at_sizes() {
	local m n=0 said real
	for m in "$BLD_ROOT"/snapshots/*/*/meta; do
		said=$(od -An -tu8 -j24 -N8 "$m" | tr -d ' ')
		real=$(du -s --block-size=1 "${m%/meta}" | cut -f1)
		[ $((said > real ? said - real : real - said)) -le 8192 ] || fail "recorded: $said, du: $real"
		n=$((n + 1))
	done
	[ "$n" -ge "$1" ] || fail "$n snapshots"
}

# Trees are measured before the store's lock is taken: a build waits for the marking only.
short_lock() {
	fresh
	need strace
	base
	printf 'FROM base:latest\nRUN --mount=type=cache,target=/c mkdir -p /walk-me/in /c/walk-me; echo >/c/walk-me/x\n' >Dockerfile
	build -t lock .
	"$BLD" rmi lock >/dev/null
	# one thread of ours takes the lock; what it opens until it lets go is what others wait for
	want 0 strace -f -e trace=openat,flock,close -o trace "$BLD" prune -af
	awk '
		/openat\(.*"lock"/ { fd = $NF }
		fd != "" && $0 ~ "flock\\(" fd ", LOCK_EX\\) += 0" { held = 1; taken++ }
		held && $0 ~ "close\\(" fd "\\)" { held = 0 }
		/"walk-me"/ && taken == 0 { before++ }
		held && /"walk-me"/ { under++ }
		END { print taken + 0, before + 0, under + 0; exit !(taken == 1 && before >= 2 && under == 0) }' trace ||
		{ grep -nE 'walk-me|"lock"|flock' trace | head -n 40; return 1; }
	same '' "$(find "$BLD_ROOT"/snapshots "$BLD_ROOT"/mounts -name walk-me)" "what was pruned"
}

# ---- several processes and the collector ----

# racer NAME FUNCTION: until the time is over, again and again; one failure ends the test
racer() {
	local who=$1 i=0
	shift
	mkdir "$D/$who"
	(
		cd "$D/$who"
		D=$D/$who # out, err of its own
		while [ "$(now_ms)" -lt "$RACE_ENDS" ]; do
			i=$((i + 1))
			"$@" "$who" "$i" || { echo "$who, round $i"; exit 1; }
		done
		[ "$i" -ge 2 ] || { echo "$who ran $i times"; exit 1; }
	) >"$D/$who.log" 2>&1 &
	RACERS+=($!)
}
# Each is one chain of commands: nothing after a failure runs.
# Its layers are those of others in part; what comes out must be what went in.
race_build() {
	local name=()
	[ $(($2 % 2)) = 1 ] || name=(-t "$1:v1")
	printf 'FROM base:latest\nRUN echo %s >/shared; sleep 0.1\nRUN echo %s %s >/own; cat /shared >>/own\nCOPY f /f\n' \
		$(($2 % 3)) "$1" "$2" >Dockerfile &&
		echo "$1 $2" >f &&
		build "${name[@]}" -o type=tar,dest=out.tar . &&
		same "$(printf '%s %s\n%s\n%s %s' "$1" "$2" $(($2 % 3)) "$1" "$2")" "$(tar -xOf out.tar own f)" "the result"
}
race_pull() {
	bld pull -q "$REG/app:v1" && bld save -o pulled.tar "$REG/app:v1" && bld rmi "$REG/app:v1"
}
race_load() {
	bld load -i "$T/race.tar" && bld save -o loaded.tar race:v1 && bld rmi race:v1
}
race_prune() { bld prune -af; }
race_tag() { bld tag base:latest "$1:$2" && bld rmi "$1:$2"; }

collector_races() {
	fresh
	base
	registry_start race
	fat race 200
	"$BLD" tag race:latest race:v1
	"$BLD" tag race:latest "$REG/app:v1"
	bld push "$REG/app:v1"
	bld save -o "$T/race.tar" race:v1
	"$BLD" rmi race:v1 race:latest "$REG/app:v1" >/dev/null
	local RACERS=() p bad=0 RACE_ENDS=$(($(now_ms) + ${E2E_RACE_MS:-10000}))
	racer one race_build
	racer two race_build
	racer three race_build
	racer puller race_pull
	racer loader race_load
	racer tagger race_tag
	racer pruner race_prune
	for p in "${RACERS[@]}"; do
		wait "$p" || bad=1
	done
	[ "$bad" = 0 ] || { tail -n 30 ./*.log; return 1; }
	nothing_left
	store_whole
	for p in one two three; do # named results outlive all of it
		same "$p" "$(file_in "$p:v1" -1 f | cut -d' ' -f1)" "the last result of $p"
	done
	"$BLD" rmi one:v1 two:v1 three:v1 base:latest >/dev/null
	bld prune -af
	same "" "$(find "$BLD_ROOT/tmp" "$BLD_ROOT/builds" -mindepth 1)" "tmp/ and builds/"
	same 0 "$(find "$BLD_ROOT/blobs" "$BLD_ROOT/results" "$BLD_ROOT/snapshots" -type f | wc -l)" "files of the dead"
}

# ---- small disks ----

free_kb() { df --output=avail -k "$DISK" | tail -n 1 | tr -d ' '; }
# leave KB: fills the disk until no more than so much is free
leave() {
	rm -f "$DISK/filler"
	local n=$(($(free_kb) - $1))
	[ "$n" -le 0 ] || head -c "${n}"k /dev/zero >"$DISK/filler" 2>/dev/null || true # blocks of its own count, too
}
# A build on a disk with so little left ends well, or says that the disk is full; then it works with room.
tight() {
	local n=$1 got=0 tmp
	shift
	leave "$n"
	"$BLD" build --progress=plain -t "tight:v1" "$@" ctx >"$D/out" 2>"$D/err" || got=$?
	case $got in
	0) FITS=$((FITS + 1)) ;;
	8)
		FULL=$((FULL + 1))
		one_error
		has "$D/err" '^error: (no space left|disk full)'
		has "$D/err" '^  why: .* has .* left now'
		has "$D/err" '^  try: +bld (prune|rmi) '
		;;
	1) # the step itself met it
		FULL=$((FULL + 1))
		one_error
		has "$D/err" '^error: RUN (exited|was killed)'
		has "$D/err" 'the disk of the store is full'
		;;
	*) cat "$D/err"; fail "$n kB left: exit $got" ;;
	esac
	nothing_left
	rm -f "$DISK/filler"
	layout_whole "$BLD_ROOT"
	build -t "tight:v1" "$@" ctx
	same 1500000 "$(layer_tar tight:v1 -2 | wc -c | awk '{print int($1 / 1500000) * 1500000}')" "the RUN's layer"
	same "done" "$(file_in tight:v1 -1 end)" "the last layer"
	tmp=$(find "$BLD_ROOT/tmp" -mindepth 1)
	same '' "$tmp" "tmp/"
	store_whole
	"$BLD" rmi tight:v1 >/dev/null
	bld prune -af --filter type=result
	bld prune -af --filter type=snapshot
}
small_disk() {
	export BLD_ROOT=$DISK/store BLD_CACHE_MAX_SIZE=0 BLD_CACHE_MIN_FREE=off
	local FITS=0 FULL=0 n
	base
	mkdir ctx
	head -c 1000000 /dev/urandom >ctx/blob
	# unpack, a step's own writes, its upper folder kept and packed, a copy: each needs room of its own
	cat >ctx/Dockerfile <<-'X'
	FROM base:latest
	COPY blob /
	RUN head -c 1500000 /dev/urandom >/big
	RUN echo done >/end; cp /blob /blob2; rm /blob2
	X
	for n in 0 40 700 1100 2000 3000 4000 5200 6000 7000 8000 20000; do
		tight "$n"
	done
	[ "$FULL" -ge 4 ] || fail "the disk was full $FULL times"
	[ "$FITS" -ge 1 ] || fail "no build fitted"
	# What a step itself meets is its own failure; the reason is told.
	printf 'FROM base:latest\nRUN head -c 30000000 /dev/zero >/big; echo "head: $?"; exit 3\n' >ctx/Dockerfile
	leave 4000
	local got=0
	"$BLD" build --progress=plain ctx >"$D/out" 2>"$D/err" || got=$?
	one_error
	same 1 "$got" "exit status"
	has "$D/err" 'head: [1-9]'
	has "$D/err" 'the disk of the store is full'
	nothing_left
	rm "$DISK/filler"
	printf 'FROM base:latest\nRUN echo fits >/small\n' >ctx/Dockerfile
	build -t small ctx
	same fits "$(file_in small -1 small)"
	same '' "$(find "$BLD_ROOT/tmp" -mindepth 1)" "tmp/"
	same 1 "$(awk -v d="$DISK" 'index($5, d) == 1' /proc/self/mountinfo | wc -l)" "mounts"
	umount "$DISK"
}
small_tmpfs() {
	root_only "a file system of its own"
	DISK=$T/mnt/small
	mkdir -p "$DISK"
	mount -t tmpfs -o size=24m tmpfs "$DISK" || skip "cannot mount a tmpfs here"
	small_disk
}
small_ext4() {
	root_only "a file system of its own"
	need mkfs.ext4
	DISK=$T/mnt/ext4
	mkdir -p "$DISK"
	truncate -s 28M ext4
	mkfs.ext4 -q -m 0 ext4
	mount -o loop ext4 "$DISK" || skip "cannot mount a loop device here"
	small_disk
}

t "du agrees with du; one by one; filters" du_agrees
t "prune by age, type and id" prune_filters
t "the ceiling is kept after every build" ceiling
t "a read-only store can be looked at" read_only
t "a snapshot's recorded size is what du says" recorded_sizes
t "prune holds the lock for moments" short_lock
t "builds, pulls, loads and prunes at once" collector_races
t "a tmpfs too small for a build" small_tmpfs
t "an ext4 too small for a build" small_ext4
t_end
