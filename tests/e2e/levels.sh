#!/bin/bash
# The ladder of isolation levels: each on its own ground, and the same image from all of them.
# shellcheck disable=SC2086,SC2206 # flags are kept as words

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
umask 022

# Environments. env_* set RUN, the words before a command, and DIR, a folder to write in.
DIR='' RUN=()

# An ordinary user without subordinate ids.
env_solo() {
	root_only "takes an account without subordinate ids"
	local who=bldsolo
	(
		flock 9
		id $who >/dev/null 2>&1 || useradd --create-home --shell /bin/sh $who
		sed -i "/^$who:/d" /etc/subuid /etc/subgid
	) 9>/run/lock/bld-e2e-user
	DIR=$T/solo
	mkdir -p "$DIR/home"
	chown -R $who: "$DIR"
	RUN=(setpriv --reuid $who --regid $who --clear-groups --reset-env env "BLD_ROOT=$DIR/store" "HOME=$DIR/home"
		"PATH=$PATH" BLD_CI=none LC_ALL=C.UTF-8 TZ=UTC SOURCE_DATE_EPOCH=1600000000
		"ASAN_OPTIONS=$ASAN_OPTIONS" "TSAN_OPTIONS=$TSAN_OPTIONS")
}
# The same in a pod: no capabilities, no_new_privs, parts of /proc covered.
env_pod() {
	env_solo
	DIR=$T/pod
	mkdir -p "$DIR/home"
	chown -R bldsolo: "$DIR"
	# shellcheck disable=SC2016
	RUN=(unshare -m sh -c 'awk "\$9 == \"proc\" || \$8 == \"proc\" {print \$5}" /proc/self/mountinfo | grep -v "^/proc\$" | xargs -r umount -l
		mount --bind /dev/null /proc/interrupts && exec "$@"' sh setpriv --no-new-privs
		"${RUN[@]}" "BLD_ROOT=$DIR/store" "HOME=$DIR/home")
}
# uid 0 with the capabilities Docker gives, as in an ordinary pod; where user namespaces are allowed, and where
# they are not.
env_caps() {
	root_only "takes capabilities away"
	DIR=$T/caps
	mkdir -p "$DIR/home"
	RUN=(setpriv --inh-caps -all --bounding-set
		"-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write"
		env "BLD_ROOT=$DIR/store" "HOME=$DIR/home" SOURCE_DATE_EPOCH=1600000000)
}
env_chroot() {
	env_caps
	DIR=$T/chroot
	mkdir -p "$DIR/home"
	RUN+=("BLD_ROOT=$DIR/store" "HOME=$DIR/home" BLD_ISOLATION=chroot)
}
# Host's root, what the others are compared with.
env_root() {
	root_only "compares with what root builds"
	DIR=$T/root
	mkdir -p "$DIR/home"
	RUN=(env "BLD_ROOT=$DIR/store" "HOME=$DIR/home" SOURCE_DATE_EPOCH=1600000000)
}

rbuild() { want 0 "${RUN[@]}" "$BLD" -D build --progress=plain "$@"; }
rbase() {
	[ -f "$BASE_TAR" ] || "$TOP/tools/mkbase" "$T/base"
	[ -d "$DIR/store" ] || want 0 "${RUN[@]}" "$BLD" build -q -t base:latest "$T/base"
}
# level NAME [WORDS]: what the last build said it took
level() { has "$D/err" "^level +$1"; }
rdiffs() { "${RUN[@]}" "$BLD" inspect --config "$1" | jq -c .rootfs.diff_ids; }
rlist() { # IMAGE N
	local d
	d=$("${RUN[@]}" "$BLD" inspect --manifest "$1" | jq -r ".layers[$2].digest")
	gzip -dc "$DIR/store/blobs/sha256/${d#sha256:}" | tar --numeric-owner -tvf -
}

