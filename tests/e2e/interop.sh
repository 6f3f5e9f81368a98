#!/bin/bash
# Other programs take the image: skopeo, umoci, runc, podman.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

app() {
	dockerfile <<-'X'
	FROM base:latest
	RUN mkdir -p /srv/app/data && echo payload >/srv/app/data/f && chown -R app:app /srv/app && rm /bin/wc
	WORKDIR /srv/app
	ENV WHO=world
	USER app
	ENTRYPOINT ["/bin/sh", "-c"]
	CMD ["echo hello $WHO from $(id -un) in $(pwd): $(cat data/f)"]
	X
	build -t inter:only ctx
}
GREETING='hello world from app in /srv/app: payload'

with_skopeo() {
	app
	skopeo inspect "oci:$BLD_ROOT:only" >i.json
	same "$(digest_of inter:only)" "$(jq -r .Digest i.json)"
	skopeo inspect --config "oci:$BLD_ROOT:only" | jq -e '.config.User == "app"'
	skopeo copy -q "oci:$BLD_ROOT:only" "oci:$D/copied:v1"
	store_whole "$D/copied"
	same "$(digest_of inter:only)" "$(jq -r '.manifests[0].digest' copied/index.json)" "bytes kept by skopeo copy"
	skopeo copy -q "oci:$BLD_ROOT:only" "docker-archive:$D/d.tar:inter:v1"
	# And the other way.
	BLD_ROOT=$D/back want 0 "$BLD" load -i copied
	BLD_ROOT=$D/back2 want 0 "$BLD" load -i d.tar
}

with_umoci() {
	app
	root_only "umoci unpack keeps owners"
	umoci unpack --image "$BLD_ROOT:only" bundle
	same payload "$(cat bundle/rootfs/srv/app/data/f)"
	same 1000:1000 "$(stat -c %u:%g bundle/rootfs/srv/app/data/f)"
	[ ! -e bundle/rootfs/bin/wc ]
	same '' "$(find bundle/rootfs -name '.wh.*')"
	umoci stat --image "$BLD_ROOT:only" --json | jq -e '.history | length > 3'
	need runc
	jq '.process.terminal = false' bundle/config.json >c && mv c bundle/config.json
	local said
	said=$(runc run -b bundle "bld-e2e-$$" </dev/null)
	same "$GREETING" "$said"
}

with_podman() {
	# runc ran the same image above; podman is asked where it is installed.
	command -v podman >/dev/null || return 0
	root_only "podman's own store"
	app
	# Limits of our own: the usual ones may be above what this machine lets root have.
	local p=(podman --runtime runc --root "$D/p" --runroot "$D/pr" --storage-driver vfs
		--cgroup-manager cgroupfs --events-backend none)
	"$BLD" save inter:only | "${p[@]}" load -q >loaded
	cat loaded
	local name said
	name=$(sed -nE 's/^Loaded image[^:]*: *(.*)$/\1/p' loaded | head -n 1)
	said=$("${p[@]}" run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 "$name" </dev/null)
	same "$GREETING" "$said"
}

# What another tool changes in the layout is seen by bld.
written_by_others() {
	BLD_ROOT=$D/store
	base
	"$TOP/testdata/bases/layout" "$BASE_TAR" "$D/foreign" f1 sh
	want 0 "$BLD" load -i "$D/foreign"
	skopeo copy -q "oci:$D/foreign:f1" "oci:$BLD_ROOT:copied-in"
	bld images
	store_whole
	dockerfile <<-'X'
	FROM base:latest
	RUN echo still works
	X
	build -t w:t1 ctx
	store_whole
}

layout_as_base() {
	"$TOP/testdata/bases/layout" "$BASE_TAR" "$D/foreign" f1 sh
	dockerfile <<-'X'
	FROM mine
	RUN echo on a layout >/l
	X
	build --build-context "mine=oci-layout://$D/foreign:f1" -t lay:t1 ctx
	same 'on a layout' "$(file_in lay:t1 -1 l)"
}

# Who applies layers in one folder never notices a hard link to a file of the layer below.
links_across_layers() {
	base
	skopeo copy -q "oci:$BLD_ROOT:latest" oci:lay:b
	python3 - lay <<-'X'
	import gzip, hashlib, io, json, sys, tarfile
	root = sys.argv[1]
	def put(data):
	    h = hashlib.sha256(data).hexdigest()
	    open(f"{root}/blobs/sha256/{h}", "wb").write(data)
	    return {"digest": "sha256:" + h, "size": len(data)}
	def get(d):
	    return json.load(open(f"{root}/blobs/sha256/{d['digest'][7:]}"))
	index = json.load(open(root + "/index.json"))
	manifest = get(index["manifests"][0])
	config = get(manifest["config"])
	raw = io.BytesIO()
	with tarfile.open(fileobj=raw, mode="w") as t:
	    link = tarfile.TarInfo("linked")
	    link.type, link.linkname = tarfile.LNKTYPE, "etc/passwd"
	    t.addfile(link)
	config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(raw.getvalue()).hexdigest())
	config.pop("history", None)
	manifest["layers"].append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
	                           **put(gzip.compress(raw.getvalue()))})
	manifest["config"].update(put(json.dumps(config).encode()))
	index["manifests"][0].update(put(json.dumps(manifest).encode()))
	json.dump(index, open(root + "/index.json", "w"))
	X
	dockerfile <<-'X'
	FROM linked
	RUN cmp /linked /etc/passwd
	X
	build --build-context "linked=oci-layout://$PWD/lay:b" ctx
}

t "base image" base
t "skopeo inspects and copies out of the store, and back" with_skopeo
t "umoci unpacks it, runc runs it" with_umoci
t "podman loads and runs it" with_podman
t "a store that another program wrote to" written_by_others
t "an OCI layout as a base" layout_as_base
t "hard links to files of a layer below" links_across_layers
t_end
