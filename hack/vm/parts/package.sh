title="the Debian package under systemd: installation, upgrade, removal"
limit=600
boot=(-s)

outside() {
    tests test/service
    mkdir -p "$share/packages"
    hack/deb.sh bin "$share/packages"
    make --no-print-directory build BIN="$VM/next" VERSION=0.1.1
    hack/deb.sh "$VM/next" "$share/packages"
    rm -r "$VM/next"
    make --no-print-directory bin/crictl
    cp bin/crictl "$share/packages/"
}

inside() {
    install packages/crictl /usr/local/bin
    run_tests test/service -install -test.run TestPackage
}
