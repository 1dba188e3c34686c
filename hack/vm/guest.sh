#!/bin/bash
# Runs in the guest as process 1, or below systemd as a service with a delegated cgroup: sets
# up what systemd would, runs the command of this boot, and powers off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
options=" $(cat /vm/options) "

like_systemd() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /tmp
    mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
    mount -t securityfs securityfs /sys/kernel/security
    mount -t bpf bpf /sys/fs/bpf
    # Processes and enabled controllers exclude each other but in the root, cgroups(7).
    mkdir /sys/fs/cgroup/init.scope
    echo 1 >/sys/fs/cgroup/init.scope/cgroup.procs
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
    done
    hostname vm
    ip link set lo up
    mount --make-rshared /
}

[ $$ != 1 ] || like_systemd
ln -sfn /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
modprobe -aq overlay veth bridge br_netfilter tun
sysctl -qw net.ipv4.ip_forward=1
case $options in *" share "*)
    mkdir -p /mnt/host
    mount -t virtiofs host /mnt/host
    ;;
esac
for port in /sys/class/virtio-ports/*; do
    case $(cat "$port/name") in
    out) out=/dev/${port##*/} ;;
    status) status=/dev/${port##*/} ;;
    esac
done

cd /root || exit
/vm/command >"$out" 2>&1 </dev/null
code=$?
sync
echo "$code" >"$status"
umount /mnt/host
# The ports' data has to leave the queue before the machine goes.
sleep 0.1
echo o >/proc/sysrq-trigger
sleep 30
