#!/bin/bash
# bld diff --html: the page, as a browser shows it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# look CHECK PAGE [JSON A B]: tests/e2e/diff_page.py
look() { timeout 200 python3 "$TOP/tests/e2e/diff_page.py" "$@"; }
old() { find "$@" -exec touch -h -d @1500000000 {} +; }
# file PATH SIZE: with bytes of its own
file() { mkdir -p "${1%/*}" && { echo "${1#?/} $2"; head -c "$2" /dev/zero; } | head -c "$2" >"$1"; }

# images: app:v1 of $T/a and app:v2 of $T/b in the store, $T/v.html and $T/v.json of them.
images() {
	local i r
	[ ! -e "$T/v.html" ] || return 0
	cd "$T"
	for r in a b; do
		for i in $(seq 8); do file "$r/usr/lib/lib$i.so" $((i * 150000)); done
		for i in $(seq 40); do file "$r/usr/bin/tool-$i" 5000; done
		for i in $(seq 300); do file "$r/usr/share/data/d$((i % 9))/f$i" $((i * 7)); done
		for i in $(seq 9); do file "$r/etc/conf.d/$i.conf" 100; done
	done
	file a/etc/app.conf 1200
	file b/etc/app.conf 1300
	file b/usr/lib/lib7.so 400000
	file a/usr/share/doc/app/copyright 30000
	file a/usr/share/doc/app/changelog 50000
	file b/onlyb/app-migrate 200000
	file b/onlyb/deep/down/app-data 100000
	file a/var/thing 4000
	file b/var/thing/inside 3000
	file a/opt/before 6000
	mkdir -p b/opt
	mv a/opt/before b/opt/after
	file a/opt/before 6000
	cp a/opt/before b/opt/after
	ln b/usr/bin/tool-5 b/usr/bin/tool-5-again
	ln -s tool-1 a/usr/bin/sh
	ln -s tool-2 b/usr/bin/sh
	chmod 4755 b/usr/bin/tool-3
	old a b
	touch -d @1600000000 b/usr/bin b/etc/conf.d/2.conf
	printf 'FROM scratch\nCOPY a/usr/lib/lib1.so /usr/lib/\nCOPY a /\nENV X=1\n' >a.Dockerfile
	printf 'FROM scratch\nCOPY a/usr/lib/lib1.so /usr/lib/\nCOPY b /\nENV X=2 NEW="two\\nlines"\n' >b.Dockerfile
	build -q -t app:v1 -f a.Dockerfile .
	build -q -t app:v2 -f b.Dockerfile .
	want 1 "$BLD" diff --format json --html "$T/v.part" app:v1 app:v2
	empty "$D/err"
	cp "$D/out" "$T/v.json"
	mv "$T/v.part" "$T/v.html"
	cd "$D"
}
see() { images && look "$1" "$T/v.html" "$T/v.json" "$T/a" "$T/b"; }

control() {
	echo '<body onload="window.broken = 1"><img src="there-is-none.png"><script>console.error("x")</script>' >bad.html
	look control bad.html
}

hostile() {
	local n
	mkdir -p a b
	for n in '<img src=x onerror=window.broken=1>' $'a\nb' $'txt\xe2\x80\xaegpj.exe' $'\xff\xfe' $'esc\033[31m' '&lt;amp;' \
		"\${window.broken=3}" "'\"><b>" '--><!--<script>' "$(printf 'long%.0s' $(seq 60))"; do
		echo x >"b/$n"
	done
	file 'b/<script>window.broken=2</script>' 100
	printf 'FROM scratch\nCOPY a /\nENV A=1\n' >a.Dockerfile
	printf '%s\n' 'FROM scratch' 'COPY b /' "ENV A=\"'<b>bold</b>'\" B=\"</script><script>window.broken=4</script>\"" \
		'LABEL x="<img src=x onerror=window.broken=6>"' >b.Dockerfile
	build -q -t h:1 -f a.Dockerfile .
	build -q -t h:2 -f b.Dockerfile .
	want 1 "$BLD" diff --html page.html h:1 h:2
	look hostile page.html
}

# many TAR COUNT: files that grow by a byte every hundred; 49,500 of them in 500 folders.
many() {
	python3 - "$@" <<-'X'
		import io, sys, tarfile
		with tarfile.open(sys.argv[1], "w", format=tarfile.USTAR_FORMAT) as t:
		    n = int(sys.argv[2])
		    for i in range(n):
		        e = tarfile.TarInfo(f"d{i // 99:03d}/f{i % 99:02d}" if n == 49500 else f"f{i:06d}")
		        e.size = i // 100
		        t.addfile(e, io.BytesIO(bytes(e.size)))
	X
}
large() {
	mkdir nothing
	many b.tar 49500
	want 1 "$BLD" diff --format json --html page.html dir:nothing ./b.tar
	look large page.html out
}
limit() {
	mkdir nothing
	many b.tar 100500
	want 1 "$BLD" diff --name-only --html page.html dir:nothing ./b.tar
	look limit page.html
}

equal() {
	images
	want 0 "$BLD" diff --html page.html app:v1 app:v1
	empty out
	look nothing page.html
}

# Where it goes, what goes with it, and what is left when it cannot.
flags() {
	images
	want 1 "$BLD" diff --html - app:v1 app:v2
	cmp out "$T/v.html"
	want 1 "$BLD" diff --html - --format json -o v.json app:v1 app:v2
	cmp out "$T/v.html"
	cmp v.json "$T/v.json"
	want 1 "$BLD" diff --html page.html --name-only --mode files,config app:v1 app:v2
	has out '^/etc/app.conf$'
	cmp page.html "$T/v.html"
	want 0 "$BLD" diff --html page.html --exit-code=false app:v1 app:v2
	for f in '--format json' '--stat' '--name-only' '-o -' '--content'; do
		# shellcheck disable=SC2086 # words
		want 2 "$BLD" diff --html - $f app:v1 app:v2
		has err 'takes standard output'
		empty out
	done
	want 2 "$BLD" diff --html none/page.html app:v1 app:v2
	one_error
	empty out
	echo before >kept.html
	want 6 "$BLD" diff --html kept.html app:v1 app:none
	same before "$(cat kept.html)"
	if [ -e /dev/full ]; then
		want 8 "$BLD" diff --html /dev/full -o text app:v1 app:v2
		one_error
	fi
	want 1 "$BLD" diff --mode all,layers,packages --semantic --path etc --html page.html app:v1 app:v2
	has page.html 'Differences that do not count: '
	has page.html 'Not all paths were compared'
	want 1 "$BLD" diff --mode config --html page.html app:v1 app:v2
	hasnt page.html 'id="data"'
	same '' "$(find . -name '*.tmp')" "left behind"
}

t "what must be seen of a page would be seen" control
t "title, verdict and numbers are those of the JSON" see head
t "the tree by keys: every size and what changed" see tree_keys
t "the tree by clicks" see tree_clicks
t "filter, kinds, order" see filters
t "maps: areas are bytes, on one scale; zoom on both sides" see maps
t "a narrow window" see narrow
t "without scripts" see plain
t "names and values that attack" hostile
t "50,000 changes" large
t "more changes than a page holds" limit
t "nothing differs" equal
t "where the page goes" flags
t_end
