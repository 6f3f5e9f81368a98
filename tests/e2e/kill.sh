#!/bin/bash
# kill -9 at random moments, of the engine, the keeper or a step's init: no process stays, no mount, the store is
# whole, and the next build finishes. E2E_KILLS: how many times (10). E2E_SEED: the same moments again.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

KILLS=${E2E_KILLS:-10}
RANDOM=${E2E_SEED:=$((RANDOM + 1))}
echo "# $KILLS kills, E2E_SEED=$E2E_SEED"

project() {
	mkdir -p ctx/src
	for n in $(seq 200); do echo "file $n" >"ctx/src/f$n"; done
	head -c 3000000 /dev/urandom >ctx/blob
	cat >ctx/Dockerfile <<-X
	ARG ROUND
	FROM base:latest AS a
	ARG ROUND
	COPY src /src
	RUN echo \$ROUND >/a && cat /src/* >/all && head -c 2000000 /dev/urandom >/r; : $MARK-step
	RUN mkdir /many && cd /many && for i in \$(seq 300); do echo \$ROUND >f\$i; done; : $MARK-step
	FROM base:latest AS b
	ARG ROUND
	RUN rm -rf /var/tmp && echo \$ROUND >/b && sleep 0.2; : $MARK-step
	FROM base:latest
	ARG ROUND
	COPY blob /blob
	COPY --from=a /all /many /out/
	COPY --from=b /b /out/
	RUN echo last \$ROUND >/out/last; : $MARK-step
	X
}

# victim ENGINE_PID KIND: its process id, or the engine's if there is none of that kind now
victim() {
	local keeper init
	keeper=$(pgrep -P "$1" | head -n 1 || true)
	case $2 in
	keeper) [ -z "$keeper" ] || { echo "$keeper"; return; } ;;
	init)
		init=$([ -z "$keeper" ] || pgrep -P "$keeper" | head -n 1 || true)
		[ -z "$init" ] || { echo "$init"; return; }
		;;
	esac
	echo "$1"
}

kills() {
	local took start i pid who at target status finished=0
	local -A hits=()
	project
	start=$(now_ms)
	build --build-arg ROUND=0 -t kill:r0 ctx
	took=$(($(now_ms) - start))
	echo "a build takes $took ms"
	for i in $(seq "$KILLS"); do
		case $((RANDOM % 3)) in 0) who=engine ;; 1) who=keeper ;; 2) who=init ;; esac
		at=$((RANDOM % (took + took / 10 + 1)))
		"$BLD" build --progress=plain --build-arg ROUND="$i" -t "kill:r$i" ctx >"$D/out" 2>"$D/err" &
		pid=$!
		sleep "$((at / 1000)).$(printf %03d $((at % 1000)))"
		target=$(victim "$pid" "$who")
		kill -9 "$target" 2>/dev/null || true
		status=0
		wait "$pid" 2>/dev/null || status=$?
		echo "round $i: killed $who after $at ms, the engine ended with $status"
		hits[$who]=$((${hits[$who]-0} + 1))
		[ "$status" != 0 ] || finished=$((finished + 1))
		# A process of ours that dies is told as such, never a crash of the engine.
		[ "$status" -lt 128 ] || [ "$status" = 137 ] || { cat "$D/err"; fail "the engine died of a signal: $status"; }
		nothing_left
		store_whole
		same "last 0" "$(file_in kill:r0 -1 out/last)"
	done
	for who in "${!hits[@]}"; do echo "$who: ${hits[$who]} kills"; done >"$T/note"
	echo "$finished of $KILLS builds ended before the kill, of about $took ms each" >>"$T/note"
	[ "$finished" -lt "$KILLS" ] || fail "no kill hit a running build"
	for i in $(seq "$KILLS"); do
		build --build-arg ROUND="$i" -t "kill:r$i" ctx
		same "last $i" "$(file_in "kill:r$i" -1 out/last)"
		same "$i" "$(file_in "kill:r$i" -2 out/b)"
	done
	store_whole
}

# What the dead left is reclaimed by the next start: nothing in tmp/, and `du` agrees with du.
no_leak() {
	build --build-arg ROUND=0 -t kill:r0 "$T/t2/ctx"
	nothing_left
	same '' "$(find "$BLD_ROOT/tmp" -mindepth 1 -type f -size +0 | head)" "files in tmp"
	bld du --format json
	local said real
	said=$(jq -r '.total' "$D/out")
	real=$(($(du -s --block-size=1 "$BLD_ROOT" | cut -f1)))
	[ $((said - real)) -lt $((real / 20 + 262144)) ] && [ $((real - said)) -lt $((real / 20 + 262144)) ] ||
		fail "bld du says $said, du says $real"
}

killed_while_pulling() {
	registry_start kill
	local i pid
	head -c 40000000 /dev/urandom >big
	mkdir ctx && mv big ctx && printf 'FROM scratch\nCOPY big /\n' >ctx/Dockerfile
	build --push -t "$REG/big:v1" ctx
	for i in 1 2 3; do
		rm -rf other
		BLD_ROOT=$D/other "$BLD" pull "$REG/big:v1" >/dev/null 2>&1 &
		pid=$!
		sleep "0.0$((RANDOM % 90 + 10))"
		kill -9 "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		[ ! -e other/index.json ] || store_whole other
		BLD_ROOT=$D/other want 0 "$BLD" pull "$REG/big:v1"
		store_whole other
	done
}

t "base image" base
t "kill -9 of engine, keeper and init at $KILLS random moments" kills
sed 's/^/# /' "$T/note" 2>/dev/null
t "nothing leaks: tmp is empty, du agrees with du" no_leak
t "kill -9 while pulling" killed_while_pulling
t_end
