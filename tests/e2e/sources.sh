#!/bin/bash
# Sources that are somewhere else: git repositories, the web, ssh agents; and caches that begin with files.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=n@example.com
export GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=n@example.com

# Web server on loopback: files of $T/www, and repositories below /git, /private with a token, by git's own CGI.
servers() {
	need git
	need python3
	[ -x "$(git --exec-path)/git-daemon" ] || skip "git daemon is not installed"
	mkdir -p "$T/www" "$T/repos"
	cat >"$T/web.py" <<'PY'
import base64, http.server, os, subprocess, sys
class H(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a): pass
    def git(self):
        path, _, query = self.path.partition('?')
        top, rest = path[1:].split('/', 1)
        want = 'Basic ' + base64.b64encode(b'x-access-token:s3cret').decode()
        if top == 'private' and self.headers.get('Authorization') != want:
            self.send_response(401)
            self.send_header('WWW-Authenticate', 'Basic realm="x"')
            self.end_headers()
            return
        n = int(self.headers.get('Content-Length') or 0)
        env = dict(os.environ, GIT_PROJECT_ROOT=sys.argv[1], GIT_HTTP_EXPORT_ALL='1', PATH_INFO='/' + rest,
                   QUERY_STRING=query, REQUEST_METHOD=self.command, CONTENT_LENGTH=str(n),
                   CONTENT_TYPE=self.headers.get('Content-Type') or '',
                   GIT_PROTOCOL=self.headers.get('Git-Protocol') or '',
                   HTTP_CONTENT_ENCODING=self.headers.get('Content-Encoding') or '')
        out = subprocess.run(['git', 'http-backend'], env=env, input=self.rfile.read(n), capture_output=True).stdout
        head, _, body = out.partition(b'\r\n\r\n')
        fields = [h.split(': ', 1) for h in head.decode().split('\r\n')]
        self.send_response(int(dict(fields).get('Status', '200').split()[0]))
        for k, v in fields:
            if k != 'Status': self.send_header(k, v)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.path.startswith(('/git/', '/private/')): return self.git()
        super().do_GET()
    do_POST = git
os.chdir(sys.argv[2])
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
print(s.server_port, file=open(sys.argv[3], 'w'), flush=True)
s.serve_forever()
PY
	python3 "$T/web.py" "$T/repos" "$T/www" "$T/web.port" >"$T/web.log" 2>&1 &
	echo $! >>"$T/pids"
	GIT_PORT=$(dead_port)
	echo "$GIT_PORT" >"$T/git.port"
	"$(git --exec-path)/git-daemon" --export-all --base-path="$T/repos" --listen=127.0.0.1 --port="$GIT_PORT" \
		--reuseaddr >"$T/daemon.log" 2>&1 &
	echo $! >>"$T/pids"
	repositories
	for _ in $(seq 100); do
		[ -s "$T/web.port" ] && git ls-remote "git://127.0.0.1:$GIT_PORT/r" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	fail "the servers do not come up"
}
where() { WEB=http://127.0.0.1:$(cat "$T/web.port") GIT=git://127.0.0.1:$(cat "$T/git.port"); }

repositories() {
	git init -q -b main "$T/repos/sub"
	echo sub >"$T/repos/sub/s.txt"
	git -C "$T/repos/sub" add .
	git -C "$T/repos/sub" commit -q -m sub
	git init -q -b main "$T/repos/r"
	(
		cd "$T/repos/r" || exit
		mkdir -p d/e .hidden
		echo one >a.txt
		printf '#!/bin/sh\n' >run.sh
		chmod 775 run.sh
		chmod 600 a.txt
		echo deep >d/e/f
		echo h >.hidden/h
		ln -s ../a.txt d/link
		ln -s /etc out
		printf 'FROM scratch\nCOPY . /all/\n' >Dockerfile
		printf 'FROM scratch\nCOPY e /\n' >d/Dockerfile
		git add .
		GIT_COMMITTER_DATE='2001-02-03T04:05:06Z' git commit -q -m one
		git tag -a -m v1 v1
		git branch old
		echo two >a.txt
		git -c protocol.file.allow=always submodule --quiet add ../sub sub
		git commit -qam two
	)
	cp -r "$T/repos/r/.git" "$T/repos/r.git"
	cp -r "$T/repos/sub/.git" "$T/repos/sub.git"
	git -C "$T/repos/r.git" config core.bare true
}
# tree FILE: mode, name and link of each entry
tree() { tar -tvf "$1" | awk '{print $1, $6, $7, $8}' | sed 's/ *$//'; }
out() { build "$@" -o "type=tar,dest=$D/out.tar"; }

add_git() {
	where
	dockerfile <<-X
		FROM scratch
		ADD $GIT/r /src/
		ADD $GIT/r#v1:d /d
	X
	out "$D/ctx"
	tree "$D/out.tar" >"$D/tree"
	has "$D/tree" '^-rw-r--r-- src/a.txt$'
	has "$D/tree" '^-rwxr-xr-x src/run.sh$'
	has "$D/tree" '^-rw-r--r-- src/.hidden/h$'
	has "$D/tree" '^lrwxrwxrwx src/out -> /etc$'
	has "$D/tree" '^-rw-r--r-- src/sub/s.txt$'
	has "$D/tree" '^-rw-r--r-- d/e/f$'
	has "$D/tree" '^drwxr-xr-x d/e/$'
	hasnt "$D/tree" '\.git(/|$)'
	same two "$(tar -xOf "$D/out.tar" src/a.txt)"
	[ -z "$(tar -tvf "$D/out.tar" --numeric-owner | awk '$2 != "0/0"')" ] || fail "owners"
	out "$D/ctx"
	has "$D/err" 'cache +2/2 steps reused'
}

git_forms() {
	where
	local first
	first=$(git -C "$T/repos/r" rev-parse 'v1^{commit}')
	for form in "#v1" "#old" "#refs/heads/old" "#refs/tags/v1" "?tag=v1" "?branch=old" "?ref=v1&checksum=$first" \
		"#$first" "?checksum=$first&fetch-by-commit=1" "?ref=v1&checksum=${first:0:9}&mtime=commit"; do
		echo "$form"
		printf 'FROM scratch\nADD %s /\n' "$GIT/r$form" | dockerfile
		out "$D/ctx"
		same one "$(tar -xOf "$D/out.tar" a.txt)" "content at $form"
	done
	tar --utc --full-time -tvf "$D/out.tar" a.txt | grep -q '2001-02-03 04:05:06' || fail "time of the commit"
	# A commit is a commit, whatever it is called.
	printf 'FROM scratch\nADD %s/r#old /\n' "$GIT" | dockerfile
	out "$D/ctx"
	printf 'FROM scratch\nADD %s/r?tag=v1&submodules=0 /\n' "$GIT" | dockerfile
	out "$D/ctx"
	printf 'FROM scratch\nADD --checksum=%s %s/r#v1 /\n' "$first" "$GIT" | dockerfile
	out "$D/ctx"
	has "$D/err" 'cache +1/1 steps reused'
}

keep_git_dir() {
	where
	printf 'FROM scratch\nADD --keep-git-dir %s/r#v1 /r\nADD %s/r?submodules=false /s\n' "$GIT" "$GIT" | dockerfile
	out "$D/ctx"
	mkdir x
	tar -xf "$D/out.tar" -C x --no-same-owner
	same "$(git -C "$T/repos/r" rev-parse 'v1^{commit}')" "$(git -C x/r rev-parse HEAD)" HEAD
	git -C x/r diff --quiet HEAD
	same v1 "$(git -C x/r describe)"
	same "$GIT/r" "$(git -C x/r remote get-url origin)"
	[ ! -e x/r/.git/FETCH_HEAD ] && [ ! -e x/r/.git/logs ] || fail "traces of the clone"
	[ -d x/s/sub ] && [ ! -e x/s/sub/s.txt ] || fail "submodules although nobody wanted them"
}

git_errors() {
	where
	local port
	port=$(dead_port)
	while IFS='|' read -r status flags source message; do
		echo "$flags $source"
		printf 'FROM scratch\nADD %s %s /\n' "$flags" "$source" | dockerfile
		want "$status" "$BLD" build --progress=plain "$D/ctx"
		has "$D/err" "$message"
		one_error
	done <<-X
		3||$GIT/r#nope|has no ref "nope"
		3||$GIT/r#v1:nope|there is no folder "nope"
		3||$GIT/r#v1:out|there is no folder "out"
		3||$GIT/r#--upload-pack=x|invalid git reference
		3||$GIT/r?checksum=abcdef0|expected checksum to match abcdef0
		3|--checksum=ab|$GIT/r?checksum=cd|checksum mismatch "ab" != "cd"
		3|--keep-git-dir|$GIT/r?keep-git-dir=0|inconsistent keep-git-dir
		3||$GIT/r?nope=1|unexpected query "nope"
		7||git://127.0.0.1:$port/r|git ls-remote git://127.0.0.1:$port/r failed
	X
}

# Nothing of the user's configuration counts, and a repository cannot make git run anything.
git_alone() {
	where
	cat >"$HOME/.gitconfig" <<-X
		[url "git://127.0.0.1:1/"]
			insteadOf = $GIT/
		[core]
			hooksPath = $D/hooks
		[filter "evil"]
			smudge = touch $D/smudged; cat
	X
	mkdir "$D/hooks"
	printf '#!/bin/sh\ntouch %s/hooked\n' "$D" >"$D/hooks/post-checkout"
	chmod +x "$D/hooks/post-checkout"
	git init -q -b main "$T/repos/evil"
	(
		cd "$T/repos/evil" || exit
		echo x >x
		echo '* filter=evil' >.gitattributes
		printf '[submodule "s"]\n\tpath = s\n\turl = ext::touch %s/ext\n' "$D" >.gitmodules
		git add .
		git update-index --add --cacheinfo 160000,"$(git -C ../sub rev-parse HEAD)",s
		git -c core.hooksPath=/dev/null commit -q -m x
	)
	printf 'FROM scratch\nADD %s/evil /\n' "$GIT" | dockerfile
	want 3 "$BLD" build --progress=plain "$D/ctx"
	printf 'FROM scratch\nADD %s/evil?submodules=0 /\n' "$GIT" | dockerfile
	out --no-cache "$D/ctx"
	rm "$HOME/.gitconfig"
	[ ! -e "$D/smudged" ] && [ ! -e "$D/hooked" ] && [ ! -e "$D/ext" ] || fail "something ran"
}

private_git() {
	where
	echo s3cret >token
	printf 'FROM scratch\nADD %s/private/r.git#v1 /\n' "$WEB" | dockerfile
	want 5 "$BLD" build --progress=plain "$D/ctx"
	has "$D/err" 'try: +--secret id=GIT_AUTH_TOKEN'
	out --secret id=GIT_AUTH_TOKEN,src=token "$D/ctx"
	same one "$(tar -xOf "$D/out.tar" a.txt)"
	out --no-cache --secret "id=GIT_AUTH_TOKEN.${WEB#http://},src=token" "$D/ctx"
	want 5 "$BLD" build --secret id=GIT_AUTH_TOKEN.example.com,src=token "$D/ctx"
	# Credentials in the URL are used, and shown nowhere.
	printf 'FROM scratch\nADD %s/private/r.git?keep-git-dir=1 /\n' "${WEB/:\/\//://x-access-token:s3cret@}" | dockerfile
	build -t private "$D/ctx"
	hasnt "$D/err" '^(error|built).*s3cret'
	config private >cfg
	hasnt cfg s3cret
	layer_tar private 0 | tar -xOf - .git/config >cfg
	has cfg origin
	hasnt cfg s3cret
}

# A stand-in for ssh says how it was called, and serves the repository itself.
# bld as the agent of key files: every kind and form, listed and used for signing; nothing of the private halves stays.
ssh_keys() {
	need ssh-keygen
	local f list=''
	ssh_context
	ssh-keygen -q -t ed25519 -N '' -f k1
	ssh-keygen -q -t ecdsa -b 256 -N '' -f k2
	ssh-keygen -q -t ecdsa -b 521 -N '' -f k3
	ssh-keygen -q -t rsa -b 2048 -N '' -f k4
	ssh-keygen -q -t rsa -b 2048 -m PEM -N '' -f k5
	ssh-keygen -q -t ecdsa -b 384 -m PKCS8 -N '' -f k6
	ssh-keygen -q -t ecdsa -b 256 -m PEM -N '' -f k7
	for f in k1 k2 k3 k4 k5 k6 k7; do
		list=$list,$f
		cp "$f.pub" ctx/opt/
	done
	printf '%s\n' 'FROM base:latest' 'COPY opt /opt' 'RUN --mount=type=ssh,required /opt/sa -L | sort >/list; \
		for k in /opt/k*.pub; do /opt/sa -T $k && echo "signs $k"; done; /opt/sa -D || echo refused' >ctx/Dockerfile
	build -t sshkeys "--ssh=default=${list#,}" ctx
	same "$(cut -d' ' -f1,2 k?.pub | sort)" "$(file_in sshkeys -1 list | sed 's/ *$//')" "keys listed"
	same 7 "$(grep -cE '\| signs /opt/k[1-7]\.pub' "$D/err")" "keys that sign"
	has "$D/err" '\| refused$'
	for f in k1 k4 k7; do
		if grep -raF -e "$(sed -n 3p "$f")" "$BLD_ROOT"; then fail "a private key is in the store"; fi
	done
	ssh-keygen -q -t ed25519 -N 'secret' -f locked
	want 2 "$BLD" build --ssh default=locked ctx
	has "$D/err" '"locked": the key has a passphrase'
	ssh-keygen -q -t rsa -b 2048 -m PEM -N 'secret' -f locked2
	want 2 "$BLD" build --ssh default=locked2 ctx
	has "$D/err" '"locked2": the key has a passphrase'
	want 2 "$BLD" build --ssh default=k1.pub ctx
	has "$D/err" '"k1.pub": not a private key that bld can read'
	head -n 4 k4 >"cut"
	want 2 "$BLD" build --ssh default=cut ctx
	# A repository over ssh is asked for with them, too.
	mkdir bin
	cat >bin/ssh <<-X
		#!/bin/sh
		ssh-add -L >$D/seen
		for last; do :; done
		eval "exec \$last"
	X
	chmod +x bin/ssh
	printf 'FROM scratch\nADD ssh://git@host.example:2222%s/repos/r#v1 /\n' "$T" | dockerfile
	PATH=$D/bin:$PATH out --ssh default=k2 "$D/ctx"
	same "$(cut -d' ' -f2 k2.pub)" "$(cut -d' ' -f2 seen)" "the key that ssh sees"
	nothing_left
}

git_ssh() {
	agent "$D/agent.sock"
	mkdir bin
	cat >bin/ssh <<-X
		#!/bin/sh
		printf '%s\n' "\$@" "sock=\$SSH_AUTH_SOCK" >>$D/ssh.log
		for last; do :; done
		eval "exec \$last"
	X
	chmod +x bin/ssh
	printf 'FROM scratch\nADD ssh://git@host.example:2222%s/repos/r#v1 /\n' "$T" | dockerfile
	PATH=$D/bin:$PATH out --ssh default "$D/ctx"
	same one "$(tar -xOf "$D/out.tar" a.txt)"
	has ssh.log "^sock=$SSH_AUTH_SOCK$"
	has ssh.log '^git@host.example$'
	has ssh.log '^StrictHostKeyChecking=accept-new$'
	has ssh.log "^UserKnownHostsFile=\"$BLD_ROOT/tmp/[^ ]*/known_hosts\" \"$HOME/.ssh/known_hosts\"$"
	# Without --ssh a step's source gets no agent; a context does.
	: >ssh.log
	PATH=$D/bin:$PATH out --no-cache "$D/ctx"
	hasnt ssh.log '^sock=.'
	PATH=$D/bin:$PATH out "git@host.example:$T/repos/r#v1"
	has ssh.log "^sock=$SSH_AUTH_SOCK$"
}

git_context() {
	where
	out "$GIT/r"
	tree "$D/out.tar" >"$D/tree"
	has "$D/tree" '^-rw-r--r-- all/a.txt$'
	has "$D/tree" '^-rw-r--r-- all/sub/s.txt$'
	hasnt "$D/tree" '\.git/'
	out "$GIT/r#v1:d"
	same '-rw-r--r-- f' "$(tree "$D/out.tar")"
	out -f d/../Dockerfile "$WEB/git/r.git#v1"
	same one "$(tar -xOf "$D/out.tar" all/a.txt)"
	out --build-arg BUILDKIT_CONTEXT_KEEP_GIT_DIR=1 "$GIT/r#v1"
	tree "$D/out.tar" >"$D/tree"
	has "$D/tree" ' all/.git/HEAD$'
	# A Dockerfile that is a link out of the repository leads nowhere.
	want 3 "$BLD" build -f out/passwd "$GIT/r"
	has "$D/err" 'there is no "out/passwd" in the build context'
	want 3 "$BLD" build "$GIT/sub"
	has "$D/err" 'there is no Dockerfile in the build context'
}

web_context() {
	where
	(cd "$T/repos/r" && tar -czf "$T/www/ctx.tgz" Dockerfile a.txt d)
	printf 'FROM scratch\nCOPY . /x/\n' >"$T/www/Dockerfile.web"
	out "$WEB/ctx.tgz"
	same two "$(tar -xOf "$D/out.tar" all/a.txt)"
	out -f ./Dockerfile "$WEB/ctx.tgz?x=1"
	out "$WEB/Dockerfile.web"
	tree "$D/out.tar" >"$D/tree"
	has "$D/tree" ' x/context$'
	mkdir ctx
	echo l >ctx/local
	out -f "$WEB/Dockerfile.web" ctx
	same l "$(tar -xOf "$D/out.tar" x/local)"
	want 6 "$BLD" build "$WEB/nope.tgz"
	want 3 "$BLD" build "ftp://127.0.0.1/x.tgz"
	one_error
}

named_contexts() {
	where
	dockerfile <<-X
		FROM r AS stage
		FROM scratch
		COPY --from=stage a.txt /s
		COPY --from=r /d/e /e/
		COPY --from=w context /w
	X
	echo web >"$T/www/w.bin"
	out --build-context "r=$GIT/r#v1" --build-context "w=$WEB/w.bin" "$D/ctx"
	same one "$(tar -xOf "$D/out.tar" s)"
	same web "$(tar -xOf "$D/out.tar" w)"
	same deep "$(tar -xOf "$D/out.tar" e/f)"
	out --build-context "r=$GIT/r#v1" --build-context "w=$WEB/w.bin" "$D/ctx"
	has "$D/err" 'cache +([0-9]+)/\1 steps reused'
	# What is not selected does not count.
	out --build-context "r=$GIT/r?ref=old&submodules=0" --build-context "w=$WEB/w.bin" "$D/ctx"
	same 2 "$(wc -l < <(grep -cE 'cached .*(COPY --from=r|COPY --from=w)' "$D/err"; echo))"
	dockerfile <<-X
		FROM base:latest
		RUN --mount=from=r,target=/m cat /m/d/e/f
	X
	build --build-context "r=$GIT/r#v1" "$D/ctx"
	has "$D/err" '\| deep'
}

# ssh-add with all it needs below /opt.
ssh_context() {
	local f
	mkdir -p ctx/opt
	for f in "$(command -v ssh-add)" $(ldd "$(command -v ssh-add)" | grep -oE '/[^ ]+'); do
		cp -L "$f" ctx/opt/
	done
	f=$(cd ctx/opt && echo ld-*)
	printf '#!/bin/sh\nexec /opt/%s --library-path /opt /opt/ssh-add "$@"\n' "$f" >ctx/opt/sa
	chmod +x ctx/opt/sa
	dockerfile <<-'X'
		FROM base:latest
		COPY opt /opt
		RUN --mount=type=ssh echo "at $SSH_AUTH_SOCK"; ls -ln $SSH_AUTH_SOCK; /opt/sa -l; /opt/sa -D || echo refused
		RUN --mount=type=ssh,id=two,target=/x/agent,uid=1000,gid=1001,mode=0660 ls -ln /x; /opt/sa -l
		RUN --mount=type=ssh,id=none ls /run; test ! -e "$SSH_AUTH_SOCK"
		RUN test -z "$SSH_AUTH_SOCK"; test ! -e /run/buildkit; test ! -e /x
	X
}
agent() {
	need ssh-agent
	need ssh-keygen
	eval "$(ssh-agent -a "$1")" >/dev/null
	echo "$SSH_AGENT_PID" >>"$T/pids"
	ssh-keygen -q -t ed25519 -N '' -C the-key -f key
	ssh-add -q key
}
ssh_looks_right() {
	has "$D/err" '\| at /run/buildkit/ssh_agent\.0$'
	has "$D/err" '\| srw------- .* 0 +0 .*ssh_agent\.0$'
	has "$D/err" '\| srw-rw---- .* 1000 +1001 .*agent$'
	same 2 "$(grep -cE '\| 256 SHA256:.* the-key' "$D/err")" "keys listed"
	has "$D/err" '\| refused$'
	ssh-add -l >keys
	has keys the-key
}

ssh_mounts() {
	agent "$D/agent.sock"
	ssh_context
	build --no-cache --ssh default --ssh "two=$SSH_AUTH_SOCK" -t ssh "$D/ctx"
	ssh_looks_right
	[ -z "$(layer_names ssh 3)" ] || fail "a stub is left"
	# Whose agent it was is in no key.
	build --ssh default --ssh "two=$SSH_AUTH_SOCK" "$D/ctx"
	has "$D/err" 'cache +([0-9]+)/\1 steps reused'
	printf 'FROM base:latest\nRUN --mount=type=ssh,required true\n' | dockerfile
	want 1 "$BLD" build "$D/ctx"
	has "$D/err" 'ssh agent "default" is required'
	want 2 "$BLD" build --ssh default=missing "$D/ctx"
	has "$D/err" '^error: --ssh default: "missing": '
	SSH_AUTH_SOCK='' want 2 "$BLD" build --ssh default "$D/ctx"
	nothing_left
}

ssh_rootless() {
	user_setup
	agent "$D/agent.sock"
	ssh_context
	chmod 755 "$D"
	cp -r "$D/ctx" "$U_DIR/ctx"
	cp -r "$T/base" "$U_DIR/base"
	cp key "$U_DIR/key"
	[ "$(id -u)" != 0 ] || chown -R bldtest: "$U_DIR"
	bld_u() { want 0 "${U_RUN[@]}" "$@"; }
	bld_u "$BLD" build -q -t base:latest "$U_DIR/base"
	bld_u ssh-agent sh -c "ssh-add -q '$U_DIR/key'; '$BLD' build --progress=plain --ssh default \
		--ssh two=\$SSH_AUTH_SOCK '$U_DIR/ctx'"
	ssh_looks_right
}

cache_from() {
	where
	dockerfile <<-X
		FROM base:latest AS seed
		RUN mkdir -p /s/in; echo seed >/s/in/f; chown 7:8 /s/in; chmod 750 /s/in
		FROM base:latest
		ARG N
		RUN --mount=type=cache,target=/c,from=seed,source=/s/in ls -ldn /c; cat /c/f; echo \$N >>/c/f
	X
	build --build-arg N=1 "$D/ctx"
	has "$D/err" '\| drwxr-x--- .* 7 +8 .*/c$'
	same seed "$(sed -n 's/.*| \(seed\|1\|2\)$/\1/p' "$D/err" | xargs)"
	build --build-arg N=2 "$D/ctx"
	same 'seed 1' "$(sed -n 's/.*| \(seed\|1\|2\)$/\1/p' "$D/err" | xargs)"
	sed -i 's/echo seed/echo other/' "$D/ctx/Dockerfile"
	build --build-arg N=3 "$D/ctx"
	has "$D/err" '\| other$'
	hasnt "$D/err" '\| 2$'
	printf 'FROM base:latest\nRUN --mount=type=cache,target=/c,from=g cat /c/a.txt\n' | dockerfile
	build --build-context "g=$GIT/r#v1" "$D/ctx"
	has "$D/err" '\| one$'
	printf 'FROM base:latest\nRUN --mount=type=cache,target=/c,from=g,source=a.txt true\n' | dockerfile
	want 1 "$BLD" build --build-context "g=$GIT/r#v1" "$D/ctx"
	has "$D/err" 'is no folder'
}

# What SOURCE_DATE_EPOCH can be the name of: a context, a stage that is one download.
ages() {
	where
	echo old >"$T/www/old.txt"
	touch -d @1234567890 "$T/www/old.txt"
	dockerfile <<-X
		ARG V=v1
		FROM scratch AS commit
		ARG V
		ADD $GIT/r#\$V /
		FROM scratch AS file
		ADD $WEB/old.txt /
		FROM scratch AS two
		ADD $WEB/old.txt /
		COPY --from=file / /
		FROM scratch
		LABEL a=1
	X
	local row
	for row in git=2001-02-03T04:05:06Z web=2009-02-13T23:31:30Z commit=2001-02-03T04:05:06Z File=2009-02-13T23:31:30Z; do
		build --build-context "git=$GIT/r#v1" --build-context "web=$WEB/old.txt" \
			--build-arg "SOURCE_DATE_EPOCH=${row%%=*}" -t sources:age "$D/ctx"
		same "${row#*=}" "$(config sources:age | jq -r .created)" "$row"
	done
	want 3 "$BLD" build --build-arg SOURCE_DATE_EPOCH=two "$D/ctx"
	one_error
	has "$D/err" 'invalid SOURCE_DATE_EPOCH: two'
	# A repository as the context: its files, too, are as old as the commit.
	printf 'FROM scratch\nCOPY a.txt /\n' | dockerfile
	build -f "$D/ctx/Dockerfile" --build-arg SOURCE_DATE_EPOCH=context -t sources:age "$GIT/r#v1"
	same 2001-02-03T04:05:06Z "$(config sources:age | jq -r .created)"
	layer_tar sources:age 0 | tar --utc --full-time -tvf - >"$D/tree"
	has "$D/tree" '2001-02-03 04:05:06 a.txt'
}

t "base image" base
t "git daemon, web server, repositories" servers
t "ADD of repositories: modes, links, submodules, subdirectory" add_git
t "refs, tags, branches, commits, checksums, times" git_forms
t "--keep-git-dir, no submodules" keep_git_dir
t "what is refused about repositories" git_errors
t "the user's git configuration, hooks, filters, other protocols" git_alone
t "repositories that want a token" private_git
t "repositories over ssh" git_ssh
t "a repository as the context" git_context
t "archives and Dockerfiles from the web" web_context
t "named contexts from git and the web" named_contexts
t "SOURCE_DATE_EPOCH by the age of something" ages
t "ssh agents in steps" ssh_mounts
t "key files for --ssh" ssh_keys
t "ssh agents in steps of an ordinary user" ssh_rootless
t "caches that begin with files" cache_from
t_end
