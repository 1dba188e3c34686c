title="OCI runtimes as runtime handlers: runc and crun, with the systemd cgroup driver"
limit=2400
boot=(-s)

outside() {
    binaries
    tests test/pod
}

inside() {
    run_tests test/pod -slower 10 -driver systemd -test.run TestOCIRuntime
}
