#!/bin/bash
# An ordinary user with subordinate ids: the same image, nothing left, nothing gained.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# as_user COMMAND...: status 0 wanted; the user cannot read $D, so contexts are copied to $U_DIR
as_user() { want 0 "${U_RUN[@]}" "$@"; }
ubuild() { as_user "$BLD" build --progress=plain "$@"; }
user_base() {
	user_setup
	[ -f "$BASE_TAR" ] || "$TOP/tools/mkbase" "$T/base"
	[ ! -d "$U_DIR/store" ] || return 0
	as_user "$BLD" build -q -t base:latest "$T/base"
}
udigest() { "${U_RUN[@]}" "$BLD" inspect --raw "$1" | sha256sum | cut -d' ' -f1; }
# For the user to read: everything below $T is world-readable, and so is what a test makes.
umask 022

first_build() {
	user_base
	has <(ls -ld "$U_DIR/store") '^drwx'
	dockerfile <<-'X'
	FROM base:latest
	RUN id && cat /proc/self/uid_map && touch /f && chown 33:1000 /f && ls -n /f
	USER app
	RUN id -un && touch /home/app/mine
	X
	ubuild -t r:t1 ctx
	has "$D/err" 'uid=0\(root\)'
	has "$D/err" '33 +1000 .*/f'
	has "$D/err" '\| app$'
	nothing_left
}

same_as_root() {
	root_only "compares with what root builds"
	user_base
	# The base's own creation time is part of the image, so it is fixed, too.
	export SOURCE_DATE_EPOCH=1600000000
	U_RUN+=(SOURCE_DATE_EPOCH=1600000000)
	want 0 "$BLD" build -q -t fixed:latest "$T/base"
	as_user "$BLD" build -q -t fixed:latest "$T/base"
	mkdir -p ctx/tree
	for n in $(seq 30); do echo "$n" >"ctx/tree/f$n"; done
	dockerfile <<-'X'
	FROM fixed:latest AS one
	RUN mkdir -p /o/sub && echo x >/o/sub/f && chown -R 1000:33 /o && chmod 2755 /o/sub && ln /o/sub/f /o/h && mkfifo /o/p
	FROM fixed:latest
	COPY --chown=app:app tree /tree
	COPY --from=one /o /o
	RUN rm -rf /var/tmp /tree/f3 && mkdir /var/tmp && echo 1 >/n && chown nobody:nogroup /n
	USER app
	WORKDIR /home/app/w
	RUN echo mine >m
	X
	build -t r:same ctx
	ubuild -t r:same ctx
	same "$(config r:same | jq -c .rootfs.diff_ids)" \
		"$("${U_RUN[@]}" "$BLD" inspect --config r:same | jq -c .rootfs.diff_ids)" "layers of root and user"
	same "$(config r:same | jq -cS .)" "$("${U_RUN[@]}" "$BLD" inspect --config r:same | jq -cS .)" "configurations"
	same "$(manifest r:same)" "$("${U_RUN[@]}" "$BLD" inspect --manifest r:same)" "manifests"
	same "$(digest_of r:same)" "sha256:$(udigest r:same)" "images of root and user"
}

other_work() {
	user_base
	cp -r "$TOP/testdata/demo" "$U_DIR/demo"
	chmod -R a+rX "$U_DIR/demo"
	ubuild --build-arg BASE=base:latest -t r:demo "$U_DIR/demo"
	ubuild --build-arg BASE=base:latest -t r:demo "$U_DIR/demo"
	has "$D/err" cached
	as_user "$BLD" images
	has "$D/out" 'demo'
	as_user "$BLD" save r:demo --format docker-archive -o "$U_DIR/save.tar"
	as_user "$BLD" build --build-arg BASE=base:latest -o "type=local,dest=$U_DIR/tree" "$U_DIR/demo"
	[ -f "$U_DIR/tree/srv/app/app.conf" ]
	as_user "$BLD" rmi r:demo
	as_user "$BLD" prune -af
	# Folders of mapped owners are removed, too.
	same 0 "$(find "$U_DIR/store/snapshots" -mindepth 2 -maxdepth 2 -type d | wc -l)" "snapshots after prune -a"
}

