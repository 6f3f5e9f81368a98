#!/bin/bash
# RUN as its section of the language says: forms, every kind of --mount, what a step may be given.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# says ARGS...: builds the Dockerfile of standard input behind a stage "st" with files in /d.
says() {
	{
		cat <<-'X'
		FROM base:latest AS st
		RUN mkdir -p /d/sub && echo one >/d/1 && echo two >/d/sub/2 && chown 33:34 /d/1 && ln -s sub/2 /d/l
		FROM base:latest
		WORKDIR /w
		ARG V=/v
		ENV E=/e
		X
		cat
	} | dockerfile
	build --no-cache -t steps:t1 "$@" ctx
}

binds() {
	says <<-'X'
	RUN --mount=target=rel,from=st,source=/d echo "A $(cat /w/rel/1 /w/rel/sub/2 /w/rel/l | xargs)"
	RUN --mount=from=ST,source=d/1,dst=/one echo "B $(cat /one) $(ls -ln /one | awk '{print $1, $3, $4}')"; echo x >/one || echo "B ro"
	RUN --mount=from=st,source=/d,dst=/rw,rw echo more >/rw/more; rm /rw/1; echo "C $(ls /rw | xargs)"
	RUN --mount=from=st,source=/d,destination=/rw,readwrite=true echo "D $(ls /rw | xargs)"
	RUN --mount=from=st,src=/d/1,dst=/f,ro,rw=1 echo x >/f; echo "E $(cat /f)"
	RUN --mount=from=st,source=d/l,target=/f echo "F $(cat /f)"
	RUN --mount=type=bind,target=.,source=. echo "G $(ls -A | xargs)"; touch x 2>/dev/null || echo "G ro"
	RUN --mount=TYPE=Bind,"from=st",target=$V$E echo "H $(ls /v/e | xargs)"
	RUN --mount=from=base:latest,source=/bin,target=/b /b/true && echo "I image"
	RUN --mount=from=st,target=/o,source=/d --mount=type=tmpfs,target=/o/sub echo "J $(find /o | sort | xargs)"
	RUN --mount=type=tmpfs,target=/o --mount=from=st,target=/o/d,source=/d echo "K $(find /o | sort | xargs)"
	RUN echo "L $(ls -d /one /rw /f /v /b /o /w/rel 2>/dev/null | xargs)"
	X
	has "$D/err" '\| A one two two$'
	has "$D/err" '\| B one -rw-r--r-- 33 34$'
	has "$D/err" '\| B ro$'
	has "$D/err" '\| C l more sub$'
	has "$D/err" '\| D 1 l sub$'
	has "$D/err" '\| E x$'
	has "$D/err" '\| F two$'
	has "$D/err" '\| G Dockerfile$'
	has "$D/err" '\| G ro$'
	has "$D/err" '\| H bin d '
	has "$D/err" '\| I image$'
	has "$D/err" '\| J /o /o/1 /o/l /o/sub$'
	has "$D/err" '\| K /o /o/d /o/d/1 /o/d/l /o/d/sub /o/d/sub/2$'
	has "$D/err" '\| L $'
	local n
	for n in $(seq 2 13); do empty <(layer_names steps:t1 "$n" | grep -v '^w$'); done
}

caches() {
	says <<-'X'
	RUN --mount=type=cache,target=c1 touch c1/a && echo "A $(ls -ldn c1 | awk '{print $1, $3, $4}')"
	RUN --mount=type=cache,id=c1,target=/zz echo "B $(ls /zz)"
	RUN --mount=type=cache,target=/w/./c1 echo "C $(ls c1)"
	RUN --mount=type=cache,target=/cm,mode=0700,uid=33,gid=34 echo "D $(ls -ldn /cm | awk '{print $1, $3, $4}')"; touch /cm/x
	RUN --mount=type=cache,target=/cm echo "E $(ls /cm)"
	RUN --mount=type=cache,target=/zz,id=c1,readonly touch /zz/b || echo "F ro $(ls /zz)"
	X
	has "$D/err" '\| A drwxr-xr-x 0 0$'
	has "$D/err" '\| B a$'
	has "$D/err" '\| C $'
	has "$D/err" '\| D drwx------ 33 34$'
	has "$D/err" '\| E $'
	has "$D/err" '\| F ro a$'
	# Another name space, another cache; and it is still there for the next build.
	says --build-arg BUILDKIT_CACHE_MOUNT_NS=other <<-'X'
	RUN --mount=type=cache,id=c1,target=/zz echo "N $(ls /zz)"
	X
	has "$D/err" '\| N $'
	says <<-'X'
	RUN --mount=type=cache,id=c1,target=/zz echo "N $(ls /zz)"
	X
	has "$D/err" '\| N a$'
	says <<-'X'
	RUN --mount=type=cache,target=/init,from=st,source=/d echo "A $(ls /init | xargs)" && touch /init/new
	RUN --mount=type=cache,target=/init,from=st,source=/d echo "B $(ls /init | xargs)"
	X
	has "$D/err" '\| A 1 l sub$'
	has "$D/err" '\| B 1 l new sub$'
}

