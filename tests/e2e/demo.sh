#!/bin/bash
# README's first command, without the compiling: tools/demo, as root and as an ordinary user.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

shows() {
	has "$D/out" 'demo +v1'
	has "$D/out" '"?User"?: *"app"'
	has "$D/err" 'page: part 2 of 3'
	has "$D/err" 'hello from root, version 1, built with bld'
	hasnt "$D/err" 'you should not see this'
	has "$D/err" 'cached'
}
as_oneself() {
	BLD_ROOT=$D/store want 0 env BLD="$BLD" "$TOP/tools/demo"
	shows
	(BLD_ROOT=$D/store; store_whole)
	want 0 env BLD="$BLD" BLD_ROOT="$D/store" "$TOP/tools/demo" # and again
}
as_user() {
	user_setup
	# The source tree may be in a folder that is root's alone.
	mkdir -p "$U_DIR/tree/testdata"
	cp -r "$TOP/tools" "$U_DIR/tree/"
	cp -r "$TOP/testdata/demo" "$U_DIR/tree/testdata/"
	chmod -R a+rX "$U_DIR/tree"
	want 0 "${U_RUN[@]}" BLD="$BLD" "$U_DIR/tree/tools/demo"
	shows
}

t "tools/demo" as_oneself
t "tools/demo as an ordinary user" as_user
t_end
