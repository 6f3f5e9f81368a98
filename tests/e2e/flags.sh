#!/bin/bash
# Flags of bld build that docker, buildah and kaniko users type, by their effect.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

arguments() {
	dockerfile <<-'X'
	FROM scratch
	ARG A
	ARG B
	ARG C=none
	LABEL a=$A b=$B c=$C
	X
	printf '# comment\nA=from file\r\n\n  B=file\nFROM_ENV\n' >args
	FROM_ENV=1 build -t g:1 --build-arg-file args --build-arg B=flag ctx
	same 'from file/flag/none' "$(config g:1 | jq -r '.config.Labels | [.a, .b, .c] | join("/")')"
	has err 'FROM_ENV is not declared'
	want 3 "$BLD" build --strict-args --build-arg CC=x ctx
	has err 'CC is not declared by any ARG'
	has err 'try: .*--strict-args'
	build --strict-args --build-arg A=x --build-arg HTTP_PROXY=http://p ctx
	want 2 "$BLD" build --build-arg-file missing ctx
	printf 'A=1\n=2\n' >args
	want 2 "$BLD" build --build-arg-file args ctx
	has err 'args:2'
}

edits() {
	dockerfile <<-'X'
	FROM scratch
	ENV KEEP=1 DROP=2
	LABEL keep=1 drop=2
	X
	build -t g:base ctx
	printf 'FROM g:base\nENV MORE=3\nLABEL own=1\n' >ctx/Dockerfile
	FROM_ENV=e build -t g:2 --env SET=x=y --env FROM_ENV --env UNSET_HERE --unsetenv DROP --unsetlabel drop \
		--os-version 1.2 --os-feature f1 ctx
	config g:2 >c
	same 'FROM_ENV=e KEEP=1 MORE=3 SET=x=y' \
		"$(jq -r '[.config.Env[] | select(startswith("PATH=") | not)] | sort | join(" ")' c)"
	same '{"keep":"1","own":"1"}' "$(jq -cS .config.Labels c)"
	same '1.2 f1' "$(jq -r '[.["os.version"], .["os.features"][]] | join(" ")' c)"
	build -t g:3 --inherit-labels=false --unsetlabel l --label l=given ctx
	same '{"l":"given","own":"1"}' "$(config g:3 | jq -cS .config.Labels)"
	build -t g:4 --omit-history ctx
	same null "$(config g:4 | jq -c .history)"
	store_whole
}

from() {
	dockerfile <<-'X'
	ARG V=none
	FROM nowhere.example/$V AS a
	FROM a AS b
	LABEL from=$V
	FROM b
	X
	build -t g:5 --from g:base ctx
	same 1 "$(config g:5 | jq -r .config.Labels.keep)"
}

names() {
	dockerfile <<-'X'
	FROM base:latest
	RUN cat /etc/resolv.conf; cat /etc/hosts || echo no hosts file
	X
	build --no-cache --dns 192.0.2.7 --dns 2001:db8::1 --dns-search a.example --dns-search b.example \
		--dns-option ndots:3 --dns-option rotate ctx
	has err 'nameserver 192.0.2.7$'
	has err 'nameserver 2001:db8::1$'
	has err 'search a.example b.example$'
	has err 'options ndots:3 rotate$'
	same 2 "$(grep -c 'nameserver' err)"
	has err 'buildkitsandbox'
	build --no-cache --dns-search . --no-hosts --no-hostname ctx
	hasnt err 'search'
	hasnt err 'buildkitsandbox'
	has err '\| no hosts file'
	want 2 "$BLD" build --dns nameserver ctx
	has err 'is no address'
}

proxy() {
	dockerfile <<-'X'
	FROM base:latest
	RUN echo "proxy=$http_proxy."
	X
	http_proxy=http://p.example build --no-cache ctx
	has err 'proxy=http://p.example\.'
	http_proxy=http://p.example build --no-cache --http-proxy=false ctx
	has err 'proxy=\.'
}

