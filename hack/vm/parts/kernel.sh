title="kernel tests of cgroup and nsutil under cgroup v2"
limit=600
may_skip='TestSet |TestAbsentController/host ' # they are about v1, and about a host without hugetlb

outside() { tests cgroup nsutil; }

inside() {
    run_tests cgroup && run_tests nsutil
}
