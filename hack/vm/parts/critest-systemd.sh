title="critest with the systemd cgroup driver, all specs"
limit=900
boot=(-s)

outside() {
    binaries
    critest
}

inside() { run_critest -driver systemd; }
