#!/bin/bash
# What a step is known by, one change at a time: what is an input misses, what is none hits. And what must be
# nowhere: values of secrets. And cache mounts between steps and between processes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

ARGS=() # of every build of a table

# change hit|miss WHAT COMMAND [ARGS...]: builds a copy of ctx in which COMMAND ran; the step named "probe", or the
# COPY of "sel", has to be found or to run again.
change() {
	local want=$1 what=$2 command=$3 state=cached
	shift 3
	rm -rf variant
	cp -a ctx variant
	(cd variant && eval "$command")
	build "${ARGS[@]}" "$@" variant
	[ "$want" = hit ] || state=start
	grep -qE "$state +(RUN .*: probe|(COPY|ADD) .*sel)" "$D/err" || { cat "$D/err"; fail "$what: not a $want"; }
}
in_file() { sed -i "$@" Dockerfile; }

run_context() {
	mkdir -p ctx/sel
	echo one >ctx/sel/a
	echo other >ctx/other
	printf 'value\n' >s
	cat >ctx/Dockerfile <<-'X'
	FROM base:latest
	ARG USED=1
	ENV E=1
	WORKDIR /w
	USER root
	SHELL ["/bin/sh", "-c"]
	RUN true
	RUN --mount=type=bind,target=/c,source=sel --mount=type=cache,target=/cache,id=x --mount=type=tmpfs,target=/t,size=1m \
	    --mount=type=secret,id=s,target=/s --mount=type=secret,id=v,env=V --mount=type=ssh,target=/sock echo "a  b" : probe
	LABEL after=1
	X
	ARGS=(--secret "id=s,src=$D/s" --add-host db:10.0.0.1)
	build "${ARGS[@]}" ctx
}

run_inputs() {
	run_context
	change hit "nothing" true
	change miss "a word" "in_file 's/a  b/a b/'"
	change miss "ENV value" "in_file 's/^ENV E=1/ENV E=2/'"
	change miss "one more ENV" "in_file 's/^ENV E=1/ENV E=1 F=/'"
	change miss "a declared argument's value" true --build-arg USED=2
	change miss "a declared argument's default" "in_file 's/USED=1/USED=3/'"
	change miss "one more declared argument with a value" "in_file 's/^ENV/ARG MORE=1\nENV/'"
	change miss "WORKDIR" "in_file 's,^WORKDIR /w,WORKDIR /w2,'"
	change miss "USER" "in_file 's/^USER root/USER 0:0/'"
	change miss "SHELL" "in_file 's,/bin/sh\",/bin/ash\",'"
	change miss "the step before" "in_file 's/^RUN true/RUN touch x/'"
	change miss "host name" true --build-arg BUILDKIT_SANDBOX_HOSTNAME=box
	change miss "a name in /etc/hosts" true --add-host web:10.0.0.2
	change miss "a limit" true --ulimit nofile=100
	change miss "--network of the build" true --network none
	change miss "--network of the step" "in_file 's/^RUN --mount=type=bind/RUN --network=none --mount=type=bind/; s/probe/ : probe/'"
	change miss "--security" "in_file 's/^RUN --mount=type=bind/RUN --security=insecure --mount=type=bind/'" --allow security.insecure
	change miss "content of a bind mount" "echo two >sel/a"
	change miss "a new file in it" "echo >sel/b"
	change miss "a mode in it" "chmod 755 sel/a"
	change miss "a name in it" "mv sel/a sel/c"
	change miss "its target" "in_file 's,target=/c,target=/c2,'"
	change miss "writable or not" "in_file 's/source=sel/source=sel,rw/'"
	change miss "target of a cache" "in_file 's,target=/cache,target=/cache2,'"
	change miss "size of a tmpfs" "in_file 's,size=1m,size=2m,'"
	change miss "one mount less" "in_file 's,--mount=type=tmpfs[^ ]* ,,'"
	change miss "target of a secret" "in_file 's,target=/s ,target=/s2 ,'"
	change miss "id of a secret" "in_file 's/id=s,/id=s3,/'"
	change miss "variable of a secret" "in_file 's/env=V/env=W/'"
	change miss "target of an agent" "in_file 's,target=/sock,target=/sock2,'"
}

