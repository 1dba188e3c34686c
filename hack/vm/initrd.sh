#!/bin/busybox sh
# The guest's first process: finds the root disk, and leaves to systemd or to guest.sh.
busybox=/bin/busybox
$busybox mount -t proc proc /proc
$busybox mount -t devtmpfs dev /dev
for module in /modules/*; do
    case $module in *.xz)
        $busybox xzcat "$module" >/module.ko
        module=/module.ko
        ;;
    esac
    $busybox insmod "$module"
done
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/vda ] && break
    $busybox usleep 100000
done
$busybox mount -t ext4 -o rw,noatime /dev/vda /root || $busybox poweroff -f
$busybox mkdir -p /root/vm
$busybox cp /vm/* /root/vm/
$busybox umount /proc
$busybox mount --move /dev /root/dev
case " $($busybox cat /vm/options) " in
*" systemd "*) exec $busybox switch_root /root /lib/systemd/systemd ;;
esac
exec $busybox switch_root /root /vm/init
