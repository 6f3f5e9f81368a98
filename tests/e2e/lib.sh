# Common ground of the end-to-end tests; each tests/e2e/*.sh sources it first.
# shellcheck shell=bash disable=SC2034 # REG, U_RUN, ... are for the scripts
#
#   t "name" function [args]   one test: the function runs in a subshell, in a folder of its own ($D), and
#                              fails on the first command that fails
#   t_end                      last line of a script: the TAP plan
#   skip "reason"              inside a test: it cannot run here (refused by `run` where root could)
#
# Each script has its own folder $T, store $BLD_ROOT, home and servers; all are gone when it ends. $BLD is a
# copy inside $T, so that another user can execute it and stray processes can be found by their program.

set -u -o pipefail
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
NAME=$(basename "$0" .sh)
if [ ! -x "${BLD:=$TOP/build/dev/bld}" ]; then
	echo "Bail out! $BLD is not there; run make first"
	exit 1
fi
T=$(mktemp -d "${TMPDIR:-/tmp}/bld-e2e-$NAME.XXXXXX")
chmod 755 "$T"
mkdir "$T/bin" "$T/home" "$T/logs"
cp "$BLD" "$T/bin/bld"
BLD=$T/bin/bld
MARK=$(basename "$T") # in the command line of every long step, so that a stray one is found

# Nothing of the caller's world may change a result.
while read -r v; do
	case $v in
	BLD | BLD_E2E_*) ;;
	BLD_* | DOCKER_* | REGISTRY_AUTH_FILE | BUILDKIT_* | BUILDX_* | BUILDAH_* | KANIKO_* | SOURCE_DATE_EPOCH | \
		CI | GITHUB_* | GITLAB_* | BUILDKITE | TF_BUILD | TEAMCITY_VERSION | JENKINS_URL | XDG_* | NO_COLOR | \
		FORCE_COLOR | CLICOLOR* | KUBERNETES_SERVICE_HOST | TMPDIR) unset "$v" ;;
	esac
done < <(compgen -e)
export BLD_ROOT=$T/store HOME=$T/home BLD_CI=none LC_ALL=C.UTF-8 TZ=UTC
# A sanitizer's report must not get lost in a process whose standard error nobody shows.
export ASAN_OPTIONS="log_path=$T/logs/san:log_exe_name=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:log_path=$T/logs/san:${UBSAN_OPTIONS:-}"
export TSAN_OPTIONS="log_path=$T/logs/san:${TSAN_OPTIONS:-}"

T_N=0 T_FAILED=0 D=$T
: >"$T/pids" # servers, by process id; a test runs in a subshell, so a variable would be lost

t_cleanup() {
	local p m
	cd /
	while read -r p; do
		kill "$p" 2>/dev/null
	done <"$T/pids"
	while read -r m; do
		umount -l "$m" 2>/dev/null
	done < <(awk -v t="$T/mnt/" 'index($5, t) == 1 {print $5}' /proc/self/mountinfo | sort -r)
	# Snapshots of an ordinary user belong to mapped ids; only bld, or root, can remove them.
	rm -rf "$T" 2>/dev/null || {
		find "$T" -name store -maxdepth 2 -type d -exec "$BLD" --root {} prune -af \; >/dev/null 2>&1
		rm -rf "$T" 2>/dev/null
	}
	return 0
}
trap t_cleanup EXIT
trap 'exit 129' HUP INT TERM

