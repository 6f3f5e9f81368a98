#!/bin/bash
# COPY, ADD and the build context: what lands where, with which attributes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# tree [ARG]...: build, and what the image holds as "type mode uid/gid [mtime] path [-> link]", a line each. Times
# are shown where a source had one (all sources are of 2017).
tree() {
	build -o type=tar,dest=out.tar "$@"
	TZ=UTC tar -tvf out.tar --numeric-owner --full-time |
		awk '{ name = $6; for (i = 7; i <= NF; i++) name = name " " $i
			printf "%s %s%s %s\n", $1, $2, $4 ~ /^2017/ ? " t" : "", name }' | sort >got
}
is() {
	sort >want
	diff -u want got
}
old() { find "$@" -exec touch -h -d @1500000000 {} +; }

exceptions() {
	dockerfile <<-'X'
	FROM scratch
	COPY --exclude=b --exclude=!b/c/g a /d/
	X
	mkdir -p ctx/a/b/c ctx/a/b/none
	touch ctx/a/t ctx/a/b/f ctx/a/b/c/g ctx/a/b/c/h
	chmod 750 ctx/a/b
	old ctx/a
	tree ctx
	is <<-'X'
	drwxr-xr-x 0/0 t d/
	drwxr-x--- 0/0 t d/b/
	drwxr-xr-x 0/0 t d/b/c/
	-rw-r--r-- 0/0 t d/b/c/g
	-rw-r--r-- 0/0 t d/t
	X
}

