#!/bin/bash
# The ways to a registry that no other script takes: mirrors from the environment, an IPv6 address, a limit on the rate,
# a short name with an alias.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

prepare() {
	registry_start ways
	echo "$REG" >"$T/reg"
	mkdir ctx
	head -c 3000000 /dev/urandom >ctx/large
	printf 'FROM scratch\nCOPY large /\n' >ctx/Dockerfile
	build --push -t "$REG/team/app:v1" ctx
}

# ipv6_relay PORT: [::1] in front of a port of 127.0.0.1; sets V6 to its host:port.
ipv6_relay() {
	python3 - "$1" >"$D/v6" 2>"$D/v6.err" <<-'X' &
	import socket, sys, threading

	def pump(a, b):
	    try:
	        while data := a.recv(65536):
	            b.sendall(data)
	        b.shutdown(socket.SHUT_WR)
	    except OSError:
	        a.close()
	        b.close()

	listener = socket.socket(socket.AF_INET6)
	listener.bind(("::1", 0))
	listener.listen(64)
	print(listener.getsockname()[1], flush=True)
	while True:
	    near, _ = listener.accept()
	    far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
	    for pair in ((near, far), (far, near)):
	        threading.Thread(target=pump, args=pair, daemon=True).start()
	X
	echo $! >>"$T/pids"
	for _ in $(seq 100); do
		[ ! -s "$D/v6" ] || break
		kill -0 $! 2>/dev/null || break
		sleep 0.1
	done
	[ -s "$D/v6" ] || skip "no IPv6 on loopback: $(tail -n 1 "$D/v6.err")"
	V6="[::1]:$(cat "$D/v6")"
}

mirrors() {
	local reg gone
	reg=$(cat "$T/reg")
	gone="localhost:$(dead_port)"
	BLD_MIRRORS="other.example=$gone;nowhere.example/lib=http://$reg/team" \
		want 0 "$BLD" pull nowhere.example/lib/app:v1
	same "$("$BLD" digest "$reg/team/app:v1")" "$(digest_of nowhere.example/lib/app:v1)"
	# a mirror that is down is passed over; with --mirror-only it is all there is
	BLD_ROOT=$D/second BLD_MIRRORS="$reg=$gone" want 0 "$BLD" pull "$reg/team/app:v1"
	BLD_ROOT=$D/third BLD_MIRRORS="$reg=$gone" want 7 "$BLD" pull --retry 1 --mirror-only "$reg/team/app:v1"
	one_error
	# the flag takes the place of the variable
	BLD_ROOT=$D/fourth BLD_MIRRORS="$reg=$gone" \
		want 0 "$BLD" pull --mirror "nowhere.example=http://$reg" nowhere.example/team/app:v1
	BLD_MIRRORS="nonsense" want 2 "$BLD" pull "$reg/team/app:v1"
	one_error
}

ipv6() {
	local reg
	reg=$(cat "$T/reg")
	ipv6_relay "${reg##*:}"
	want 0 "$BLD" tag "$reg/team/app:v1" "$V6/six/app:v1"
	want 0 "$BLD" push "$V6/six/app:v1"
	BLD_ROOT=$D/other want 0 "$BLD" pull "$V6/six/app:v1"
	same "$("$BLD" digest "$reg/six/app:v1")" "$(BLD_ROOT=$D/other digest_of "$V6/six/app:v1")"
	want 0 "$BLD" tags "$V6/six/app"
	same v1 "$(cat "$D/out")"
	mkdir ctx
	printf 'FROM %s\nLABEL six=6\n' "$V6/six/app:v1" >ctx/Dockerfile
	BLD_ROOT=$D/third build --push -t "$V6/six/more:v1" ctx
	want 6 "$BLD" pull "$V6/six/none:v1"
	one_error
}

