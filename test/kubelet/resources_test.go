package kubelet

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOOM has a container use more memory than it may.
func TestOOM(t *testing.T) {
	t.Parallel()
	p := runPod(t, "oom", `
restartPolicy: Never
containers:
- name: greedy
  command: [tail, /dev/zero]
  resources: {limits: {memory: 24Mi}}
`)
	if end := p.terminated("greedy"); end.Reason != "OOMKilled" || end.ExitCode != 137 {
		t.Errorf("its end: %+v", end)
	}
}

// TestLimits are what the kernel has been told, and what the status says.
func TestLimits(t *testing.T) {
	t.Parallel()
	p := runPod(t, "limits", `
containers:
- name: c
  command: [sleep, "1000000"]
  resources: {limits: {memory: 48Mi, cpu: 500m}, requests: {cpu: 250m}}
`)
	p.ready()
	s := p.container("c")
	limits := s.Resources.Limits
	if s.Resources.Requests.Cpu().MilliValue() != 250 || limits.Cpu().MilliValue() != 500 || limits.Memory().Value() != 48<<20 {
		t.Errorf("the status says %+v", s.Resources)
	}
	_, id, _ := strings.Cut(s.ContainerID, "://")
	// Each setting's files of cgroup v1 and of v2, and its value there.
	for _, want := range []map[string]string{
		{"memory.limit_in_bytes": "50331648", "memory.max": "50331648"},
		{"cpu.cfs_quota_us": "50000", "cpu.max": "50000 100000"},
	} {
		if err := node.hasSetting(id, want); err != nil {
			t.Error(err)
		}
	}
}

// hasSetting looks for the cgroup of an id in all hierarchies, and in it for one of the files.
func (m *machine) hasSetting(id string, want map[string]string) error {
	hierarchies, err := m.hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range hierarchies {
		for file, value := range want {
			paths, err := filepath.Glob(filepath.Join(dir, m.cgroup, "kubepods", "*", "*", id, file))
			if err != nil || len(paths) == 0 {
				continue
			}
			got, err := os.ReadFile(paths[0])
			if err == nil && strings.TrimSpace(string(got)) != value {
				err = errors.New(file + " is " + string(got) + ", want " + value)
			}
			return err
		}
	}
	return errors.New("no cgroup with any of the files")
}
