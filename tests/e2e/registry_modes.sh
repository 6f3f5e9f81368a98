#!/bin/bash
# The same image through Debian's docker-registry as people run it: plain, with passwords, with a token service, behind
# TLS with a private CA and client certificates, behind a proxy that limits bodies.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# A server of ours that runs until the end of the test.
keep() { "$@" & echo $! >>"$T/pids"; }

# An image of two layers, one too large for a careful proxy's limit on bodies.
image() {
	mkdir ctx
	head -c 3000000 /dev/urandom >ctx/large
	echo small >ctx/small
	printf 'FROM scratch\nCOPY large /\nCOPY small /\n' >ctx/Dockerfile
	build -t "mode:v1" ctx
}

# round HOST FLAG...: push, pull into another store, the same bytes; then to a second repository.
round() {
	local host=$1 root=$BLD_ROOT
	shift
	want 0 "$BLD" tag mode:v1 "$host/team/app:v1"
	want 0 "$BLD" push "$@" "$host/team/app:v1"
	BLD_ROOT=$D/other want 0 "$BLD" pull "$@" "$host/team/app:v1"
	same "$(digest_of mode:v1)" "$(BLD_ROOT=$D/other digest_of "$host/team/app:v1")"
	BLD_ROOT=$D/other
	store_whole
	BLD_ROOT=$root
	rm -rf "$D/other"
	want 0 "$BLD" tag mode:v1 "$host/team/second:v1"
	want 0 "$BLD" push "$@" "$host/team/second:v1"
	want 0 "$BLD" push "$@" "$host/team/second:v1"
}

# certificates DIR: a private CA, a certificate for this machine's loopback and one for a client.
certificates() {
	need openssl
	mkdir -p "$1"
	(
		cd "$1"
		new=(openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30)
		"${new[@]}" -x509 -keyout ca.key -out ca.pem -subj /CN=ca
		for n in server client; do
			"${new[@]}" -keyout "$n".key -out "$n".csr -subj /CN="$n"
			printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >ext
			openssl x509 -req -in "$n".csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out "$n".cert
		done
	) >/dev/null 2>&1
}

