#!/bin/bash
# bld doctor: what it says of the machine is what a build then does.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

document() {
	want 0 "$BLD" doctor --format json
	jq -e '.apiVersion == "bld/v1" and (.levels | length) >= 1 and (.checks | length) >= 5' "$D/out" >/dev/null
	# One level is chosen, and it is one that works.
	jq -e '.isolation.chosen as $c | [.levels[] | select(.name == $c and .ok)] | length == 1' "$D/out" >/dev/null
	jq -e '[.levels[] | select(.ok | not) | select((.failed | length) == 0)] | length == 0' "$D/out" >/dev/null
	empty "$D/err"
	want 0 "$BLD" doctor
	has "$D/out" '^RUN steps work here'
	has "$D/out" 'chosen$'
	want 0 "$BLD" doctor --format '{{.isolation.chosen}}'
	nothing_left
}

# What doctor chooses is what a build takes, also for a user.
agrees() {
	user_setup
	umask 022
	want 0 "${U_RUN[@]}" "$BLD" doctor --format json
	same userns "$(jq -r .isolation.chosen "$D/out")"
	jq -e '.levels[] | select(.name == "root" and (.ok | not)) | .fix or .what' "$D/out" >/dev/null
}

# A user namespace of one id in which no further one can be made, without the capabilities of root.
nothing_works() {
	root_only "makes the environment"
	want 9 unshare --user --map-root-user --mount --pid --fork sh -c '
		echo 0 >/proc/sys/user/max_user_namespaces
		exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all "$0" --root "$1" doctor --format json' \
		"$BLD" "$D/store"
	same none "$(jq -r .isolation.chosen "$D/out")"
	jq -e '[.levels[] | select(.ok)] | length == 0' "$D/out" >/dev/null
	jq -e '.checks[] | select(.name == "user.max_user_namespaces" and (.ok | not)) | .fix' "$D/out" >/dev/null
	want 9 unshare --user --map-root-user --mount --pid --fork sh -c '
		echo 0 >/proc/sys/user/max_user_namespaces
		exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all "$0" --root "$1" doctor --k8s' \
		"$BLD" "$D/store"
	has "$D/out" 'seccompProfile: {type: Unconfined}'
}

registries() {
	registry_start doctor
	want 0 "$BLD" doctor --registry "$REG" --registry "localhost:$(dead_port)" --format json
	jq -e '[.checks[] | select(.name == "registry") | .ok] == [true, false]' "$D/out" >/dev/null
	HTTPS_PROXY=http://me:hush@proxy.example:3128/ want 0 "$BLD" doctor
	has "$D/out" 'HTTPS_PROXY=proxy.example:3128'
	hasnt "$D/out" hush
}

t "the document and the text" document
t "the user's level" agrees
t "nowhere to run" nothing_works
t "registries and proxies" registries
t_end
