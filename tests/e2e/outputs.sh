#!/bin/bash
# Where an image goes: -o oci, docker, tar, local, cacheonly, standard output.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

project() {
	dockerfile <<-'X'
	FROM base:latest AS one
	RUN mkdir /d && echo one >/d/f && ln -s f /d/l && ln /d/f /d/h && chown 33:33 /d/f && rm /bin/wc
	FROM scratch AS small
	COPY --from=one /d /d
	FROM one
	RUN rm -r /var/tmp && echo two >/d/f
	CMD ["cat", "/d/f"]
	X
}

oci() {
	project
	build -o type=oci,dest=out.tar -t o:t1 ctx
	mkdir l && tar -xf out.tar -C l
	store_whole l
	same "$(digest_of o:t1)" "$(jq -r '.manifests[0].digest' l/index.json)" "-o oci and the store"
	need skopeo
	skopeo inspect oci-archive:out.tar >/dev/null
	build -o type=oci,dest=dir,tar=false ctx
	store_whole dir
	build -o type=oci,dest=z.tar,compression=zstd,force-compression=true ctx
	mkdir z && tar -xf z.tar -C z
	store_whole z
	jq -e '[.layers[].mediaType] | all(endswith("+zstd"))' \
		"z/blobs/sha256/$(jq -r '.manifests[0].digest' z/index.json | cut -d: -f2)"
}

docker() {
	project
	build -o type=docker,dest=out.tar -t o:docker ctx
	mkdir x && tar -xf out.tar -C x
	jq -e '.[0].RepoTags == ["o:docker"] or .[0].RepoTags == ["docker.io/library/o:docker"]' x/manifest.json
	local c
	c=$(jq -r '.[0].Config' x/manifest.json)
	same "$(jq -r '.[0].Layers | length' x/manifest.json)" "$(jq -r '.rootfs.diff_ids | length' "x/$c")"
	jq -r '.[0].Layers[]' x/manifest.json >names
	paste -d' ' names <(jq -r '.rootfs.diff_ids[]' "x/$c") | while read -r file id; do
		case $(head -c 2 "x/$file" | od -An -tx1 | tr -d ' ') in
		1f8b) same "$id" "sha256:$(gzip -dc "x/$file" | sha256sum | cut -d' ' -f1)" ;;
		*) same "$id" "sha256:$(sha256sum <"x/$file" | cut -d' ' -f1)" ;;
		esac
	done
	need skopeo
	skopeo inspect docker-archive:out.tar >/dev/null
}

tar_and_local() {
	project
	build -o type=tar,dest=out.tar ctx
	tar -tvf out.tar --numeric-owner >list
	has list '^-rw-r--r-- 0/0 .* d/f$|33/33 .* d/f$'
	has list ' d/l -> f$'
	hasnt list '\.wh\.'
	hasnt list ' (\./)?bin/wc( |$)'
	hasnt list ' (\./)?var/tmp/?$'
	same two "$(tar -xOf out.tar d/f 2>/dev/null || tar -xOf out.tar ./d/f)"
	build --target small -o type=local,dest=dir ctx
	same one "$(cat dir/d/f)"
	same f "$(readlink dir/d/l)"
	same "$(stat -c %i dir/d/f)" "$(stat -c %i dir/d/h)" "hard links"
	build -o plain ctx # the short form of type=local
	same two "$(cat plain/d/f)"
	[ ! -e plain/bin/wc ]
}

to_stdout() {
	project
	want 0 "$BLD" build --target small -o - ctx
	tar -tf "$D/out" >list
	has list 'd/f$'
	want 0 "$BLD" build -o type=oci,dest=- ctx
	tar -tf "$D/out" >list
	has list 'index.json$'
}

several_and_none() {
	project
	build -o type=oci,dest=a.tar -o type=docker,dest=b.tar -t o:both ctx
	[ -s a.tar ] && [ -s b.tar ]
	bld inspect o:both
	local before
	before=$(sha256sum "$BLD_ROOT/index.json")
	build -o type=cacheonly ctx
	same "$before" "$(sha256sum "$BLD_ROOT/index.json")"
	# A failed build leaves the old file as it was.
	printf 'FROM base:latest\nRUN false\n' >ctx/Dockerfile
	cp a.tar old.tar
	want 1 "$BLD" build -o type=oci,dest=a.tar ctx
	cmp a.tar old.tar
	same '' "$(find . -maxdepth 1 -name '.*tar*' -o -maxdepth 1 -name 'a.tar?*')" "temporary files"
}

docker_format() {
	project
	build --format docker -t o:fmt ctx
	same application/vnd.docker.distribution.manifest.v2+json "$(manifest o:fmt | jq -r .mediaType)"
	same application/vnd.docker.container.image.v1+json "$(manifest o:fmt | jq -r .config.mediaType)"
	store_whole
}

untagged() {
	project
	want 0 "$BLD" build -q ctx
	bld inspect "$(cat "$D/out")"
	store_whole
}

t "base image" base
t "-o type=oci: archive, folder, zstd" oci
t "-o type=docker" docker
t "-o type=tar and type=local: the merged tree" tar_and_local
t "-o -: the tree, or an archive, on standard output" to_stdout
t "several outputs, none, and a failed build" several_and_none
t "--format docker" docker_format
t "an image without a name" untagged
t_end
