#!/bin/bash
# Annotations of every level, and the attributes of outputs.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

two() { # for two platforms, without a RUN
	dockerfile <<-'X'
	FROM scratch
	ARG TARGETARCH
	COPY f-$TARGETARCH /f
	X
	echo amd >ctx/f-amd64
	echo arm >ctx/f-arm64
}
P=(--platform "linux/amd64,linux/arm64")

single() {
	two
	build -t a:1 --platform linux/amd64 --annotation k=v --annotation manifest:m=w \
		--annotation 'manifest[linux/amd64]:k=own' --annotation manifest-descriptor:d=1 \
		-o type=oci,dest=o,tar=false ctx
	same '{"k":"own","m":"w"}' "$(manifest a:1 | jq -cS .annotations)"
	same 1 "$(jq -r '.manifests[0].annotations.d' o/index.json)"
	# another descriptor annotation is a change, the same one is none
	build -t a:1 --platform linux/amd64 --annotation manifest-descriptor:d=2 ctx
	same 2 "$(jq -r '[.manifests[].annotations.d // empty] | last' "$BLD_ROOT/index.json")"
	local before
	before=$(sha256sum <"$BLD_ROOT/index.json")
	build -t a:1 --platform linux/amd64 --annotation manifest-descriptor:d=2 ctx
	same "$before" "$(sha256sum <"$BLD_ROOT/index.json")"
}

index() {
	two
	build -t a:2 "${P[@]}" --annotation manifest,index:both=1 --annotation 'manifest[linux/arm64]:arm=1' \
		--annotation 'manifest-descriptor[linux/amd64]:desc=1' \
		-o type=oci,dest=o,tar=false,annotation-index.Org.Title=x,annotation-index-descriptor.top=1 ctx
	local ix amd arm
	ix=o/blobs/sha256/$(jq -r '.manifests[0].digest' o/index.json | cut -d: -f2)
	same 1 "$(jq -r '.manifests[0].annotations.top' o/index.json)"
	same '{"Org.Title":"x","both":"1"}' "$(jq -cS .annotations "$ix")"
	same '{"desc":"1"}' "$(jq -c '.manifests[0].annotations' "$ix")"
	same null "$(jq -c '.manifests[1].annotations' "$ix")"
	amd=o/blobs/sha256/$(jq -r '.manifests[0].digest' "$ix" | cut -d: -f2)
	arm=o/blobs/sha256/$(jq -r '.manifests[1].digest' "$ix" | cut -d: -f2)
	same '{"both":"1"}' "$(jq -cS .annotations "$amd")"
	same '{"arm":"1","both":"1"}' "$(jq -cS .annotations "$arm")"
	layout_whole o
}

refused() {
	two
	want 2 "$BLD" build --annotation index:k=v ctx
	has err 'one platform has none'
	one_error
	want 2 "$BLD" build --annotation 'manifest[linux/s390x]:k=v' ctx
	has err 'linux/s390x, which is not built'
	want 2 "$BLD" build --annotation mainfest:k=v ctx
	has err 'try:  *manifest'
	want 2 "$BLD" build --format docker --annotation k=v ctx
	has err 'docker manifests have no annotations'
}

attestations() {
	two
	export BUILDX_NO_DEFAULT_ATTESTATIONS=1
	build -q --provenance=false --sbom=false --attest type=sbom,disabled=true \
		--attest type=provenance,disabled=true ctx
	hasnt err 'warning|note'
	build --provenance=0 --sbom=off ctx
	build --provenance=mode=max,disabled=true ctx
	for f in --provenance --provenance=true --provenance=mode=max --attest=type=provenance,mode=min; do
		want 2 "$BLD" build "$f" ctx
		has err 'no provenance attestations yet'
		has err 'try:  *--provenance=false'
	done
	want 2 "$BLD" build --sbom=true ctx
	has err 'no SBOM attestations'
	want 2 "$BLD" build --attest type=vuln ctx
	has err 'type=provenance or type=sbom'
}

split() {
	two
	build "${P[@]}" -o type=local,dest=l ctx
	same amd "$(cat l/linux_amd64/f)"
	same arm "$(cat l/linux_arm64/f)"
	build --platform linux/amd64 -o type=local,dest=one ctx
	same amd "$(cat one/f)"
	build --platform linux/amd64 -o type=local,dest=s,platform-split=true ctx
	same amd "$(cat s/linux_amd64/f)"
	build --platform linux/arm64 -o type=tar,dest=t.tar,platform-split=true ctx
	tar -tf t.tar >list
	has list 'linux_arm64/f$'
}