t() {
	local name=$1 log status
	shift
	T_N=$((T_N + 1))
	log=$T/logs/$T_N
	D=$T/t$T_N
	mkdir -p "$D"
	(
		set -eE
		shopt -s inherit_errexit
		trap 'echo "FAILED at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
		cd "$D"
		"$@"
	) >"$log" 2>&1 </dev/null
	status=$?
	if compgen -G "$T/logs/san*" >/dev/null; then
		head -qn 40 "$T"/logs/san* >>"$log" # what happened and where comes first
		mv "$T"/logs/san* "$D/"
		[ $status -ne 0 ] && [ $status -ne 77 ] || status=1
	fi
	if [ $status = 0 ]; then
		echo "ok $T_N - $NAME: $name"
		rm -f "$log"
	elif [ $status = 77 ]; then
		echo "ok $T_N - $NAME: $name # SKIP $(sed -n 's/^SKIP: //p' "$log" | tail -n 1)"
	else
		echo "not ok $T_N - $NAME: $name"
		tail -n "${BLD_E2E_TAIL:-60}" "$log" | cut -c1-600 | sed 's/^/#   /'
		T_FAILED=$((T_FAILED + 1))
	fi
}

t_end() {
	echo "1..$T_N"
	[ "$T_FAILED" = 0 ]
	exit
}

skip() {
	printf '\nSKIP: %s\n' "$*"
	exit 77
}

fail() {
	echo "FAILED at ${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}: $*"
	exit 1
}

# ---- running and looking ----

# want STATUS COMMAND...: run it; $D/out and $D/err hold what it said.
want() {
	local status=$1 got=0
	shift
	"$@" >"$D/out" 2>"$D/err" || got=$?
	if [ "$got" != "$status" ]; then
		echo "exit status $got, not $status: $*"
		echo "--- stdout"; tail -n 30 "$D/out"
		echo "--- stderr"; tail -n 50 "$D/err"
		return 1
	fi
}

bld() { want 0 "$BLD" "$@"; }
build() { want 0 "$BLD" build --progress=plain "$@"; }

# has FILE REGEX, hasnt FILE REGEX
has() {
	grep -qE -e "$2" "$1" && return 0
	echo "no match for /$2/ in $1:"
	tail -n 40 "$1"
	return 1
}
hasnt() {
	grep -qE -e "$2" "$1" || return 0
	echo "/$2/ is in $1:"
	grep -nE -e "$2" "$1" | head -n 10
	return 1
}
# same A B [WHAT]: equal strings
same() {
	[ "$1" = "$2" ] && return 0
	echo "${3:-values} differ:"
	printf '  %s\n  %s\n' "$1" "$2"
	return 1
}
# empty FILE
empty() {
	[ ! -s "$1" ] && return 0
	echo "$1 is not empty:"
	head -n 20 "$1"
	return 1
}
# one_error: $D/err ends with one well-formed error and nothing after it.
one_error() {
	same 1 "$(grep -c '^error: ' "$D/err")" "number of error: lines" || { cat "$D/err"; return 1; }
	has "$D/err" '^error: [^ ].*[^.]$'
	if sed '1,/^error: /d' "$D/err" | grep -vE '^ |^(note|warning): |^$'; then
		echo "something follows the error"
		return 1
	fi
}
now_ms() { echo $(($(date +%s%N) / 1000000)); }
# A folder that no hostile layer may get at, and whether it is as it was.
canary() {
	mkdir -p "$T/canary"
	echo alive >"$T/canary/own"
	chmod 755 "$T/canary"
	chmod 644 "$T/canary/own"
}
canary_lives() {
	same "own" "$(cd "$T/canary" && echo *)" "the canary's folder"
	same "alive 644" "$(cat "$T/canary/own") $(stat -c %a "$T/canary/own")" "the canary"
	same 755 "$(stat -c %a "$T/canary")" "mode of the canary's folder"
}
root_only() { [ "$(id -u)" = 0 ] || skip "needs root: $*"; }
need() { command -v "$1" >/dev/null || skip "$1 is not installed"; }

# ---- images ----