# front DIR PORT: nginx before the registry $REG; what is inside the server block comes on standard input.
front() {
	need nginx
	mkdir -p "$1/tmp"
	cat >"$1/nginx.conf" <<X
daemon off; master_process off; worker_processes 1;
pid $1/pid; error_log $1/error.log;
events { worker_connections 64; }
http {
	access_log $1/access.log;
	client_body_temp_path $1/tmp/a; proxy_temp_path $1/tmp/b; fastcgi_temp_path $1/tmp/c;
	uwsgi_temp_path $1/tmp/d; scgi_temp_path $1/tmp/e;
	server {
		server_name localhost;
$(cat)
		location / { proxy_pass http://127.0.0.1:${REG#*:}; proxy_set_header Host \$http_host; }
	}
}
X
	keep nginx -e "$1/error.log" -c "$1/nginx.conf"
	for _ in $(seq 100); do
		(exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null && return
		sleep 0.1
	done
	fail "nginx does not listen: $(cat "$1/error.log")"
}

plain() {
	registry_start plain
	image
	round "$REG"
}

htpasswd_mode() {
	registry_start passwords htpasswd
	image
	want 5 "$BLD" push mode:v1 "$REG/team/app:v1"
	has "$D/err" 'not logged in'
	round "$REG" --creds 'alice:wonder land:7'
	local name=BLD_REGISTRY_${REG//[^a-zA-Z0-9]/_}
	name=${name^^}
	export "${name}_USER=alice" "${name}_PASSWORD=wonder land:7"
	want 0 "$BLD" pull "$REG/team/app:v1"
	unset "${name}_USER" "${name}_PASSWORD"
	# A helper, found on PATH and asked for this host.
	mkdir bin
	cat >bin/docker-credential-told <<-'X'
	#!/bin/sh
	read -r host
	echo "$1 $host" >>"$HELPER_LOG"
	[ "$1" = get ] || exit 1
	printf '{"ServerURL":"%s","Username":"alice","Secret":"wonder land:7"}' "$host"
	X
	chmod +x bin/docker-credential-told
	: >helper.log
	HELPER_LOG=$D/helper.log PATH=$D/bin:$PATH want 0 "$BLD" pull --credential-helper told "$REG/team/app:v1"
	same "get $REG" "$(cat helper.log)"
	# One that is missing is named, also in the refusal it leads to.
	want 5 "$BLD" push --credential-helper nowhere mode:v1 "$REG/team/app:v1"
	has "$D/err" 'docker-credential-nowhere is not installed'
}

token_mode() {
	mkdir tokens
	openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout tokens/t.key -out tokens/t.pem -subj /CN=tokens 2>/dev/null
	keep python3 "$TOP/tests/e2e/token_server.py" "$D/tokens"
	for _ in $(seq 100); do [ ! -e tokens/port ] || break; sleep 0.1; done
	REG_AUTH="auth: {token: {realm: 'http://127.0.0.1:$(cat tokens/port)/token', service: reg, issuer: i,
  rootcertbundle: $D/tokens/t.pem}}" registry_start tokens
	image
	want 5 "$BLD" push mode:v1 "$REG/team/app:v1"
	want 5 "$BLD" push --creds alice:wrong mode:v1 "$REG/team/app:v1"
	has "$D/err" 'rejected'
	hasnt "$D/err" 'alice:wrong'
	: >tokens/log
	round "$REG" --creds 'alice:wonder land:7'
	# Three commands that push and one that pulls; transfers of one command share its tokens.
	[ "$(wc -l <tokens/log)" -le 12 ] || fail "too many tokens: $(cat tokens/log)"
	has tokens/log 'login repository:team/app:pull,push'
	has tokens/log 'repository:team/app:pull( |$)'
	# Known here, and nobody's to push to.
	want 5 "$BLD" push --creds 'alice:wonder land:7' mode:v1 "$REG/open/app:v1"
	has "$D/err" "not allowed to push to $REG/open/app"
	has "$D/err" 'user "alice" from --creds'
}

tls_mode() {
	local port flags
	registry_start tls
	image
	certificates "$D/certs"
	port=$(dead_port)
	# The registry behind does not know that it is behind TLS: its locations say http.
	front "$D/front" "$port" <<-X
		listen 127.0.0.1:$port ssl;
		ssl_certificate $D/certs/server.cert; ssl_certificate_key $D/certs/server.key;
		ssl_client_certificate $D/certs/ca.pem; ssl_verify_client on;
		client_max_body_size 0;
	X
	local host=localhost:$port
	want 7 "$BLD" push mode:v1 "$host/team/app:v1"
	has "$D/err" "--ca $host=FILE"
	want 7 "$BLD" push --ca "$host=$D/certs/ca.pem" mode:v1 "$host/team/app:v1"
	flags=(--ca "$host=$D/certs/ca.pem" --client-cert "$host=$D/certs/client.cert,$D/certs/client.key")
	round "$host" "${flags[@]}"
	want 2 "$BLD" pull --client-cert "$host=$D/certs/client.cert" "$host/team/app:v1"
	mkdir dir
	cp certs/client.cert certs/client.key dir/
	cp certs/ca.pem dir/ca.crt
	round "$host" --cert-dir dir
	# As docker and podman keep them.
	mkdir -p "$HOME/.config/containers/certs.d"
	cp -r dir "$HOME/.config/containers/certs.d/$host"
	round "$host"
	rm "$HOME/.config/containers/certs.d/$host/client.key"
	want 2 "$BLD" pull "$host/team/app:v1"
	has "$D/err" 'client.key'
	rm -r "$HOME/.config/containers/certs.d"
	want 0 "$BLD" pull --tls-verify=false "${flags[@]:2}" "$host/team/app:v1"
}

proxy_mode() {
	local port
	REG_HTTP='relativeurls: true' registry_start relative
	image
	port=$(dead_port)
	front "$D/front" "$port" <<-X
		listen 127.0.0.1:$port;
		client_max_body_size 1m;
	X
	round "localhost:$port"
	grep -q '"PUT /v2/.* 413 ' front/access.log || fail "the limit on bodies was not met"
	[ "$(grep -c '"PATCH /v2/.* 202 ' front/access.log)" -ge 3 ] || fail "nothing was sent in parts"
}

t "plain" plain
t "htpasswd, credential helpers, the environment" htpasswd_mode
t "a token service" token_mode
t "TLS: private CA, client certificate, certs.d" tls_mode
t "relative locations and a limit on bodies" proxy_mode
t_end
