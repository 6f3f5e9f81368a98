#!/bin/bash
# Where bld may find itself, each made for real: which level it takes there, that package-like work, mounts and
# several builds work, and that the image is the one root builds on a machine of its own.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
umask 022
export SOURCE_DATE_EPOCH=1600000000

# ---- what is built everywhere ----

contexts() {
	[ ! -d "$T/ctx" ] || return 0
	mkdir -p "$T/ctx/app/tree" "$T/ctx/plain"
	"$TOP/tools/mkbase" "$T/ctx/base"
	cp -r "$T/ctx/app/tree" "$T/ctx/plain/"
	echo one | tee "$T/ctx/app/tree/a" "$T/ctx/plain/tree/a" >/dev/null
	cat >"$T/ctx/plain/Dockerfile" <<-'X'
	FROM base:latest AS one
	COPY --chown=app:app --chmod=750 tree /tree
	WORKDIR /srv/app
	FROM one
	COPY --from=one --chown=4242:33 /tree /again
	ENV A=b
	X
	# Work of package managers, by the programs of busybox: owners, set-uid, accounts, archives, nodes, links, removal.
	cat >"$T/ctx/app/Dockerfile" <<-'X'
	FROM base:latest AS tools
	RUN mkdir /o && echo x >/o/f && chown 1000:33 /o/f && chmod 4750 /o/f && ln /o/f /o/hard && ln -s f /o/soft && \
	    chown -h 33:33 /o/soft && mkfifo /o/pipe && chown 5:5 /o/pipe
	RUN echo crew:x:555:555::/home/crew:/bin/sh >>/etc/passwd && echo crew:x:555: >>/etc/group && mkdir -m 700 /home/crew && \
	    cp /etc/passwd /home/crew/p && chown -R crew:crew /home/crew && touch -d @1500000000 /home/crew/p && ls -ln /home/crew
	FROM base:latest
	COPY --from=tools /o /o
	RUN cp -a /o /copied && tar -C /o -cf /tmp/o.tar . && mkdir /untarred && tar -C /untarred -xpf /tmp/o.tar && rm /tmp/o.tar
	RUN ls -lnR /copied /untarred /o && rm -rf /var/tmp /o && mkdir -p /o/new && mv /copied /moved
	RUN chown 33:33 /etc/group && chmod u+s /bin/busybox && stat -c '%u:%g %a' /etc/group /bin/busybox
	RUN mknod /null-too c 1 3 && mknod -m 640 /disk-too b 8 1 && chown 7:8 /disk-too && mkdir /far /back && echo x >/far/f && \
	    chown -R 1000650000:1000650000 /far && echo y >/back/f && chown 1000650000:0 /back/f && chgrp 33 /back && chown 12:13 /back/f
	RUN mv /far /further && chgrp 70000 /back/f && chown 1000650001 /further/f && touch /further/of-root
	RUN mkdir -m 1777 /sticky && mkdir -m 2775 /setgid && chgrp 33 /setgid
	USER app
	RUN echo out >/dev/stdout && echo err >/dev/stderr && echo in | cat /dev/stdin
	RUN id && touch /home/app/mine && test "$(stat -c %u:%g /home/app/mine)" = 1000:1000
	USER 4242:29
	RUN touch /tmp/of-4242 && stat -c %u:%g /tmp/of-4242
	USER root
	RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch --mount=type=bind,source=tree,target=/bound \
	    --mount=type=secret,id=s,target=/run/secrets/s,required --mount=type=bind,from=tools,source=/o,target=/theirs \
	    test "$(cat /bound/a)" = one && test "$(cat /run/secrets/s)" = hush && test -p /theirs/pipe && \
	    echo 1 >>/cache/n && echo 2 >/scratch/x && cp /bound/a /kept
	RUN test ! -e /run/secrets && test ! -e /cache/n && test ! -e /bound/a && for f in stdin stdout stderr null zero urandom; do test -e /dev/$f; done
	RUN test "$(cat /proc/self/comm)" = cat && test -e /proc/meminfo && readlink /proc/self/exe && hostname >/dev/null
	RUN ["/bin/ash", "-c", "cat </proc/self/status >/dev/null; (sleep 300 &) ; echo done"]
	X
	printf 'FROM base:latest\nRUN echo a >/a; sleep 1\nRUN echo b >/b\n' >"$T/ctx/app/A"
	printf 'FROM base:latest\nRUN echo c >/c; sleep 1\nRUN exit 3\n' >"$T/ctx/app/B"
	# Runs in the environment; no program but busybox and bld. $1: its level, $2: where results go.
	cat >"$T/ctx/script" <<-'X'
	set -eu
	level=$1 out=$2
	export HUSH=hush
	bld doctor --format json >$out/doctor.json || true
	bld build -q -t base /ctx/base >/dev/null
	bld build --progress plain -t plain /ctx/plain 2>$out/plain.log
	bld inspect --config plain >$out/plain.json
	if [ $level = none ]; then
		status=0
		bld build --progress plain -t app --secret id=s,env=HUSH /ctx/app >$out/app.log 2>&1 || status=$?
		echo $status >$out/status
		exit 0
	fi
	bld build --progress plain -t app --secret id=s,env=HUSH /ctx/app >$out/app.log 2>&1 || { cat $out/app.log; exit 1; }
	bld inspect --config app >$out/app.json
	bld build --no-cache --progress plain -t app --secret id=s,env=HUSH /ctx/app >$out/app.log 2>&1
	bld inspect --config app >$out/again.json
	bld build --progress plain -f /ctx/app/A -t a /ctx/app >$out/a.log 2>&1 &
	status=0
	bld build --progress plain -f /ctx/app/B -t b /ctx/app >$out/b.log 2>&1 || status=$?
	wait $!
	echo $status >$out/status
	bld images --format '{{.Repository}}' >$out/images
	X
}

