#!/bin/bash
# The programs of docs/library.md, as their readers have them: compiled outside the tree against the installed
# library, shared and static, by every compiler, as C and as C++; and run on real images.
BUILD=$(dirname "${BLD:-build/dev/bld}")
[ "${BUILD#/}" != "$BUILD" ] || BUILD=$PWD/$BUILD
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
if [ ! -e "$BUILD/libbld.so" ]; then
	echo "Bail out! $BUILD/libbld.so is not there; run make first"
	exit 1
fi
INST=$T/inst
CWARN=(-Wall -Wextra -Wpedantic -Werror)
# C++ has no other way to set one member of an option struct by name.
CXXWARN=(-std=c++20 -Wall -Wextra -Werror -Wno-missing-field-initializers)
SAN=()
case $(basename "$BUILD") in
asan) SAN=("-fsanitize=address,undefined") ;;
tsan) SAN=(-fsanitize=thread) ;;
esac
# A sanitizer's library wants its own compiler.
if [ ${#SAN[@]} = 0 ]; then
	C=(gcc clang) CXX=(g++ clang++)
elif grep -q '^\(ccache \)\?clang' "$BUILD/.flags"; then
	C=(clang) CXX=(clang++)
else
	C=(gcc) CXX=(g++)
fi

pc() { PKG_CONFIG_PATH=$INST/lib/pkgconfig pkg-config --define-variable=prefix="$INST" "$@"; }

installed() {
	want 0 make -C "$TOP" --no-print-directory -s BUILD="$BUILD" DESTDIR="$INST.root" PREFIX=/opt/bld install-files
	mv "$INST.root/opt/bld" "$INST"
	mkdir "$T/src" "$T/prog"
	# What the guide prints, not what lies beside it; check-docs holds the two together.
	for p in setuid.c gate.c mklayer.c diff.py; do
		awk -v want="<!-- docs/examples/$p -->" '
			$0 == want { on = 1; next }
			on && /^```/ { if (on == 2) exit; on = 2; next }
			on == 2' "$TOP/docs/library.md" >"$T/src/$p"
		[ -s "$T/src/$p" ] || fail "docs/library.md has no $p"
	done
}

# compile PROGRAM: every way; $T/prog/PROGRAM.COMPILER.{shared,static}
compile() {
	local cc warn lang
	for cc in "${C[@]}" "${CXX[@]}"; do
		warn=("${CWARN[@]}") lang=c
		case $cc in *++) warn=("${CXXWARN[@]}") lang=c++ ;; esac
		# shellcheck disable=SC2046 # flags are meant to be split
		want 0 "$cc" "${SAN[@]}" "${warn[@]}" $(pc --cflags bld) -x "$lang" "$T/src/$1.c" -x none \
			-o "$T/prog/$1.$cc.shared" $(pc --libs bld)
		# shellcheck disable=SC2046
		want 0 "$cc" "${SAN[@]}" "${warn[@]}" $(pc --cflags bld) -x "$lang" "$T/src/$1.c" -x none \
			-o "$T/prog/$1.$cc.static" -Wl,--as-needed -l:libbld.a $(pc --static --libs bld)
		readelf -d "$T/prog/$1.$cc.shared" | grep -q 'NEEDED.*\[libbld\.so\.0\]' || fail "$cc: linked to something else"
		! readelf -d "$T/prog/$1.$cc.static" | grep -q 'NEEDED.*libbld' || fail "$cc: the static program needs libbld.so"
	done
}

# each PROGRAM STATUS ARGS...: all forms of it exit with STATUS and print the same to $D/out.
each() {
	local program=$1 status=$2 f
	shift 2
	rm -f "$D/first"
	for f in "$T/prog/$program".*; do
		LD_LIBRARY_PATH=$INST/lib want "$status" "$f" "$@"
		[ -e "$D/first" ] || cp "$D/out" "$D/first"
		cmp "$D/first" "$D/out" || fail "${f##*/} prints something else than the first one"
	done
}

prints() { diff -u - "$D/out"; }

images() {
	base
	mkdir ctx ctx/tree
	echo tool >ctx/tool
	echo one >ctx/one
	echo two >ctx/two
	head -c 300000 /dev/urandom >ctx/noise
	dockerfile <<-'E'
		FROM base
		COPY --chmod=4755 tool /usr/bin/gone
		COPY --chmod=2711 --chown=7:8 tool /usr/bin/tool
		COPY one /etc/app.conf
		COPY one /srv/same
	E
	build -t app:v1 ctx
	dockerfile <<-'E'
		FROM app:v1
		COPY two /etc/app.conf
		COPY noise /srv/noise
		RUN rm /usr/bin/gone
	E
	build -t app:v2 ctx
}

SETUID_V1='1  4755 0:0  /usr/bin/gone
2  2711 7:8  /usr/bin/tool'

scanner() {
	compile setuid
	each setuid 1 app:v1
	prints <<<"$SETUID_V1"
	each setuid 1 app:v2 # what a later layer removes is still there
	prints <<<"$SETUID_V1"
	each setuid 0 base
	empty out
	each setuid 2 base no-such-image:1
	has err 'no-such-image'
}

scanner_places() {
	local p=$T/prog/setuid.${C[0]}.shared
	export LD_LIBRARY_PATH=$INST/lib
	registry_start scan
	bld copy store:app:v1 "docker://$REG/app:v1"
	bld save -o app.tar app:v1
	bld save --format docker-archive -o docker.tar app:v1
	bld save --format oci-dir -o layout app:v1
	for ref in "docker://$REG/app:v1" ./app.tar oci-archive:app.tar docker-archive:docker.tar oci:layout ./layout; do
		BLD_ROOT=$D/empty want 1 "$p" "$ref"
		prints <<<"$SETUID_V1"
	done
	root_only "owners of files"
	mkdir -p root/usr/bin
	cp /bin/true root/usr/bin/x
	chmod 4755 root/usr/bin/x
	want 1 "$p" ./root
	prints <<<'0  4755 0:0  /usr/bin/x'
	# Bytes that are not what the manifest says are told.
	d=$(manifest app:v1 | jq -r '.layers[-1].digest')
	f=layout/blobs/sha256/${d#sha256:}
	printf 'X' | dd of="$f" bs=1 seek=$(($(stat -c %s "$f") - 6)) conv=notrunc status=none
	BLD_ROOT=$D/empty want 2 "$p" oci:layout
	has err 'setuid: oci:layout: '
}

gate() {
	compile gate
	each gate 0 app:v1 app:v2
	empty out
	each gate 1 -k etc app:v1 app:v2
	prints <<<'/etc/app.conf: modified'
	each gate 1 -k etc -k usr/bin app:v1 app:v2
	prints <<-'E'
		/etc/app.conf: modified
		/usr/bin/gone: deleted
	E
	each gate 0 -k srv/same -k home app:v1 app:v2
	each gate 0 -b 2000000 app:v1 app:v2
	each gate 1 -b 100000 app:v1 app:v2
	has out '^pulling costs 30[0-9]{4} bytes, allowed are 100000$'
	each gate 2 -k etc app:v1 no-such-image:1
	has err '^gate: no-such-image:1: .'
	each gate 2 app:v1
}

layer_maker() {
	compile mklayer
	each mklayer 0 layer.tgz greeting=hello "empty=" # the same line from every program: the bytes are the same
	same "sha256:$(gzip -dc layer.tgz | sha256sum | cut -d' ' -f1) sha256:$(sha256sum <layer.tgz | cut -d' ' -f1)" "$(cat out)"
	tar --numeric-owner -tvzf layer.tgz >list
	awk '{print $1, $2, $3, $6}' list | diff -u - <(printf '%s\n' 'drwxr-xr-x 0/0 0 etc/' 'drwxr-xr-x 0/0 0 etc/app/' \
		'-rw-r--r-- 0/0 5 etc/app/greeting' '-rw-r--r-- 0/0 0 etc/app/empty')
	mkdir to
	each mklayer 0 -d to layer.tgz greeting=hello
	same hello "$(cat to/etc/app/greeting)"
	each mklayer 0 -i base:latest made:v1 layer.tgz greeting=hello
	same "$(cut -d' ' -f1 out)" "$(diff_ids made:v1 | tail -n 1)"
	bld export -o made.tar made:v1
	same hello "$(tar -xOf made.tar etc/app/greeting 2>/dev/null || tar -xOf made.tar ./etc/app/greeting)"
	each mklayer 2 -i no-such-image:1 made:v2 layer.tgz a=b
	has err '^mklayer: no-such-image:1: .'
	each mklayer 2 layer.tgz a=1 a=2
	has err '^mklayer: layer.tgz: .'
}

python() {
	LD_LIBRARY_PATH=$INST/lib want 0 python3 "$T/src/diff.py" app:v1 app:v2
	grep -v '^m ' out >changes || true # folders whose times moved
	diff -u - changes <<-'E'
		M /etc/app.conf
		A /srv/noise
		D /usr/bin/gone
	E
	LD_LIBRARY_PATH=$INST/lib want 1 python3 "$T/src/diff.py" app:v1 no-such-image:1
	has err '^diff.py: .*no-such-image'
}

t "the library is installed, and the guide holds the programs" installed
t "images to look at" images
t "a scanner: compiled and linked every way, run on images" scanner
t "a scanner: images in registries, archives, layouts and folders" scanner_places
t "a gate: changes below paths, and the cost of a pull" gate
t "a layer maker: the same bytes always; unpacked, and put on an image" layer_maker
[ ${#SAN[@]} != 0 ] || t "changes listed from Python" python
t_end
