package pod

import (
	"path/filepath"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestPluginRemoves: what the request asks for and a plugin removes is not in the container; the rest of its kind is.
func TestPluginRemoves(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	newPlugin(t, d, adjusting("removing", "10", func(a *api.ContainerAdjustment) {
		a.RemoveDevice("/dev/removed")
		a.RemoveMount("/removed")
	}))
	dir := t.TempDir()
	hostNode(t, filepath.Join(dir, "kept"), unix.S_IFBLK|0o640, 7, 1)
	hostNode(t, filepath.Join(dir, "removed"), unix.S_IFCHR|0o640, 1, 11) // /dev/kmsg
	c := d.runPod(t).start(sleeper, func(c *runtime.ContainerConfig) {
		for _, name := range []string{"kept", "removed"} {
			c.Devices = append(c.Devices, &runtime.Device{HostPath: filepath.Join(dir, name), ContainerPath: "/dev/" + name, Permissions: "rm"})
			c.Mounts = append(c.Mounts, &runtime.Mount{HostPath: dir, ContainerPath: "/" + name})
		}
	})
	// Nor can it be made again, if it could be at all.
	for command, want := range map[string]string{
		"ls -d /dev/kept /dev/removed /kept /removed 2>/dev/null; true": "/dev/kept\n/kept\n",
		tryDevice("/dev/kept"): "r\n",
		"mknod /again c 1 11; (exec </again) 2>&1 | grep -c 'not permitted'": "1\n",
	} {
		if got := c.exec(command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}
