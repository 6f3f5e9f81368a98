#!/bin/bash
# Copies between places, and the small commands of registries; skopeo and umoci say what is right.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

SK=(--src-tls-verify=false --dest-tls-verify=false)
raw() { skopeo inspect --raw --tls-verify=false "docker://$1"; }
requests() { grep -cE "\"($1) /v2/${2:-}" "$REG_LOG" || true; }

# An image of bld's own and an index of two platforms, in $REG/src.
sources() {
	registry_start "$1"
	dockerfile <<-'X'
	FROM base:latest
	COPY f /f
	CMD ["cat", "/f"]
	X
	echo "$1" >ctx/f
	head -c 3000000 /dev/urandom >ctx/big
	echo 'COPY big /big' >>ctx/Dockerfile
	build --push -t "$REG/src/app:v1" ctx
	printf 'FROM scratch\nARG TARGETARCH\nCOPY f /f\nENV A=$TARGETARCH\n' >ctx/multi
	build --push --platform linux/amd64,linux/arm64 -f ctx/multi -t "$REG/src/multi:v1" ctx
}

between_registries() {
	sources one
	local a=$REG alog=$REG_LOG
	registry_start two
	BLD_ROOT=$D/empty
	want 0 "$BLD" copy "$a/src/app:v1" "docker://$REG/dst/app:v1"
	empty "$D/out"
	# Nothing came by the disk: the store is as empty as it was.
	same 0 "$(find "$D/empty/blobs" -type f | wc -l)" "blobs in the store"
	skopeo copy -q "${SK[@]}" "docker://$a/src/app:v1" "docker://$REG/skopeo/app:v1"
	raw "$REG/dst/app:v1" >bld.json
	raw "$REG/skopeo/app:v1" >skopeo.json
	cmp bld.json skopeo.json
	# An index whole, and one of its platforms.
	want 0 "$BLD" copy -q --digest-file "$D/df" "$a/src/multi:v1" "$REG/dst/multi:all"
	same "$REG/dst/multi@$(cat df)" "$(cat out)"
	skopeo copy -q --all "${SK[@]}" "docker://$a/src/multi:v1" "docker://$REG/skopeo/multi:v1"
	cmp <(raw "$REG/dst/multi:all") <(raw "$REG/skopeo/multi:v1")
	want 0 "$BLD" copy --platform linux/arm64 "$a/src/multi:v1" "$REG/dst/multi:arm"
	same arm64 "$(skopeo inspect --config --tls-verify=false "docker://$REG/dst/multi:arm" | jq -r .architecture)"
	want 4 "$BLD" copy --preserve-digests --platform linux/arm64 "$a/src/multi:v1" "$REG/dst/multi:x"
	one_error
	# Again: one look, no upload.
	local before
	before=$(requests 'PUT|POST|PATCH')
	want 0 "$BLD" copy "$a/src/app:v1" "$REG/dst/app:v1"
	has err '^unchanged '
	same "$before" "$(requests 'PUT|POST|PATCH')" "uploads of an unchanged copy"
	# By both kinds of digest.
	local config
	config=$(jq -r .config.digest bld.json)
	want 0 "$BLD" copy "$a/src/app@sha256:$(sha256sum <bld.json | cut -d' ' -f1)" "$REG/dst/by:manifest"
	want 0 "$BLD" copy "$a/src/app@$config" "$REG/dst/by:config"
	cmp <(raw "$REG/dst/by:config") bld.json
	want 6 "$BLD" copy "$a/src/app:v2" "$REG/dst/app:v2"
	one_error
	want 6 "$BLD" copy "$a/src/app@sha256:$(printf x | sha256sum | cut -d' ' -f1)" "$REG/dst/app:v2"
	[ -s "$alog" ]
}

