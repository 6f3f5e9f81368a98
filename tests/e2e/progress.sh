#!/bin/bash
# What a build shows: plain lines, a live screen, json, nothing.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

project() {
	dockerfile <<-'X'
	FROM base:latest AS deps
	RUN echo output-line; printf '\033[31mred\033[0m \033[2Jcleared\007\n'; echo ::error::nope
	FROM base:latest
	COPY --from=deps /etc/group /g
	CMD ["x"]
	X
}

plain() {
	project
	want 0 "$BLD" build --no-cache -t app:v1 ctx # not a terminal: plain
	empty "$D/out"
	has "$D/err" '^deps 2/2 +start +RUN echo output-line.* Dockerfile:2$'
	has "$D/err" '^deps 2/2 +[0-9.]+ \| output-line$'
	has "$D/err" '^deps 2/2 +[0-9.]+ done +exit 0$'
	has "$D/err" '^built +app:v1 +sha256:[0-9a-f]{12}'
	has "$D/err" '^time +'
	has "$D/err" '^cache +'
	hasnt "$D/err" $'\007'
	# Escapes other than colours never pass; on a file, none does.
	hasnt "$D/err" $'\033'
	want 0 "$BLD" build -t app:v1 ctx
	has "$D/err" 'cached'
}

quiet() {
	project
	want 0 "$BLD" build -q ctx
	empty "$D/err"
	want 0 "$BLD" build --progress=none ctx
	empty "$D/err"; empty "$D/out"
	want 0 "$BLD" build --progress=quiet ctx
	has "$D/out" '^sha256:'
}

rawjson() {
	project
	want 0 "$BLD" build --no-cache --progress=rawjson ctx
	jq -es 'length > 3 and all(type == "object")' "$D/err"
	jq -es '[.[].vertexes[]? | select(.name | contains("RUN echo output-line"))] | any(.completed != null)' "$D/err"
	jq -rs '[.[].logs[]? | .data | @base64d] | join("")' "$D/err" >logs
	has logs 'output-line'
}

progress_by_environment() {
	project
	BUILDKIT_PROGRESS=rawjson want 0 "$BLD" build --no-cache ctx
	jq -es 'length > 0' "$D/err"
	BLD_PROGRESS=quiet want 0 "$BLD" build ctx
	empty "$D/err"
	want 0 "$BLD" build --progress=tty ctx # no terminal: plain, one notice
	hasnt "$D/err" $'\033'
}

# screen ROWSxCOLS COMMAND...: run it at a terminal of that size; $D/screen has all bytes, $D/text no escapes
screen() {
	local size=$1
	shift
	printf '#!/bin/bash\nstty rows %s cols %s\nexec "$@"\n' "${size%x*}" "${size#*x}" >go
	chmod +x go
	local cmd
	cmd=$(printf '%q ' ./go "$@")
	local status=0
	TERM=${TERM_IS:-xterm-256color} timeout 120 script -qec "$cmd" screen </dev/null >/dev/null || status=$?
	sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g; s/\r//g' screen >text
	return "$status"
}

terminal() {
	need script
	project
	screen 24x80 "$BLD" build --no-cache -t tty:v1 ctx
	has screen $'\033\\['
	has screen 'output-line'
	has screen 'RUN echo output-line'
	has text 'built +tty:v1'
	hasnt screen $'\033\\[2Jcleared' # a step cannot clear the screen
	TERM_IS=dumb screen 24x80 "$BLD" build --no-cache ctx
	hasnt screen $'\033\\[[0-9]*[A-K]'
	NO_COLOR=1 screen 24x80 "$BLD" build --no-cache ctx
	hasnt screen $'\033\\[3[0-7]m'
	local size
	for size in 5x20 1x1 200x500; do
		screen "$size" "$BLD" build --no-cache ctx
		has text 'sha256'
	done
}

error_at_a_terminal() {
	need script
	printf 'FROM base:latest\nRUN echo before; exit 3\n' >Dockerfile
	screen 24x80 "$BLD" build --no-cache . && fail "exit status lost"
	has text '^error: '
	has text 'Dockerfile:2'
	# The last thing on the screen is the error, not progress.
	grep -v '^Script' text | sed '1,/^error: /d' >end
	has end 'why:'
	hasnt end '✓|✗|▸'
}

t "base image" base
t "plain: the lines of every step, the summary" plain
t "-q, --progress=none, quiet" quiet
t "rawjson is BuildKit's" rawjson
t "BLD_PROGRESS, BUILDKIT_PROGRESS, tty without a terminal" progress_by_environment
t "a terminal, a dumb one, a tiny one" terminal
t "an error at a terminal" error_at_a_terminal
t_end