# What root builds on the machine itself: the measure of all others.
reference() {
	contexts
	[ ! -f "$T/ref/app.json" ] || return 0
	mkdir -p "$T/ref"
	(
		export BLD_ROOT=$T/ref-store HUSH=hush
		"$BLD" build -q -t base "$T/ctx/base"
		"$BLD" build -q -t plain "$T/ctx/plain"
		"$BLD" inspect --config plain >"$T/ref/plain.json"
		"$BLD" build --isolation root -q -t app --secret id=s,env=HUSH "$T/ctx/app"
		"$BLD" inspect --config app >"$T/ref/app.json"
	)
}

# judge LEVEL SHARED OUT: what the script of an environment left
judge() {
	local level=$1 shared=$2 out=$3
	same "$level" "$(jq -r .isolation.chosen "$out/doctor.json")" "the level chosen"
	same "$(jq -cS . "$T/ref/plain.json")" "$(jq -cS . "$out/plain.json")" "the image without RUN"
	if [ "$level" = none ]; then
		same 9 "$(cat "$out/status")" "exit status of a build with RUN"
		has "$out/app.log" '^error: cannot run RUN'
		has "$out/app.log" '^  try:'
		has "$out/app.log" 'Dockerfiles without RUN build here'
		return
	fi
	[ "$shared" = - ] || same "$shared" "$(jq -r .isolation.sharedProc "$out/doctor.json")" "shared /proc"
	same "$(jq -cS .rootfs "$T/ref/app.json")" "$(jq -cS .rootfs "$out/app.json")" "layers"
	same "$(jq -cS . "$T/ref/app.json")" "$(jq -cS . "$out/app.json")" "configuration"
	same "$(jq -cS .rootfs "$T/ref/app.json")" "$(jq -cS .rootfs "$out/again.json")" "layers, built again"
	same 1 "$(cat "$out/status")" "exit status of the failing one of two builds"
	has "$out/images" '^a$'
	hasnt "$out/images" '^b$'
	nothing_left
}

# ---- pods ----

profile() {
	root_only "makes containers"
	command -v runc >/dev/null || fail "runc is not installed"
	"$TOP/tools/moby-seccomp" >"$T/seccomp.json"
}

# bld's own image, with busybox for the script.
pod_root() {
	[ ! -d "$T/pod-root" ] || return 0
	cp "$BLD" "$T/bld-in-pod" && strip "$T/bld-in-pod" 2>/dev/null
	# shellcheck disable=SC2046 # a list of files
	"$TOP/deploy/collect" "$T/pod-root" libcurl.so.4 libisal.so.2 libc.so.6 libm.so.6 /lib64/ld-linux-x86-64.so.2 \
		$(ldd "$BLD" | grep -o '/[^ ]*')
	mkdir -p "$T"/pod-root/{usr/bin,bin,proc,dev,sys,ctx,out}
	mv "$T/bld-in-pod" "$T/pod-root/usr/bin/bld"
	cp "$(command -v busybox)" "$T/pod-root/bin/busybox"
	local a
	for a in sh cat sleep; do ln -sf busybox "$T/pod-root/bin/$a"; done
}

# pod LEVEL SHARED OWNER FLAGS...
pod() {
	local level=$1 shared=$2 owner=$3
	shift 3
	profile
	reference
	pod_root
	mkdir -p "$D/vol" "$D/res"
	chown "$owner" "$D/vol" "$D/res"
	want 0 "$TOP/tests/e2e/pod" --root "$T/pod-root" --volume "$D/vol:/var/lib/bld" --volume "$D/res:/out" --volume "$T/ctx:/ctx:ro" \
		--env BLD_ROOT=/var/lib/bld/store --env "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" --env TZ=UTC "$@" -- \
		/bin/sh /ctx/script "$level" /out
	judge "$level" "$shared" "$D/res"
}

