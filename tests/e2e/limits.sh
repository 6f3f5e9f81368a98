#!/bin/bash
# What a RUN step may use: cgroups where they are writable, time.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# Our own folder of a v1 controller, or of v2 where it has the controller; empty: none is writable.
own_cgroup() {
	local path
	path=$(sed -nE "s/^[0-9]+:([^:]*,)?$1(,[^:]*)?:(.*)/\3/p" /proc/self/cgroup)
	if [ -n "$path" ] && [ -w "/sys/fs/cgroup/$1$path" ]; then
		echo "/sys/fs/cgroup/$1${path%/}"
		return
	fi
	path=$(sed -n 's/^0:://p' /proc/self/cgroup)
	! grep -qw "$1" "/sys/fs/cgroup$path/cgroup.controllers" 2>/dev/null || echo "/sys/fs/cgroup$path"
}
need_cgroup() {
	root_only "writable cgroups"
	[ -n "$(own_cgroup "$1")" ] || skip "no writable cgroup with the $1 controller here"
}

no_leaf_left() {
	local dir
	for dir in memory cpu cpuset pids; do
		dir=$(own_cgroup "$dir")
		[ -z "$dir" ] || empty <(find "$dir" -maxdepth 1 -name "bld-$1-*")
	done
}

memory() {
	need_cgroup memory
	dockerfile <<-'X'
	FROM base:latest
	RUN echo before; head -c 200m /dev/zero | tail -c 200m >/dev/null; echo "status $?"; exit 1
	X
	want 8 "$BLD" build --progress=plain -m 32m ctx
	one_error "$D/err"
	has "$D/err" 'error: RUN was killed: out of memory'
	has "$D/err" 'why:.*limit is 33.6 MB'
	has "$D/err" 'try:.*--memory'
	# The same with enough.
	want 1 "$BLD" build --progress=plain -m 1g ctx
	has "$D/err" '\| status 0'
}

cpus() {
	need_cgroup cpu
	need_cgroup cpuset
	dockerfile <<-'X'
	FROM base:latest
	RUN echo "cpus $(nproc)"; cat /proc/self/cgroup
	X
	build --no-cache --cpuset-cpus 0 --cpus 0.5 --resource cpu-shares=512 ctx
	has "$D/err" '\| cpus 1$'
	hasnt "$D/err" 'without some of the limits'
	want 2 "$BLD" build --cpus 0 ctx
	want 2 "$BLD" build --resource cpus=many ctx
	has "$D/err" 'not a value for it'
	want 2 "$BLD" build --resource disk=1 ctx
	has "$D/err" 'memory-swap, cpus'
}

bomb() {
	need_cgroup pids
	dockerfile <<-'X'
	FROM base:latest
	RUN i=0; while [ $i -lt 100 ]; do sleep 60 & i=$((i + 1)); done; echo "never"
	X
	want 1 "$BLD" build --progress=plain --resource pids=40 ctx
	hasnt "$D/err" '\| never'
	nothing_left
}

# Without a word there is a guard around all steps of a build.
guard() {
	need_cgroup pids
	dockerfile <<-'X'
	FROM base:latest
	RUN echo running; sleep 4
	X
	"$BLD" build --no-cache --progress=plain ctx >"$D/out" 2>"$D/err" &
	local pid=$! dir
	dir=$(own_cgroup pids)
	for _ in $(seq 100); do
		grep -q '| running' "$D/err" && break
		sleep 0.1
	done
	same 32768 "$(cat "$dir/bld-$pid-"*/pids.max)" "the guard's limit"
	[ "$(cat "$dir/bld-$pid-"*/pids.current)" -ge 2 ] || fail "keeper and step are not in it"
	wait "$pid"
	no_leaf_left "$pid"
}

killed() {
	need_cgroup memory
	dockerfile <<-'X'
	FROM base:latest
	RUN echo running; sleep 60
	X
	"$BLD" build --no-cache --progress=plain -m 64m ctx >"$D/out" 2>"$D/err" &
	local pid=$!
	for _ in $(seq 100); do
		grep -q '| running' "$D/err" && break
		sleep 0.1
	done
	kill -9 "$pid"
	wait "$pid" || true
	nothing_left
	dockerfile <<<"FROM base:latest
RUN true"
	build --no-cache -m 64m ctx
	no_leaf_left "$pid" # swept by the next
}

parent() {
	need_cgroup pids
	local dir
	dir=$(own_cgroup pids)
	dockerfile <<-'X'
	FROM base:latest
	RUN true
	X
	build --no-cache --cgroup-parent "e2e-$$" --resource pids=100 ctx
	rmdir "$dir/e2e-$$" # made, and empty again
	want 2 "$BLD" build --cgroup-parent ../x ctx
}

timeouts() {
	dockerfile <<-'X'
	FROM base:latest
	RUN trap 'echo asked; exit 3' TERM; while :; do sleep 0.1; done
	X
	want 1 "$BLD" build --progress=plain --run-timeout 1s ctx
	has "$D/err" 'longer than --run-timeout'
	has "$D/err" '\| asked'
	nothing_left
}

# Where nothing is writable the build goes on, and says so once.
unwritable() {
	user_setup
	umask 022
	[ -f "$BASE_TAR" ] || "$TOP/tools/mkbase" "$T/base"
	want 0 "${U_RUN[@]}" "$BLD" build -q -t base:latest "$T/base"
	dockerfile <<-'X'
	FROM base:latest
	RUN true
	RUN echo again
	X
	want 0 "${U_RUN[@]}" "$BLD" build --progress=plain --no-cache -m 1g ctx
	same 1 "$(grep -c 'without some of the limits' "$D/err")" "warnings"
}

base
t "the memory limit of a step" memory
t "CPUs" cpus
t "a limit of processes" bomb
t "a guard against fork bombs" guard
t "groups of a killed build" killed
t "--cgroup-parent" parent
t "--run-timeout" timeouts
t "limits that cannot be had" unwritable
t_end
