title="a kubelet's pods with the systemd cgroup driver"
limit=1800
boot=(-s)

outside() {
    binaries
    kubelet
}

# What cgroup v2, systemd and AppArmor have to do with.
inside() {
    run_tests test/kubelet -built -driver systemd -slower 10 \
        -test.run 'Restart$|TestOOM|TestLimits|TestResize|TestStats|TestDeletion|TestAppArmor|TestUserNamespace|TestSharedProcesses|TestDevicePlugin|TestVolumes'
}
