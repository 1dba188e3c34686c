title="critest by crun as the runtime handler of all pods, under cgroup v2"
limit=1500
boot=(-s)

outside() {
    binaries
    critest
}

inside() {
    # Debian 12's crun tells no features, so its pods may have no user namespaces: critest skips what needs one.
    local group='[k8s.io] Security Context UserNamespaces when Host idmap mount support is' reason='machine: crun 1.8 has no features'
    exceptions=$(printf "skip $group %s\t# $reason\n" \
        'needed runtime should support NamespaceMode_POD' \
        'not needed runtime should fail if container ID 0 is not mapped' \
        'not needed runtime should fail if more than one mapping provided' \
        'not needed runtime should fail with NamespaceMode_CONTAINER' \
        'not needed runtime should fail with NamespaceMode_TARGET' \
        'not needed runtime should support NamespaceMode_NODE')
    run_critest -driver systemd -handler crun
}