# 3 MB at 1 MB a second take more than a second whatever the machine does; without the limit nothing is said.
limited() {
	local reg start
	reg=$(cat "$T/reg")
	start=$(now_ms)
	BLD_ROOT=$D/slow want 0 "$BLD" pull --limit-rate 1m "$reg/team/app:v1"
	[ $(($(now_ms) - start)) -ge 1000 ] || fail "3 MB in $(($(now_ms) - start)) ms"
	start=$(now_ms)
	want 0 "$BLD" push --limit-rate 1m "$reg/team/app:v1" "$reg/slow/app:v1"
	same "$("$BLD" digest "$reg/team/app:v1")" "$("$BLD" digest "$reg/slow/app:v1")"
	want 2 "$BLD" pull --limit-rate fast "$reg/team/app:v1"
	one_error
}

aliases() {
	local reg
	reg=$(cat "$T/reg")
	mkdir ctx
	printf '[aliases]\n"shorty" = "%s/team/app"\n' "$reg" >"$D/registries.conf"
	printf 'FROM shorty:v1\nLABEL short=1\n' >ctx/Dockerfile
	export CONTAINERS_REGISTRIES_CONF=$D/registries.conf
	BLD_ROOT=$D/build build -t made:v1 ctx
	BLD_ROOT=$D/build
	same "$(BLD_ROOT=$T/store layers "$reg/team/app:v1")" "$(layers made:v1)"
	BLD_ROOT=$D/pull want 0 "$BLD" pull shorty:v1
	cat "$D/out" "$D/err" >both
	has both "$reg/team/app"
	# what stands in the file is no reference: a name that is longer is another one
	printf 'FROM shorty/more:v1\n' >ctx/Dockerfile
	want 7 "$BLD" build --offline --progress=plain ctx
	one_error
}

# What happens to lie where credentials are looked for must not keep anybody waiting; what was named must be there.
odd_files() {
	local reg
	reg=$(cat "$T/reg")
	mkdir -p home/.docker
	mkfifo home/.docker/config.json
	HOME=$D/home BLD_ROOT=$D/fifo want 0 timeout 60 "$BLD" pull "$reg/team/app:v1"
	rm home/.docker/config.json
	ln -s /dev/zero home/.docker/config.json
	HOME=$D/home BLD_ROOT=$D/zero want 0 timeout 60 "$BLD" pull "$reg/team/app:v1"
	BLD_ROOT=$D/named want 6 "$BLD" pull --authfile "$D/none.json" "$reg/team/app:v1"
	one_error
}

# A HEAD that names what is not there: GET by tag is the truth.
lying_head() {
	local reg digest
	reg=$(cat "$T/reg")
	digest=$("$BLD" digest "$reg/team/app:v1")
	python3 - "$reg" >"$D/port" 2>"$D/log" <<-'X' &
	import http.server, sys, urllib.error, urllib.request

	class Front(http.server.BaseHTTPRequestHandler):
	    def do_GET(self):
	        ask = urllib.request.Request(f"http://{sys.argv[1]}{self.path}", method=self.command)
	        ask.add_header("Accept", self.headers.get("Accept", "*/*"))
	        try:
	            answer = urllib.request.urlopen(ask)
	        except urllib.error.HTTPError as e:
	            answer = e
	        body = answer.read()
	        self.send_response(answer.status)
	        for name in ("Content-Type", "Content-Length", "Docker-Content-Digest"):
	            value = answer.headers.get(name)
	            if name == "Docker-Content-Digest" and value and self.command == "HEAD":
	                value = "sha256:" + "4" * 64
	            if value:
	                self.send_header(name, value)
	        self.end_headers()
	        self.wfile.write(body)

	    do_HEAD = do_GET

	server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
	print(server.server_port, flush=True)
	server.serve_forever()
	X
	echo $! >>"$T/pids"
	for _ in $(seq 100); do
		[ ! -s "$D/port" ] || break
		sleep 0.1
	done
	BLD_ROOT=$D/other want 0 "$BLD" pull "127.0.0.1:$(cat "$D/port")/team/app:v1"
	same "$digest" "$(BLD_ROOT=$D/other digest_of "127.0.0.1:$(cat "$D/port")/team/app:v1")"
}

t "an image in a registry" prepare
t "BLD_MIRRORS and --mirror" mirrors
t "files that are none where credentials are looked for" odd_files
t "a HEAD that lies" lying_head
t "an IPv6 address as registry" ipv6
t "--limit-rate" limited
t "a build through a short name's alias" aliases
t_end
