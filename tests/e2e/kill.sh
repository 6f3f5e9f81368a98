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

# round N: build, kill, look; adds to hit when the kill came before the end of the build
round() {
	local i=$1 who at pid target status=0
	case $((RANDOM % 3)) in 0) who=engine ;; 1) who=keeper ;; 2) who=init ;; esac
	at=$((RANDOM % (took + 1)))
	"$BLD" build --progress=plain --build-arg ROUND="$i" -t "kill:r$i" ctx >"$D/out" 2>"$D/err" &
	pid=$!
	sleep "$((at / 1000)).$(printf %03d $((at % 1000)))"
	target=$(victim "$pid" "$who")
	kill -9 "$target" 2>/dev/null || true
	wait "$pid" 2>/dev/null || status=$?
	echo "round $i: killed $who after $at ms, the engine ended with $status"
	# A helper that dies is told as an error; only the engine itself ends by the signal.
	[ "$status" -lt 128 ] || [ "$status" = 137 ] || { cat "$D/err"; fail "the engine died of a signal: $status"; }
	nothing_left
	store_whole
	same "last 0" "$(file_in kill:r0 -1 out/last)"
	if [ "$status" != 0 ]; then
		hit=$((hit + 1))
		echo "$who" >>"$T/note"
	fi
}

kills() {
	local start i try hit=0 took before
	project
	build --build-arg ROUND=0 -t kill:r0 ctx
	start=$(now_ms)
	build --build-arg ROUND=00 -t kill:r00 ctx
	took=$(($(now_ms) - start))
	for i in $(seq "$KILLS"); do
		for try in 1 2 3; do
			before=$hit
			round "$i.$try" # not as a condition: that would switch `set -e` off inside
			[ "$hit" = "$before" ] || break
		done
	done
	echo "$hit of $KILLS kills hit a running build of about $took ms: $(sort "$T/note" | uniq -c | xargs)" >"$T/said"
	[ $((hit * 10)) -ge $((KILLS * 7)) ] || fail "too few kills hit a running build"
	for i in $(seq "$KILLS"); do
		build --build-arg ROUND="$i.1" -t "kill:r$i" ctx
		same "last $i.1" "$(file_in "kill:r$i" -1 out/last)"
		same "$i.1" "$(file_in "kill:r$i" -2 out/b)"
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
sed 's/^/# /' "$T/said" 2>/dev/null
t "nothing leaks: tmp is empty, du agrees with du" no_leak
t "kill -9 while pulling" killed_while_pulling
t_end
