#!/bin/bash
# What a RUN step sees, may do, and leaves behind.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# run_says NAME=… : each RUN line of the Dockerfile given on stdin ends up in $D/err as "| …"
run_says() {
	dockerfile
	build --no-cache -t sb:t1 "$@" ctx
}

environment() {
	run_says <<-'X'
	FROM base:latest
	ENV GIVEN=yes
	WORKDIR /made/by/workdir
	RUN echo "pwd=$(pwd) given=$GIVEN home=$HOME path=$PATH pid1=$(cat /proc/1/comm | wc -c)"
	RUN ["/bin/echo", "exec", "$GIVEN"]
	RUN echo "tty=$(test -t 1 && echo yes || echo no) stdin=$(readlink /proc/self/fd/0) umask=$(umask)"
	RUN ls /proc/self/fd | tr '\n' ' '; echo fds
	RUN trap '' PIPE; kill -l >/dev/null; grep -E '^Sig(Blk|Ign)' /proc/self/status
	SHELL ["/bin/ash", "-euc"]
	RUN echo "shell=$0"; false || echo kept
	X
	has "$D/err" 'pwd=/made/by/workdir given=yes home=/root path=/usr/local/sbin:'
	has "$D/err" '\| exec \$GIVEN'
	has "$D/err" 'tty=no stdin=/dev/null umask=0022'
	has "$D/err" '\| 0 1 2 3 fds' # 3 is ls reading the folder
	has "$D/err" 'SigBlk:.*0000000000000000'
	has "$D/err" '\| kept'
	same /made/by/workdir "$(config sb:t1 | jq -r .config.WorkingDir)"
}

users() {
	run_says <<-'X'
	FROM base:latest
	RUN echo "root: $(id)"
	USER app
	RUN echo "app: $(id) home=$HOME"
	RUN echo "app's stdout" >/dev/stdout && echo "app's stderr" >/dev/stderr
	USER 33
	RUN echo "33: $(id)"
	USER 4242:29
	RUN echo "4242: $(id -u):$(id -g)"
	USER app:users
	RUN echo "app-users: $(id -un):$(id -gn)"
	USER root
	RUN touch /f && chown 1000:33 /f && ls -n /f
	X
	has "$D/err" 'root: uid=0\(root\) gid=0\(root\)'
	has "$D/err" 'app: uid=1000\(app\) gid=1000\(app\) groups=.*10\(wheel\).*29\(audio\).* home=/home/app'
	has "$D/err" "\| app's stdout"
	has "$D/err" "\| app's stderr"
	has "$D/err" '33: uid=33\(www-data\) gid=33'
	has "$D/err" '4242: 4242:29'
	has "$D/err" 'app-users: app:users'
	has "$D/err" '1000 +33 .*/f'
}

# A tree of the image over /dev: a link named null in it must not be followed in the host's root.
dev_covered() {
	echo "of the host" >"$T/host-file"
	dockerfile <<-X
	FROM base:latest AS evil
	RUN ln -s $T/host-file /null && mkfifo /tty
	FROM base:latest
	RUN mkdir -p $T && touch $T/host-file
	RUN --mount=type=bind,from=evil,source=/,target=/dev cat /proc/interrupts; echo mine >/proc/interrupts; echo ran
	RUN --mount=type=tmpfs,target=/dev cat /proc/interrupts; echo ran too
	X
	build ctx
	has "$D/err" '\| ran$'
	has "$D/err" '\| ran too$'
	hasnt "$D/err" '\| of the host'
	same "of the host" "$(cat "$T/host-file")" "a file of the host"
}

