title="AppArmor: profiles of pods" # critest's specs about it are among all others in critest.sh
limit=900

outside() {
    binaries
    tests test/pod
}

inside() { run_tests test/pod -slower 10 -test.run 'TestAppArmor|TestBadContainers'; }