default_pod() { pod chroot true 0 --seccomp "$T/seccomp.json"; }
default_unconfined() { pod userns true 0 --seccomp unconfined; }
nonroot() { pod solo true 1000 --uid 1000 --caps none --nnp --seccomp unconfined; }
nonroot_unmasked() { pod solo false 1000 --uid 1000 --caps none --nnp --seccomp unconfined --unmasked; }
restricted() { pod none false 1000 --uid 1000 --caps none --nnp --seccomp "$T/seccomp.json"; }
host_users() { pod chroot true 3000000 --userns 3000000 --seccomp "$T/seccomp.json"; }
host_users_unconfined() { pod userns true 3000000 --userns 3000000 --seccomp unconfined; }
host_users_unmasked() { pod userns false 3000000 --userns 3000000 --seccomp unconfined --unmasked; }
host_users_admin() {
	pod root - 3000000 --userns 3000000 --seccomp "$T/seccomp.json" --caps \
		CHOWN,DAC_OVERRIDE,FSETID,FOWNER,MKNOD,NET_RAW,SETGID,SETUID,SETFCAP,SETPCAP,NET_BIND_SERVICE,SYS_CHROOT,KILL,AUDIT_WRITE,SYS_ADMIN
}

# The Jobs of deploy/, as they are: only names that cannot exist here are replaced.
manifest() {
	profile
	pod_root
	registry_start manifest
	[ -d "$T/ctx/base" ] || "$TOP/tools/mkbase" "$T/ctx/base"
	build -q -t "$REG/library/busybox" --push "$T/ctx/base"
	want 0 "$TOP/tests/e2e/pod" --root "$T/pod-root" --seccomp "$T/seccomp.json" --manifest "$TOP/deploy/kubernetes/$1.yaml" \
		--set "registry.example=$REG" --env "BLD_MIRRORS=docker.io=http://$REG"
	skopeo inspect --tls-verify=false "docker://$REG/app" >/dev/null
	nothing_left
}
job_root() { manifest root; }
job_nonroot() { manifest nonroot; }
job_restricted() { manifest restricted; }

# ---- without a container ----

# The script on the machine itself, as a user. $1: level; the rest: words that become the user.
on_host() {
	local level=$1 home=$2
	shift 2
	reference
	mkdir -p "$home/out" "$home/bin"
	cp "$BLD" "$home/bin/bld"
	sed "s|/ctx|$T/ctx|g" "$T/ctx/script" >"$home/script"
	chown -R "$(stat -c %u:%g "$home")" "$home"
	want 0 "$@" BLD_ROOT="$home/store2" "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" PATH="$home/bin:$PATH" sh "$home/script" "$level" "$home/out"
	judge "$level" false "$home/out"
}

as_root() {
	root_only "is root"
	mkdir -p "$D/home"
	on_host root "$D/home" env
}
with_range() {
	user_setup
	on_host userns "$U_DIR" "${U_RUN[@]}"
}
# An account of its own, without a line in /etc/subuid.
without_range() {
	root_only "makes an account"
	id bldsolo >/dev/null 2>&1 || useradd --no-create-home --shell /bin/sh bldsolo
	sed -i '/^bldsolo:/d' /etc/subuid /etc/subgid
	mkdir -p "$T/solo"
	chown bldsolo: "$T/solo"
	on_host solo "$T/solo" setpriv --reuid bldsolo --regid bldsolo --init-groups --reset-env env HOME="$T/solo" BLD_CI=none \
		LC_ALL=C.UTF-8 TZ=UTC "ASAN_OPTIONS=$ASAN_OPTIONS" "TSAN_OPTIONS=$TSAN_OPTIONS"
}

t "root" as_root
t "a user with subordinate ids" with_range
t "a user without" without_range
t "a pod as root, nothing relaxed" default_pod
t "a pod as root, seccomp Unconfined" default_unconfined
t "a pod as a user without capabilities, seccomp Unconfined" nonroot
t "the same, /proc unmasked" nonroot_unmasked
t "the restricted pod: everything but RUN" restricted
t "hostUsers: false, nothing relaxed" host_users
t "hostUsers: false, seccomp Unconfined" host_users_unconfined
t "the same, /proc unmasked" host_users_unmasked
t "hostUsers: false, CAP_SYS_ADMIN" host_users_admin
t "deploy/kubernetes/root.yaml" job_root
t "deploy/kubernetes/nonroot.yaml" job_nonroot
t "deploy/kubernetes/restricted.yaml" job_restricted
t_end
