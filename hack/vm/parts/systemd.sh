title="the systemd cgroup driver"
limit=1200
boot=(-s)
may_skip='TestSet |TestExpect|TestAbsentController/|TestSystemdRefused' # about v1, and about hosts without hugetlb or systemd

outside() {
    tests cgroup test/pod
    binaries
}

# TestStatsMemory fills memory, for which emulation is too slow.
inside() {
    run_tests cgroup &&
        run_tests test/pod -driver systemd -test.run 'TestUpdate|TestLimits|TestHugepages|TestExits|TestOOM|TestPrivileged|TestNothingLeft|TestStats' -test.skip TestStatsMemory
}