# Everything owners, links, special files and whiteouts can be asked to do, as root and as others.
identity_file() {
	mkdir -p "$D/ctx/tree"
	for n in $(seq 20); do echo "$n" >"$D/ctx/tree/f$n"; done
	dockerfile <<-'X'
	FROM base:latest AS one
	RUN mkdir -p /o/sub && echo x >/o/sub/f && chown -R 1000:33 /o && chmod 2755 /o/sub && ln /o/sub/f /o/h && mkfifo /o/p && mkdir /o/sub/in && touch /o/sub/in/y && chown 12:13 /o/p && ln -s a /o/s && chown -h 14:15 /o/s
	FROM base:latest
	COPY --chown=app:app tree /tree
	COPY --from=one /o /o
	RUN rm -rf /var/tmp /tree/f3 && mkdir /var/tmp && echo 1 >/n && chown nobody:nogroup /n && chmod 4755 /n && chown 1:1 /n && ls -ln /n /o/s /o/p
	RUN NODES touch -d @1400000000 /o/sub/in/y && mv /o/s /o/s3 && ln /o/p /o/p2 && ln /tree/f2 /tree/f2b && touch -h -d @1400000000 /tree/f1 /o/s3
	RUN cp -a /o /o2 && tar -cf /t.tar -C / o tree && mkdir /x && tar -xf /t.tar -C /x && rm /t.tar && stat -c '%n %u:%g %a %F' /x/o/p /x/o/s3 /x/o/sub
	RUN chown -R root:root /tree && chown -R 1000:1000 /tree && chmod 700 /tree/f1 && chmod 644 /tree/f1 && rm -rf /usr/share && mkdir -p /usr/share/new
	RUN mkdir /s && chown 3:4 /s && chmod 3777 /s && mkdir /s/d && touch /s/f && ln -s f /s/l; rm -r /x/o && mv /x/tree /x/moved
	USER app
	WORKDIR /home/app/w
	RUN id && echo mine >m && mkdir d && ln -s x l && mkfifo p && umask 077 && touch priv && touch /s/app && mkdir /s/e && ! chown 0:0 m 2>/dev/null
	USER 4711:4712
	RUN id && touch /tmp/a && mkdir /tmp/b && mv /tmp/a /tmp/b/c
	X
}
same_as_root() {
	local env=$1 want_level=$2 root_ids root_lists=() n i nodes='mknod /dn c 1 3 \&\& mknod /bn b 8 1 \&\& chown 1:2 /bn \&\&'
	identity_file
	sed -i "s|NODES|$nodes|" ctx/Dockerfile
	env_root
	rbase
	rbuild --no-cache -t i:same ctx
	root_ids=$(rdiffs i:same)
	n=$(jq length <<<"$root_ids")
	for ((i = 0; i < n; i++)); do root_lists[i]=$(rlist i:same $i); done
	"$env"
	rbase
	cp -r ctx "$DIR/ctx"
	chmod -R a+rX "$DIR/ctx"
	rbuild --no-cache -t i:same "$DIR/ctx"
	level "$want_level"
	for ((i = 0; i < n; i++)); do
		[ "${root_lists[i]}" = "$(rlist i:same $i)" ] || {
			diff <(echo "${root_lists[i]}") <(rlist i:same $i) || true
			fail "layer $i differs from root's"
		}
	done
	same "$root_ids" "$(rdiffs i:same)" "layers of root and $want_level"
}

# Accounts, set-uid programs, daemons that fork twice.
ids_of_processes() {
	"$1"
	rbase
	dockerfile <<-'X'
	FROM base:latest
	RUN cp /bin/busybox /bin/sid && chmod 4755 /bin/sid
	USER app
	RUN id -u; sh -c 'sh -c "id -u"'; (sh -c 'setsid sh -c "id -u >/tmp/twice" &' &); sleep 0.2; cat /tmp/twice; stat -c %U /tmp/twice
	X
	cp -r ctx "$DIR/ctx-ids"
	rbuild --no-cache "$DIR/ctx-ids"
	same "1000 1000 1000 app" "$(sed -nE 's/.*\| (1000|app)$/\1/p' "$D/err" | tr '\n' ' ' | sed 's/ $//')" "ids seen"
}