same_registry() {
	sources mount
	BLD_ROOT=$D/empty
	want 0 "$BLD" copy "$REG/src/app:v1" "$REG/other/app:v1"
	# Mounted, not sent: no blob was read.
	same 0 "$(requests GET 'src/app/blobs')" "blobs read"
	same 0 "$(requests PUT 'other/app/blobs')" "blobs sent"
	cmp <(raw "$REG/other/app:v1") <(raw "$REG/src/app:v1")
	# A new tag in the same repository moves the document only.
	want 0 "$BLD" tag --remote "$REG/src/app:v1" v1.0 "$REG/src/app:stable"
	cmp <(raw "$REG/src/app:v1.0") <(raw "$REG/src/app:v1")
	cmp <(raw "$REG/src/app:stable") <(raw "$REG/src/app:v1")
	want 2 "$BLD" tag --remote "$REG/src/app:v1" "$REG/elsewhere:v1"
	one_error
}

tags_and_filters() {
	sources tags
	local a=$REG t
	for t in v2 v3 beta; do skopeo copy -q "${SK[@]}" "docker://$a/src/app:v1" "docker://$a/src/app:$t"; done
	registry_start tags2
	want 0 "$BLD" copy --all-tags "$a/src/app" "$REG/all"
	same "beta v1 v2 v3" "$(skopeo list-tags --tls-verify=false "docker://$REG/all" | jq -r '.Tags[]' | sort | xargs)"
	want 0 "$BLD" copy --tag-filter 'v[12]' "$a/src/app" "$REG/glob"
	want 0 "$BLD" tags "$REG/glob"
	same "v1 v2" "$(xargs <out)"
	want 0 "$BLD" copy --tag-filter '/^(v3|beta)$/' "$a/src/app" "$REG/re"
	want 0 "$BLD" tags --format json "$REG/re"
	same '["beta","v3"]' "$(jq -c . out)"
	want 6 "$BLD" copy --tag-filter 'z*' "$a/src/app" "$REG/none"; one_error
	want 2 "$BLD" copy --all-tags "$a/src/app:v1" "$REG/none"; one_error
	want 2 "$BLD" copy --all-tags "$a/src/app" "$REG/none:v1"; one_error
	want 2 "$BLD" copy --tag-filter '/(/' "$a/src/app" "$REG/none"; one_error
	# What exists is left alone.
	want 0 "$BLD" copy "$a/src/multi:v1" "$REG/all:v1"
	want 0 "$BLD" copy --skip-existing --all-tags "$a/src/app" "$REG/all"
	same 4 "$(grep -c '^skipped ' err)"
	cmp <(raw "$REG/all:v1") <(raw "$a/src/multi:v1")
	want 0 "$BLD" copy --dry-run "$a/src/app:v1" "$REG/dry:v1"
	has err '^would copy '
	want 6 "$BLD" digest "$REG/dry:v1"
	# Into a layout, each under its tag.
	want 0 "$BLD" copy --all-tags "$a/src/app" "oci:$D/tags"
	same "beta v1 v2 v3" "$("$BLD" tags "oci:$D/tags" | xargs)"
}