no_gain() {
	user_base
	root_only "looks for a file of the host's root"
	dockerfile <<-'X'
	FROM base:latest
	RUN cat /proc/1/root/etc/shadow 2>/dev/null; ls /proc | grep -cE '^[0-9]+$' | sed s/^/procs=/; (echo 1 >/proc/sys/vm/drop_caches) 2>/dev/null && echo dropped; true
	RUN mkdir /x && mount -t tmpfs x /x 2>/dev/null && echo mounted; mknod /d b 8 0 2>/dev/null; true
	X
	ubuild --no-cache ctx
	hasnt "$D/err" '\| (root:|dropped|mounted)'
	has "$D/err" 'procs=[1-9]$'
}

without_a_range() {
	root_only "takes another account"
	local run=(setpriv --reuid 60999 --regid 60999 --clear-groups --reset-env env "BLD_ROOT=$D/nostore" "HOME=$D/nohome" "PATH=$PATH")
	mkdir -p "$D/nostore" "$D/nohome"
	chown 60999:60999 "$D/nostore" "$D/nohome"
	printf 'FROM scratch\nCOPY rootfs.tar /x\n' >"$D/Dockerfile"
	# No RUN: works for everybody.
	want 0 "${run[@]}" "$BLD" build -q -f "$D/Dockerfile" "$T/base"
	want 0 "${run[@]}" "$BLD" build -q -t base:latest "$T/base"
	printf 'FROM base:latest\nRUN true\n' >"$D/Dockerfile"
	local status=0
	"${run[@]}" "$BLD" build --progress=plain -f "$D/Dockerfile" "$T/base" >"$D/out" 2>"$D/err" || status=$?
	[ "$status" = 0 ] || [ "$status" = 9 ] || { cat "$D/err"; fail "exit status $status, not 0 or 9"; }
	[ "$status" = 0 ] || has "$D/err" 'subuid|isolation'
}

killed() {
	user_base
	dockerfile <<-X
	FROM base:latest
	RUN echo begins; chown 33:33 /home; sleep 30; : $MARK-step
	X
	"${U_RUN[@]}" "$BLD" build --progress=plain ctx >o1 2>&1 &
	local pid=$!
	for _ in $(seq 100); do grep -q '| begins' o1 && break; sleep 0.1; done
	has o1 '\| begins'
	kill -9 "$pid"
	wait "$pid" 2>/dev/null || true
	nothing_left
	printf 'FROM base:latest\nRUN echo again >/a\n' >ctx/Dockerfile
	ubuild -t r:again ctx
	same '' "$(find "$U_DIR/store/tmp" -mindepth 1 -type f -size +0 | head)" "files in tmp"
	store_whole "$U_DIR/store"
}

from_registry() {
	user_base
	registry_start rootless
	"$TOP/testdata/bases/layout" "$BASE_TAR" "$T/foreign-r" v1 sh
	skopeo copy -q --dest-tls-verify=false "oci:$T/foreign-r:v1" "docker://$REG/foreign:v1"
	dockerfile <<-X
	FROM $REG/foreign:v1
	RUN ls -ln /home | tail -1 && echo ok >/ok
	X
	ubuild --push -t "$REG/mine:v1" ctx
	has "$D/err" '1000 +1000'
	skopeo inspect --tls-verify=false "docker://$REG/mine:v1" >/dev/null
}

t "first build: ids inside, USER, chown" first_build
t "the same image as root's, bit for bit" same_as_root
t "the demo, archives, prune" other_work
t "a step gains nothing" no_gain
t "without a range: no RUN needs none, RUN works or says why" without_a_range
t "kill -9 leaves nothing that the next build does not clear" killed
t "pull and push" from_registry
t_end