kernel_view() {
	run_says <<-'X'
	FROM base:latest
	RUN grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status
	RUN for d in null zero full random urandom tty ptmx; do test -c /dev/$d || echo "no /dev/$d"; done; \
	    for d in fd stdin stdout stderr; do test -L /dev/$d || echo "no link $d"; done; \
	    head -c 3 /dev/zero | wc -c; echo x >/dev/null && echo null works
	RUN mount | awk '{print $3, $5, $6}' | sort
	RUN echo "ns: $(readlink /proc/self/ns/pid)"; ps | wc -l
	RUN (echo x >/proc/sys/kernel/hostname) 2>&1 | head -1; head -c 1 /proc/kcore 2>/dev/null | wc -c | sed s/^/kcore=/
	RUN touch /sys/x 2>/dev/null && echo "sys writable"; mount -t tmpfs t /mnt 2>/dev/null && echo "mounted"; \
	    mknod /tmp/disk b 254 0 && (head -c 1 /tmp/disk >/dev/null 2>&1 && echo "disk readable"); rm -f /tmp/disk; \
	    for d in /dev /dev/shm /dev/mqueue; do mknod $d/mine c 1 3 && (echo x >$d/mine) 2>/dev/null && echo "device made in $d"; done; true
	RUN unshare -U true 2>/dev/null && echo "userns made"; true
	RUN df -k /dev/shm | tail -1 | awk '{print "shm", $2}'; cat /etc/hosts | tr '\n' ';'; test -s /etc/resolv.conf && echo resolv
	X
	has "$D/err" 'CapInh:.*0000000000000000'
	has "$D/err" 'CapEff:.*00000000a80425fb'
	has "$D/err" 'CapBnd:.*00000000a80425fb'
	has "$D/err" 'CapAmb:.*0000000000000000'
	has "$D/err" 'Seccomp:.*2'
	has "$D/err" 'NoNewPrivs:.*0'
	hasnt "$D/err" '\| no (/dev|link)'
	has "$D/err" 'null works'
	has "$D/err" '\| / overlay'
	has "$D/err" '\| /proc proc'
	has "$D/err" '\| /dev tmpfs'
	hasnt "$D/err" '\| (sys writable|disk readable|device made|mounted|userns made)'
	has "$D/err" 'kcore=0'
	has "$D/err" 'shm 65536'
	has "$D/err" '127.0.0.1.*localhost'
	[ "$(readlink /proc/self/ns/pid)" != "$(sed -nE 's/.*\| ns: (.*)/\1/p' "$D/err")" ] || fail "the host's pid namespace"
	hasnt "$D/err" "\\| .*$T" # no path of the host in the step's mount table
}

network() {
	dockerfile <<-'X'
	FROM base:latest
	RUN ls /sys/class/net | tr '\n' ' '; echo "netns=$(readlink /proc/self/ns/net)"
	X
	local here
	here=$(readlink /proc/self/ns/net)
	build --no-cache --network none ctx
	has "$D/err" '\| lo netns='
	hasnt "$D/err" "netns=${here//[\[\]]/.}"
	build --no-cache --network host --allow network.host ctx
	has "$D/err" "netns=${here//[\[\]]/.}"
	build --no-cache ctx
	# Only loopback, and it is up.
	printf 'FROM base:latest\nRUN ping -c 1 -W 1 127.0.0.1 >/dev/null && echo lo-up; wget -T 2 -q -O - http://192.0.2.1/ 2>&1 | tail -1\n' >ctx/Dockerfile
	build --no-cache --network none ctx
	has "$D/err" 'lo-up'
	# A step's own --network
	printf 'FROM base:latest\nRUN --network=none ls /sys/class/net | wc -l | sed s/^/n=/\n' >ctx/Dockerfile
	build --no-cache ctx
	has "$D/err" '\| n=1$'
	printf 'FROM base:latest\nRUN echo refused\n' >ctx/Dockerfile
	want 4 "$BLD" build --network host ctx # an entitlement that was not given
}

no_trace() {
	run_says <<-'X'
	FROM base:latest
	RUN echo x >/only
	X
	same only "$(layer_names sb:t1 -1 | xargs)" "names in the layer"
	# etc/ is not there: resolv.conf and hosts were bld's own. A folder that was made is.
	run_says <<-'X'
	FROM base:latest
	RUN rm -rf /etc/resolv.conf; mkdir -p /dev/shm/x /run/keep && echo r >/run/keep/r; echo t >/tmp/t; echo s >/dev/shm/s
	X
	layer_names sb:t1 -1 >names
	same 'run run/keep run/keep/r tmp tmp/t' "$(xargs <names)"
	# A root without mount points gets the three that every runtime makes, as BuildKit has it, and no more.
	run_says <<-'X'
	FROM scratch
	COPY --from=base:latest /bin /bin
	RUN ["/bin/touch", "/x"]
	X
	same 'dev proc sys x' "$(layer_names sb:t1 -1 | xargs)"
}

whiteouts() {
	run_says <<-'X'
	FROM base:latest
	RUN mkdir -p /a/b && echo 1 >/a/b/1 && echo 2 >/a/b/2 && echo k >/a/keep && ln -s keep /a/l
	RUN rm -r /a/b && mkdir /a/b && echo 3 >/a/b/3 && rm /a/l && chmod 700 /a/keep
	RUN ls -R /a && ! test -e /a/b/1
	X
	same 'a a/.wh.l a/b a/b/.wh.1 a/b/.wh.2 a/b/3 a/keep' "$(layer_names sb:t1 -2 | xargs)"
	hasnt <(layer_names sb:t1 -2) 'opq'
}