files() {
	sources files
	local app=$REG/src/app:v1 m f
	raw "$app" >m.json
	# Into a layout, as skopeo writes and reads it.
	want 0 "$BLD" copy "$app" "oci:$D/lay:v1"
	cmp m.json <(skopeo inspect --raw "oci:$D/lay:v1")
	umoci unpack --rootless --image "$D/lay:v1" "$D/bundle" >/dev/null
	same files "$(cat bundle/rootfs/f)"
	skopeo copy -q --src-tls-verify=false "docker://$app" "oci:$D/sk:v1"
	cmp <(jq -S . lay/index.json | jq -c '[.manifests[] | {mediaType, digest, size, annotations}]') \
		<(jq -S . sk/index.json | jq -c '[.manifests[] | {mediaType, digest, size, annotations}]')
	# Out of it, by name, both digests and their beginnings.
	m=$(sha256sum <m.json | cut -d' ' -f1)
	for f in "oci:$D/sk:v1" "oci-layout://$D/sk:v1" "oci:$D/sk" "oci:$D/sk@sha256:$m" "oci:$D/sk@${m:0:8}" \
		"oci:$D/sk@$(jq -r .config.digest m.json)" "oci:$D/sk@$(jq -r .config.digest m.json | cut -c8-14)"; do
		same "sha256:$m" "$("$BLD" digest "$f")" "$f"
	done
	want 0 "$BLD" copy "oci:$D/sk:v1" "$REG/back/app:v1"
	cmp m.json <(raw "$REG/back/app:v1")
	want 6 "$BLD" copy "oci:$D/sk:v9" "$REG/back/app:v9"; one_error
	want 6 "$BLD" copy "oci:$D/sk@123456789abc" "$REG/back/app:v9"; one_error
	# Archives, both ways.
	want 0 "$BLD" copy "$app" "oci-archive:$D/a.tar:v1"
	cmp m.json <(skopeo inspect --raw "oci-archive:$D/a.tar:v1")
	skopeo copy -q --src-tls-verify=false "docker://$app" "oci-archive:$D/b.tar:v1"
	want 0 "$BLD" copy "oci-archive:$D/b.tar:v1" "$REG/back/app:v2"
	cmp m.json <(raw "$REG/back/app:v2")
	want 0 "$BLD" copy "$app" "docker-archive:$D/d.tar:app:v1"
	skopeo inspect "docker-archive:$D/d.tar:app:v1" >/dev/null
	want 0 "$BLD" copy "docker-archive:$D/d.tar" "$REG/back/app:v3"
	cmp m.json <(raw "$REG/back/app:v3")
	skopeo copy -q --src-tls-verify=false "docker://$app" "docker-archive:$D/e.tar:app:v1"
	want 0 "$BLD" copy "docker-archive:$D/e.tar:app:v1" "$REG/back/app:v4"
	same "$(jq -r .config.digest m.json)" "$(raw "$REG/back/app:v4" | jq -r .config.digest)"
	# The store is a place, too, and a stream.
	want 0 "$BLD" copy "$app" store:kept:v1
	cmp m.json <("$BLD" manifest get kept:v1)
	store_whole
	want 0 "$BLD" copy store:kept:v1 oci-archive:-
	mv out stream.tar
	want 0 bash -c "'$BLD' copy oci-archive:- store:again:v1 <stream.tar"
	same "$(digest_of kept:v1)" "$(digest_of again:v1)"
	# Bad files are the user's: 3 is for what is malformed, 6 for what is not there.
	head -c 20000 a.tar >cut.tar
	want 3 "$BLD" copy "oci-archive:$D/cut.tar" "$REG/x:1"; one_error
	want 6 "$BLD" copy "oci:$D/nowhere:v1" "$REG/x:1"; one_error
	want 2 "$BLD" copy "podman:app" "$REG/x:1"; one_error
	# A blob that is not what it says never gets through.
	f=lay/blobs/sha256/$(jq -r '.layers[-1].digest' m.json | cut -c8-)
	printf X | dd of="$f" bs=1 seek=100 conv=notrunc status=none
	registry_start bad # where nothing can be mounted from
	if "$BLD" copy "oci:$D/lay:v1" "$REG/bad/app:v1" 2>err; then fail "a damaged layer was copied"; fi
	one_error
	want 6 "$BLD" digest "$REG/bad/app:v1"
}

