title="kernel tests of cgroup and nsutil under cgroup v2"
limit=600
may_skip='TestSet |TestAbsentController/host |TestUnit|TestJobFailure' # about v1, about a host without hugetlb, and part systemd

outside() { tests cgroup nsutil; }

inside() {
    run_tests cgroup && run_tests nsutil
}