special_files() {
	run_says <<-'X'
	FROM base:latest
	RUN mkdir /s && cd /s && echo a >a && ln a b && mkfifo p && ln -s /nowhere l && chmod 4755 a && \
	    touch -d '2001-02-03 04:05:06' old && head -c 5000000 /dev/zero >big && \
	    touch "$(printf 'sp ace\nnl')" && mkdir -p $(seq -s/ 60)
	X
	layer_tar sb:t1 -1 | tar -tvf - --numeric-owner >l
	has l '^-rwsr-xr-x 0/0 .*s/a$'
	has l '^h.* s/b link to (\./)?s/a'
	has l '^p.* s/p$'
	has l '^l.* s/l -> /nowhere$'
	has l '2001-02-03 04:05 .*s/old$'
	has l 'sp ace\\nnl'
}

daemons_die() {
	run_says <<-X
	FROM base:latest
	RUN (setsid sleep 100 & echo started; : $MARK-step); sleep 0.2
	RUN ps | grep -c '[s]leep 100' | sed s/^/left=/
	X
	has "$D/err" 'left=0'
	nothing_left
}

live_output() {
	dockerfile <<-'X'
	FROM base:latest
	RUN printf 'without newline'; sleep 3; echo; echo to-stdout; echo to-stderr >&2; seq 1 20000 | tail -n 1
	X
	"$BLD" build --no-cache --progress=plain -t sb:live ctx >"$D/out" 2>"$D/err" &
	local pid=$!
	printf 'FROM base:latest\nRUN echo first-line; sleep 3; echo second-line\n' >ctx/Dockerfile2
	"$BLD" build --no-cache --progress=plain -f ctx/Dockerfile2 ctx >o2 2>e2 &
	local pid2=$!
	for _ in $(seq 25); do
		grep -q first-line e2 && break
		sleep 0.1
	done
	hasnt e2 '\| second-line'
	has e2 '\| first-line'
	wait "$pid"
	wait "$pid2"
	has "$D/err" 'without newline'
	has "$D/err" '\| to-stdout'
	has "$D/err" '\| to-stderr'
	has "$D/err" '\| 20000$'
}

much_output() {
	run_says <<-'X'
	FROM base:latest
	RUN seq 1 300000; echo end-of-it
	X
	has "$D/err" '\| 300000$'
	has "$D/err" 'end-of-it'
	local log
	log=$(find "$BLD_ROOT/builds" -type f -size +1M | head -n 1 || true)
	[ -n "$log" ] || fail "the complete log is not in the record"
}

isolation_levels() {
	dockerfile <<-'X'
	FROM base:latest
	RUN id -u >/u && chown 33:33 /u
	X
	want 9 "$BLD" build --no-cache --isolation none ctx
	one_error
	printf 'FROM base:latest\nCOPY Dockerfile /d\n' >ctx/Plain
	build --isolation none -f ctx/Plain ctx # no RUN, no need
	want 2 "$BLD" build --isolation magic ctx
	# The same layer from each level that works here.
	local level id ids=
	for level in root userns; do
		SOURCE_DATE_EPOCH=1700000000 "$BLD" build --no-cache --progress=plain --isolation "$level" -t "lv:$level" ctx 2>"$D/err" ||
			{ cat "$D/err"; [ "$level" != root ] || [ "$(id -u)" != 0 ]; continue; }
		id=$(diff_ids "lv:$level" | tail -n 1)
		[ -z "$ids" ] || same "$ids" "$id" "layers of two isolation levels"
		ids=$id
	done
	[ -n "$ids" ]
}

# What a step prints of a secret stands on no screen and in no log, also where the value comes in two writes.
secrets_are_masked() {
	base
	printf 'hunter2secret\n' >s
	dockerfile <<-'X'
	FROM base:latest
	RUN --mount=type=secret,id=s cat /run/secrets/s; printf hunter2; sleep 0.2; printf 'secret\n'; printf hunter2; exit 3
	X
	want 1 "$BLD" build --progress=plain --secret id=s,src=s ctx
	hasnt "$D/err" 'hunter2secret'
	has "$D/err" '\| \*\*\*\*$'
	has "$D/err" '\| hunter2$'
	if grep -r hunter2secret "$BLD_ROOT"; then
		return 1
	fi
}

t "base image" base
t "folder, environment, shell and exec form, descriptors" environment
t "USER: names, numbers, supplementary groups, HOME" users
t "capabilities, seccomp, /dev, /proc, /sys, masks" kernel_view
t "a tree of the image over /dev" dev_covered
t "--network none, host, default" network
t "bld's own mounts leave no trace in the layer" no_trace
t "deleted and re-created folders become whiteouts" whiteouts
t "links, fifos, set-uid, times, odd names" special_files
t "what a step leaves running dies with it" daemons_die
t "output is shown as it comes" live_output
t "much output: shown whole, kept whole" much_output
t "values of secrets are masked in output and logs" secrets_are_masked
t "--isolation: none is refused for RUN, levels agree" isolation_levels
t_end
