package pod

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func cdiDevices(names ...string) option {
	return func(c *runtime.ContainerConfig) {
		for _, name := range names {
			c.CDIDevices = append(c.CDIDevices, &runtime.CDIDevice{Name: name})
		}
	}
}

// cdiDaemon is a daemon with directories of CDI descriptions of its own: the fixed one, and the dynamic one,
// which counts more.
func cdiDaemon(t *testing.T) (d *daemon, fixed, dynamic string) {
	t.Helper()
	fixed, dynamic = t.TempDir(), t.TempDir()
	d = ownDaemon(t, options{config: fmt.Sprintf("cdi.spec_dirs = [%q, %q]", fixed, dynamic)})
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	return d, fixed, dynamic
}

func TestCDI(t *testing.T) {
	d, fixed, dynamic := cdiDaemon(t)
	config, handlers := ociConfig(t)
	d.restartWith(t, config)
	dir := t.TempDir()
	hostNode(t, filepath.Join(dir, "loop"), unix.S_IFBLK|0o640, 7, 1)
	writeFile(t, filepath.Join(dir, "lib"), "the library\n")
	writeFile(t, filepath.Join(dir, "volume"), "the volume\n")
	writeFile(t, filepath.Join(fixed, "gadget.yaml"), fmt.Sprintf(`
cdiVersion: 0.7.0
kind: tare.test/gadget
containerEdits:
  env: [GADGETS=yes, BOTH=device]
devices:
- name: a
  containerEdits:
    env: [A=fixed]
    additionalGids: [44]
    deviceNodes:
    - {path: /dev/gadgets/a, hostPath: %[1]s/loop, permissions: r, gid: 44}
    - {path: /dev/made, type: b, major: 7, minor: 0, fileMode: 384, permissions: none}
    - {path: /dev/pipe, type: p}
    mounts:
    - {hostPath: %[1]s/lib, containerPath: /opt/lib/liba.so, options: [ro, nosuid, nodev, rbind, rprivate, noatime]}
    - {hostPath: none, containerPath: /opt/scratch, type: tmpfs, options: [nosuid, nodev, size=1m, mode=0711]}
    hooks:
    - {hookName: startContainer, path: /bin/sh, args: [sh, -c, echo in >> /started]}
- name: b
  containerEdits:
    env: [B=fixed]
`, dir))
	writeFile(t, filepath.Join(dynamic, "gadget.json"), `{"cdiVersion": "0.7.0", "kind": "tare.test/gadget",
		"devices": [{"name": "b", "containerEdits": {"env": ["B=dynamic"]}}]}`)
	pods := map[string]func(*testing.T) *pod{
		"":                    func(t *testing.T) *pod { return d.runPod(t) },
		"in a user namespace": func(t *testing.T) *pod { return d.runPod(t, inUserNS) },
	}
	for _, handler := range handlers {
		pods["by "+handler] = func(t *testing.T) *pod { return d.runPodBy(t, handler) }
	}
	for name, run := range pods {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t, d)
			c := run(t).start(sleeper, cdiDevices("tare.test/gadget=a"),
				volume(&runtime.Mount{HostPath: filepath.Join(dir, "volume"), ContainerPath: "/opt/lib/liba.so"}),
				func(c *runtime.ContainerConfig) {
					c.Annotations = map[string]string{"cdi.k8s.io/plugin_b": "tare.test/gadget=b,tare.test/gadget=a"}
					c.Envs = []*runtime.KeyValue{{Key: "BOTH", Value: []byte("request")}}
				})
			for command, want := range map[string]string{
				"echo $GADGETS $BOTH $A $B":                            "yes device fixed dynamic\n",
				showNodes("/dev/gadgets/a", "/dev/made"):               "/dev/gadgets/a block special file 640 0:44 7:1\n/dev/made block special file 600 0:0 7:0\n",
				"stat -c %F /dev/pipe":                                 "fifo\n",
				"cat /started":                                         "in\n",
				tryDevice("/dev/gadgets/a"):                            "r\n",
				tryDevice("/dev/made"):                                 "\n",
				"cat /opt/lib/liba.so; stat -c %u:%g /opt/lib/liba.so": "the library\n0:0\n",
				"id -G": "0 44\n",
				"stat -c %a /opt/scratch; touch /opt/scratch/x && df -k /opt/scratch | tail -1 | awk '{print $2}'": "711\n1024\n",
			} {
				if got := c.exec(command); got != want {
					t.Errorf("%s: %q, want %q", command, got, want)
				}
			}
			options, _ := c.mounted("/opt/lib/liba.so")
			for _, o := range []string{"ro", "nosuid", "nodev", "noatime"} {
				if !slices.Contains(options, o) {
					t.Errorf("mount options %v lack %s", options, o)
				}
			}
			if groups := c.status().User.Linux.SupplementalGroups; !slices.Contains(groups, 44) {
				t.Errorf("status says groups %v", groups)
			}
		})
	}
	// What was written a moment ago counts.
	p := d.runPod(t)
	for i := range 3 {
		writeFile(t, filepath.Join(dynamic, "claim.json"), fmt.Sprintf(`{"cdiVersion": "0.5.0", "kind": "tare.test/claim",
			"devices": [{"name": "c%d", "containerEdits": {"env": ["C=%[1]d"]}}]}`, i))
		if _, out := p.output(script("echo $C"), cdiDevices(fmt.Sprintf("tare.test/claim=c%d", i))); out != fmt.Sprintln(i) {
			t.Errorf("claim %d: %q", i, out)
		}
	}
}

