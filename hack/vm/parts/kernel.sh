title="kernel tests under cgroup v2"
limit=900
may_skip='TestSet |TestExpect |TestAbsentController/host |TestUnit|TestReexec|TestJobFailure|TestOff' # about v1, about hosts without hugetlb or AppArmor, and part systemd

packages="cgroup nsutil security security/apparmor security/seccomp"

outside() {
    binaries
    tests $packages
}

inside() {
    for package in $packages; do
        run_tests "$package" || return
    done
}