converted() {
	sources conv
	local app=$REG/src/app:v1
	want 0 "$BLD" copy --convert docker "$app" "$REG/conv:docker"
	raw "$REG/conv:docker" >d.json
	same application/vnd.docker.distribution.manifest.v2+json "$(jq -r .mediaType d.json)"
	same "$(raw "$app" | jq -c '[.layers[].digest]')" "$(jq -c '[.layers[].digest]' d.json)" "layers"
	# There and back is the same image.
	want 0 "$BLD" copy --convert oci "$REG/conv:docker" "$REG/conv:oci"
	cmp <(raw "$REG/conv:oci") <(raw "$app")
	want 0 "$BLD" copy --convert zstd "$app" "$REG/conv:zstd"
	raw "$REG/conv:zstd" | jq -e 'all(.layers[]; .mediaType | endswith("+zstd"))' >/dev/null
	same "$(raw "$app" | jq -r .config.digest)" "$(raw "$REG/conv:zstd" | jq -r .config.digest)"
	skopeo copy -q --src-tls-verify=false "docker://$REG/conv:zstd" "oci:$D/z:v1"
	want 4 "$BLD" copy --preserve-digests --convert zstd "$app" "$REG/conv:no"; one_error
	want 2 "$BLD" copy --convert docker --convert zstd "$app" "$REG/conv:no"; one_error
	want 2 "$BLD" copy --convert rar "$app" "$REG/conv:no"; one_error
	want 0 "$BLD" copy --convert docker "$REG/src/multi:v1" "$REG/conv:list"
	same application/vnd.docker.distribution.manifest.list.v2+json "$(raw "$REG/conv:list" | jq -r .mediaType)"
	same 2 "$(raw "$REG/conv:list" | jq '.manifests | length')"
}

referred() {
	sources refs
	local app=$REG/src/app:v1 subject blob empty ref
	subject=$("$BLD" digest "$app")
	echo 'a bill of materials' >sbom
	blob=$("$BLD" blob put "$REG/src/app" sbom)
	empty=$(printf '{}' | "$BLD" blob put "$REG/src/app")
	jq -nc --arg s "$subject" --arg b "$blob" --arg e "$empty" --argjson n "$(raw "$app" | wc -c)" '{
		schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
		artifactType: "application/example.sbom",
		config: {mediaType: "application/vnd.oci.empty.v1+json", digest: $e, size: 2},
		layers: [{mediaType: "text/plain", digest: $b, size: 20}],
		subject: {mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $s, size: $n}}' >art.json
	ref=sha256:$(sha256sum <art.json | cut -d' ' -f1)
	same "$ref" "$("$BLD" manifest put "$REG/src/app@$ref" art.json)"
	# This registry has no referrers API: the list is a tag that clients keep.
	jq -nc --arg r "$ref" --argjson n "$(wc -c <art.json)" '{schemaVersion: 2,
		mediaType: "application/vnd.oci.image.index.v1+json", manifests: [{digest: $r, size: $n,
		mediaType: "application/vnd.oci.image.manifest.v1+json", artifactType: "application/example.sbom"}]}' |
		"$BLD" manifest put "$REG/src/app:${subject/:/-}" >/dev/null
	same "$ref" "$("$BLD" referrers -q "$app")"
	same "" "$("$BLD" referrers -q --artifact-type other "$app")"
	has <("$BLD" referrers --format json "$app") '"artifactType": "application/example.sbom"'
	skopeo copy -q "${SK[@]}" "docker://$REG/src/multi:v1" "docker://$REG/src/app:${subject/:/-}.sig"
	local a=$REG
	registry_start refs2
	want 0 "$BLD" copy --referrers "$a/src/app:v1" "$REG/dst/app:v1"
	same "$ref" "$("$BLD" referrers -q "$REG/dst/app:v1")"
	cmp art.json <(raw "$REG/dst/app@$ref")
	cmp <(raw "$REG/dst/app:v1") <(raw "$a/src/app:v1")
	cmp <(raw "$REG/dst/app:${subject/:/-}.sig") <(raw "$a/src/app:${subject/:/-}.sig")
	# A second time adds nothing twice.
	want 0 "$BLD" copy --referrers "$a/src/app:v1" "$REG/dst/app:v1"
	same 1 "$(raw "$REG/dst/app:${subject/:/-}" | jq '.manifests | length')"
	# By way of a layout.
	want 0 "$BLD" copy --referrers "$a/src/app:v1" "oci:$D/lay:v1"
	same "$ref" "$("$BLD" referrers -q "oci:$D/lay:v1")"
}