tmpfs() {
	says <<-'X'
	RUN --mount=type=tmpfs,target=/t,size=1m echo "A $(df -k /t | awk 'END {print $2}') $(ls -ld /t | cut -c1-10)"; \
	    head -c 2000000 /dev/zero >/t/x || echo "A full"; grep -o ' /t tmpfs [a-z,]*' /proc/mounts
	RUN --mount=type=tmpfs,target=/t touch /t/x && echo "B $(ls /t)"
	RUN test ! -e /t && echo "C gone"
	X
	has "$D/err" '\| A 1024 drwxrwxrwt$'
	has "$D/err" '\| A full$'
	has "$D/err" '/t tmpfs rw,nosuid,nodev'
	has "$D/err" '\| B x$'
	has "$D/err" '\| C gone$'
}

secrets() {
	printf 'a secret\n' >s
	says --secret id=s,src=s --secret id=dir/s2,src=s <<-'X'
	RUN --mount=type=secret,id=s echo "A $(wc -c </run/secrets/s) $(ls -ln /run/secrets/s | awk '{print $1, $3, $4}')"; \
	    grep -o ' /run/secrets/s tmpfs [a-z,]*' /proc/mounts; echo x >/run/secrets/s || echo "A ro"
	RUN --mount=type=secret,id=s,env=SEC test ! -e /run/secrets && echo "B ${#SEC}"
	RUN --mount=type=secret,id=s,env=SEC,target=/x echo "C ${#SEC} $(wc -c </x)"
	RUN --mount=type=secret,id=s,env= echo "D ${#s}"
	RUN --mount=type=secret,source=s,mode=0555,uid=3,gid=4 echo "E $(ls -ln /run/secrets/s | awk '{print $1, $3, $4}')"; \
	    grep ' /run/secrets/s ' /proc/mounts | grep -q noexec || echo "E exec"
	RUN --mount=type=secret,target=rel/s echo "F $(ls /w/rel)"
	RUN --mount=type=secret,id=dir/s2 echo "G $(ls /run/secrets)"
	RUN --mount=type=secret,id=none --mount=type=secret,id=none,env=NONE test ! -e /run/secrets && echo "H <$NONE> $(env | grep -c ^NONE=)"
	ENV SEC=of-the-image
	RUN --mount=type=secret,id=s,env=SEC echo "I ${#SEC}"
	RUN echo "J $SEC $(ls -d /x /run/secrets /w/rel 2>/dev/null)"
	X
	has "$D/err" '\| A 9 -r-------- 0 0$'
	has "$D/err" '/run/secrets/s tmpfs ro,nosuid,nodev,noexec'
	has "$D/err" '\| A ro$'
	has "$D/err" '\| B 9$'
	has "$D/err" '\| C 9 9$'
	has "$D/err" '\| D 9$'
	has "$D/err" '\| E -r-xr-xr-x 3 4$'
	has "$D/err" '\| E exec$'
	has "$D/err" '\| F s$'
	has "$D/err" '\| G s2$'
	has "$D/err" '\| H <> 1$'
	has "$D/err" '\| I 9$'
	has "$D/err" '\| J of-the-image $'
}

# refused STATUS WORDS LINE [FLAGS]: the build ends with one error that has these words.
refused() {
	local status=$1 words=$2 line=$3
	shift 3
	printf 'FROM base:latest AS st\nFROM base:latest\nWORKDIR /w\n%s\n' "$line" | dockerfile
	want "$status" "$BLD" build --progress=plain "$@" ctx
	one_error
	grep -qF -e "$words" "$D/err" || { cat "$D/err"; fail "$line: not \"$words\""; }
}

