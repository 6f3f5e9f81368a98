#!/bin/bash
# docker-daemon: and --load, against a server that speaks the daemon's API on a unix socket.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need python3

# daemon NAME: one of its own, DOCKER_HOST set.
daemon() {
	mkdir "$D/$1"
	python3 "$TOP/tests/e2e/dockerd.py" "$D/$1.sock" "$D/$1" 2>"$D/$1/err" &
	echo $! >>"$T/pids"
	for _ in $(seq 100); do [ -S "$D/$1.sock" ] && break; sleep 0.1; done
	export DOCKER_HOST=unix://$D/$1.sock
}

app() {
	dockerfile <<-'X'
	FROM base:latest
	COPY f /f
	CMD ["cat", "/f"]
	X
	echo "$1" >ctx/f
	head -c 400000 /dev/urandom >ctx/big
	echo 'COPY big /big' >>ctx/Dockerfile
}

both_ways() {
	daemon a
	app both
	build -t app:v1 ctx
	want 0 "$BLD" copy store:app:v1 docker-daemon:team/app:v2
	same "team/app:v2" "$(tar xOf a/team_app:v2.tar manifest.json | jq -r '.[0].RepoTags[]' | sed 's,^docker.io/,,')"
	want 0 "$BLD" copy store:app:v1 docker-daemon:sized
	local config n
	config=$(manifest app:v1 | jq -r .config.digest)
	want 0 "$BLD" copy --format json store:app:v1 docker-daemon:app:v1
	same "$config" "$(jq -r '.[0].id' out)"
	# Back: into another store, a layout, looked into without being kept; by name and by ID.
	BLD_ROOT=$D/s2
	for n in team/app:v2 sized docker.io/team/app:v2; do
		want 0 "$BLD" pull "docker-daemon:$n"
		same both "$(file_in "$n" -2 f)" "$n"
	done
	same "sized:latest team/app:v2" "$("$BLD" images --format '{{.Repository}}:{{.Tag}}' | sort | xargs)"
	want 0 "$BLD" copy "docker-daemon:$config" "oci:$D/lay:v1"
	skopeo inspect --raw "oci:$D/lay:v1" >m.json
	same "$config" "$(jq -r .config.digest m.json)"
	want 0 "$BLD" history docker-daemon:app:v1
	has out 'COPY f /f'
	want 0 "$BLD" inspect --format '{{.Config.Cmd}}' docker-daemon:app:v1
	store_whole
}

loaded() {
	daemon a
	app load
	want 0 "$BLD" build --progress=plain --load --iidfile iid -t app:v1 -t app:v2 ctx
	has err '^loaded +into docker as sha256:'
	same "$(manifest app:v1 | jq -r .config.digest)" "$(cat iid)"
	[ -s a/app:v1.tar ] && [ -s a/app:v2.tar ]
	# A daemon with another kind of store answers to another digest: what it says is what counts.
	echo containerd >a/mode
	want 0 "$BLD" build -q --load=docker --iidfile iid -t app:v1 ctx
	same "$(tar xOf a/app:v1.tar index.json | jq -r '.manifests[0].digest')" "$(cat iid)"
	same "$(cat iid)" "$(cat out)"
	want 0 "$BLD" build --load --iid config --iidfile iid -t app:v1 ctx
	same "$(manifest app:v1 | jq -r .config.digest)" "$(cat iid)"
	rm a/mode
	# Without a name it is loaded by its ID.
	echo 'LABEL x=1' >>ctx/Dockerfile
	want 0 "$BLD" build --load --iidfile iid ctx
	[ -s "a/$(cat iid).tar" ]
	want 0 "$BLD" build --load=false -t other:v1 ctx
	[ ! -e a/other:v1.tar ]
	want 2 "$BLD" build --load=podman -t app:v1 ctx; one_error
}

refused() {
	daemon a
	app refused
	build -t app:v1 ctx
	want 6 "$BLD" pull docker-daemon:nothing:v1; one_error
	has err 'No such image'
	echo refuse >a/mode
	want 7 "$BLD" copy store:app:v1 docker-daemon:app:v1; one_error
	has err 'no space left'
	rm -f iid
	want 7 "$BLD" build --load --iidfile iid -t app:v1 ctx
	[ ! -e iid ] || fail "--iidfile of a build whose image was not loaded"
	rm a/mode
	want 0 "$BLD" copy store:app:v1 docker-daemon:app:v1
	echo die >a/mode
	want 7 "$BLD" pull docker-daemon:app:v1; one_error
	rm a/mode
	# No daemon, and no way to it.
	DOCKER_HOST=unix://$D/none.sock want 7 "$BLD" pull docker-daemon:app:v1; one_error
	has err 'try: .*DOCKER_HOST'
	DOCKER_HOST=tcp://127.0.0.1:1 want 9 "$BLD" pull docker-daemon:app:v1; one_error
	want 2 "$BLD" copy --all-tags store:app docker-daemon:app; one_error
	same 0 "$(find "$BLD_ROOT/tmp" -type f | wc -l)" "left in tmp/"
}

t "base image" base
t "docker-daemon: both ways, by name and ID; pull, copy, history, inspect" both_ways
t "build --load: every name; --iidfile has the ID the daemon tells" loaded
t "what a daemon refuses, or does not answer, is told" refused
t_end
