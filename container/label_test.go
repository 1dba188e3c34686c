package container

import (
	"slices"
	"strings"
	"testing"

	"tare/spec"
)

// TestLabelOrder: the label is set in the process that executes, while it has all its rights; for an exec, in the one
// that forks it, which hands it on.
func TestLabelOrder(t *testing.T) {
	pod := spec.Pod{Hostname: "web-0", Namespaces: spec.Namespaces{User: &spec.UserNamespace{
		UID: spec.IDMap{Host: 100000, Length: 65536}, GID: spec.IDMap{Host: 100000, Length: 65536},
	}}}
	s := start(t, &pod, &spec.Container{Security: spec.Security{NoNewPrivs: true, Namespaces: spec.Namespaces{PID: spec.ModeContainer}}})
	s.OCI.Process.ApparmorProfile, s.OCI.Process.SelinuxLabel = "strict", "system_u:system_r:container_t:s0:c1,c2"
	enter, err := Enter(Entry{OCI: s.OCI, Sandbox: s.Sandbox, PidFD: place(t, "pidfd"), Cgroup: s.Cgroup, Args: []string{"true"}, Stdio: s.Stdio})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"lsm_set_self_attr apparmor exec strict",
		"lsm_set_self_attr selinux exec system_u:system_r:container_t:s0:c1,c2",
		"lsm_set_self_attr selinux keycreate system_u:system_r:container_t:s0:c1,c2",
		"keyctl JOIN_SESSION_KEYRING", "prctl PR_CAPBSET_DROP", "setresuid 1000", "prctl PR_SET_NO_NEW_PRIVS", "execve",
	}
	for name, listing := range map[string]string{"container": compile(t, s).String(), "exec": enter.String()} {
		if _, after, forks := strings.Cut(listing, "fork "); forks && name == "container" {
			listing = after
		}
		var got []string
		for line := range strings.Lines(listing) {
			step := strings.Join(strings.Fields(line)[1:], " ")
			i := slices.IndexFunc(want, func(w string) bool { return strings.HasPrefix(step, w) })
			if i >= 0 && (len(got) == 0 || got[len(got)-1] != want[i]) {
				got = append(got, want[i])
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q\nwant %q", name, got, want)
		}
	}
}

// TestMountLabel: what is mounted for the container alone is labelled as a whole, and nothing else.
func TestMountLabel(t *testing.T) {
	const label = "system_u:object_r:container_file_t:s0:c1,c2"
	c := spec.Container{
		Command:  []string{"true"},
		Security: spec.Security{Namespaces: spec.Namespaces{PID: spec.ModeContainer}},
		Mounts:   []spec.Mount{{ContainerPath: "/data", HostPath: "/srv"}, {ContainerPath: "/image", Image: "i"}},
	}
	oci, err := Assemble(Request{
		ID: "c0ffee", Spec: &c, Pod: &spec.Pod{}, Volumes: []spec.ImageID{"sha256:1"}, CgroupV2: true,
		SELinux: spec.Labels{Process: "system_u:system_r:container_t:s0:c1,c2", Mount: label},
	})
	if err != nil {
		t.Fatal(err)
	}
	if oci.Process.SelinuxLabel != "system_u:system_r:container_t:s0:c1,c2" || oci.Linux.MountLabel != label {
		t.Errorf("labels %q and %q", oci.Process.SelinuxLabel, oci.Linux.MountLabel)
	}
	want := map[string]bool{"/dev": true, "/dev/pts": true, "/image": true}
	for _, m := range oci.Mounts {
		if got := slices.Contains(m.Options, "context="+label); got != want[m.Destination] {
			t.Errorf("%s: %q", m.Destination, m.Options)
		}
	}
	if got := parseOptions(oci.Mounts[len(oci.Mounts)-1]).value(contextOption); got != label {
		t.Errorf("the image volume's label is %q", got)
	}
}