bad_flags() {
	refused 3 'unsupported mount type "foo"' 'RUN --mount=type=foo,target=/x true'
	refused 3 'did you mean cache?' 'RUN --mount=type=cach,target=/x true'
	refused 3 "unexpected key 'size' for mount type 'bind'" 'RUN --mount=size=3,type=tmpfs,target=/x true'
	refused 3 'invalid mount target "/"' 'RUN --mount=target=.. true'
	refused 3 'ssh does not support source' 'RUN --mount=type=ssh,source=x true'
	refused 3 'unsupported sharing value "lockd"' 'RUN --mount=type=cache,target=/x,sharing=lockd true'
	refused 3 'invalid cache sharing set for bind mount' 'RUN --mount=target=/x,sharing=locked true'
	refused 3 'mode not allowed for "bind" type mounts' 'RUN --mount=target=/x,mode=0700 true'
	refused 3 'invalid value 9 for mode' 'RUN --mount=type=cache,target=/x,mode=9 true'
	refused 3 'invalid value -1 for uid' 'RUN --mount=type=cache,target=/x,uid=-1 true'
	refused 3 "invalid field 'foo' must be a key=value pair" 'RUN --mount=target=/x,foo true'
	refused 3 "unexpected key 'targt' in 'targt=/x'" 'RUN --mount=targt=/x true'
	refused 3 'did you mean target?' 'RUN --mount=targt=/x true'
	refused 3 'invalid value for ro: maybe' 'RUN --mount=target=/x,ro=maybe true'
	refused 3 'invalid secret mount. one of source, target required' 'RUN --mount=type=secret true'
	refused 3 "both source and id can't be set" 'RUN --mount=type=secret,id=a,source=b true'
	refused 3 "both source and id can't be set" 'RUN --mount=type=secret,source=b,id=a true'
	refused 3 'secret mount should not have a from' 'RUN --mount=type=secret,id=a,from=st true'
	refused 3 "unexpected key 'required' for mount type 'bind'" 'RUN --mount=type=bind,required true'
	refused 3 "'from' doesn't support variable expansion" 'RUN --mount=target=/x,from=$V true'
	refused 3 'no file matches "/none"' 'RUN --mount=target=/x,from=st,source=/none true'
	printf 'FROM base:latest AS a\nRUN --mount=target=/x,from=later true\nFROM base:latest AS later\nRUN --mount=target=/y,from=a true\n' | dockerfile
	want 3 "$BLD" build ctx
	has "$D/err" 'cannot mount from stage "later" to "/x", stage needs to be defined before current command'
	refused 1 'secret "q" is required' 'RUN --mount=type=secret,id=q,required true'
	refused 1 'secret "q" is required' 'RUN --mount=type=secret,id=q,required=true,env=Q true'
	refused 1 'ssh agent "default" is required' 'RUN --mount=type=ssh,required true'
	refused 3 'invalid network mode "foo"' 'RUN --network=foo true'
	refused 3 'security "foo" is not valid' 'RUN --security=foo true'
	refused 4 'RUN --network=host is not allowed' 'RUN --network=host true'
	refused 4 'RUN --security=insecure is not allowed' 'RUN --security=insecure true'
	refused 4 'RUN --device=a/b=c is not allowed' 'RUN --device=a/b=c true'
	refused 3 'device name already set to a' 'RUN --device=a,name=b true'
	refused 3 "unexpected key 'x' in 'x=b'" 'RUN --device=a,x=b true'
	refused 9 'device a/b is required' 'RUN --device=a/b,required true' --allow device
	refused 3 'arguments are required' 'RUN []'
	refused 1 'unable to find user nobody2: no matching entries in passwd file' 'USER nobody2
RUN true'
	refused 1 'unable to find group none: no matching entries in group file' 'USER app:none
RUN true'
	refused 1 'exited with status 7' 'RUN exit 7'
	refused 1 'killed by signal 15 (TERM)' 'RUN ["/bin/sh", "-c", "kill -TERM $$"]'
	refused 1 'status 127' 'RUN ["/nope"]'
	refused 1 'status 126' 'RUN ["/etc/passwd"]'
	refused 2 'no limit is called "nofil"' 'RUN true' --ulimit nofil=1
	refused 2 'the soft limit is above the hard one' 'RUN true' --ulimit nofile=300:200
	refused 2 'is no address' 'RUN true' --add-host a=b
}

given() {
	says --build-arg BUILDKIT_SANDBOX_HOSTNAME=box.test --add-host "a=1.2.3.4,b:[::2]" --add-host gw:host-gateway \
		--shm-size 1m --ulimit nofile=100:200 --ulimit core=-1 --ulimit nofile=101:202 --allow device <<-'X'
	RUN echo "A $(hostname) $(grep -c 'box.test$' /etc/hosts)"; grep -E '(a|b|gw)$' /etc/hosts | sed 's/\t/ /; s/^/A /'
	RUN echo "B $(df -k /dev/shm | awk 'END {print $2}') $(ulimit -n) $(ulimit -Hn) $(ulimit -c)"
	RUN --device=vendor/class=dev echo "C optional"
	RUN
	RUN --network=none ["/bin/echo", "D $E"]
	X
	has "$D/err" '\| A box.test 1$'
	has "$D/err" '\| A 1.2.3.4 a$'
	has "$D/err" '\| A ::2 b$'
	has "$D/err" '\| A 127.0.0.1 gw$'
	has "$D/err" '\| B 1024 101 202 unlimited$'
	has "$D/err" '\| C optional$'
	has "$D/err" '--device is ignored'
	has "$D/err" '\| D \$E$'
}