plumbing() {
	sources plumb
	local app=$REG/src/app:v1 layer
	cmp <("$BLD" manifest get "docker://$app") <(raw "$app")
	cmp <("$BLD" manifest get "$REG/src/multi:v1") <(raw "$REG/src/multi:v1")
	BLD_ROOT=$D/empty
	cmp <("$BLD" inspect --raw "docker://$app") <(raw "$app")
	cmp <("$BLD" config "docker://$app") <(skopeo inspect --raw --config --tls-verify=false "docker://$app")
	same 0 "$(find "$D/empty/blobs" -type f -size +1000k | wc -l)" "layers pulled by inspect"
	same arm64 "$("$BLD" inspect --platform linux/arm64 --format '{{.Architecture}}' "docker://$REG/src/multi:v1")"
	same "$(raw "$REG/src/multi:v1" | jq -r '.manifests[] | select(.platform.architecture=="arm64").digest')" \
		"$("$BLD" digest --platform linux/arm64 "docker://$REG/src/multi:v1")"
	layer=$(raw "$app" | jq -r '.layers[0].digest')
	want 0 "$BLD" blob get "$REG/src/app@$layer"
	same "$layer" "sha256:$(sha256sum <out | cut -d' ' -f1)"
	want 0 "$BLD" blob get -o "$D/l.tgz" "$REG/src/app@$layer"
	cmp out l.tgz 2>/dev/null || same "$layer" "sha256:$(sha256sum <l.tgz | cut -d' ' -f1)"
	same "$layer" "$("$BLD" blob put "$REG/third" l.tgz)"
	same "$layer" "$("$BLD" blob put "$REG/third" <l.tgz)"
	want 6 "$BLD" blob get -o "$D/no" "$REG/third@sha256:$(printf y | sha256sum | cut -d' ' -f1)"; one_error
	[ ! -e no ]
	want 2 "$BLD" blob get "$REG/third:v1"; one_error
	same "src/app src/multi third" "$("$BLD" catalog "$REG" | xargs)"
	want 6 "$BLD" tags "$REG/none"; one_error
	printf '{}' >bad.json
	want 2 "$BLD" manifest put "$REG/src/app:bad" bad.json; one_error
	want 2 "$BLD" manifest frob "$app"; one_error
	want 0 "$BLD" inspect "oci-archive:$(skopeo copy -q --src-tls-verify=false "docker://$app" "oci-archive:$D/a.tar:v1"; echo "$D/a.tar")"
	same "$(raw "$app" | jq -r .config.digest)" "$(jq -r '.[0].Id' out)"
	want 0 "$BLD" history -q "docker://$app"
}