run_no_inputs() {
	run_context
	change hit "times" "find . -exec touch -d 2001-01-01 {} +"
	change hit "owner" "[ $(id -u) != 0 ] || chown -R 12:34 ."
	change hit "another file of the context" "echo x >other; echo y >more"
	change hit "comments and layout" "in_file 's/^RUN true/# text\nrun   true/; s/^ENV E=1/ENV \\\\\n   E=\"1\"/'"
	change hit "what comes later" "echo 'ARG LATE=1' >>Dockerfile; echo 'RUN true' >>Dockerfile"
	change hit "an argument nobody declared" true --build-arg UNKNOWN=1
	change hit "an argument declared without a value" "in_file 's/^ENV/ARG NOTHING\nENV/'"
	change hit "instructions of the config" "in_file 's,^ENV,LABEL a=b\nCMD [\"x\"]\nENTRYPOINT y\nEXPOSE 80\nVOLUME /v\nSTOPSIGNAL 9\nHEALTHCHECK NONE\nONBUILD RUN z\nMAINTAINER me\nENV,'"
	change hit "proxies" true --build-arg HTTP_PROXY=http://127.0.0.1:9 --build-arg no_proxy=x
	HTTPS_PROXY=http://127.0.0.1:9 change hit "proxies of the environment" true
	ARGS=(--secret "id=s,src=$D/s" --add-host db:10.0.0.9)
	change hit "an address in /etc/hosts" true
	change hit "size of /dev/shm" true --shm-size 1m
	change hit "jobs" true -j 1
	change hit "id of a cache" "in_file 's/id=x/id=y/'"
	change hit "sharing of a cache" "in_file 's/id=x/id=x,sharing=locked/'"
	change hit "name space of caches" true --build-arg BUILDKIT_CACHE_MOUNT_NS=n
	change hit "labels and names" true --label a=b -t keys:t2
	printf 'another\n' >s
	change hit "value of a secret" true
	change hit "a secret that was not there" true --secret "id=v,src=$D/s"
	ARGS=(--add-host db:10.0.0.1)
	change hit "a secret that is not there" true
}

copy_context() {
	mkdir -p ctx/sel/d ctx/empty
	echo one >ctx/sel/a
	ln -s a ctx/sel/l
	echo x >ctx/sel/ignored
	echo sel/ignored >ctx/.dockerignore
	echo other >ctx/other
	printf 'FROM base:latest\nARG A=1\nENV E=1\nCOPY --chmod=u=rwX,go=rX sel /to/\n' >ctx/Dockerfile
	sed -i 's/--chmod=[^ ]* //' ctx/Dockerfile
	ARGS=()
	build ctx
}

copy_inputs() {
	copy_context
	change miss "content" "echo two >sel/a"
	change miss "mode" "chmod 700 sel/a"
	change miss "a name" "mv sel/a sel/b"
	change miss "a new file" "echo >sel/new"
	change miss "a new folder" "mkdir sel/new"
	change miss "mode of a folder" "chmod 700 sel/d"
	change miss "a link" "ln -sf b sel/l"
	change miss "type" "rm sel/l; cp sel/a sel/l"
	change miss "destination" "in_file 's,/to/,/other/,'"
	change miss "--chown" "in_file 's,COPY,COPY --chown=1:1,'"
	change miss "--chmod" "in_file 's,COPY,COPY --chmod=600,'"
	change miss "--exclude" "in_file 's,COPY,COPY --exclude=a,'"
	change miss "--link" "in_file 's,COPY,COPY --link,'"
	change miss "ADD" "in_file 's,COPY,ADD,'"
}

copy_no_inputs() {
	copy_context
	change hit "times" "find . -exec touch -d 2001-01-01 {} +"
	change hit "owner" "[ $(id -u) != 0 ] || chown -R 12:34 ."
	change hit "another file" "echo x >other; rmdir empty"
	change hit "a file that is ignored" "echo y >sel/ignored"
	change hit "variables" "in_file 's/A=1/A=2/; s/E=1/E=2/'" --build-arg A=7
	change hit "instructions of the config" "in_file 's,^ENV,LABEL a=b\nUSER app\nSHELL [\"/x\"]\nCMD x\nENV,'"
	change hit "an expansion to the same" "in_file 's,/to/,/\${T:-to}/,'"
}

excluded_is_no_input() {
	copy_context
	cp ctx/sel/a ctx/sel/b
	sed -i 's,^COPY sel,COPY --exclude=a --exclude=d sel/a sel/?,' ctx/Dockerfile
	echo other >ctx/.dockerignore
	rm ctx/sel/l
	build ctx
	change miss "a match that is copied" "echo two >sel/b"
	change miss "a file written out" "echo two >sel/a"
	sed -i 's,sel/a sel/?,sel/?,' ctx/Dockerfile
	build ctx
	change hit "a match that is excluded" "echo two >sel/a"
}

