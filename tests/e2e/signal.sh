#!/bin/bash
# Ctrl-C and SIGTERM: the exit code, and nothing left: no process, no mount, no half-written image or file.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

project() {
	dockerfile <<-X
	FROM base:latest AS one
	RUN echo begins; sleep 60; : $MARK-step
	FROM base:latest AS two
	RUN echo begins-too; (setsid sleep 61; : $MARK-step) & sleep 62; : $MARK-step
	FROM scratch
	COPY --from=one /etc/group /a
	COPY --from=two /etc/group /b
	X
}
# interrupt SIGNAL...: start, wait until both steps run, send the signals half a second apart
interrupt() {
	local pid sig
	: >"$D/err"
	# A shell starts background jobs with SIGINT ignored; a program at a terminal has it at its default.
	python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$BLD" build --progress=plain --iidfile iid --metadata-file meta \
		-o type=oci,dest=out.tar -t sig:t1 ctx >"$D/out" 2>"$D/err" &
	pid=$!
	for _ in $(seq 200); do
		[ "$(grep -cE '\| begins' "$D/err")" -ge 2 ] && break
		sleep 0.1
	done
	has "$D/err" '\| begins-too'
	for sig in "$@"; do
		kill -"$sig" "$pid"
		sleep 0.5
	done
	START=$(now_ms)
	STATUS=0
	wait "$pid" || STATUS=$?
	TOOK=$(($(now_ms) - START))
}
after() {
	nothing_left
	store_whole
	want 0 "$BLD" images
	hasnt "$D/out" 'sig'
	[ ! -e iid ] && [ ! -e meta ] && [ ! -e out.tar ] || fail "a file of a build that did not happen"
	same '' "$(find . -maxdepth 1 -name '*out.tar*')" "temporary names of the output"
}

sigint() {
	project
	interrupt INT
	same 130 "$STATUS" "exit status"
	[ "$TOOK" -lt 12000 ] || fail "it took $TOOK ms"
	hasnt "$D/err" '^error: .*(exited|status 143)'
	after
}
sigterm() {
	project
	interrupt TERM
	same 143 "$STATUS" "exit status"
	after
}
# A step that ignores SIGTERM gets ten seconds, or a second Ctrl-C.
twice() {
	dockerfile <<-X
	FROM base:latest AS one
	RUN trap '' TERM INT; echo begins; while :; do sleep 1; done; : $MARK-step
	FROM base:latest AS two
	RUN echo begins-too; sleep 60; : $MARK-step
	FROM scratch
	COPY --from=one /etc/group /a
	COPY --from=two /etc/group /b
	X
	interrupt INT INT
	same 130 "$STATUS" "exit status"
	[ "$TOOK" -lt 3000 ] || fail "it took $TOOK ms after the second Ctrl-C"
	after
}
# Ctrl-C at a terminal goes to the whole foreground group, children included.
at_a_terminal() {
	need script
	project
	cat >go <<-X
	#!/bin/bash
	exec "$BLD" build -t sig:t1 ctx
	X
	chmod +x go
	( sleep 3; printf '\003'; sleep 14 ) | timeout 60 script -qec ./go tty.log >/dev/null || true
	has tty.log 'begins'
	nothing_left
	want 0 "$BLD" images
	hasnt "$D/out" 'sig'
}
next_build() {
	dockerfile <<-'X'
	FROM base:latest
	RUN echo after
	X
	build -t sig:next ctx
	store_whole
	same '' "$(find "$BLD_ROOT/tmp" -mindepth 1 -type f -size +0 | head)" "files in tmp"
}

# reading ARGS...: bld with the named pipe $D/pipe to read, as $PID; returns once it has that open and listens to
# signals.
reading() {
	"$BLD" "$@" <&0 >"$D/out" 2>"$D/err" &
	PID=$!
	for _ in $(seq 200); do
		[ -z "$(find "/proc/$PID/fd" -lname "$D/pipe" 2>/dev/null)" ] ||
			[ -z "$(find "/proc/$PID/fd" -lname '*signalfd*' 2>/dev/null)" ] || return 0
		kill -0 "$PID" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$PID" 2>/dev/null
	fail "bld $* does not open the pipe: $(cat "$D/err")"
}
# ends: $STATUS of $PID, which has to end by itself.
ends() {
	for _ in $(seq 200); do
		kill -0 "$PID" 2>/dev/null || break
		sleep 0.1
	done
	! kill -KILL "$PID" 2>/dev/null || fail "it still runs"
	STATUS=0
	wait "$PID" || STATUS=$?
}
stopped() {
	reading "$@"
	kill -TERM "$PID"
	ends
	same 143 "$STATUS" "exit status of bld $*"
	one_error
}
silent_pipe() {
	local command
	mkfifo pipe
	# Nobody writes; then somebody does who says nothing.
	for command in "append -b base:latest -f $D/pipe -t pipe:p" "import $D/pipe pipe:p" "load -i $D/pipe" \
		"files $D/pipe" "diff base:latest $D/pipe" "flatten oci-archive:$D/pipe -t pipe:p" "build -f $D/pipe ."; do
		# shellcheck disable=SC2086
		stopped $command
	done
	exec 8<>pipe
	stopped files "$D/pipe"
	stopped build - <&8
	stopped build -f - . <&8
	exec 8>&-
	store_whole
	nothing_left
}
# What is opened before its writer comes is not empty.
late_writer() {
	mkfifo pipe
	bld copy store:base:latest oci-archive:base.tar
	reading diff base:latest "$D/pipe"
	cat base.tar >pipe
	ends
	same 0 "$STATUS" "exit status" || { cat err; return 1; }
	mkdir root
	echo x >root/added
	tar -cf layer.tar -C root added
	reading append -b base:latest -f "$D/pipe" -t pipe:late
	cat layer.tar >pipe
	ends
	same 0 "$STATUS" "exit status" || { cat err; return 1; }
	bld cat pipe:late /added
	same x "$(cat out)" "the file"
}

t "base image" base
t "SIGTERM while a pipe is silent" silent_pipe
t "a named pipe waits for its writer" late_writer
t "Ctrl-C: exit 130" sigint
t "SIGTERM: exit 143" sigterm
t "a second Ctrl-C does not wait for a stubborn step" twice
t "Ctrl-C at a terminal" at_a_terminal
t "the next build works and tmp is swept" next_build
t_end