all_mounts() {
	"$1"
	rbase
	dockerfile <<-'X'
	FROM base:latest AS src
	RUN mkdir /s && echo from-stage >/s/f && chown 1000:1000 /s/f
	FROM base:latest
	RUN --mount=type=secret,id=k,uid=1000,mode=0400 cat /run/secrets/k | tr a-z A-Z && stat -c 'sec=%u:%a' /run/secrets/k
	RUN --mount=type=cache,target=/c,uid=1000 echo 1 >>/c/n && wc -l </c/n | sed s/^/cached=/ && stat -c 'cache=%u' /c
	RUN --mount=type=bind,from=src,source=/s,target=/b stat -c 'bind=%u' /b/f && cat /b/f && { touch /b/no 2>/dev/null || true; }
	RUN --mount=type=bind,rw,source=tree,target=/w echo more >/w/new && ls /w | sed s/^/w=/
	RUN --mount=type=tmpfs,target=/m touch /m/x && ls /m
	RUN <<E
	echo heredoc ran
	E
	RUN ls -d /c /b /w /m /run/secrets 2>/dev/null | sed s/^/left=/; true
	X
	mkdir -p ctx/tree && echo t >ctx/tree/t
	rm -rf "$DIR/ctx-m"
	cp -r ctx "$DIR/ctx-m"
	chmod -R a+rX "$DIR/ctx-m"
	printf 'top secret' >"$DIR/k"
	chmod 644 "$DIR/k"
	for n in 1 2; do
		rbuild --no-cache --secret "id=k,src=$DIR/k" -t m:t "$DIR/ctx-m"
		has "$D/err" '\| TOP SECRET'
		has "$D/err" 'sec=1000:400'
		has "$D/err" "\| cached=$n"
		has "$D/err" '\| cache=1000'
		has "$D/err" '\| bind=1000'
		has "$D/err" '\| from-stage'
		has "$D/err" '\| w=new'
		has "$D/err" '\| heredoc ran'
		hasnt "$D/err" '\| left='
	done
	for ((i = 0; i < $(rdiffs m:t | jq length); i++)); do rlist m:t $i; done >all
	hasnt all "(secrets| c/| b/| w/| m/)"
}

# A step must not reach what is outside: not by /proc, not by signals, not by living on.
walls() {
	"$1"
	rbase
	echo "of the host $MARK" >"$DIR/outside"
	chmod 644 "$DIR/outside"
	dockerfile <<-X
	FROM base:latest
	RUN for p in /proc/[0-9]*; do cat \$p/root/$DIR/outside; tr '\\0' '\\n' <\$p/environ | grep BLD_ROOT=; done 2>/dev/null; cat $DIR/outside 2>/dev/null; true
	RUN kill -9 -1; for p in /proc/[0-9]*; do p=\${p#/proc/}; [ \$p != \$\$ ] && kill -9 \$p; done 2>/dev/null; kill -9 \$PPID 2>/dev/null; echo still here
	RUN (echo 1 >/proc/sys/vm/drop_caches) 2>/dev/null && echo dropped; (echo x >/proc/sysrq-trigger) 2>/dev/null && [ -d /proc/sys ] && echo trigger; mkdir /mm; mount -t tmpfs x /mm 2>/dev/null && echo mounted; unshare -U true 2>/dev/null && echo unshared; true
	RUN (setsid sh -c 'sleep 600; : $MARK-step' &) ; (sh -c 'sh -c "sleep 601; : $MARK-step" &' &); echo left two
	X
	rm -rf "$DIR/ctx-w"
	cp -r ctx "$DIR/ctx-w"
	chmod -R a+rX "$DIR/ctx-w"
	rbuild --no-cache "$DIR/ctx-w"
	has "$D/err" '\| still here'
	has "$D/err" '\| left two'
	hasnt "$D/err" "\| of the host $MARK"
	hasnt "$D/err" '\| BLD_ROOT='
	hasnt "$D/err" '\| (dropped|trigger|mounted|unshared)'
	nothing_left
}

killed() {
	"$1"
	rbase
	printf 'FROM base:latest\nRUN (setsid sh -c "sleep 60; : %s-step" &); echo begins; sleep 61; : %s-step\n' "$MARK" "$MARK" >"$DIR/Dockerfile.k"
	for who in engine keeper init; do
		"${RUN[@]}" "$BLD" build --no-cache --progress=plain -f "$DIR/Dockerfile.k" "$T/base" >"o-$who" 2>&1 &
		local pid=$! keeper init
		for _ in $(seq 100); do grep -q '| begins' "o-$who" && break; sleep 0.1; done
		has "o-$who" '\| begins'
		keeper=$(pgrep -P $pid -x bld-keeper)
		init=$(pgrep -P "$keeper" -x bld-init)
		case $who in engine) kill -9 $pid ;; keeper) kill -9 "$keeper" ;; init) kill -9 "$init" ;; esac
		wait $pid 2>/dev/null || true
		nothing_left
	done
	printf 'FROM base:latest\nRUN echo again >/a\n' >"$DIR/Dockerfile.k"
	rbuild -f "$DIR/Dockerfile.k" "$T/base"
}