BASE_TAR=$T/base/rootfs.tar
# base [STORE]: base:latest in the store, made by bld from busybox.
base() {
	[ -f "$BASE_TAR" ] || "$TOP/tools/mkbase" "$T/base" || return 1
	BLD_ROOT=${1:-$BLD_ROOT} want 0 "$BLD" build -q -t base:latest "$T/base"
}
# dockerfile <<EOF: writes $D/ctx/Dockerfile
dockerfile() {
	mkdir -p "$D/ctx"
	cat >"$D/ctx/Dockerfile"
}
digest_of() { "$BLD" images --format json | jq -re --arg n "$1" \
	'[.. | objects | select((.name? // "") | endswith("/" + $n) or . == $n)][0].digest'; }
manifest() { "$BLD" inspect --manifest "$1"; }
config() { "$BLD" inspect --config "$1"; }
layers() { manifest "$1" | jq -r '.layers[].digest'; }
diff_ids() { config "$1" | jq -r '.rootfs.diff_ids[]'; }
blob() { echo "$BLD_ROOT/blobs/sha256/${1#sha256:}"; }
# layer_list IMAGE N: what `tar tv` shows of layer N (from 0; -1 is the last), names without ./
layer_tar() {
	local d
	d=$(manifest "$1" | jq -r ".layers[$2].digest")
	case $(head -c 4 "$(blob "$d")" | od -An -tx1 | tr -d ' ') in
	1f8b*) gzip -dc "$(blob "$d")" ;;
	28b52ffd) zstd -dcq "$(blob "$d")" ;;
	*) cat "$(blob "$d")" ;;
	esac
}
layer_names() { layer_tar "$1" "$2" | tar -tf - | sed 's|^\./||; s|/$||' | grep -v '^$' | sort; }
# file_in IMAGE N PATH: contents
file_in() { layer_tar "$1" "$2" | tar -xOf - "$3" 2>/dev/null || layer_tar "$1" "$2" | tar -xOf - "./$3"; }

# layout_whole FOLDER: a valid OCI layout, every blob what its name says, all that is referred to is there.
layout_whole() {
	local s=$1 d f part
	jq -e '.imageLayoutVersion == "1.0.0"' "$s/oci-layout" >/dev/null
	jq -e '.schemaVersion == 2' "$s/index.json" >/dev/null
	for f in "$s"/blobs/sha256/*; do
		[ -f "$f" ] || continue
		same "$(basename "$f")" "$(sha256sum <"$f" | cut -d' ' -f1)" "blob name and content"
	done
	for d in $(jq -r '.manifests[].digest' "$s/index.json"); do
		f=$s/blobs/sha256/${d#sha256:}
		[ -f "$f" ] || fail "index.json names $d, which is not there"
		for part in $(jq -r '(.config, (.layers // [])[], (.manifests // [])[]) | select(. != null) | .digest' "$f"); do
			[ -f "$s/blobs/sha256/${part#sha256:}" ] || fail "$f names $part, which is not there"
		done
	done
}
# store_whole [STORE]: that, and skopeo reads the images in it.
store_whole() {
	local s=${1:-$BLD_ROOT} tag
	layout_whole "$s"
	if command -v skopeo >/dev/null; then
		# Its oci: transport passes over documents of docker's types (--format docker).
		for tag in $(jq -r '.manifests[] | select(.mediaType | startswith("application/vnd.oci."))
			| .annotations["org.opencontainers.image.ref.name"] // empty' \
			"$s/index.json" | sort | uniq -u); do
			skopeo inspect "oci:$s:$tag" >/dev/null
		done
	fi
}

# ---- what must not be left behind ----

# strays: processes that belong to this script's bld, or to one of its steps.
strays() {
	local p exe
	for p in /proc/[0-9]*; do
		exe=$(readlink "$p/exe" 2>/dev/null) || continue
		case $exe in "$T"/bin/bld*) echo "${p#/proc/} $exe"; continue ;; esac
		case $exe in */bash | */grep | */tr | */sed) continue ;; esac
		if tr '\0' ' ' <"$p/cmdline" 2>/dev/null | grep -qF -e "$MARK-step"; then
			echo "${p#/proc/} $(tr '\0' ' ' <"$p/cmdline" 2>/dev/null)"
		fi
	done
}
# nothing_left: no process within 5 s, no mount at all.
nothing_left() {
	local left
	for _ in $(seq 50); do
		left=$(strays)
		[ -n "$left" ] || break
		sleep 0.1
	done
	[ -z "$left" ] || fail "still running: $left"
	if grep -F "$T/" /proc/self/mountinfo | grep -vF "$T/mnt"; then
		fail "a mount is left"
	fi
}

