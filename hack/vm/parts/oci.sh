title="OCI runtimes as runtime handlers: runc and crun, with either cgroup driver"
limit=1800
boot=(-s)

outside() {
    binaries
    tests test/pod
}

inside() {
    run_tests test/pod -slower 10 -test.run TestOCIRuntime &&
        run_tests test/pod -slower 10 -driver systemd -test.run TestOCIRuntime
}