two_at_once() {
	"$1"
	rbase
	printf 'FROM base:latest\nARG N\nRUN chown $N:$N /home && touch /f$N && sleep 0.3 && chown 7:$N /f$N\n' >"$DIR/Dockerfile.2"
	local pids=() n
	for n in 11 12 13; do
		"${RUN[@]}" "$BLD" build --no-cache -q --build-arg N=$n -t "two:$n" -f "$DIR/Dockerfile.2" "$T/base" >"o$n" 2>&1 &
		pids+=($!)
	done
	for n in "${pids[@]}"; do wait "$n"; done
	for n in 11 12 13; do has <(rlist two:$n -1) "7/$n .* f$n\$"; done
}

# One cache and several steps: none of them fails, and whoever is killed, nothing of it is lost.
one_cache() {
	"$1"
	rbase
	printf 'FROM base:latest\nARG N\nRUN --mount=type=cache,target=/var/cache/x echo $N >/var/cache/x/$N; sleep 0.3; ls /var/cache/x\n' >"$DIR/Dockerfile.c"
	printf 'FROM base:latest\nRUN --mount=type=cache,target=/var/cache/x echo begins; sleep 61; : %s-step\n' "$MARK" >"$DIR/Dockerfile.s"
	local pids=() n who pid keeper init
	for n in one two three; do
		"${RUN[@]}" "$BLD" build --no-cache --progress=plain --build-arg N=$n -f "$DIR/Dockerfile.c" "$T/base" >"c-$n" 2>&1 &
		pids+=($!)
	done
	for n in "${pids[@]}"; do wait "$n"; done
	for who in engine keeper init; do
		"${RUN[@]}" "$BLD" build --no-cache --progress=plain -f "$DIR/Dockerfile.s" "$T/base" >"s-$who" 2>&1 &
		pid=$!
		for _ in $(seq 100); do grep -q '| begins' "s-$who" && break; sleep 0.1; done
		has "s-$who" '\| begins'
		keeper=$(pgrep -P $pid -x bld-keeper)
		init=$(pgrep -P "$keeper" -x bld-init)
		case $who in engine) kill -9 $pid ;; keeper) kill -9 "$keeper" ;; init) kill -9 "$init" ;; esac
		wait $pid 2>/dev/null || true
		rbuild --no-cache --build-arg N=after-$who -f "$DIR/Dockerfile.c" "$T/base"
		for n in one two three after-$who; do has "$D/err" "\\| $n\$"; done
	done
}

