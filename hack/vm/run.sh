#!/bin/bash
# Boots the machine that build.sh made, runs one command in it, and powers it off. The disk is
# the same at each boot. Software emulation: ten to fifty times slower than the host.
#
#   run.sh [-d DIR] [-m MIB] [-t SECONDS] [-a KERNEL-ARGUMENTS] [-s] -- COMMAND...
#
#   -d DIR  is /mnt/host in the guest, read and write     -s  systemd is process 1
#
# What the command writes comes out as it comes; the status is its own, or 250: the time passed or the
# machine went away; or 251: the guest's kernel crashed.
set -uo pipefail
here=$(dirname "$(realpath "$0")")
VM=$(realpath "${VM:-$here/../../.vm}")
dir='' memory=4096 limit=600 arguments="apparmor=1 security=apparmor" options=''
while getopts d:m:t:a:s option; do
    case $option in
    d) dir=$(realpath "$OPTARG") options="$options share" ;;
    m) memory=$OPTARG ;;
    t) limit=$OPTARG ;;
    a) arguments=$OPTARG ;;
    s) options="$options systemd" ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { echo "$0: no command" >&2; exit 2; }

# The machine has this, too: build.sh does not take the disk from under it.
exec 9<"$VM"
flock -s 9
[ -e "$VM/ready" ] || { echo "$0: there is no machine in $VM, build.sh makes it" >&2; exit 250; }
boot=$(mktemp -d "$VM/boot.XXXXXX")
virtiofsd=
cleanup() {
    [ -z "$virtiofsd" ] || kill "$virtiofsd" 2>/dev/null
    rm -rf "$boot"
}
trap cleanup EXIT
trap 'exit 250' INT TERM

# The command travels in a second initial ram disk.
mkdir -p "$boot/initrd/vm"
echo "$options" >"$boot/initrd/vm/options"
{
    echo '#!/bin/bash'
    if [ $# -eq 1 ]; then echo "$1"; else printf '%q ' "$@"; fi
} >"$boot/initrd/vm/command"
cp "$here/guest.sh" "$boot/initrd/vm/init"
chmod 755 "$boot/initrd/vm"/{command,init}
(cd "$boot/initrd" && find . | cpio -o -H newc --quiet | gzip -1) >"$boot/command.gz"
cat "$VM/initrd.gz" "$boot/command.gz" >"$boot/initrd.gz"

# With cx16 QEMU 7.2's emulation crashes guests at random; with a thread for each processor, rarely, where
# the kernel patches its own code while it runs.
machine=(-M q35,usb=off,vmport=off -cpu max,-cx16 -accel tcg,thread=single,tb-size=512 -smp 2 -m "$memory"
    -nodefaults -no-user-config -display none -no-reboot
    -kernel "$VM/vmlinuz" -initrd "$boot/initrd.gz"
    -append "console=ttyS0 quiet oops=panic panic=-1 clocksource=hpet tsc=unstable no_timer_check mitigations=off $arguments"
    -chardev "file,id=console,path=$boot/console.log" -serial chardev:console
    -drive "file=$VM/root.img,format=raw,if=none,id=root,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=root
    -device virtio-rng-pci -device virtio-serial-pci
    -chardev file,id=out,path=/dev/fd/3 -device virtserialport,chardev=out,name=out
    -chardev "file,id=status,path=$boot/status" -device virtserialport,chardev=status,name=status)
if [ -n "$dir" ]; then
    # In qemu-system-common up to Debian 12, a package of its own since.
    server=/usr/lib/qemu/virtiofsd
    [ -x "$server" ] || server=/usr/libexec/virtiofsd
    "$server" --socket-path="$boot/share.sock" -o "source=$dir" -o cache=auto -o xattr >"$boot/virtiofsd.log" 2>&1 &
    virtiofsd=$!
    for _ in {1..100}; do
        [ -S "$boot/share.sock" ] && break
        sleep 0.05
    done
    machine+=(-object "memory-backend-memfd,id=memory,size=${memory}M,share=on" -machine memory-backend=memory
        -chardev "socket,id=share,path=$boot/share.sock" -device vhost-user-fs-pci,chardev=share,tag=host)
fi

exec 3> >(cat)
printer=$!
timeout "$limit" qemu-system-x86_64 "${machine[@]}" </dev/null 2>"$boot/qemu.err"
exec 3>&-
wait "$printer"
[ ! -s "$boot/status" ] || exit "$(cat "$boot/status")"
code=250 what="no status from the guest within ${limit}s"
! grep -q 'Kernel panic - not syncing' "$boot/console.log" || code=251 what="the guest's kernel crashed"
echo "run.sh: $what; the ends of its console and of qemu's messages:" >&2
tail -n 100 "$boot/console.log" "$boot/qemu.err" >&2
exit "$code"
