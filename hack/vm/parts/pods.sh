title="pods under cgroup v2"
limit=900

outside() {
    binaries
    tests test/pod
}

# What cgroup v2 and another kernel change. TestStatsMemory fills memory, for which emulation is
# too slow.
inside() {
    run_tests test/pod -slower 10 -test.run 'Rows|TestNamespaces|TestIsolated|TestCgroupsShown|TestUser|TestUpdate|TestLimits|TestOOMVerdicts|TestOOMInCgroup|TestMetrics|TestExits|TestDevices|TestHostDev|TestCDI|TestBadCDI|TestPrivileged|TestNothingLeft' &&
        run_tests test/pod -slower 10 -test.run TestStats -test.skip TestStatsMemory
}
