title="known escapes under cgroup v2 and another kernel"
limit=1200

outside() {
    binaries
    tests test/pod
}

inside() {
    echo 1 >/proc/sys/dev/tty/legacy_tiocsti && # off by default, and then nothing to be tried by TestEscapeTyping
    run_tests test/pod -slower 10 -test.run 'TestEscape|TestRace'
}
