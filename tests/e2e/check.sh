#!/bin/bash
# bld check and bld build --call: what is printed where, and the exit codes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

check() { want "$1" "$BLD" check "${@:2}"; }
messy() {
	dockerfile <<-'X'
	# check=skip=NoEmptyContinuation
	FROM scratch AS Out
	MAINTAINER a
	# check=skip=LegacyKeyValueFormat
	ENV a b
	ENV c d
	X
}

clean() {
	dockerfile <<-'X'
	FROM scratch
	LABEL a=1
	X
	check 0 ctx
	same "$(cat "$D/out")" 'Check complete, no warnings found.'
	empty "$D/err"
	(cd ctx && "$BLD" lint >"$D/out") # the current folder, by the other name
	want 0 "$BLD" build --check ctx
	want 0 "$BLD" build --call check,format=json ctx
	jq -e '.warnings == [] and (has("buildError") | not)' "$D/out"
	nothing_left
}

text() {
	messy
	check 1 ctx
	same "$(head -1 "$D/out")" 'Check complete, 3 warnings have been found!'
	cat >"$D/want" <<-'X'

	WARNING: LegacyKeyValueFormat - https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/
	"ENV key=value" should be used instead of legacy "ENV key value" format
	Dockerfile:6
	--------------------
	   2 |     FROM scratch AS Out
	   3 |     MAINTAINER a
	   4 |     # check=skip=LegacyKeyValueFormat
	   5 |     ENV a b
	   6 | >>> ENV c d
	--------------------
	X
	same "$(tail -11 "$D/out")" "$(cat "$D/want")"
	check 1 --only MaintainerDeprecated ctx
	same "$(head -1 "$D/out")" 'Check complete, 1 warning has been found!'
	check 0 --fail-on error ctx
	check 0 --skip MaintainerDeprecated --skip StageNameCasing --skip LegacyKeyValueFormat ctx
	check 1 --experimental ctx
	want 1 "$BLD" build --check ctx
	want 0 "$BLD" build --call=check,ignorestatus=true ctx
}

formats() {
	messy
	check 1 --format json ctx
	jq -e '[.warnings[] | [.ruleName, .location.ranges[0].start.line]] ==
		[["StageNameCasing", 2], ["MaintainerDeprecated", 3], ["LegacyKeyValueFormat", 6]]' "$D/out"
	check 1 --format github ctx
	has "$D/out" '^::warning file=Dockerfile,line=2,endLine=2,title=StageNameCasing::Stage name'
	check 1 --format sarif ctx
	jq -e '.version == "2.1.0" and (.runs[0].results | length) == 3' "$D/out"
	check 1 --format codequality ctx
	jq -e 'length == 3 and .[0].location.lines.begin == 2 and ([.[].fingerprint] | unique | length) == 3' "$D/out"
	check 1 --format checkstyle ctx
	has "$D/out" 'line="6" severity="warning" source="bld.LegacyKeyValueFormat" message="&#34;ENV key'
	check 2 --format floppy ctx
	one_error
}

broken() {
	printf 'FROM scratch AS B\nRUNN x\n' >ctx.df
	mkdir ctx
	check 3 -f ctx.df ctx
	has "$D/out" 'StageNameCasing'
	one_error
	has "$D/err" 'unknown instruction'
	has "$D/err" '^  --> ctx.df:2'
	check 3 --format json -f ctx.df ctx
	empty "$D/err"
	jq -e '.buildError.location.ranges[0].start.line == 2 and (.warnings | length) == 1' "$D/out"
	check 3 --format github -f ctx.df ctx
	has "$D/out" '^::error file=ctx.df,line=2'
	want 1 "$BLD" build --check -f ctx.df ctx
	check 3 -f nowhere ctx
	check 2 --skip NoSuchRule ctx -f ctx.df
	one_error
	want 2 "$BLD" build --call=nothing ctx -f ctx.df
	want 2 "$BLD" build --check --call=outline ctx -f ctx.df
}

in_a_build() {
	messy
	build ctx
	has "$D/err" '^warning: StageNameCasing: .*\(line 2\)$'
	has "$D/err" '3 Dockerfile warnings'
	sed -i '1s/$/;error=true/' ctx/Dockerfile
	want 3 "$BLD" build ctx
	has "$D/err" 'lint violation found for rules: StageNameCasing, MaintainerDeprecated, LegacyKeyValueFormat'
	hasnt "$D/err" '^built'
	build --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=all ctx
	hasnt "$D/err" '^warning'
}

documents() {
	dockerfile <<-'X'
	# V of everything
	ARG V=1
	# one is first
	FROM scratch AS one
	ARG V
	FROM scratch
	COPY --from=one / /
	X
	want 0 "$BLD" build --call=targets,format=json ctx
	jq -e '[.targets[] | [.name, .default, .description]] == [["one", null, "is first"], [null, true, null]]' "$D/out"
	want 0 "$BLD" build --call=targets ctx
	has "$D/out" '^one +is first'
	has "$D/out" '^\(default\)'
	want 0 "$BLD" build --call=outline,format=json ctx
	jq -e '.args == [{"name": "V", "description": "of everything", "value": "1",
		"location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}}]' "$D/out"
	want 0 "$BLD" build --call=outline --target one ctx
	has "$D/out" '^TARGET: +one'
	has "$D/out" '^V +1 +of everything'
	want 6 "$BLD" build --call=outline --target nope ctx
	one_error
}

rules() {
	check 0 --rules
	same "$(wc -l <"$D/out")" 22
	check 0 --explain UndefinedVar
	has "$D/out" 'https://docs.docker.com/go/dockerfile/rule/undefined-var/'
	check 2 --explain UndefinedVal
	has "$D/err" 'UndefinedVar'
}

t 'nothing to complain about' clean
t 'findings as text' text
t 'other formats' formats
t 'a file that cannot be built' broken
t 'warnings of a build, error=true' in_a_build
t 'outline and targets' documents
t 'the list of rules' rules
t_end
