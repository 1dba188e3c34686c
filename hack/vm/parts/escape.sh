title="known escapes under cgroup v2 and another kernel"
limit=1200

outside() {
    binaries
    tests test/pod
}

inside() {
    run_tests test/pod -slower 10 -test.run 'TestEscape|TestRace'
}