# All platforms in one folder: folders are shared, files must not meet.
merged() {
	mkdir -p ctx/d/sub
	echo same >ctx/d/sub/same
	printf 'FROM scratch\nARG TARGETARCH\nCOPY <<X /d/app-$TARGETARCH\n$TARGETARCH\nX\nCOPY d/none* /d/sub/\n' >ctx/Dockerfile
	local p=(--platform "linux/amd64,linux/arm64")
	build "${p[@]}" -o type=local,dest=m,platform-split=false ctx
	same 'amd64 arm64' "$(cat m/d/app-amd64 m/d/app-arm64 | xargs)"
	build "${p[@]}" -o type=tar,dest=m.tar,platform-split=false ctx
	same 'd/ d/app-amd64 d/app-arm64' "$(tar -tf m.tar | sort | xargs)"
	echo 'COPY d /d' >>ctx/Dockerfile
	want 3 "$BLD" build "${p[@]}" -o type=local,dest=x,platform-split=false ctx
	has err 'cannot overwrite /d/sub/same of linux_amd64 with that of linux_arm64'
	[ ! -e x ]
}

delete() {
	two
	mkdir -p into/sub && echo old >into/sub/old && ln -s / into/link
	want 4 "$BLD" build --platform linux/amd64 -o type=local,dest=into,mode=delete ctx
	has err 'allow buildx.local.delete'
	[ -e into/sub/old ]
	build --platform linux/amd64 -o type=local,dest=into,mode=copy ctx
	[ -e into/sub/old ]
	build --platform linux/amd64 --allow buildx.local.delete -o type=local,dest=into,mode=delete ctx
	same f "$(ls -A into)"
	[ -d /usr ]
}

times() {
	two
	build -t e:1 --platform linux/amd64 -o type=image,source-date-epoch=1000 ctx
	same 1970-01-01T00:16:40Z "$(config e:1 | jq -r .created)"
	layer_tar e:1 0 | tar -tvf - --full-time >list
	has list '1970-01-01 00:16:40'
	build -t e:2 --platform linux/amd64 -o type=image,source-date-epoch=1000,rewrite-timestamp=false ctx
	same 1970-01-01T00:16:40Z "$(config e:2 | jq -r .created)"
	layer_tar e:2 0 | tar -tvf - --full-time >list
	hasnt list '1970-01-01'
	build -t e:3 --platform linux/amd64 --source-date-epoch 1000 --rewrite-timestamp=false ctx
	same "$(digest_of e:2)" "$(digest_of e:3)"
}

by_digest() {
	two
	registry_start digests
	build --platform linux/amd64 --metadata-file m.json \
		-o "type=image,name=$REG/d/app,push-by-digest=true,name-canonical=true,push=true" ctx
	local d
	d=$(jq -r '."containerimage.digest"' m.json)
	bld manifest get "$REG/d/app@$d"
	want 0 curl -s "http://$REG/v2/d/app/tags/list"
	has out '"tags":null|NAME_UNKNOWN|"tags":\[\]'
	# the tags of -t are repositories, then
	build --platform linux/amd64 -t "$REG/d/other" -o type=registry,push-by-digest=true ctx
	bld manifest get "$REG/d/other@$d"
	want 2 "$BLD" build -t "$REG/d/other:v1" -o type=registry,push-by-digest=true ctx
	has err 'under no tag'
	# several names in one output; nothing kept here
	build --platform linux/amd64 -o "type=registry,\"name=$REG/d/x:1,$REG/d/y:2\",store=false" ctx
	bld manifest get "$REG/d/x:1"
	bld manifest get "$REG/d/y:2"
	bld images
	hasnt out '/d/x|/d/y'
}

force() {
	two
	build --platform linux/amd64 -t f:base ctx
	printf 'FROM f:base\nCOPY f-amd64 /g\n' >ctx/Dockerfile
	build --platform linux/amd64 -t f:1 --compression zstd ctx
	same 'gzip zstd' "$(manifest f:1 | jq -r '[.layers[].mediaType | split("+")[1]] | join(" ")')"
	build --platform linux/amd64 -t f:1 --compression zstd --force-compression ctx
	same 'zstd zstd' "$(manifest f:1 | jq -r '[.layers[].mediaType | split("+")[1]] | join(" ")')"
}

t "one platform: manifest and its descriptor" single
t "an index, its entries, its descriptor" index
t "what no document of the build can take" refused
t "attestations: off, and nothing else" attestations
t "platform-split" split
t "platform-split=false" merged
t "mode=copy and mode=delete" delete
t "source-date-epoch and rewrite-timestamp of an output" times
t "push-by-digest, several names, store=false" by_digest
t "--force-compression" force
t_end