files() {
	dockerfile <<-'X'
	FROM scratch
	COPY f /f
	X
	echo 1 >ctx/f
	build -t g:ci --dotenv env --progress-file events ctx
	local d
	d=$(digest_of g:ci)
	has env "^IMAGE_DIGEST=$d$"
	has env "^IMAGE_REF=g:ci@$d$"
	jq -es 'map(select(.vertexes)) | length > 0' events
	: >out-file
	GITHUB_OUTPUT=$PWD/out-file build -t g:ci --ci-outputs ctx
	has out-file '^digest<<bld_'
	has out-file "^$d$"
	has out-file '"containerimage.digest"'
	TF_BUILD=True build -t g:ci --ci-outputs ctx
	has out "^##vso\[task.setvariable variable=IMAGE_DIGEST;isOutput=true\]$d$"
	TEAMCITY_VERSION=1 build -t g:ci --ci-outputs ctx
	has out "^##teamcity\[setParameter name='IMAGE_DIGEST' value='$d'\]$"
	: >log
	printf 'FROM scratch\nCOPY missing /\n' >ctx/Dockerfile
	want 3 "$BLD" build --termination-log=log ctx
	has log 'Dockerfile:2: .*missing'
	[ "$(stat -c %s log)" -le 2048 ]
	# nobody made one: nothing is written
	want 3 "$BLD" build --termination-log ctx
	[ ! -e /dev/termination-log ]
}

push_check() {
	registry_start check htpasswd
	dockerfile <<-'X'
	FROM base:latest
	RUN echo step-that-ran
	X
	want 5 "$BLD" build --no-cache --progress=plain --push -t "$REG/c/app:1" ctx
	hasnt err 'step-that-ran'
	has err 'push to .*/c/app'
	one_error
	want 5 "$BLD" build --no-cache --progress=plain --push --no-push-check -t "$REG/c/app:1" ctx
	has err 'step-that-ran'
	build --no-cache --push --creds 'alice:wonder land:7' -t "$REG/c/app:1" ctx
	has err 'step-that-ran'
	# the upload that was opened to ask is given up
	[ -z "$(find "$REG_DIR" -path '*_uploads/*' -name startedat)" ]
	build --push --push-if-changed --creds 'alice:wonder land:7' -t "$REG/c/app:1" ctx
}

immutable() {
	dockerfile <<-'X'
	FROM scratch
	COPY f /f
	X
	echo 1 >ctx/f
	cat >reg.py <<'P'
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def reply(self, code, body=b'', **h):
        self.send_response(code)
        for k, v in h.items(): self.send_header(k.replace('_', '-'), v)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(body)
    def eat(self): self.rfile.read(int(self.headers.get('Content-Length') or 0))
    def do_GET(self): self.reply(200 if self.path == '/v2/' else 404)
    def do_HEAD(self): self.reply(404)
    def do_DELETE(self): self.reply(204)
    def do_POST(self): self.eat(); self.reply(202, Location='/v2/r/blobs/uploads/1')
    def do_PUT(self):
        self.eat()
        if '/manifests/' in self.path:
            self.reply(400, b'{"errors":[{"code":"TAG_INVALID","message":"The image tag already exists '
                       b'and cannot be overwritten because the tag is immutable."}]}')
        else: self.reply(201, Location='/')
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
print(s.server_address[1], flush=True)
s.serve_forever()
P
	python3 reg.py >port &
	echo $! >>"$T/pids"
	while [ ! -s port ]; do sleep 0.05; done
	if "$BLD" build --push -t "localhost:$(cat port)/r:1" ctx 2>err; then fail "the refusal was no failure"; fi
	has err 'immutable'
	build --push --ignore-immutable-tag -t "localhost:$(cat port)/r:1" ctx
	has err 'warning: .*immutable|! .*immutable'
}