# Every way out that is known, tried by a program; and traps laid for bld itself.
breakouts() {
	"$1"
	local listener victim
	rbase
	mkdir -p "$DIR/ctx-b/tree" "$DIR/planted"
	cc -O1 -static -pthread -Wall -o "$DIR/ctx-b/breakout" "$TOP/tests/e2e/breakout.c"
	{ echo "of the host $MARK" && head -c 8192 /dev/zero; } | head -c 4242 >"$DIR/outside"
	chmod 640 "$DIR/outside"
	echo x >"$DIR/ctx-b/tree/x"
	echo "hush $MARK" >"$DIR/secret"
	python3 -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind("\0" + sys.argv[1]); s.listen(); time.sleep(600)' "break-$MARK" &
	listener=$!
	[ ! -d "$T/solo" ] || chown -R --reference="$DIR/store" "$DIR/ctx-b" "$DIR/planted" "$DIR/outside" "$DIR/secret"
	setpriv --reuid "$(stat -c %u "$DIR/store")" --clear-groups sleep 600 &
	victim=$!
	cat >"$DIR/ctx-b/Dockerfile" <<-X
	FROM base:latest
	COPY breakout /
	RUN --mount=type=secret,id=k cat /run/secrets/k >/dev/null
	RUN ! grep -rs "hush $MARK" /bin /etc /dev/shm /home /root /run /tmp /usr /var
	RUN ["/breakout", "$DIR/outside", "of the host $MARK", "break-$MARK", "$victim"]
	USER app
	RUN ["/breakout", "$DIR/outside", "of the host $MARK", "break-$MARK", "$victim"]
	USER root
	RUN rm -rf /var/cache && ln -s "/../../../../../../..$DIR/planted" /var/cache && ln -s "$DIR/planted" /planted && ln -s "$DIR/outside" /opened
	RUN --mount=type=cache,target=/var/cache/x touch /var/cache/x/y
	RUN --mount=type=secret,id=k,target=/planted/s --mount=type=bind,source=tree,target=/planted/b,rw --mount=type=tmpfs,target=/planted/t touch /planted/b/z
	WORKDIR /planted/w
	COPY tree /planted/
	RUN rm -rf $DIR/planted && ln -s /etc $DIR/planted
	X
	rbuild --no-cache --secret "id=k,src=$DIR/secret" "$DIR/ctx-b"
	same 2 "$(grep -c '| tried all' "$D/err")" "rounds"
	hasnt "$D/err" 'ESCAPED'
	hasnt "$D/err" "\| .*(of the host|hush) $MARK"
	same 4242:640 "$(stat -c %s:%a "$DIR/outside")" "the file outside"
	same "" "$(ls -A "$DIR/planted")" "what came into a folder of the host"
	[ ! -e "$DIR/outside-node" ]
	kill "$victim" || fail "the step killed a process of the host"
	kill "$listener"
	nothing_left
}

# A signal every millisecond does not make anything happen twice, or not at all.
alarms() {
	"$1"
	rbase
	mkdir -p "$DIR/ctx-a"
	cc -O1 -static -Wall -o "$DIR/ctx-a/alarms" "$TOP/tests/e2e/alarms.c"
	printf 'FROM base:latest\nCOPY alarms /\nRUN mkdir /r && /alarms /r\nUSER app\nRUN mkdir /tmp/a && /alarms /tmp/a\n' >"$DIR/ctx-a/Dockerfile"
	chmod -R a+rX "$DIR/ctx-a"
	rbuild --no-cache "$DIR/ctx-a"
	same 2 "$(grep -c '| made all' "$D/err")" "rounds"
	hasnt "$D/err" '\| (TWICE|BROKEN)'
}

# What sudo says of no_new_privs blames the file system; bld says what it is.
no_privileges() {
	env_chroot
	rbase
	printf 'FROM base:latest\nUSER app\nRUN echo "sudo: effective uid is not 0, is sudo installed setuid root?" >&2; exit 1\n' >"$DIR/Dockerfile.p"
	want 1 "${RUN[@]}" "$BLD" build --no-cache -f "$DIR/Dockerfile.p" "$T/base"
	has "$D/err" 'why: .*set-uid programs cannot gain privileges at isolation level chroot'
	has "$D/err" 'try: .*USER root'
}

