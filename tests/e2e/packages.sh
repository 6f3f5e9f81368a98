#!/bin/bash
# What dpkg, apk and rpm have installed, as bld diff tells it, against what they say themselves.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# listed FOLDER [BEFORE]: "name version arch source size" of each package that is only in the tree of
# FOLDER, sorted; bytes, or 0. Every change that is none of that kind is printed as "name ~".
listed() {
	mkdir -p "$D/nothing"
	want 1 "$BLD" diff --mode packages --format json "${2:-$D/nothing}" "$1"
	jq -r '.packages[] | if .before then "\(.name) ~" else
		"\(.name) \(.after.version) \(.after.arch // "-") \(.after.source // "-") \(.after.size // 0)" end' \
		"$D/out" | LC_ALL=C sort
}

rpm_said() { # ROOT BACKEND
	rpm --root "$1" --dbpath /var/lib/rpm --define "_db_backend $2" -qa \
		--qf '%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE} %{ARCH} %{SOURCERPM} %{LONGSIZE}\n' 2>/dev/null |
		grep -v '^gpg-pubkey ' | LC_ALL=C sort
}

# rpm_build NAME VERSION RELEASE EPOCH ARCH FILES
rpm_build() {
	cat >"$T/rpm/$1.spec" <<-X
		Name: $1
		Version: $2
		Release: $3
		${4:+Epoch: $4}
		${5:+BuildArch: $5}
		Summary: x
		License: MIT
		%description
		x
		%install
		mkdir -p %{buildroot}/opt/$1
		for i in \$(seq $6); do echo \$i >%{buildroot}/opt/$1/file-$2-\$i; done
		%files
		/opt/$1
	X
	rpmbuild -bb --quiet --define "_topdir $T/rpm" --define 'debug_package %{nil}' \
		--define '_build_id_links none' --define '__os_install_post %{nil}' "$T/rpm/$1.spec" >>"$T/rpm/log" 2>&1 ||
		{ tail -n 20 "$T/rpm/log"; return 1; }
}

# A tree that rpm itself made: $T/rpm/root. One package's header has hundreds of files in it, and so
# needs pages of overflow; one has two versions.
rpm_root() {
	need rpmbuild
	root_only "rpm changes its root"
	[ ! -d "$T/rpm/root" ] || return 0
	mkdir -p "$T/rpm"
	rpm_build alpha 1.0 1 '' '' 2
	rpm_build beta '2.5~rc1' 3.el9 4 noarch 1
	rpm_build zero 1 1 0 noarch 1
	rpm_build large 7 1 '' noarch 600
	rpm_build kern 5.1 1 '' '' 1
	rpm_build kern 5.2 1 '' '' 1
	mkdir -p "$T/rpm/root"
	rpm --root "$T/rpm/root" --dbpath /var/lib/rpm --initdb
	find "$T/rpm/RPMS" -name '*.rpm' -print0 | xargs -0 rpm --root "$T/rpm/root" --dbpath /var/lib/rpm -i \
		--nodeps --ignorearch --noscripts
	same 6 "$(rpm_said "$T/rpm/root" sqlite | wc -l)" "packages rpm has installed"
}

rpm_sqlite() {
	rpm_root
	listed "$T/rpm/root" >have
	rpm_said "$T/rpm/root" sqlite >said
	diff -u said have
}

# The same packages in the two other forms. ndb has no reader in Debian's rpm: what must come out is
# what came out of SQLite.
rpm_ndb() {
	rpm_root
	mkdir -p root/usr/lib/sysimage/rpm root/var/lib
	ln -s ../../usr/lib/sysimage/rpm root/var/lib/rpm
	python3 "$TOP/tests/e2e/rpmdb.py" ndb "$T/rpm/root/var/lib/rpm/rpmdb.sqlite" root/var/lib/rpm/Packages.db
	listed "$PWD/root" >have
	rpm_said "$T/rpm/root" sqlite >said
	diff -u said have
}

rpm_bdb() {
	local page order
	need db5.3_load
	rpm_root
	for page in 512 4096 65536; do
		for order in 1234 4321; do
			rm -rf root
			mkdir -p root/var/lib/rpm
			python3 "$TOP/tests/e2e/rpmdb.py" dump "$T/rpm/root/var/lib/rpm/rpmdb.sqlite" "$page" "$order" |
				db5.3_load -t hash root/var/lib/rpm/Packages
			listed "$PWD/root" >have
			rpm_said "$PWD/root" bdb_ro >said
			same 6 "$(wc -l <said)" "packages rpm finds, page size $page, byte order $order"
			diff -u said have
		done
	done
}

rpm_pages() {
	local page
	rpm_root
	for page in 512 1024 65536; do
		rm -rf root
		mkdir -p root/var/lib/rpm
		python3 "$TOP/tests/e2e/rpmdb.py" sqlite "$T/rpm/root/var/lib/rpm/rpmdb.sqlite" root/var/lib/rpm/rpmdb.sqlite "$page"
		listed "$PWD/root" >have
		rpm_said "$T/rpm/root" sqlite >said
		diff -u said have
	done
}