scan() {
	printf 'tok/en+%%va lue\n' >s
	dockerfile <<-'X'
	FROM base:latest
	RUN --mount=type=secret,id=tok cp /run/secrets/tok /raw
	RUN --mount=type=secret,id=tok { printf ab; tr -d '\n' </run/secrets/tok; echo; } | base64 >/b64
	RUN echo tok%2Fen%2B%25va%20lue >/url
	RUN echo nothing >/none
	X
	build --no-cache --secret id=tok,src=s ctx
	has err 'secret "tok" is present in the image: found in /raw, as it is'
	has err 'secret "tok" is present in the image: found in /b64, in base64'
	has err 'secret "tok" is present in the image: found in /url, percent-encoded'
	hasnt err '/none, '
	hasnt err 'tok/en'
	build --no-cache --secret id=tok,src=s --secret-scan off ctx
	hasnt err 'is present in the image'
	want 4 "$BLD" build --no-cache --secret id=tok,src=s --secret-scan error ctx
	has err 'error: the value of secret "tok" is present in the image'
	has err 'Dockerfile:2'
	has err 'why: .*found in /raw'
	hasnt err 'tok/en'
	want 2 "$BLD" build --secret-scan maybe ctx
	has err 'off, warn or error'
	printf 'FROM scratch\nLABEL l="tok/en+%%va lue"\n' >ctx/Dockerfile
	want 4 "$BLD" build --secret id=tok,src=s --secret-scan error ctx
	has err 'found in its config or history'
	# across the windows of a long stream, and only there
	dd if=/dev/zero of=ctx/big bs=1000 count=262 status=none
	for i in $(seq 300); do printf '%s' 'tok/en+%va lu'; done >>ctx/big
	printf 'FROM scratch\nCOPY big /big\n' >ctx/Dockerfile
	build --no-cache --secret id=tok,src=s ctx
	hasnt err 'is present'
	printf 'tok/en+%%va lue' >>ctx/big
	build --no-cache --secret id=tok,src=s ctx
	has err 'found in /big'
}

squash() {
	dockerfile <<-'X'
	FROM base:latest
	RUN mkdir /d && echo 1 >/d/a && echo 1 >/d/b
	ENV E=1
	RUN rm /d/a && echo 2 >/d/b && ln /d/b /d/c && rm /bin/wc
	X
	build -t g:flat --squash-all ctx
	same 1 "$(layers g:flat | wc -l)"
	same 1 "$(config g:flat | jq '[.history[] | select(.empty_layer | not)] | length')"
	layer_names g:flat 0 >names
	hasnt names '\.wh\.|^d/a$|^bin/wc$'
	same 2 "$(file_in g:flat 0 d/b)"
	local d
	d=$(digest_of g:flat)
	build -t g:flat2 --squash-all ctx
	same "$d" "$(digest_of g:flat2)"
	printf 'FROM g:flat\nRUN test "$(cat /d/c)" = 2 && test ! -e /d/a\n' >ctx/Dockerfile
	build --no-cache ctx
	store_whole
}

# The base's layers stay; what was removed of them is named.
squash_new() {
	dockerfile <<-'X'
	FROM base:latest
	RUN mkdir /d && echo 1 >/d/a && echo 1 >/d/b
	ENV E=1
	RUN rm /d/a && echo 2 >/d/b && rm /bin/wc
	X
	local f
	for f in --squash --layers=false; do
		build -t g:sq "$f" ctx
		same 2 "$(layers g:sq | wc -l)"
		same "$(layers base:latest)" "$(layers g:sq | head -n 1)"
		same 2 "$(config g:sq | jq '[.history[] | select(.empty_layer | not)] | length')"
	done
	layer_names g:sq 1 >names
	has names '^bin/\.wh\.wc$'
	hasnt names '^d/a$|^bin/ls$'
	same 2 "$(file_in g:sq 1 d/b)"
	BUILDAH_LAYERS=0 build -t g:sq2 ctx
	same "$(digest_of g:sq)" "$(digest_of g:sq2)"
	printf 'FROM g:sq\nRUN test "$(cat /d/b)" = 2 && test ! -e /d/a && test ! -e /bin/wc\n' >ctx/Dockerfile
	build --no-cache ctx
	store_whole
}

too_many() {
	{
		echo FROM scratch
		for i in $(seq 1001); do echo "COPY f /f$i"; done
	} | dockerfile
	echo 1 >ctx/f
	want 3 "$BLD" build ctx
	has err 'more than 1000 layers'
	has err 'docker takes 127'
}

t "base image" base
t "--build-arg-file, --strict-args" arguments
t "--env, --unsetenv, --unsetlabel, --inherit-labels, --omit-history" edits
t "--from" from
t "--dns and the like, --no-hosts" names
t "--http-proxy" proxy
t "--dotenv, --ci-outputs, --progress-file, --termination-log" files
t "the permission to push, before the first RUN" push_check
t "--ignore-immutable-tag" immutable
t "--squash-all" squash
t "--squash" squash_new
t "--secret-scan" scan
t "a stage of too many layers" too_many
t_end