indexes() {
	sources index
	local m=$REG/src/multi:v1 amd arm
	amd=$("$BLD" digest --platform linux/amd64 "docker://$m")
	arm=$("$BLD" digest --platform linux/arm64 "docker://$m")
	want 0 "$BLD" index create -t "$REG/made:v1" "$REG/src/multi@$amd" "$REG/src/multi@$arm"
	same "$(cat out)" "$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$REG/made:v1")"
	same 'linux/amd64 linux/arm64' \
		"$(raw "$REG/made:v1" | jq -r '.manifests[].platform | .os + "/" + .architecture' | xargs)"
	skopeo copy -q --all --src-tls-verify=false "docker://$REG/made:v1" "oci:$D/made:v1"
	# An index as source gives its members; --platform keeps some.
	want 0 "$BLD" index create --dry-run --platform linux/arm64 "$m"
	same "[\"$arm\"]" "$(jq -c '[.manifests[].digest]' out)"
	want 0 "$BLD" index rm "$REG/made:v1" linux/amd64
	same "[\"$arm\"]" "$(raw "$REG/made:v1" | jq -c '[.manifests[].digest]')"
	# One that names a member twice.
	raw "$REG/made:v1" | jq '.manifests += .manifests' >twice.json
	want 0 "$BLD" manifest put "$REG/made:twice" twice.json
	want 0 "$BLD" index append "$REG/made:twice" "$REG/src/multi@$amd"
	same "[\"$arm\",\"$arm\",\"$amd\"]" "$(raw "$REG/made:twice" | jq -c '[.manifests[].digest]')"
	want 0 "$BLD" index append "$REG/made:v1" "$REG/src/multi@$amd" --annotation 'org.example=a,b'
	raw "$REG/made:v1" | jq -e '.annotations["org.example"] == "a,b" and (.manifests | length) == 2' >/dev/null
	want 0 "$BLD" index annotate "$REG/made:v1" --platform linux/arm64 --annotation note=arm
	raw "$REG/made:v1" | jq -e --arg d "$arm" '.manifests[] | select(.digest == $d).annotations.note == "arm"' >/dev/null
	want 0 "$BLD" index inspect "$REG/made:v1"
	cmp <(jq -S . out) <(raw "$REG/made:v1" | jq -S .)
	want 6 "$BLD" index rm "$REG/made:v1" linux/s390x; one_error
	want 2 "$BLD" index create "$m"; one_error
	# One image stays what it is when no index is preferred.
	want 0 "$BLD" index create --prefer-index=false -t "$REG/made:plain" "$REG/src/app:v1"
	cmp <(raw "$REG/made:plain") <(raw "$REG/src/app:v1")
	# In the store and in a layout, from a file of sources.
	printf '# two\n%s\n%s\n' "docker://$REG/src/multi@$amd" "docker://$REG/src/multi@$arm" >list
	want 0 "$BLD" index create -t store:local:v1 -t "oci:$D/lay:v1" -f list
	same "$(cat out)" "$(digest_of local:v1)"
	same "$(cat out)" "$("$BLD" digest "oci:$D/lay:v1")"
	store_whole
}