func TestBadCDI(t *testing.T) {
	d, fixed, dynamic := cdiDaemon(t)
	leavesNothing(t, d)
	p := d.runPod(t)
	edits := func(name, edits string) string {
		path := filepath.Join(fixed, name+".yaml")
		writeFile(t, path, "cdiVersion: 1.1.0\nkind: bad.test/"+name+"\ndevices:\n- name: x\n  containerEdits:\n    "+edits+"\n")
		return path
	}
	tests := []struct {
		name  string
		edits string
		words []string
	}{
		{"mount-over-proc", "mounts: [{hostPath: /tmp, containerPath: /proc/sys, options: [rbind]}]", []string{"/proc/sys"}},
		{"mount-option", "mounts: [{hostPath: /tmp, containerPath: /x, options: [rbind, sync]}]", []string{"/x", "sync"}},
		{"mount-type", "mounts: [{hostPath: proc, containerPath: /x, type: proc}]", []string{"/x", "proc"}},
		{"mount-source", "mounts: [{hostPath: /no/such/lib, containerPath: /x, options: [bind]}]", []string{"/no/such/lib"}},
		{"mount-relative", "mounts: [{hostPath: /tmp, containerPath: x, options: [bind]}]", []string{"mount x"}},
		{"tmpfs-shared", "mounts: [{hostPath: none, containerPath: /x, type: tmpfs, options: [rshared]}]", []string{"/x"}},
		{"node-missing", "deviceNodes: [{path: /dev/no-such-device}]", []string{"/dev/no-such-device"}},
		{"node-relative", "deviceNodes: [{path: dev/x, type: c, major: 1, minor: 3}]", []string{"dev/x"}},
		{"node-default", "deviceNodes: [{path: /dev/null, type: c, major: 1, minor: 11}]", []string{"/dev/null"}},
		{"hook", "hooks: [{hookName: createContainer, path: vendor-hook}]", []string{"vendor-hook"}},
		{"hook-timeout", "hooks: [{hookName: createContainer, path: /usr/bin/vendor-hook, timeout: -1}]", []string{"/usr/bin/vendor-hook", "timeout"}},
		{"network", "netDevices: [{hostInterfaceName: eth7, name: a/b}]", []string{"a/b"}},
		{"rdt", "intelRdt: {closID: gold}", []string{"intelRdt"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leavesNothing(t, d)
			edits(tt.name, tt.edits)
			_, err := p.tryCreate(p.containerConfig(sleeper, cdiDevices("bad.test/"+tt.name+"=x")))
			code := codes.FailedPrecondition
			if tt.name == "mount-over-proc" || tt.name == "node-default" || tt.name == "mount-option" {
				code = codes.InvalidArgument
			}
			refused(t, err, code, append(tt.words, "CDI device")...)
		})
	}
	_, err := p.tryCreate(p.containerConfig(sleeper, cdiDevices("tare.test/gadget=none")))
	refused(t, err, codes.NotFound, "tare.test/gadget=none", fixed, dynamic)
	_, err = p.tryCreate(p.containerConfig(sleeper, cdiDevices("gadget")))
	refused(t, err, codes.InvalidArgument, "CDI_devices[0].name", "gadget")

	one, two := edits("same", "env: [A=1]"), filepath.Join(fixed, "again.yaml")
	writeFile(t, two, "cdiVersion: 1.1.0\nkind: bad.test/same\ndevices:\n- name: x\n  containerEdits:\n    env: [A=2]\n")
	_, err = p.tryCreate(p.containerConfig(sleeper, cdiDevices("bad.test/same=x")))
	refused(t, err, codes.FailedPrecondition, "bad.test/same=x", "conflicting", one, two)

	broken := filepath.Join(dynamic, "broken.yaml")
	writeFile(t, broken, "cdiVersion: 1.1.0\nkind: bad.test/broken\ndevices: {oops: [}\n")
	_, err = p.tryCreate(p.containerConfig(sleeper, cdiDevices("bad.test/broken=x")))
	refused(t, err, codes.FailedPrecondition, "bad.test/broken=x", broken)

	edits("good", "env: [A=1]") // not held back by the others
	if _, out := p.output(script("echo $A"), cdiDevices("bad.test/good=x")); out != "1\n" {
		t.Errorf("a good device beside bad ones: %q", out)
	}
}