# A changed base, or step below: what is laid on top with --link stays.
link_is_independent() {
	mkdir -p ctx/sel
	echo one >ctx/sel/a
	printf 'FROM base:latest\nRUN echo 1 >/below\nCOPY --link sel /to/\n' >ctx/Dockerfile
	ARGS=()
	build -t link:1 ctx
	change hit "the step below" "in_file 's/echo 1/echo 2/'" -t link:2
	same "$(layers link:1 | tail -n 1)" "$(layers link:2 | tail -n 1)" "layers of COPY --link"
	change miss "without --link it is an input" "in_file 's/echo 1/echo 3/; s/ --link//'"
}

no_cache_filter() {
	dockerfile <<-'X'
	FROM base:latest AS One
	RUN cat /proc/sys/kernel/random/uuid >/a
	FROM base:latest AS two
	RUN cat /proc/sys/kernel/random/uuid >/b
	FROM base:latest
	COPY --from=one /a /a
	COPY --from=two /b /b
	X
	build -t f:1 ctx
	build -t f:2 --no-cache-filter one ctx
	[ "$(file_in f:1 -2 a)" != "$(file_in f:2 -2 a)" ] || fail "the stage was not built again"
	same "$(file_in f:1 -1 b)" "$(file_in f:2 -1 b)" "the other stage's file"
	build -t f:3 --no-cache-filter two,one ctx
	[ "$(file_in f:2 -1 b)" != "$(file_in f:3 -1 b)" ] || fail "the second of a list was not built again"
	build -t f:4 ctx
	same "$(layers f:3)" "$(layers f:4)" "what was built without the cache is in it"
}