# A store on overlay has no overlay of its own: a plain folder does it where that is allowed, and both say why.
store_on_overlay() {
	env_root
	DIR=$T/on-overlay
	mkdir -p "$DIR"
	[ -f "$BASE_TAR" ] || "$TOP/tools/mkbase" "$T/base"
	printf 'FROM base:latest\nRUN echo hi >/a\n' >"$DIR/Dockerfile.o"
	# shellcheck disable=SC2016
	on_overlay() {
		unshare -m sh -c 'mount -t tmpfs x "$0" && mkdir "$0/l" "$0/u" "$0/w" "$0/m" &&
			mount -t overlay -o "lowerdir=$0/l,upperdir=$0/u,workdir=$0/w" x "$0/m" && export BLD_ROOT="$0/m/store" &&
			"$1" build -q -t base:latest "$2" >/dev/null && shift 2 && exec "$@"' "$DIR/t" "$BLD" "$T/base" "$BLD" -D build \
			--progress=plain --no-cache -f "$DIR/Dockerfile.o" "$@" "$T/base"
	}
	mkdir "$DIR/t"
	want 0 on_overlay
	level 'chroot .*mount overlay.*a volume of its own \(--root\) would give overlay'
	want 9 on_overlay --isolation=root
	has "$D/err" 'try: .*put the store on a volume with --root'
}

# /proc without a mount: one's own processes and what everybody may know, and nothing else.
virtual_proc() {
	env_chroot
	rbase
	dockerfile <<-'X'
	FROM base:latest
	RUN hostname; readlink /proc/self/exe; grep -c MemTotal /proc/meminfo; echo out >/dev/stdout; readlink /proc/$$/cwd; ls /dev/fd/ | head -1 | sed s/^/fd/; grep -c r-xp /proc/self/maps | sed 's/^[1-9].*/mapped/'; cat /sys/devices/system/cpu/online | sed 's/^0.*/cpus/'; sh -c 'echo reopened >/proc/self/fd/1'; test -e /proc/$$/stat && echo mine
	RUN ls -d /proc/1 /proc/1/root; cat /proc/1/environ /proc/self/root/etc/passwd; cat /proc/kmsg; (echo x >/proc/sys/kernel/hostname); (echo b >/proc/sysrq-trigger); true
	USER app
	RUN grep -c '^Uid:.1000' /proc/self/status; cat /proc/self/comm; test -r /proc/self/maps && echo readable
	X
	rm -rf "$DIR/ctx-v"
	cp -r ctx "$DIR/ctx-v"
	rbuild --no-cache "$DIR/ctx-v"
	for w in buildkitsandbox /bin/busybox 1 out / fd0 mapped cpus reopened mine cat readable; do has "$D/err" "\\| $w\$"; done
	hasnt "$D/err" '\| (root:|/proc/1)'
	has "$D/err" "can't create /proc/sys/kernel/hostname: Permission denied"
}

forced() {
	root_only "takes an account without subordinate ids"
	env_solo
	rbase
	printf 'FROM base:latest\nRUN true\n' >"$DIR/Dockerfile.f"
	want 9 "${RUN[@]}" "$BLD" build --no-cache --isolation=root -f "$DIR/Dockerfile.f" "$T/base"
	has "$D/err" 'isolation level root.*namespaces'
	want 9 "${RUN[@]}" "$BLD" build --no-cache --isolation=userns -f "$DIR/Dockerfile.f" "$T/base"
	has "$D/err" 'isolation level userns.*no range of ids'
	has "$D/err" 'try: .*usermod --add-subuids'
	want 9 "${RUN[@]}" "$BLD" build --no-cache --isolation=none -f "$DIR/Dockerfile.f" "$T/base"
	rbuild --no-cache --isolation=solo -f "$DIR/Dockerfile.f" "$T/base"
	level 'solo;'
}

for e in solo pod caps chroot; do
	case $e in pod) w='solo, shared proc' ;; caps) w=userns ;; *) w=$e ;; esac
	t "$e: the same image as root's" same_as_root env_$e "$w"
	t "$e: ids of processes" ids_of_processes env_$e
	t "$e: every kind of mount, twice" all_mounts env_$e
	t "$e: walls" walls env_$e
	t "$e: kill -9" killed env_$e
	t "$e: three builds at once" two_at_once env_$e
	t "$e: one cache for all" one_cache env_$e
	t "$e: ways out" breakouts env_$e
	t "$e: a signal every millisecond" alarms env_$e
done
t "chroot: a /proc that nobody mounted" virtual_proc
t "chroot: sudo's complaint is explained" no_privileges
t "a store on overlay" store_on_overlay
t "a level asked for works or says what is missing" forced
t_end