logins() {
	registry_start login htpasswd
	mkdir -p cfg
	export DOCKER_CONFIG=$D/cfg
	jq -n '{foreign: {keep: [1, 2]}, auths: {"other.test": {auth: "eDp5"}}}' >cfg/config.json
	chmod 644 cfg/config.json
	want 5 bash -c "echo wrong | '$BLD' login -u alice --password-stdin '$REG'"
	one_error
	hasnt cfg/config.json "$REG"
	want 0 bash -c "echo 'wonder land:7' | '$BLD' login -u alice --password-stdin '$REG'"
	empty "$D/out"
	hasnt err 'wonder'
	same 600 "$(stat -c %a cfg/config.json)"
	jq -e '.foreign.keep == [1, 2] and .auths["other.test"].auth == "eDp5"' cfg/config.json >/dev/null
	same alice "$("$BLD" login --get-login "$REG")"
	want 0 "$BLD" login --explain "$REG/team/app:v1"
	has out 'cfg/config.json: user "alice", used$'
	hasnt out 'wonder|YWxpY2'
	# What it kept serves bld and skopeo.
	base
	want 0 "$BLD" push base:latest "$REG/team/app:v1"
	skopeo inspect --authfile cfg/config.json --tls-verify=false "docker://$REG/team/app:v1" >/dev/null
	skopeo logout --authfile cfg/config.json --tls-verify=false "$REG" >/dev/null
	want 6 "$BLD" login --get-login "$REG"
	skopeo login --authfile cfg/config.json --tls-verify=false -u alice -p 'wonder land:7' "$REG" >/dev/null
	same alice "$("$BLD" login --get-login "$REG")"
	# (skopeo has dropped what it did not know)
	jq '.foreign.keep = [1, 2]' cfg/config.json >new && mv new cfg/config.json
	want 0 "$BLD" logout "$REG"
	hasnt cfg/config.json "$REG"
	want 6 "$BLD" logout "$REG"; one_error
	want 0 "$BLD" login -u alice -p 'wonder land:7' "$REG/team"
	has err '^warning: --password'
	jq -e --arg k "$REG/team" '.auths[$k].auth' cfg/config.json >/dev/null
	want 0 "$BLD" logout --all
	same 0 "$(jq '.auths | length' cfg/config.json)"
	jq -e '.foreign.keep == [1, 2]' cfg/config.json >/dev/null
	# Another file, a link kept as one.
	mkdir real && ln -s ../real/auth.json cfg/link.json
	want 0 bash -c "echo 'wonder land:7' | '$BLD' login --authfile cfg/link.json -u alice --password-stdin '$REG'"
	[ -L cfg/link.json ] && [ -f real/auth.json ] || [ ! -L cfg/link.json ]
	# What is not JSON is not touched.
	echo 'not json' >broken
	want 2 bash -c "echo 'wonder land:7' | '$BLD' login --authfile broken -u alice --password-stdin '$REG'"
	same 'not json' "$(cat broken)"
	# A helper keeps them where the file says so.
	mkdir -p bin
	cat >bin/docker-credential-test <<-X
	#!/bin/sh
	case \$1 in
	store) cat >$D/kept ;;
	get) read -r s; [ -f $D/kept ] && grep -qF "\$s" $D/kept && cat $D/kept || { echo "credentials not found in native keychain"; exit 1; } ;;
	erase) rm -f $D/kept ;;
	esac
	X
	chmod +x bin/docker-credential-test
	jq -n --arg h "$REG" '{credHelpers: {($h): "test"}}' >cfg/config.json
	PATH=$D/bin:$PATH want 0 bash -c "echo 'wonder land:7' | '$BLD' login -u alice --password-stdin '$REG'"
	same 'wonder land:7' "$(jq -r .Secret kept)"
	hasnt cfg/config.json 'auth"'
	PATH=$D/bin:$PATH want 0 "$BLD" pull "$REG/team/app:v1"
	PATH=$D/bin:$PATH want 0 "$BLD" logout "$REG"
	[ ! -e kept ]
	unset DOCKER_CONFIG
	want 2 bash -c "'$BLD' login '$REG' </dev/null"; one_error
}

rootfs() {
	mkdir -p r/etc && echo hi >r/etc/motd
	tar -C r -cJf r.txz .
	want 0 "$BLD" import -c 'CMD ["/bin/x"]' -c 'ENV A=b' r.txz imp:v1
	same "$(cat out)" "$(digest_of imp:v1)"
	config imp:v1 | jq -e '.config.Cmd == ["/bin/x"] and (.config.Env | index("A=b"))' >/dev/null
	hasnt <("$BLD" images -a) bld-import
	want 0 bash -c "'$BLD' import - plain:v1 <r.txz"
	want 0 "$BLD" export -o e.tar plain:v1
	same hi "$(tar -xOf e.tar etc/motd)"
	want 2 "$BLD" import -c 'RUN x' r.txz; one_error
	echo no >no.tar
	want 3 "$BLD" import no.tar no:v1; one_error
	store_whole
}

t "base image" base
t "registry to registry: streamed, byte-equal to skopeo's" between_registries
t "within a registry: mounted; a tag without moving blobs" same_registry
t "--all-tags, --tag-filter, --skip-existing, --dry-run" tags_and_filters
t "layouts, archives, the store: both ways, with skopeo and umoci" files
t "--convert" converted
t "--referrers and cosign's tags" referred
t "tags, digest, manifest, blob, catalog, config, inspect of a registry" plumbing
t "index create, append, rm, annotate, inspect" indexes
t "login and logout" logins
t "import and export" rootfs
t_end