# nowhere TEXT: not in any file of the store, not in the output; in no usual encoding.
nowhere() {
	local form
	for form in "$1" "$(printf %s "$1" | base64 -w0 | sed 's/=*$//; s/.$//')" "$(printf %s "$1" | od -An -tx1 | tr -d ' \n')"; do
		if grep -raF -e "$form" "$BLD_ROOT" "$D/err" "$D/out" >"$D/found"; then
			head -c 300 "$D/found"
			fail "a secret is left"
		fi
	done
	for form in "$BLD_ROOT"/blobs/sha256/*; do
		if { zcat -f "$form" 2>/dev/null || zstd -dcq "$form" 2>/dev/null; } | grep -qaF -e "$1"; then
			fail "a secret is in the blob $form"
		fi
	done
}

secrets_are_nowhere() {
	BLD_ROOT=$D/own
	base
	local value='Tr0ub4dor&3-correct-horse'
	printf %s "$value" >s
	dockerfile <<-'X'
	FROM base:latest
	RUN --mount=type=secret,id=s cat /run/secrets/s; echo "$(cat /run/secrets/s)" >&2
	RUN --mount=type=secret,id=s,env=TOKEN echo "[$TOKEN]" && test -n "$TOKEN"
	RUN --mount=type=secret,id=s,target=/etc/deep/er/token --mount=type=secret,id=s,env=A,target=/x test -s /x
	X
	build --secret id=s,src=s -t sec:t1 --metadata-file m.json ctx
	nowhere "$value"
	TOKEN=$value build --no-cache --secret id=s,env=TOKEN --progress=rawjson ctx
	nowhere "$value"
	# after a failure, and one killed in the middle
	printf 'RUN --mount=type=secret,id=s cat /run/secrets/s && false\n' >>ctx/Dockerfile
	want 1 "$BLD" build --progress=plain --secret id=s,src=s ctx
	nowhere "$value"
	dockerfile <<-X
	FROM base:latest
	RUN --mount=type=secret,id=s --mount=type=secret,id=s,env=T echo begins; sleep 20; : $MARK-step
	X
	"$BLD" build --progress=plain --secret id=s,src=s ctx >o 2>&1 &
	local pid=$!
	for _ in $(seq 100); do grep -qs '| begins' o && break; sleep 0.1; done
	kill -9 "$pid"
	wait "$pid" || true
	nothing_left
	nowhere "$value"
}

# two DOCKERFILE-LINE: the same step in two processes at once, without the cache; o1 and o2 say what they saw.
two() {
	printf 'FROM base:latest\n%s\n' "$1" | dockerfile
	local i pids=()
	for i in 1 2; do
		"$BLD" build --no-cache --progress=plain --build-arg "N=$i" ctx >"o$i" 2>&1 &
		pids+=($!)
	done
	for i in 1 2; do wait "${pids[$((i - 1))]}" || { cat "o$i"; fail "build $i failed"; }; done
}

sharing() {
	# locked: nobody is there at the same time
	two "RUN --mount=type=cache,id=lk,target=/c,sharing=locked mkdir /c/busy && sleep 0.7 && rmdir /c/busy && echo x >>/c/log"
	two "RUN --mount=type=cache,id=lk,target=/c,sharing=locked echo n=\$(wc -l </c/log)"
	has o1 '\| n=2'
	# shared: each waits for the other's file
	two "ARG N
RUN --mount=type=cache,id=sh,target=/c touch /c/\$N; i=0; while [ ! -e /c/1 ] || [ ! -e /c/2 ]; do i=\$((i+1)); [ \$i -lt 200 ] || exit 1; sleep 0.05; done"
	# private: a folder of its own while another has the first; then the first again
	two "ARG N
RUN --mount=type=cache,id=pr,target=/c,sharing=private --mount=type=cache,id=meet,target=/m touch /m/\$N; i=0; while [ ! -e /m/1 ] || [ ! -e /m/2 ]; do i=\$((i+1)); [ \$i -lt 200 ] || exit 1; sleep 0.05; done; touch /c/\$N; sleep 0.5; echo \"sees \$(ls /c | xargs)\""
	has o1 '\| sees 1$'
	has o2 '\| sees 2$'
	# the same in one build
	dockerfile <<-'X'
	FROM base:latest AS a
	RUN --mount=type=cache,id=one,target=/c,sharing=locked mkdir /c/busy && sleep 0.3 && rmdir /c/busy && touch /a
	FROM base:latest AS b
	RUN --mount=type=cache,id=one,target=/c,sharing=locked mkdir /c/busy && sleep 0.3 && rmdir /c/busy && touch /b
	FROM base:latest AS c
	RUN --mount=type=cache,id=own,target=/c,sharing=private --mount=type=cache,id=at,target=/m touch /m/c; while [ ! -e /m/d ]; do sleep 0.05; done; touch /c/c; sleep 0.3; echo "c sees $(ls /c | xargs)"; touch /c2
	FROM base:latest AS d
	RUN --mount=type=cache,id=own,target=/c,sharing=private --mount=type=cache,id=at,target=/m touch /m/d; while [ ! -e /m/c ]; do sleep 0.05; done; touch /c/d; sleep 0.3; echo "d sees $(ls /c | xargs)"; touch /d2
	FROM base:latest
	COPY --from=a /a /
	COPY --from=b /b /
	COPY --from=c /c2 /
	COPY --from=d /d2 /
	X
	build -j 4 ctx
	has "$D/err" 'c sees c$'
	has "$D/err" 'd sees d$'
}

# Two locked caches taken in opposite order by two steps: nobody waits for ever.
no_deadlock() {
	dockerfile <<-'X'
	FROM base:latest AS a
	RUN --mount=type=cache,id=p,target=/p,sharing=locked --mount=type=cache,id=q,target=/q,sharing=locked sleep 0.2; touch /a
	FROM base:latest AS b
	RUN --mount=type=cache,id=q,target=/q,sharing=locked --mount=type=cache,id=p,target=/p,sharing=locked sleep 0.2; touch /b
	FROM base:latest
	COPY --from=a /a /
	COPY --from=b /b /
	X
	for _ in 1 2 3 4 5; do want 0 timeout 60 "$BLD" build --no-cache -j 4 ctx; done
	# the same cache twice in one step
	printf 'FROM base:latest\nRUN --mount=type=cache,id=p,target=/p,sharing=locked --mount=type=cache,id=p,target=/q,sharing=locked touch /p/x && ls /q\n' | dockerfile
	want 0 timeout 60 "$BLD" build --no-cache ctx
}

t "base image" base
t "RUN: what is an input misses" run_inputs
t "RUN: what is none hits" run_no_inputs
t "COPY: what is an input misses" copy_inputs
t "COPY: what is none hits" copy_no_inputs
t "COPY: what is excluded is no input" excluded_is_no_input
t "COPY --link does not depend on what is below" link_is_independent
t "--no-cache-filter" no_cache_filter
t "values of secrets are nowhere, after success, failure and kill" secrets_are_nowhere
t "cache mounts: shared, locked, private; in one build and between processes" sharing
t "cache mounts: no deadlock" no_deadlock
t_end
