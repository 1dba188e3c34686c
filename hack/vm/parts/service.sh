title="the runtime as a service of systemd"
limit=600
boot=(-s)

outside() {
    binaries
    tests test/service
    make --no-print-directory install-files DESTDIR="$share/installed"
}

inside() { run_tests test/service -install -test.run TestService; }
