title="the runtime as a service of systemd"
limit=600
boot=(-s)

outside() {
    binaries
    tests test/service
    cp -R packaging "$share/"
}

inside() { run_tests test/service -install; }
