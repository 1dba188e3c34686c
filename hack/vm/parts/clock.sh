title="the time of day set under running containers"
limit=1800

outside() {
    binaries
    tests test/pod
}

inside() {
    run_tests test/pod -slower 10 -set-clock -test.run TestClockJump
}
