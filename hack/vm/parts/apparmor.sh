title="AppArmor: profiles of pods, and critest's specs"
limit=900

outside() {
    binaries
    tests test/pod
    critest
}

inside() {
    run_tests test/pod -slower 10 -test.run 'TestAppArmor|TestBadContainers' &&
        run_critest '\[k8s.io\] AppArmor'
}
