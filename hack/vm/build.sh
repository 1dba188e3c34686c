#!/bin/bash
# Builds a small Debian machine for tests under cgroup v2, systemd, AppArmor and SELinux:
# kernel, initial ram disk and root disk, all from Debian's packages, in the directory $VM
# (default .vm). About two minutes, once: what is there and made from the same lists stays.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
VM=$(realpath -m "${VM:-$here/../../.vm}")
guest=bookworm

inputs=("$here/build.sh" "$here/initrd.sh" "$here/containers.cil" "$here/guest-packages" "$here/../packages")
key=$(cat "${inputs[@]}" | sha256sum)
[ "$(cat "$VM/ready" 2>/dev/null)" != "$key" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "$0: debootstrap needs root" >&2; exit 1; }

mkdir -p "$VM"
exec 9<"$VM"
flock -n 9 || { echo "$0: $VM is of other lists and has to be built anew, but is in use: another build, or run.sh" >&2; exit 1; }
"$here/../install-packages.sh" "$here/packages"
find "$VM" -mindepth 1 -delete
mkdir -p "$VM/kernel" "$VM/lists/partial" "$VM/cache/archives/partial"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
listed() { sed 's/#.*//' "$@" | awk 'NF { print $1 }'; }

# A kernel newer than the release's: root file systems need Linux 6.8.
# Its lists stay apart from the host's.
echo "kernel: $guest-backports, cloud flavour"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $guest-backports main" >"$VM/sources.list"
apt=(-o "Dir::Etc::sourcelist=$VM/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::Lists=$VM/lists"
    -o "Dir::Cache=$VM/cache" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" -qq update
package=$(apt-cache "${apt[@]}" depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
(cd "$VM/cache" && apt-get "${apt[@]}" -qq download "$package" && dpkg-deb -x linux-image-*.deb "$VM/kernel")
version=$(basename "$VM"/kernel/boot/vmlinuz-*)
version=${version#vmlinuz-}
cp "$VM/kernel/boot/vmlinuz-$version" "$VM/vmlinuz"
modules=$(dirname "$(find "$VM/kernel" -type d -path "*/modules/$version")")

echo "root file system: $guest"
root=$VM/rootfs
debootstrap --variant=minbase --include="$(listed "$here/guest-packages" "$here/../packages" | paste -sd,)" \
    "$guest" "$root" "$mirror" >"$VM/debootstrap.log"
# What the packages would start at boot is not what is tested.
chroot "$root" systemctl mask --quiet nginx.service apparmor.service
cp "$here/containers.cil" "$root/tmp/"
chroot "$root" semodule --noreload --install=/tmp/containers.cil
mkdir -p "$root/usr/lib/modules"
cp -a "$modules/$version" "$root/usr/lib/modules/"
chroot "$root" depmod "$version"
cat >"$root/etc/systemd/system/vm-command.service" <<'UNIT'
[Unit]
Description=The command of this boot
After=basic.target dbus.service
[Service]
Type=oneshot
Delegate=yes
ExecStart=/vm/init
StandardOutput=journal+console
[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl enable --quiet vm-command.service
truncate -s 6G "$VM/root.img"
mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 -d "$root" "$VM/root.img"

echo "initial ram disk"
initrd=$VM/initrd
mkdir -p "$initrd"/{bin,modules,proc,dev,root}
cp /bin/busybox "$initrd/bin/"
install -m 755 "$here/initrd.sh" "$initrd/init"
find "$modules/$version" -name 'virtio_blk.ko*' -exec cp {} "$initrd/modules/" \;
(cd "$initrd" && find . | cpio -o -H newc --quiet | gzip -1) >"$VM/initrd.gz"

rm -rf "$root" "$initrd" "$VM/kernel" "$VM/lists" "$VM/cache"
echo "$key" >"$VM/ready"
echo "ready: Linux $version in $VM"