# rpm was killed: the last package is in the log only.
rpm_log() {
	rpm_root
	mkdir -p root/var/lib/rpm
	python3 "$TOP/tests/e2e/rpmdb.py" wal "$T/rpm/root/var/lib/rpm/rpmdb.sqlite" root/var/lib/rpm/rpmdb.sqlite
	[ -s root/var/lib/rpm/rpmdb.sqlite-wal ]
	listed "$PWD/root" >have
	rpm_said "$T/rpm/root" sqlite >said
	diff -u said have
	: >root/var/lib/rpm/rpmdb.sqlite-wal
	listed "$PWD/root" >fewer
	same 1 "$(comm -23 said fewer | wc -l)" "packages only the log has"
}

# Removed, added, upgraded: what rpm does, and what is told of it.
rpm_upgrade() {
	rpm_root
	cp -a "$T/rpm/root" "$PWD/new"
	rpm --root "$PWD/new" --dbpath /var/lib/rpm -e --noscripts kern-5.1-1 alpha
	rpm_build beta 2.5 1 4 noarch 1
	rpm --root "$PWD/new" --dbpath /var/lib/rpm -U --noscripts --nodeps --ignorearch "$T/rpm/RPMS/noarch/beta-2.5-1.noarch.rpm"
	want 1 "$BLD" diff --mode packages --format json "$T/rpm/root" "$PWD/new"
	same 'alpha 1.0-1 - beta 4:2.5~rc1-3.el9 4:2.5-1 kern 5.1-1 - ' \
		"$(jq -r '.packages[] | .name, .before.version // "-", .after.version // "-"' out | tr '\n' ' ')"
	want 0 "$BLD" diff --mode packages "$PWD/new" "$PWD/new"
	rm -rf "$T/rpm/RPMS/noarch/beta-2.5-1.noarch.rpm"
}

# This machine's own packages, in an image, whose layers change them.
dpkg_image() {
	need dpkg-query
	mkdir -p root/var/lib/dpkg ctx
	cp /var/lib/dpkg/status root/var/lib/dpkg/status
	listed "$PWD/root" >have
	dpkg-query -W -f '${db:Status-Status} ${Package} ${Version} ${Architecture} ${source:Package} ${Installed-Size}\n' |
		awk '$1 ~ /^(installed|unpacked|half-configured|triggers-)/ {print $2, $3, $4, $5, $6 * 1024}' | LC_ALL=C sort >said
	[ -s said ]
	diff -u said have

	# dpkg's own idea of what is there after a purge
	cp /var/lib/dpkg/status ctx/status
	dockerfile <<-X
		FROM scratch
		COPY status /var/lib/dpkg/status
	X
	build -t packages:1 ctx
	awk -v RS= -v ORS='\n\n' '!/^Package: (sed|tar)\n/ {sub(/\nVersion: /, /^Package: grep\n/ ? "\nVersion: 9:" : "\nVersion: "); print}' \
		/var/lib/dpkg/status >ctx/status
	build -t packages:2 ctx
	want 1 "$BLD" diff --mode packages --format json packages:1 packages:2
	same 'grep sed tar ' "$(jq -r '.packages[].name' out | tr '\n' ' ')"
	same "9:$(dpkg-query -W -f '${Version}' grep)" "$(jq -r '.packages[0].after.version' out)"
	same null "$(jq '.packages[1].after' out)"
}

# Images without dpkg, with a control file of each package and its sums.
distroless() {
	mkdir -p root/var/lib/dpkg/status.d
	for p in sed tar grep; do
		dpkg-query -s "$p" | grep -v '^Status:' >root/var/lib/dpkg/status.d/"$p"
		echo "d41d8cd98f00b204e9800998ecf8427e  usr/bin/$p" >"root/var/lib/dpkg/status.d/$p.md5sums"
	done
	listed "$PWD/root" | cut -d' ' -f1,2,3 >have
	dpkg-query -W -f '${Package} ${Version} ${Architecture}\n' sed tar grep | LC_ALL=C sort >said
	diff -u said have
}

apk_image() {
	mkdir -p root/usr/lib/apk/db
	ln -s usr/lib root/lib
	cp "$TOP/testdata/fuzz/apk/installed" root/lib/apk/db/installed
	same '.build-deps 20240101.000000 noarch .build-deps 0
musl 1.2.5-r0 x86_64 musl 667648
musl-utils 1.2.5-r0 x86_64 musl 139264' "$(listed "$PWD/root")"
}

# A database that lies is named, and nothing is told of it.
damaged() {
	rpm_root
	mkdir -p root/var/lib/rpm none
	head -c 40000 "$T/rpm/root/var/lib/rpm/rpmdb.sqlite" >root/var/lib/rpm/rpmdb.sqlite
	"$BLD" diff --mode packages "$PWD/none" "$PWD/root" >out 2>err && fail "a damaged database is no error"
	one_error
	has err 'var/lib/rpm/rpmdb.sqlite.*damaged'
	empty out
}

t "rpm's SQLite" rpm_sqlite
t "rpm's ndb" rpm_ndb
t "rpm's Berkeley DB, in pages of three sizes and both byte orders" rpm_bdb
t "SQLite with other pages" rpm_pages
t "SQLite with a log" rpm_log
t "removed and upgraded by rpm" rpm_upgrade
t "a damaged database" damaged
t "dpkg: this machine's packages" dpkg_image
t "dpkg: images without it" distroless
t "apk" apk_image
t_end
