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

corpus() {
	need python3
	canary
	mkdir -p "$T/hostile" "$T/benign/etc" "$T/benign/usr/lib"
	chmod 755 "$T/hostile"
	echo root >"$T/benign/etc/passwd"
	echo x >"$T/benign/usr/lib/x"
	ln -s usr/lib "$T/benign/lib"
	tar -C "$T/benign" -cf "$T/small.tar" .
	python3 "$TOP/testdata/hostile/make" "$T/small.tar" "$T/canary" "$T/hostile" >"$T/hostile.list"
	python3 "$TOP/testdata/hostile/make" "$T/small.tar" "$T/canary" "$T/hostile" more >>"$T/hostile.list"
	# As deep as a path may be: what refuses it is an overlay. Reading does not hold a layer against its diff ID.
	sed -i 's/^deep refused/deep contained/; s/^diff-id refused/diff-id unpacked/' "$T/hostile.list"
	# So many files take longer than all others together, and there is a case of 50,000.
	[ -n "${HOSTILE_ALL:-}" ] || sed -i '/^many-small /d' "$T/hostile.list"
	# HOSTILE_ONLY=REGEX: some of them.
	grep -E "${HOSTILE_ONLY:-.}" "$T/hostile.list" >"$T/list"
	mv "$T/list" "$T/hostile.list"
	chmod -R a+rX "$T/hostile" "$T/benign"
}

# drive all|record NAME...: in one process, in bounded time, and bounded memory where no sanitizer adds its own.
drive() {
	local how=$1 status=0 as=() n refs=()
	shift
	for n in "$@"; do refs+=("oci:$T/hostile/$n:$n:v1"); done
	mkdir -p "$D/$how" "$D/tmp"
	if [ "$(id -u)" = 0 ] && [ "$how" = record ]; then
		chown 65534:65534 "$D/$how" "$D/tmp"
		as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	fi
	timeout 400 "${as[@]}" env "TMPDIR=$D/tmp" "$driver" "$how" "dir:$T/benign" "$D/$how" "${refs[@]}" \
		>"$D/said" 2>"$D/err" || status=$?
	[ "$status" = 0 ] && [ ! -s "$D/err" ] && ! grep -q '^BAD' "$D/said" || {
		tail -n 30 "$D/said" "$D/err"
		fail "exit status $status"
	}
	same $# "$(grep -c '^== ' "$D/said")" "images looked at"
	if [ -z "$sanitized" ]; then
		[ "$(sed -n 's/^memory //p' "$D/said")" -lt "$MEMORY_KIB" ] || fail "$(tail -n 1 "$D/said") KiB: $*"
	fi
	canary_lives
}

# outcome CALL LINES: contained or refused
outcome() {
	if grep -q "^$1 -" <<<"$2"; then echo refused; else echo contained; fi
}

# judge NAME HOW: what drive() said of it.
judge() {
	local name=$1 how=$2 said got
	said=$(awk -v n="== oci:$T/hostile/$name:$name:v1" '/^== / {on = $0 == n} on' "$D/said")
	got=$(outcome '\(open\|apply\)' "$said")
	case $how in
	either) how=$got ;;
	unpacked) how=refused ;;
	unread) # unpacked, but its content is not looked through
		same refused "$(outcome tree "$said")" "$name, reading"
		how=contained
		;;
	*)
		# -1: what the file system refuses is no matter of reading.
		if ! grep -q '^apply -1 ' <<<"$said" && grep -q '^tree ' <<<"$said"; then
			same "$got" "$(outcome tree "$said")" "$name, unpacking and reading"
		fi
		;;
	esac
	same "$how" "$got" "$name"
}

# All through few processes; a crash shows in which image.
all() {
	local names name how bad=0
	sanitized=$(nm -D "$driver" 2>/dev/null | grep -m 1 '__[at]san_init' || true)
	while mapfile -t -n 16 names && [ ${#names[@]} -gt 0 ]; do
		D=$D/batch
		mkdir "$D"
		chmod 755 "$D"
		# shellcheck disable=SC2046,SC2048,SC2086 # words
		(drive all $(printf '%s\n' "${names[@]}" | cut -d' ' -f1)) || bad=1
		for name in "${names[@]}"; do
			how=${name##* }
			(judge "${name% *}" "$how") || { bad=1 && grep -A 9 ":${name% *}:v1" "$D/said" | cut -c1-300; }
		done
		# shellcheck disable=SC2046 # words
		(drive record $(printf '%s\n' "${names[@]}" | cut -d' ' -f1)) || bad=1
		D=${D%/batch}
		chmod -R u+rwX "$D/batch"
		rm -rf "$D/batch"
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

# Every command ends with success, or with one error of a status that is documented. Of the corpus a part: what a
# command does that the library does not is few lines (HOSTILE_ALL=1: all).
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
	done < <(grep -vE '^(many|bomb|sparse-old-huge)' "$T/hostile.list" | awk -v all="${HOSTILE_ALL:-}" 'all || NR % 8 == 0')
	nothing_left
}

t "the corpus" corpus
t "the library refuses or contains each" all
t "so do the commands" commands
t_end
