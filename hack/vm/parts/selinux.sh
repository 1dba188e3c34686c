title="SELinux: labels of pods, containers and volumes; permissive"
limit=600
boot=(-a "security=selinux selinux=1 enforcing=0")

outside() {
    binaries
    tests test/pod
}

inside() {
    load_policy -i && run_tests test/pod -slower 10 -test.run TestSELinux
}
