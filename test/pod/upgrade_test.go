package pod

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/nsutil"
)

// build makes a build of daemon and keeper, told apart from others by args and by version.
func build(t *testing.T, dir, version string, args ...string) {
	t.Helper()
	flags := "-X main.version=" + version + " -buildid=" + version
	for name, pkg := range map[string]string{"tare": "./cmd/shim", "keeper": "./cmd/keeper"} {
		// Not over the file that is executed (ETXTBSY, open(2)), but in its place, as packages do.
		temp := filepath.Join(dir, name+".new")
		cmd := exec.Command("go", append(append([]string{"build", "-buildvcs=false", "-ldflags", flags, "-o", temp}, args...), pkg)...)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", version, err, out)
		}
		if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// runs says which version of the daemon serves, and whether the keeper executes the program beside it.
func (d *daemon) runs(t *testing.T, version string) {
	t.Helper()
	v, err := d.runtime.Version(deadline(t), &runtime.VersionRequest{})
	if err != nil || v.RuntimeVersion != version {
		t.Errorf("version %q, %v, want %s", v.GetRuntimeVersion(), err, version)
	}
	want, err := nsutil.FileDigest(filepath.Join(d.bin, "keeper"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := nsutil.FileDigest(fmt.Sprintf("/proc/%d/exe", d.keeperPID())); err != nil || got != want {
		t.Errorf("the keeper executes another program than the one that is installed: %v", err)
	}
}

// slowCounter writes ten numbered lines a second.
var slowCounter = script("i=0; while :; do echo $i; i=$((i+1)); usleep 100000; done")

// TestUpgrade replaces daemon and keeper by newer builds under pods that write and are exec'd into. No exec fails but those
// under way, which are told Unavailable; no line is missing; nothing is started again.
func TestUpgrade(t *testing.T) {
	const pods, executors = 50, 4
	bin := t.TempDir()
	build(t, bin, "1.0.0")
	d := ownDaemon(t, options{bin: bin})
	d.pull(t, busybox)
	var all []*ctr
	for range pods {
		all = append(all, d.runPod(t).start(slowCounter))
	}
	started := map[string]int64{}
	for _, c := range all {
		started[c.id] = c.status().StartedAt
	}
	keeper := d.keeperPID()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	done, failed := 0, []error{}
	for range executors {
		wg.Go(func() { // ends with ctx
			for ctx.Err() == nil {
				c := all[rand.IntN(len(all))]
				r, err := c.runtime.ExecSync(context.Background(), &runtime.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"sh", "-c", "usleep 2000; exit 9"}})
				mu.Lock()
				if done++; err != nil || r.ExitCode != 9 {
					failed = append(failed, fmt.Errorf("%w, exit code %d", err, r.GetExitCode()))
				}
				mu.Unlock()
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return done }
	versions := []string{"2.0.0"}
	if *fully {
		versions = append(versions, "3.0.0", "4.0.0")
	}
	for _, version := range versions {
		build(t, bin, version)
		mu.Lock()
		before := done
		failed = nil
		mu.Unlock()
		d.signal(syscall.SIGTERM)
		start := time.Now()
		if err := d.start(); err != nil {
			t.Fatal(err)
		}
		t.Logf("upgrade to %s: %d ms until it serves", version, time.Since(start).Milliseconds())
		now := count()
		await(t, "commands are executed again", func() error {
			if count() < now+20 {
				return fmt.Errorf("%d were", count()-now)
			}
			return nil
		})
		mu.Lock()
		if len(failed) > executors {
			t.Errorf("%d execs failed of %d, %d were under way: %v", len(failed), done-before, executors, failed)
		}
		for _, err := range failed {
			if status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
				t.Errorf("an exec under way failed with %v", err)
			}
		}
		mu.Unlock()
		d.runs(t, version)
	}
	cancel()
	wg.Wait()
	if now := d.keeperPID(); now != keeper {
		t.Errorf("the keeper is process %d, was %d", now, keeper)
	}
	for _, c := range all {
		if s := c.status(); s.State != runtime.ContainerState_CONTAINER_RUNNING || s.StartedAt != started[c.id] {
			t.Errorf("container is %s, started %d, before the upgrades %d", s.State, s.StartedAt, started[c.id])
		}
		for i, e := range readLog(t, c.logFile()) {
			if e.content != strconv.Itoa(i) {
				t.Fatalf("log has %q where %d should be", e.content, i)
			}
		}
	}
}

// TestKeeperVersions has a keeper of the version before work with this daemon, and this keeper with a daemon of the version
// before.
func TestKeeperVersions(t *testing.T) {
	older := t.TempDir()
	build(t, older, "0.9.0", "-tags", "formerkeeper")
	for _, tt := range []struct{ name, first, second string }{
		{"former keeper", older, suite.bin},
		{"former daemon", suite.bin, older},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := ownDaemon(t, options{bin: tt.first})
			d.pull(t, busybox)
			h := newHousehold(t, d)
			keeper := d.keeperPID()
			before, err := nsutil.FileDigest(fmt.Sprintf("/proc/%d/exe", keeper))
			if err != nil {
				t.Fatal(err)
			}
			d.bin = tt.second
			d.signal(syscall.SIGTERM)
			<-h.exec
			if err := d.start(); err != nil {
				t.Fatal(err)
			}
			if after, err := nsutil.FileDigest(fmt.Sprintf("/proc/%d/exe", keeper)); err != nil || after != before {
				t.Errorf("the keeper executes something else: %v", err)
			}
			h.obey()
			h.ended()
			h.works()
		})
	}
}
