#!/bin/bash
# The language as a whole build sees it: arguments, directives, times, platforms.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

created() { config "$1" | jq -r .created; }
label() { config "$1" | jq -r ".config.Labels.$2"; }

frontends() {
	dockerfile <<-'X'
	#!/usr/bin/env bld
	# syntax = mirror.example/docker/dockerfile-upstream:1-labs
	FROM scratch
	X
	build ctx
	dockerfile <<-'X'
	# syntax=example.com/other:1 with words
	this is no Dockerfile
	X
	want 3 "$BLD" build ctx
	one_error
	has "$D/err" 'unknown Dockerfile frontend "example.com/other:1"'
	has "$D/err" '^  --> .*Dockerfile:1$'
	printf 'FROM scratch\n' >>ctx/Dockerfile && sed -i 2d ctx/Dockerfile
	build --build-arg BUILDKIT_SYNTAX=docker/dockerfile:1 ctx
	build --build-context example.com/other:1=docker-image://mirror.example/docker/dockerfile:1 ctx
	printf 'FROM scratch\n' >ctx/Dockerfile
	want 3 "$BLD" build --build-arg BUILDKIT_SYNTAX=example.com/other ctx
	one_error
	printf '// syntax=example.com/other\n{}\n' >ctx/Dockerfile
	want 3 "$BLD" build ctx
	has "$D/err" 'frontend "example.com/other"'
	printf '{"syntax": "example.com/third"}\n' >ctx/Dockerfile
	want 3 "$BLD" build ctx
	has "$D/err" 'frontend "example.com/third"'
}

platforms() {
	dockerfile <<-'X'
	FROM scratch
	ARG TARGETPLATFORM
	LABEL p=$TARGETPLATFORM
	X
	build --platform linux/arm64,linux/aarch64/v8 -t lang:one ctx
	same linux/arm64 "$(label lang:one p)"
	build --platform linux/arm64 --build-arg BUILDKIT_MULTI_PLATFORM=1 -t lang:many ctx
	jq -e '.manifests | length == 1 and .[0].platform.architecture == "arm64"' "$(blob "$(digest_of lang:many)")"
	want 3 "$BLD" build --build-arg BUILDKIT_MULTI_PLATFORM=perhaps ctx
	one_error
}

# seconds SECONDS ARGUMENT...: what a build with these arguments is dated
seconds() {
	build -t lang:t "${@:2}" ctx
	same "$(date -u -d "@$1" +%FT%TZ)" "$(created lang:t)" "date of ${*:2}"
}

epochs() {
	dockerfile <<-'X'
	ARG BASE=12
	ARG SOURCE_DATE_EPOCH="${BASE}00000000"
	FROM scratch
	ARG SOURCE_DATE_EPOCH
	LABEL e=$SOURCE_DATE_EPOCH
	X
	seconds 1200000000
	same 1200000000 "$(label lang:t e)"
	seconds 1300000000 --build-arg SOURCE_DATE_EPOCH=1300000000
	SOURCE_DATE_EPOCH=1400000000 seconds 1300000000 --build-arg SOURCE_DATE_EPOCH=1300000000
	SOURCE_DATE_EPOCH=1400000000 seconds 1400000000
	same 1400000000 "$(label lang:t e)"
	seconds 1700000000 --source-date-epoch 2023-11-14T22:13:20Z
	same 1700000000 "$(label lang:t e)"
	SOURCE_DATE_EPOCH=1400000000 build --build-arg SOURCE_DATE_EPOCH= -t lang:t ctx # unset
	[ "$(date -d "$(created lang:t)" +%s)" -gt 1700000000 ]
	want 3 "$BLD" build --build-arg SOURCE_DATE_EPOCH=yesterday ctx
	one_error
	has "$D/err" 'invalid SOURCE_DATE_EPOCH: yesterday'
}

epoch_of_context() {
	dockerfile <<-'X'
	FROM scratch
	COPY f /f
	X
	echo 1 >ctx/f
	touch -d @1500000000 ctx/f
	touch -d @1510000000 ctx/Dockerfile
	touch -d @1600000000 ctx # folders do not count
	build --build-arg SOURCE_DATE_EPOCH=context -t lang:t ctx
	[ "$(date -d "$(created lang:t)" +%s)" -gt 1700000000 ] # a folder of this machine has no age
	tar -C ctx -cf ctx.tar .
	want 0 "$BLD" build --source-date-epoch context -t lang:t ctx.tar
	same 2017-11-06T20:26:40Z "$(created lang:t)"
}

