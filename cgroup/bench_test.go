package cgroup

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"tare/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// usual is what the kubelet sends for a container with limits.
func usual() *specs.LinuxResources {
	memory, shares, quota, period, pids := int64(256<<20), uint64(512), int64(50000), uint64(100000), int64(1000)
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &memory, Swap: &memory},
		CPU:    &specs.LinuxCPU{Shares: &shares, Quota: &quota, Period: &period},
		Pids:   &specs.LinuxPids{Limit: &pids},
	}
}

func BenchmarkCreate(b *testing.B) {
	for _, c := range []struct {
		name string
		kind string
		r    *specs.LinuxResources
	}{{"limits", "host", usual()}, {"plain", "host", nil}, {"v2", "v2", nil}} {
		b.Run(c.name, func(b *testing.B) {
			tree := openTree(b, c.kind)
			for b.Loop() {
				p, _ := tree.Path("", spec.NewPodID(), spec.NewContainerID())
				g, err := tree.Create(context.Background(), p, c.r)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := g.Remove(context.Background()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

func BenchmarkRemove(b *testing.B) {
	for _, kind := range kinds(b) {
		b.Run(kind, func(b *testing.B) {
			tree, pod := openTree(b, kind), spec.NewPodID()
			defer tree.ReleasePod(context.Background(), pod)
			for b.Loop() {
				b.StopTimer()
				p, _ := tree.Path("", pod, spec.NewContainerID())
				g, err := tree.Create(context.Background(), p, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := g.Remove(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkJoin measures opening the files and writing "0" into them, by a thread of ours that ends
// with it: the kernel moves it as it moves a forked child.
func BenchmarkJoin(b *testing.B) {
	tree := openTree(b, "host")
	if tree.v2() {
		b.Skip("v2 enters by clone(2)")
	}
	g := create(b, tree)
	enter := func(done chan<- error) {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var err error
		for _, file := range g.Join() {
			err = errors.Join(err, os.WriteFile(file, []byte("0"), 0))
		}
		done <- err
	}
	done := make(chan error)
	for b.Loop() {
		go enter(done)
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKill measures killing a group with one process, which is started outside the timing.
func BenchmarkKill(b *testing.B) {
	for _, kind := range kinds(b) {
		b.Run(kind, func(b *testing.B) {
			tree := openTree(b, kind)
			for b.Loop() {
				b.StopTimer()
				g := create(b, tree)
				cmd := spawn(b, g, 1)
				b.StartTimer()
				if err := g.Kill(context.Background()); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				cmd.Wait()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkSpawnV2 measures starting a process inside a group by CLONE_INTO_CGROUP, beside starting
// one without.
func BenchmarkSpawnV2(b *testing.B) {
	tree := openTree(b, kinds(b)[len(kinds(b))-1])
	g := create(b, tree)
	for _, into := range []bool{false, true} {
		b.Run(map[bool]string{false: "outside", true: "inside"}[into], func(b *testing.B) {
			for b.Loop() {
				cmd := exec.Command("/bin/true")
				dir, err := g.Dir()
				if err != nil || dir == nil {
					b.Skip("no v2 directory", err)
				}
				if into {
					cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
				}
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
				dir.Close()
			}
		})
	}
}
