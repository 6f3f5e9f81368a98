#!/bin/bash
# The main path: one Dockerfile, one image.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

help_and_version() {
	bld --help
	has "$D/out" '^usage: bld|^Usage: bld'
	has "$D/out" '\bbuild\b'
	empty "$D/err"
	[ "$(wc -L <"$D/out")" -le 80 ] || fail "--help is wider than 80 columns"
	bld build --help
	has "$D/out" '--build-arg'
	[ "$(wc -L <"$D/out")" -le 80 ] || fail "build --help is wider than 80 columns"
	bld version
	has "$D/out" '^bld [0-9]+\.[0-9]+\.[0-9]+ \('
	bld --version
	has "$D/out" '^bld [0-9]+\.[0-9]+\.[0-9]+'
	want 2 "$BLD"
}

every_command_has_help() {
	local c
	bld help
	# shellcheck disable=SC2013 # words are what is wanted
	for c in $(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' "$D/out"); do
		bld "$c" --help
		has "$D/out" "bld $c"
		[ "$(wc -L <"$D/out")" -le 80 ] || fail "$c --help is wider than 80 columns"
	done
}

scratch_image() {
	mkdir ctx
	echo hello >ctx/hello.txt
	printf 'FROM scratch\nCOPY hello.txt /\nCMD ["/hello"]\n' >ctx/Dockerfile
	build -t scratch:t1 ctx
	empty "$D/out"
	same hello "$(file_in scratch:t1 0 hello.txt)"
	same '["/hello"]' "$(config scratch:t1 | jq -c .config.Cmd)"
	same linux "$(config scratch:t1 | jq -r .os)"
	same application/vnd.oci.image.manifest.v1+json "$(manifest scratch:t1 | jq -r .mediaType)"
	store_whole
}

demo() {
	bld build -q -t demo-base:latest "$T/base"
	build -t demo:v1 "$TOP/testdata/demo"
	has "$D/err" 'RUN'
	has "$D/err" '\| page: part 2 of 3'
	hasnt "$D/err" 'you should not see this'
	config demo:v1 >c.json
	jq -e '.config.User == "app" and .config.WorkingDir == "/srv/app" and .config.Cmd == ["greet", "--serve"]' c.json
	jq -e '.config.Env | index("APP_HOME=/srv/app") and index("APP_VERSION=1")' c.json
	jq -e '.config.ExposedPorts | has("8080/tcp")' c.json
	jq -e '.config.Labels["org.opencontainers.image.title"] == "bld demo"' c.json
	jq -e '(.history | map(select(.empty_layer | not)) | length) == (.rootfs.diff_ids | length)' c.json
	store_whole
}

multi_stage() {
	dockerfile <<-'X'
	FROM base:latest AS one
	RUN echo one >/one
	FROM base:latest AS never
	RUN echo "MUST-NOT-RUN" && false
	FROM one AS two
	RUN cat /one >/two && echo two >>/two
	FROM scratch
	COPY --from=two /two /result
	COPY --from=0 /one /
	X
	build -t multi:t2 ctx
	hasnt "$D/err" MUST-NOT-RUN
	same "one two" "$(file_in multi:t2 0 result | xargs)"
	same one "$(file_in multi:t2 1 one)"
	build --target one -t multi:t3 ctx
	same one "$(file_in multi:t3 -1 one)"
	want 1 "$BLD" build --target never ctx
	want 6 "$BLD" build --target 1 ctx # names only
}

args_and_env() {
	dockerfile <<-'X'
	ARG TAG=latest
	FROM base:${TAG}
	ARG WHO=nobody
	ARG PLAIN
	ENV GREETING="hello ${WHO}" EMPTY=
	ENV MORE=${GREETING}-${PLAIN:-none} ALT=${EMPTY:+set}
	RUN echo "$WHO,$GREETING,$MORE,$ALT,${PLAIN-unset}" >/said
	X
	build -t args:t4 ctx
	same 'nobody,hello nobody,hello nobody-none,,unset' "$(file_in args:t4 -1 said)"
	PLAIN=fromenv build --build-arg WHO=you --build-arg PLAIN -t args:t5 ctx
	same 'you,hello you,hello you-fromenv,,fromenv' "$(file_in args:t5 -1 said)"
	same '["GREETING=hello you","EMPTY=","MORE=hello you-fromenv","ALT="]' \
		"$(config args:t5 | jq -c '[.config.Env[] | select(startswith("PATH=") | not)]')"
}
unused_arg() {
	printf 'FROM scratch\nLABEL a=b\n' >Dockerfile
	build --build-arg NOSUCH=1 .
	has "$D/err" 'warning.*NOSUCH|NOSUCH.*not (declared|consumed|used)'
}

heredocs() {
	dockerfile <<-'X'
	FROM base:latest
	ARG N=7
	RUN <<A
	echo "run $N" >/out
	A
	RUN <<B sh -e
	echo "program" >>/out
	B
	COPY <<C <<"D" /etc/made/
	n is $N
	C
	n is $N
	D
	RUN cat <<E >>/out
	last
	E
	X
	build -t here:t7 ctx
	file_in here:t7 3 etc/made/C >got
	same 'n is 7' "$(cat got)"
	# shellcheck disable=SC2016 # quoted delimiter: not expanded
	same 'n is $N' "$(file_in here:t7 3 etc/made/D)"
	same 'run 7 program last' "$(file_in here:t7 -1 out | xargs)"
}

other_dockerfiles() {
	mkdir -p ctx/sub
	echo data >ctx/file
	printf 'FROM scratch\nCOPY file /a\n' >ctx/sub/Other.Dockerfile
	build -f ctx/sub/Other.Dockerfile -t f:t8 ctx
	same data "$(file_in f:t8 0 a)"
	# From standard input with a context, without one, and a context as a tar.
	printf 'FROM scratch\nCOPY file /b\n' | want 0 "$BLD" build -f - -t f:t9 ctx
	same data "$(file_in f:t9 0 b)"
	printf 'FROM base:latest\nRUN echo in >/c\n' | want 0 "$BLD" build -t f:t10 -
	same in "$(file_in f:t10 -1 c)"
	mkdir low
	printf 'FROM scratch\nLABEL a=b\n' >low/Containerfile
	build -t f:t12 low
	same b "$(config f:t12 | jq -r .config.Labels.a)"
}

tar_context() {
	mkdir ctx
	echo data >ctx/file
	printf 'FROM scratch\nCOPY file /d\n' >ctx/Dockerfile
	tar -C ctx -cf ctx.tar .
	gzip -k ctx.tar
	local f
	for f in ctx.tar ctx.tar.gz; do
		want 0 "$BLD" build -t f:t11 - <"$f"
		same data "$(file_in f:t11 0 d)"
	done
}

ignore_file() {
	dockerfile <<-'X'
	FROM scratch
	COPY . /all/
	X
	mkdir -p ctx/node_modules/x ctx/src ctx/secret
	touch ctx/node_modules/x/y ctx/src/a.c ctx/src/a.o ctx/secret/key ctx/secret/public
	printf '# comment\nnode_modules\n**/*.o\nsecret/*\n!secret/public\nDockerfile\n' >ctx/.dockerignore
	build -t ign:t13 ctx
	same 'all all/.dockerignore all/secret all/secret/public all/src all/src/a.c' "$(layer_names ign:t13 0 | xargs)"
	printf 'src\n' >ctx/Dockerfile.dockerignore
	build -t ign:t14 ctx
	layer_names ign:t14 0 >names
	hasnt names 'src'
	has names 'node_modules/x/y'
}

quiet_and_files() {
	dockerfile <<-'X'
	FROM base:latest
	RUN echo quiet >/q
	X
	want 0 "$BLD" build -q --iidfile iid --metadata-file meta.json -t quiet:t15 ctx
	empty "$D/err"
	same 1 "$(wc -l <"$D/out")"
	has "$D/out" '^sha256:[0-9a-f]{64}$'
	same "$(cat "$D/out")" "$(cat iid)"
	same 71 "$(stat -c %s iid)" "size of the iidfile (no newline)"
	jq -e --arg d "$(cat iid)" '.["containerimage.digest"] == $d' meta.json
	jq -e '.["containerimage.config.digest"] | test("^sha256:[0-9a-f]{64}$")' meta.json
	jq -e '.["containerimage.descriptor"].mediaType == "application/vnd.oci.image.manifest.v1+json"' meta.json
	jq -e '.["image.name"] == "docker.io/library/quiet:t15"' meta.json
	same "$(jq -r '.["containerimage.descriptor"].size' meta.json)" "$(stat -c %s "$(blob "$(cat iid)")")"
	# On failure neither is written.
	printf 'FROM base:latest\nRUN false\n' >ctx/Dockerfile
	want 1 "$BLD" build -q --iidfile iid2 --metadata-file meta2.json ctx
	[ ! -e iid2 ] && [ ! -e meta2.json ]
}

copy_owners_and_modes() {
	dockerfile <<-'X'
	FROM base:latest
	COPY --chown=app:users --chmod=640 file /o/a
	COPY --chown=33:0 file /o/b
	COPY dir/ /o/dir/
	COPY link /o/link
	WORKDIR /o/w
	X
	mkdir -p ctx/dir/sub
	echo x >ctx/file
	echo y >ctx/dir/sub/run
	chmod 755 ctx/dir/sub/run
	ln -s dir/sub ctx/dir/ln
	ln ctx/file ctx/link
	build -t own:t16 ctx
	layer_tar own:t16 1 | tar -tvf - --numeric-owner >l1
	has l1 '^-rw-r----- 1000/100 .*o/a$'
	layer_tar own:t16 2 | tar -tvf - --numeric-owner >l2
	has l2 '33/0 .*o/b$'
	layer_tar own:t16 3 | tar -tvf - --numeric-owner >l3
	has l3 '^-rwxr-xr-x 0/0 .*o/dir/sub/run$'
	has l3 '^l.*o/dir/ln -> dir/sub$'
	layer_names own:t16 5 >l5
	has l5 '^o/w$'
}

parallel_stages() {
	dockerfile <<-X
	FROM base:latest AS a
	RUN echo a-begins; sleep 2; echo a-ends >/a; : $MARK-step
	FROM base:latest AS b
	RUN echo b-begins; sleep 2; echo b-ends >/b; : $MARK-step
	FROM scratch
	COPY --from=a /a /
	COPY --from=b /b /
	X
	build --jobs 2 -t par:t17 ctx
	# Both begin before either is done: the order of the lines, not the clock, is the proof.
	grep -E '\| [ab]-begins|^[ab] .* done +exit 0' "$D/err" >order
	head -n 2 order >first
	has first 'a-begins'
	has first 'b-begins'
	build --no-cache --jobs 1 -t par:t18 ctx
	grep -E '\| [ab]-begins|^[ab] .* done +exit 0' "$D/err" >order
	head -n 2 order >first
	has first 'done +exit'
}

t "a base image from busybox: FROM scratch, ADD" base
t "help fits 80 columns, version says its form" help_and_version
t "every command has --help" every_command_has_help
t "FROM scratch with one file" scratch_image
t "the demo: configuration, unreachable stage, history" demo
t "stages: COPY --from by name and number, --target" multi_stage
t "ARG, ENV, --build-arg and their precedence" args_and_env
t "a --build-arg that nobody declares is warned about" unused_arg
t "heredocs in RUN and COPY" heredocs
t "-f, a Dockerfile on standard input, Containerfile" other_dockerfiles
t "a tar as the context, on standard input" tar_context
t ".dockerignore, and the Dockerfile's own" ignore_file
t "-q, --iidfile, --metadata-file" quiet_and_files
t "COPY --chown --chmod, links, WORKDIR" copy_owners_and_modes
t "independent stages run at the same time" parallel_stages
t_end
