title="critest under cgroup v2, all specs"
limit=900

outside() {
    binaries
    critest
}

inside() { run_critest; }