# ---- servers ----

# registry_start NAME [htpasswd]: Debian's docker-registry on loopback; sets REG (host:port), REG_LOG and REG_DIR.
# With htpasswd the user is "alice", the password "wonder land:7". REG_HTTP: more of its `http` section, REG_AUTH:
# its `auth` section.
registry_start() {
	need docker-registry
	local dir=$T/reg-$1 auth=${REG_AUTH:-}
	mkdir -p "$dir"
	if [ "${2:-}" = htpasswd ]; then
		need htpasswd
		htpasswd -Bbn alice 'wonder land:7' >"$dir/htpasswd" 2>/dev/null
		auth="auth: {htpasswd: {realm: test, path: $dir/htpasswd}}"
	fi
	cat >"$dir/config.yml" <<Y
version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: $dir/data}, delete: {enabled: true}, maintenance: {uploadpurging: {enabled: false}}}
http: {addr: "127.0.0.1:0"${REG_HTTP:+, $REG_HTTP}}
$auth
Y
	: >"$dir/log"
	docker-registry serve "$dir/config.yml" >"$dir/log" 2>&1 &
	REG_PID=$!
	echo $REG_PID >>"$T/pids"
	for _ in $(seq 100); do
		REG=$(sed -nE 's/.*listening on 127\.0\.0\.1:([0-9]+).*/localhost:\1/p' "$dir/log" | head -n 1)
		[ -z "$REG" ] || break
		kill -0 $REG_PID 2>/dev/null || break
		sleep 0.1
	done
	[ -n "$REG" ] || { cat "$dir/log"; return 1; }
	REG_LOG=$dir/log REG_DIR=$dir/data
}
# A loopback port where nobody listens.
dead_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# ---- the ordinary user ----

# user_setup: sets U_RUN, the words that run a command as an ordinary user with subordinate ids, and U_DIR, a
# folder of that user. As root this is the account "bldtest", made here where it is missing; else it is oneself.
user_setup() {
	command -v newuidmap >/dev/null || skip "newuidmap is not installed (uidmap)"
	local who
	if [ "$(id -u)" = 0 ]; then
		who=bldtest
		(
			flock 9
			id $who >/dev/null 2>&1 || useradd --create-home --shell /bin/sh $who
			grep -q "^$who:" /etc/subuid || usermod --add-subuids 2000000-2065535 $who
			grep -q "^$who:" /etc/subgid || usermod --add-subgids 2000000-2065535 $who
		) 9>/run/lock/bld-e2e-user
		U_DIR=$T/user
		mkdir -p "$U_DIR/home"
		chown -R $who: "$U_DIR"
		U_RUN=(setpriv --reuid "$who" --regid "$who" --init-groups --reset-env env
			"BLD_ROOT=$U_DIR/store" "HOME=$U_DIR/home" "PATH=$PATH" BLD_CI=none LC_ALL=C.UTF-8 TZ=UTC
			"ASAN_OPTIONS=$ASAN_OPTIONS" "TSAN_OPTIONS=$TSAN_OPTIONS")
	else
		who=$(id -un)
		grep -qE "^($who|$(id -u)):" /etc/subuid || skip "$who has no range in /etc/subuid"
		U_DIR=$T/user
		mkdir -p "$U_DIR/home"
		U_RUN=(env "BLD_ROOT=$U_DIR/store" "HOME=$U_DIR/home")
	fi
}