insecure() {
	says --allow security.insecure <<-'X'
	RUN --security=insecure grep -E '^CapEff' /proc/self/status; mkdir /m && mount -t tmpfs t /m && echo "mounted"
	RUN mount -t tmpfs t /m || echo "not mounted"
	X
	has "$D/err" '\| mounted$'
	has "$D/err" '\| not mounted$'
}

environment() {
	HOSTVAR=leaks says --build-arg HTTP_PROXY=http://proxy.test --build-arg no_proxy=x --build-arg V=given <<-'X'
	ARG V
	RUN env | sed 's/^/env /'
	X
	has "$D/err" '\| env V=given$'
	has "$D/err" '\| env E=/e$'
	has "$D/err" '\| env HTTP_PROXY=http://proxy.test$'
	has "$D/err" '\| env http_proxy=http://proxy.test$'
	has "$D/err" '\| env NO_PROXY=x$'
	has "$D/err" '\| env no_proxy=x$'
	hasnt "$D/err" 'leaks|OTEL_|TRACEPARENT'
	same '["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","E=/e"]' \
		"$(config steps:t1 | jq -c .config.Env)"
}

scripts() {
	says <<-'X'
	RUN <<EOF
	echo "A $V" $0
	false
	echo "A on"
	EOF
	RUN <<-'EOF'
		#!/bin/awk -f
		BEGIN { print "B $V", ENVIRON["E"] }
	EOF
	RUN cat <<EOF >/out && sed 's/^/C /' /out
	$E
	EOF
	RUN 3<<A 4<<B cat <&3 - <&4 | sed 's/^/D /'
	x
	A
	y
	B
	RUN ls /dev/pipes 2>/dev/null || echo "E none"
	X
	has "$D/err" '\| A /v /bin/sh$'
	has "$D/err" '\| A on$'
	has "$D/err" '\| B \$V /e$'
	has "$D/err" '\| C /e$'
	has "$D/err" '\| D y$'
	has "$D/err" '\| E none$'
}

# Files without any permission, in the step and from the caller's umask.
umasks() {
	dockerfile <<-'X'
	FROM base:latest
	RUN umask 777; mkdir -p /q && echo x >/qf
	RUN ls -ld /q /qf | cut -c1-10 | xargs
	RUN --mount=type=cache,target=/q/n umask
	X
	(
		umask 777
		BLD_ROOT=$D/own base
		BLD_ROOT=$D/own build -t um:t1 ctx
	)
	has "$D/err" '\| d--------- ----------$'
	has "$D/err" '\| 0022$'
}

# A file of the context that changes while the build runs: what was made from it is not remembered.
context_changes() {
	dockerfile <<-X
	FROM base:latest
	RUN echo begins; while [ ! -e /tmp/never ] && [ \$((i += 1)) -lt 30 ]; do sleep 0.1; done; : $MARK-step
	RUN --mount=target=/c cp /c/f /f
	X
	echo old >ctx/f
	"$BLD" build --progress=plain -t change:1 ctx >o 2>&1 &
	local pid=$!
	for _ in $(seq 100); do grep -qs "| begins" o && break; sleep 0.1; done
	echo new >ctx/f
	wait "$pid"
	has o 'a file changed while it was copied; the step is not remembered'
	same new "$(file_in change:1 -1 f)"
	echo old >ctx/f
	build -t change:2 ctx
	same old "$(file_in change:2 -1 f)"
	hasnt "$D/err" '\| begins'
}

t "base image" base
t "bind mounts: stage, context, image, file, writable, overlapping" binds
t "cache mounts: id, name space, owner, first contents" caches
t "tmpfs mounts" tmpfs
t "secrets: file, variable, both, neither" secrets
t "what RUN refuses, and how" bad_flags
t "host name, hosts, limits, devices" given
t "--security=insecure" insecure
t "environment: build arguments, proxies, nothing of the host" environment
t "heredocs as scripts" scripts
t "umask 777" umasks
t "a bind-mounted file that changes under the build" context_changes
t_end
