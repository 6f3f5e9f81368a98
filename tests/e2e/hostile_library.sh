#!/bin/bash
# Layers made to break out, lie or blow up (testdata/hostile), through libbld and the commands that look into images:
# refused with one error or read soundly, in bounded memory and time; what is outside never changes.
driver=${HOSTILE_DRIVER:-$(dirname "${BLD:-$(dirname "$0")/../../build/dev/bld}")/tests/e2e/hostile_driver}
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
if [ ! -x "$driver" ]; then
	echo "Bail out! $driver is not there; run make check-e2e, or make $driver"
	exit 1
fi
cp "$driver" "$T/bin/hostile_driver"
driver=$T/bin/hostile_driver
MEMORY_KIB=$((320 << 10)) # resident; the threads of a pull hold some windows of zstd

canary_lives() {
	same "own" "$(cd "$T/canary" && echo *)" "the canary's folder"
	same "alive 644" "$(cat "$T/canary/own") $(stat -c %a "$T/canary/own")" "the canary"
	same 755 "$(stat -c %a "$T/canary")" "mode of the canary's folder"
}

corpus() {
	need python3
	mkdir -p "$T/canary" "$T/hostile" "$T/benign/etc" "$T/benign/usr/lib"
	echo alive >"$T/canary/own"
	chmod 755 "$T/canary" "$T/hostile"
	chmod 644 "$T/canary/own"
	echo root >"$T/benign/etc/passwd"
	echo x >"$T/benign/usr/lib/x"
	ln -s usr/lib "$T/benign/lib"
	tar -C "$T/benign" -cf "$T/small.tar" .
	python3 "$TOP/testdata/hostile/make" "$T/small.tar" "$T/canary" "$T/hostile" >"$T/hostile.list"
	python3 "$TOP/testdata/hostile/make" "$T/small.tar" "$T/canary" "$T/hostile" more >>"$T/hostile.list"
	# HOSTILE_ONLY=REGEX: some of them.
	grep -E "${HOSTILE_ONLY:-.}" "$T/hostile.list" >"$T/list"
	mv "$T/list" "$T/hostile.list"
	chmod -R a+rX "$T/hostile" "$T/benign"
}

# drive FOLDER REF [record]: in bounded time, and bounded memory where no sanitizer adds its own.
drive() {
	local folder=$1 ref=$2 status=0 as=()
	shift 2
	mkdir -p "$folder"
	if [ "$(id -u)" = 0 ] && [ $# -gt 0 ]; then
		chown 65534:65534 "$folder"
		as=(setpriv --reuid 65534 --regid 65534 --clear-groups env "TMPDIR=$folder.tmp")
		mkdir -p "$folder.tmp"
		chown 65534:65534 "$folder.tmp"
	fi
	timeout 120 "${as[@]}" "$driver" "$ref" "dir:$T/benign" "$folder" "$@" >"$D/said" 2>"$D/err" || status=$?
	[ "$status" = 0 ] && empty "$D/err" && hasnt "$D/said" '^BAD' || {
		cat "$D/said"
		fail "$ref: exit status $status"
	}
	if ! nm -D "$driver" 2>/dev/null | grep -q '__[at]san_init'; then
		[ "$(sed -n 's/^memory //p' "$D/said")" -lt "$MEMORY_KIB" ] || fail "$ref: $(tail -n 1 "$D/said") KiB"
	fi
	canary_lives
}

# outcome CALL: contained or refused
outcome() {
	if grep -q "^$1 -" "$D/said"; then echo refused; else echo contained; fi
}

attempt() {
	local name=$1 how=$2 ref=oci:$T/hostile/$1:$1:v1 got
	drive "$D/tree" "$ref"
	got=$(outcome apply)
	# What the file system refuses is no matter of reading.
	if ! grep -q '^apply -1 ' "$D/said" && grep -q '^tree ' "$D/said"; then
		same "$got" "$(outcome tree)" "unpacking and reading"
	fi
	case $how in either) ;; *) same "$how" "$got" "$name" ;; esac
	drive "$D/noted" "$ref" record
}

all() {
	local name how bad=0
	while read -r name how; do
		(D=$D/$name && mkdir "$D" && chmod 755 "$D" && cd "$D" && attempt "$name" "$how") || { echo "== $name"; bad=1; }
		rm -rf "${D:?}/$name"
	done <"$T/hostile.list"
	[ "$bad" = 0 ]
	same 0 "$(find / -xdev -maxdepth 1 -name hit | wc -l)" "files at the root"
}

# last_layer LAYOUT: the file of its uppermost layer.
last_layer() {
	local m
	m=$(jq -r '.manifests[0].digest' "$1/index.json")
	echo "$1/blobs/sha256/$(jq -r '.layers[-1].digest' "$1/blobs/sha256/${m#sha256:}" | cut -d: -f2)"
}

# Every command ends with success, or with one error of a status that is documented.
commands() {
	local name how ref status
	while read -r name how; do
		ref=oci:$T/hostile/$name:$name:v1
		for c in "diff dir:$T/benign $ref" "files $ref" "cat $ref /f" "analyze $ref" "flatten $ref -t oci:$D/flat:x" \
			"append -b scratch -f $(last_layer "$T/hostile/$name") -t oci:$D/flat:y"; do
			status=0
			# shellcheck disable=SC2086 # words
			timeout 120 "$BLD" $c >"$D/out" 2>"$D/err" || status=$?
			[ "$status" = 0 ] && continue
			if [ "$status" -gt 9 ] || [ "$status" = 1 ]; then
				# 1 is an answer of these two: rules not kept, a difference.
				[ "$status" = 1 ] && [[ $c =~ ^(analyze|diff) ]] && ! grep -q '^error: ' "$D/err" && continue
				cat "$D/err"
				fail "exit status $status: bld $c"
			fi
			one_error || fail "bld $c"
			hasnt "$D/err" $'[\x01-\x08\x0b-\x1f]'
		done
		canary_lives
		rm -rf "$D/flat"
	done < <(grep -vE '^(many|bomb)' "$T/hostile.list" | awk 'NR % 3 == 0')
	nothing_left
}

t "the corpus" corpus
t "the library refuses or contains each" all
t "so do the commands" commands
t_end
