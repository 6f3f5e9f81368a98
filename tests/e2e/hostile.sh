#!/bin/bash
# Layers made to break out, lie or blow up (testdata/hostile): loaded, unpacked under a RUN, read by COPY --from. Each
# is refused with one error or contained; what is outside never changes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

corpus() {
	need python3
	canary
	mkdir -p "$T/hostile"
	python3 "$TOP/testdata/hostile/make" "$BASE_TAR" "$T/canary" "$T/hostile" >"$T/hostile.list"
}

# refusal STATUS: one of those a hostile input may end with, and one well-formed error.
refusal() {
	case $1 in 3 | 7 | 8) ;; *) cat "$D/err"; fail "exit status $1" ;; esac
	one_error
	hasnt "$D/err" $'[\x01-\x08\x0b-\x1f]'
}

# attempt NAME HOW: load, RUN on top, COPY out of it.
attempt() {
	local name=$1 how=$2 file status=0 ended=contained
	timeout 120 "$BLD" load -q -i "$T/hostile/$name" >"$D/out" 2>"$D/err" || status=$?
	if [ "$status" != 0 ]; then
		refusal "$status"
		ended=refused
	else
		mkdir ctx
		printf 'FROM %s:v1\nRUN echo ran >/ran\n' "$name" >ctx/run
		printf 'FROM scratch\nCOPY --from=%s:v1 / /all/\n' "$name" >ctx/copy
		for file in run copy; do
			status=0
			timeout 120 "$BLD" build -q -f "ctx/$file" -t "built-$file:v1" ctx >"$D/out" 2>"$D/err" || status=$?
			if [ "$status" != 0 ]; then
				refusal "$status"
				ended=refused
			fi
			canary_lives
		done
	fi
	canary_lives
	same "$how" "$ended" "$name"
}

all() {
	local name how bad=0
	while read -r name how; do
		(D=$D/$name && mkdir "$D" && cd "$D" && attempt "$name" "$how") || { echo "== $name"; bad=1; }
		rm -rf "$T/hostile/${name:?}"
	done <"$T/hostile.list"
	[ "$bad" = 0 ]
	nothing_left
	store_whole
}

t "base image" base
t "the corpus" corpus
t "each is refused or contained" all
t_end