# What is planned, without images.
debug() {
	mkdir -p ctx && echo 1 >ctx/f && echo 2 >ctx/g && echo g >ctx/.dockerignore
	dockerfile <<-'X'
	FROM somewhere/base AS one
	ARG V=1
	RUN --mount=type=secret,id=s,target=/s a $V
	FROM scratch
	COPY --from=one --chmod=700 /x /y
	COPY . /c/
	CMD ["\u00e9"]
	X
	bld debug graph ctx/Dockerfile
	cp "$D/out" first
	bld debug graph - <ctx/Dockerfile
	cmp first "$D/out"
	jq -e '[.vertices[].kind] == ["image", "run", "copy", "local", "copy"]' first
	jq -e '.vertices[1] | .argv[2] == "a $V" and (.env | index("V=1")) and .mounts[0].id == "s"' first
	jq -e '[.vertices[].inputs] == [[], [0], [null, 1], [], [2, 3]] and .targets[0].vertex == 4' first
	bld debug graph --target ONE --build-arg V=2 --platform linux/arm64 ctx/Dockerfile
	jq -e '(.vertices | length) == 2 and .vertices[1].platform == "linux/arm64" and
		(.vertices[1].env | index("V=2"))' "$D/out"
	bld debug config ctx/Dockerfile
	jq -e '.targets[0] | .image.config.Cmd == ["é"] and
		[.history[].created_by] == ["COPY --chmod=700 /x /y # buildkit", "COPY . /c/ # buildkit", "CMD [\"é\"]"]' "$D/out"
	keys() { bld debug key "$@" ctx/Dockerfile && jq -r '.vertices[].key' "$D/out" >"$D/keys"; }
	keys --context ctx && cp "$D/keys" before
	echo changed >ctx/g && keys --context ctx && cmp "$D/keys" before # it is excluded
	echo changed >ctx/f && keys --context ctx
	same 1 "$(comm -13 <(sort before) <(sort "$D/keys") | wc -l)" "keys changed by a file"
	keys && keys --build-arg V=3
	want 1 "$BLD" debug graph --target nobody ctx/Dockerfile
	one_error
	printf 'FROM scratch\nENV a=${b?}\n' >bad
	want 1 "$BLD" debug config bad
	has "$D/err" 'line 2'
}

# Sizes that people generate: nothing here may need a stack, or memory, that grows with their square.
large() {
	{
		echo 'FROM scratch AS s0'
		for i in $(seq 30000); do printf 'FROM s%d AS s%d\nENV V%d=$V%d\n' $((i - 1)) "$i" $((i % 500)) $((i % 7)); done
	} >chain
	bld debug config chain
	jq -e '.targets[0] | (.image.config.Env | length) == 501 and (.history | length) == 30000' "$D/out"
	{
		echo 'FROM scratch'
		for i in $(seq 20000); do printf 'ENV E%d=1\nARG A%d=1\nLABEL l%d=1\n' "$i" "$i" "$i"; done
		echo 'EXPOSE 1-65535'
	} >pairs
	bld debug config pairs
	jq -e '.targets[0].image.config | (.Env | length) == 20001 and (.Labels | length) == 20000 and
		(.ExposedPorts | length) == 65535' "$D/out"
	{
		echo 'FROM scratch AS s0'
		for i in $(seq 30000); do printf 'FROM scratch AS s%d\nCOPY --from=s%d / /\n' "$i" $((i - 1)); done
	} >copies
	bld debug key copies
	same 30000 "$(jq '.vertices | length' "$D/out")"
	{
		echo 'FROM scratch'
		printf 'ENV'
		for i in $(seq 2000); do printf ' a%d=$u%d \\\n' "$i" "$i"; done
		echo ' z=1'
	} >undefined
	mkdir ctx
	want 1 "$BLD" check -f undefined ctx
	has "$D/out" '^     \| \.\.\. to line 2002$'
}

t "large files" large
t "bld debug graph, key, config" debug
t "frontends that are built in, and others" frontends
t "platforms said twice; an index of one" platforms
t "SOURCE_DATE_EPOCH: who says it" epochs
t "SOURCE_DATE_EPOCH=context" epoch_of_context
t_end