parents() {
	dockerfile <<-'X'
	FROM scratch
	COPY --parents --exclude=**/c a/ /all/
	COPY --parents --exclude=a/*.o --chmod=g-rwx --chown=3 a/./b/*.o a/x.o /files/
	COPY --parents nothing/./*.c /none/
	COPY --parents a/./*l*.o /links/
	X
	mkdir -p ctx/a/b/c
	touch ctx/a/x.o ctx/a/b/y.o ctx/a/b/c/z.o ctx/a/l1.o
	ln ctx/a/l1.o ctx/a/l2.o
	chmod 751 ctx/a/b
	old ctx/a
	tree ctx
	is <<-'X'
	drwxr-xr-x 0/0 all/
	drwxr-xr-x 3/3 files/
	drwxr-xr-x 0/0 links/
	drwxr-xr-x 0/0 none/
	drwxr-xr-x 0/0 t all/a/
	drwxr-x--x 0/0 t all/a/b/
	-rw-r--r-- 0/0 t all/a/b/y.o
	-rw-r--r-- 0/0 t all/a/l1.o
	hrw-r--r-- 0/0 t all/a/l2.o link to all/a/l1.o
	-rw-r--r-- 0/0 t all/a/x.o
	drwx-----x 3/3 t files/b/
	-rw----r-- 3/3 t files/b/y.o
	-rw-r--r-- 0/0 t links/l1.o
	hrw-r--r-- 0/0 t links/l2.o link to links/l1.o
	X
	printf 'FROM scratch\nCOPY --parents nothing/./c /none/\n' >ctx/Dockerfile
	want 3 "$BLD" build ctx
	has "$D/err" 'not found'
}

# With a mode the files go where links lead, as without --link; without one they replace them.
links_and_link() {
	dockerfile <<-'X'
	FROM scratch
	COPY fs /
	COPY --link --chmod=600 f /ln/x/f
	X
	mkdir -p ctx/fs/t
	ln -s t ctx/fs/ln
	touch ctx/f
	old ctx/fs ctx/f
	tree ctx
	is <<-'X'
	drwxr-xr-x 0/0 t t/
	drw------- 0/0 t/x/
	lrwxrwxrwx 0/0 t ln -> t
	-rw------- 0/0 t t/x/f
	X
	sed -i 's/ --chmod=600//' ctx/Dockerfile
	tree ctx
	is <<-'X'
	drwxr-xr-x 0/0 ln/
	drwxr-xr-x 0/0 ln/x/
	drwxr-xr-x 0/0 t t/
	-rw-r--r-- 0/0 t ln/x/f
	X
}

flags_that_expand() {
	dockerfile <<-'X'
	FROM scratch AS a
	COPY --chown=5:6 --chmod=4755 f /q
	FROM scratch
	ARG NONE
	ARG REMOTE=f
	COPY --from=a --chown=$NONE --chmod=$NONE /q /r
	X
	mkdir -p ctx
	touch ctx/f
	old ctx/f
	tree ctx
	is <<-'X'
	-rwsr-xr-x 5/6 t r
	X
	echo "ADD --checksum=sha256:$(printf '' | sha256sum | cut -d' ' -f1) \$REMOTE /x" >>ctx/Dockerfile
	want 3 "$BLD" build ctx
	has "$D/err" 'checksum requires HTTP\(S\) or Git sources'
}

archives() {
	dockerfile <<-'X'
	FROM scratch
	COPY stage /o/
	ADD --chown=1:2 --chmod=700 a.tar.zst /p/q
	ADD hard.tar /o/
	X
	need zstd
	mkdir -p ctx/stage in/d
	echo old >ctx/stage/old
	echo x >in/d/f
	old ctx/stage in
	tar -C in -cf a.tar --owner=7 --group=8 d/f
	zstd -q a.tar -o ctx/a.tar.zst
	# A name more for a file that is in the image and not in the archive.
	echo >in/old
	ln in/old in/new
	tar -C in -cf ctx/hard.tar --owner=7 --group=8 old new
	tar --delete -f ctx/hard.tar old
	tree ctx
	is <<-'X'
	drwxr-xr-x 0/0 t o/
	drwxr-xr-x 1/2 p/
	drwxr-xr-x 1/2 p/q/
	drwxr-xr-x 0/0 p/q/d/
	-rw-r--r-- 0/0 t o/new
	hrw-r--r-- 0/0 t o/old link to o/new
	-rw-r--r-- 1/2 t p/q/d/f
	X
	same old "$(tar -xOf out.tar o/new)"
}

# A file that begins like an archive is one, however early it was cut off.
cut_off_archives() {
	mkdir in ctx
	head -c 3000 /dev/urandom >in/f
	tar -C in -cf a.tar f
	gzip -c a.tar >a.gz
	printf 'FROM scratch\nADD a.gz /\n' >ctx/Dockerfile
	for n in 400 1500 3000; do
		head -c "$n" a.gz >ctx/a.gz
		want 3 "$BLD" build ctx
		has "$D/err" 'unpack "a.gz"'
	done
	# What is compressed and no tar is a file, whole or not.
	head -c 3000 /dev/urandom | gzip >r.gz
	for n in 10 1000 4000; do
		head -c "$n" r.gz >ctx/a.gz
		tree ctx
		has got ' a.gz$'
	done
}

# Nothing is refused for being mostly holes, and holes cost no room in the store on the way.
sparse_archives() {
	need zstd
	dockerfile <<-'X'
	FROM scratch
	ADD a.tar.zst /
	ADD s.tar /
	X
	truncate -s 1100M big
	tar -cf - big | zstd -q >ctx/a.tar.zst
	truncate -s 10M small
	echo end >>small
	truncate -s 20M small
	tar -S -cf ctx/s.tar small
	build -t sparse:t1 ctx
	same 1153433600 "$(layer_tar sparse:t1 0 | tar -tvf - big | awk '{print $3}')"
	layer_tar sparse:t1 1 | tar -xOf - small | cmp - small
}

context_forms() {
	mkdir -p cx/sub
	printf 'FROM scratch\nCOPY sub /\n' >cx/Dockerfile
	echo x >cx/sub/f
	old cx/sub
	for how in --format=v7 --format=gnu --format=posix -z -J -j; do
		tar -C cx "$how" -cf cx.tar .
		build -o type=tar,dest=out.tar - <cx.tar
		same x "$(tar -xOf out.tar f)" "$how"
	done
	echo f >cx/sub.containerignore
	mv cx/Dockerfile cx/Containerfile
	echo sub/f >cx/Containerfile.containerignore
	sed -i 's|COPY sub|COPY sub/f|' cx/Containerfile
	want 3 "$BLD" build cx
	has "$D/err" 'Containerfile.containerignore:1 pattern "sub/f"'
}

named_platforms() {
	mkdir -p ctx any arm
	echo any >any/f
	echo arm >arm/f
	printf 'FROM base\nCOPY g /\n' >ctx/Dockerfile
	touch ctx/g
	for p in linux/arm64:arm linux/amd64:any; do
		build --platform "${p%:*}" --build-context base=any --build-context base::linux/aarch64=arm \
			-o type=tar,dest=out.tar ctx
		same "${p#*:}" "$(tar -xOf out.tar f)" "$p"
	done
	want 2 "$BLD" build --build-context base::nonsense/a/b/c=any ctx
	want 2 "$BLD" build --build-context base=s3://x ctx
	has "$D/err" 'unsupported context source s3://x for base'
}

# A layer's table of contents is read once, whoever lies above it.
tables_read_once() {
	need strace
	mkdir ctx
	{
		echo FROM scratch
		for i in $(seq 60); do
			echo "COPY f$i /d/"
			echo "$i" >ctx/f"$i"
		done
	} >ctx/Dockerfile
	want 0 strace -f -qq -o trace -e trace=openat "$BLD" build -q -t many:t1 ctx
	reads=$(grep -c 'toc-.*O_RDONLY.* = [0-9]' trace)
	[ "$reads" -ge 59 ] && [ "$reads" -le 130 ] || fail "$reads tables read for 60 layers"
	same 60 "$(layers many:t1 | wc -l)"
}

# What can never become an image is refused at once.
too_many_layers() {
	mkdir ctx
	touch ctx/f
	{
		echo FROM scratch
		for i in $(seq 5000); do echo "COPY f /f$i"; done
	} >ctx/Dockerfile
	want 3 "$BLD" build ctx
	has "$D/err" 'more than 1000 layers'
	has "$D/err" 'Dockerfile:1002'
	truncate -s 100G ctx/f
	printf 'FROM scratch\nCOPY f /\n' >ctx/Dockerfile
	want 3 "$BLD" build ctx
	has "$D/err" 'more than 64 GiB'
}

t "what an exception brings back comes with its folders" exceptions
t "--parents: excludes, folders on the way, hard links" parents
t "--link and links, with --chmod" links_and_link
t "flags that expand to nothing, --checksum of a local file" flags_that_expand
t "archives: modes, owners, names of files in the image" archives
t "archives that were cut off" cut_off_archives
t "archives of files with holes" sparse_archives
t "archives as contexts, ignore files of Containerfiles" context_forms
t "named contexts of a platform" named_platforms
t "tables of contents are read once (strace)" tables_read_once
t "too many layers, too large files" too_many_layers
t_end
