package pod

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/leak"
)

var soak = flag.Bool("soak", false, "soak tests run in full, not for a moment")

// soaked is how often something is done: in full, or for a moment.
func soaked(full, moment int) int {
	if *soak {
		return full
	}
	return moment
}

// atOnce is how many of them run side by side.
const atOnce = 8

// TestSoakPods has pods come and go, each with a container that is executed into and logs. What daemon,
// keeper and kernel use after a tenth of them, they use after all.
func TestSoakPods(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	cycles := soaked(10_000, 400)
	logs := t.TempDir()
	life := func(int) error { return d.loggedLife(logs) }
	inParallel(t, cycles/10, life)
	before := d.usage(t)
	inParallel(t, cycles-cycles/10, life)
	d.flat(t, before, cycles-cycles/10)
}

// TestSoakUnreadEvents: a subscriber who does not read for a while misses nothing, and one who never does
// is told so in the end; meanwhile the others go on.
func TestSoakUnreadEvents(t *testing.T) {
	const depth, each = 4096, 4 // events that are kept for a subscriber; of one container's life
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	containers := soaked(4000, 150)
	p := d.runPod(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	unread, err := d.runtime.GetContainerEvents(ctx, &runtime.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unread.Header(); err != nil {
		t.Fatal(err)
	}
	inParallel(t, containers, func(int) error { return p.briefLife() })
	events := 0
	stop := time.AfterFunc(patience, cancel) // what does not come is an error, not a wait for ever
	defer stop.Stop()
	for ; events < containers*each && err == nil; events++ {
		_, err = unread.Recv()
	}
	switch {
	case containers*each > 2*depth: // those on their way come on top
		if status.Code(err) != codes.ResourceExhausted || events < depth {
			t.Errorf("who did not read events is told %v after %d, want ResourceExhausted after %d or more", err, events, depth)
		}
	case err != nil:
		t.Errorf("after %d events of %d: %v", events, containers*each, err)
	}
}

// TestSoakExecs executes into one container again and again.
func TestSoakExecs(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	execs := soaked(100_000, 3000)
	c := d.runPod(t).start(sleeper)
	hello := func(i int) error {
		resp, err := c.tryExec(20, "echo", fmtInt(i))
		if err == nil && (resp.ExitCode != 0 || string(resp.Stdout) != fmtInt(i)+"\n") {
			err = fmt.Errorf("exec %d: %v", i, resp)
		}
		return err
	}
	inParallel(t, execs/10, hello)
	before := d.usage(t)
	inParallel(t, execs-execs/10, hello)
	d.flat(t, before, execs-execs/10)
}

// TestSoakStuckExecs runs many execs at once, a tenth of which never end: the others do, and nothing is
// left of those once their clients gave up.
func TestSoakStuckExecs(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	execs := soaked(1000, 100)
	c := d.runPod(t).start(sleeper)
	c.stuckExecs(execs) // buffers for so many at once are kept
	before := d.usage(t)
	c.stuckExecs(execs)
	d.flat(t, before, execs)
}

// stuckExecs runs so many at once, a tenth of which never end, until their clients give up.
func (c *ctr) stuckExecs(execs int) {
	t := c.t
	t.Helper()
	var stuck, others sync.WaitGroup
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	for i := range execs {
		if i%10 == 0 {
			stuck.Go(func() {
				_, err := c.runtime.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"sleep", "5252"}})
				if status.Code(err) != codes.Canceled {
					t.Errorf("an exec that never ends: %v, want Canceled", err)
				}
			})
			continue
		}
		others.Go(func() {
			if resp, err := c.tryExec(20, "true"); err != nil || resp.ExitCode != 0 {
				t.Errorf("exec %d: %v, %v", i, resp, err)
			}
		})
	}
	others.Wait()
	giveUp()
	stuck.Wait()
	await(t, "execs whose clients gave up end", func() error {
		for _, pid := range processes() {
			if args := cmdline(pid); len(args) == 2 && args[1] == "5252" {
				return fmt.Errorf("process %d runs", pid)
			}
		}
		return nil
	})
}

// TestSoakLongLine: a line without end costs its length on disk, and nobody memory.
func TestSoakLongLine(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	length := soaked(1<<30, 64<<20)
	p := d.runPod(t)
	before := d.usage(t)
	c := p.start(script(fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", length)))
	var most usage
	var written int64
	for c.status().State != runtime.ContainerState_CONTAINER_EXITED {
		await(t, "the line goes on, or ends", func() error {
			now := d.usage(t)
			most.daemonPSS, most.keeperPSS = max(most.daemonPSS, now.daemonPSS), max(most.keeperPSS, now.keeperPSS)
			info, err := os.Stat(c.logFile())
			if err != nil {
				return err
			}
			if s := c.status(); s.State != runtime.ContainerState_CONTAINER_EXITED && info.Size() <= written {
				return fmt.Errorf("container is %s, its log has %d bytes", s.State, written)
			}
			written = info.Size()
			return nil
		})
	}
	t.Logf("most memory meanwhile: daemon %d KiB, keeper %d KiB", most.daemonPSS, most.keeperPSS)
	if grown := most.keeperPSS - before.keeperPSS; grown > slackPSS {
		t.Errorf("the keeper grew by %d KiB", grown)
	}
	if got := logLength(t, c.logFile()); got != int64(length) {
		t.Errorf("the log has %d bytes of the line, want %d", got, length)
	}
}

// logLength adds up the contents of a log, and checks that it is one line in pieces. It keeps none of
// it in memory.
func logLength(t *testing.T, path string) (total int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := bufio.NewReaderSize(f, 64<<10); ; {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return total
		}
		e, ok := logLine(string(line))
		if err != nil || !ok || !e.partial {
			t.Fatalf("log %s: %v, line %q", path, err, shorten(string(line)))
		}
		total += int64(len(e.content))
	}
}

// inParallel does something n times, atOnce at a time, and ends the test at the first error.
func inParallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n && failed.Load() == nil; i = int(next.Add(1)) {
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}

// briefLife is that of a container that runs and is removed.
func (p *pod) briefLife() error {
	id, err := p.tryCreate(p.containerConfig(command("sleep", "1000000")))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if _, err := p.runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: id}); err != nil {
		return err
	}
	_, err = p.runtime.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: id})
	return err
}

// loggedLife is the life of one pod whose container says hello, is executed into, and is looked at in the log.
func (d *daemon) loggedLife(logs string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	config := podConfig("soak")
	config.LogDirectory = filepath.Join(logs, config.Metadata.Uid)
	run, err := d.runtime.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: config})
	if err != nil {
		return err
	}
	c, err := d.runtime.CreateContainer(ctx, &runtime.CreateContainerRequest{
		PodSandboxId: run.PodSandboxId, SandboxConfig: config, Config: &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: "c"}, Image: &runtime.ImageSpec{Image: busybox}, LogPath: "c.log",
			Command: []string{"sh", "-c", "echo hello; touch said; sleep 1000000"},
		}})
	if err != nil {
		return err
	}
	if _, err := d.runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
		return err
	}
	said, err := d.runtime.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: c.ContainerId,
		Cmd: []string{"sh", "-c", "while [ ! -e said ]; do usleep 1000; done; echo $HOSTNAME"}})
	if err != nil {
		return err
	}
	if got := string(said.Stdout); got != config.Hostname+"\n" || said.ExitCode != 0 {
		return fmt.Errorf("exec says %q, exit code %d", got, said.ExitCode)
	}
	if _, err := d.runtime.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: run.PodSandboxId}); err != nil {
		return err
	}
	log, err := os.ReadFile(filepath.Join(config.LogDirectory, "c.log"))
	if err != nil {
		return err
	}
	if !strings.HasSuffix(string(log), " stdout F hello\n") || strings.Count(string(log), "\n") != 1 {
		return fmt.Errorf("the log is %q", log)
	}
	if _, err := d.runtime.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: run.PodSandboxId}); err != nil {
		return err
	}
	return os.RemoveAll(config.LogDirectory)
}

// usage is what the runtime takes of the machine.
type usage struct {
	daemonPSS, keeperPSS int // KiB
	goroutines, liveHeap int // of the daemon; bytes
	namespaces           int // network namespaces the kernel has memory for
	host                 leak.Snapshot
}

// How far two readings may be apart: what a garbage collector has not yet taken, and connections
// of a moment. What a single pod or exec leaves is seen because there are so many of them.
const (
	slackPSS        = 8 << 10
	slackHeap       = 1 << 20
	slackGoroutines = 8
)

func (d *daemon) usage(t *testing.T) usage {
	t.Helper()
	u := usage{daemonPSS: pss(t, d.pid()), keeperPSS: pss(t, d.keeperPID()), namespaces: slab(t, "net_namespace")}
	resp, err := d.runtime.Status(deadline(t), &runtime.StatusRequest{Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	var process struct {
		Goroutines int `json:"goroutines"`
		LiveHeap   int `json:"live_heap_bytes"`
	}
	if err := json.Unmarshal([]byte(resp.Info["process"]), &process); err != nil || process.Goroutines == 0 {
		t.Fatalf("verbose status says of the process: %v, %q", err, resp.Info["process"])
	}
	u.goroutines, u.liveHeap = process.Goroutines, process.LiveHeap
	await(t, "namespaces are made in advance", d.ahead)
	if u.host, err = takeAll([]*daemon{d}); err != nil {
		t.Fatal(err)
	}
	return u
}

func (u usage) String() string {
	return fmt.Sprintf("daemon %d KiB, keeper %d KiB, %d goroutines, %d bytes of heap, %d network namespaces in memory",
		u.daemonPSS, u.keeperPSS, u.goroutines, u.liveHeap, u.namespaces)
}

// flat fails t if usage after n more rounds is not what it was: not one thing more on the host, not one
// descriptor, and memory within what a collector leaves.
func (d *daemon) flat(t *testing.T, before usage, n int) {
	t.Helper()
	var now usage
	err := until("usage is as it was", func() error {
		now = d.usage(t)
		var errs []error
		grown := func(what string, was, is, slack int) {
			if is > was+slack {
				errs = append(errs, fmt.Errorf("%s: %d, was %d", what, is, was))
			}
		}
		grown("memory of the daemon (KiB)", before.daemonPSS, now.daemonPSS, slackPSS)
		grown("memory of the keeper (KiB)", before.keeperPSS, now.keeperPSS, slackPSS)
		grown("goroutines", before.goroutines, now.goroutines, slackGoroutines)
		grown("live heap (bytes)", before.liveHeap, now.liveHeap, slackHeap)
		// The machine has other users of namespaces; one in ten of ours would be seen.
		grown("network namespaces in memory", before.namespaces, now.namespaces, n/10)
		return errors.Join(errs...)
	})
	t.Logf("before %d more rounds: %s", n, before)
	t.Logf("after: %s", now)
	if err != nil {
		t.Error(err)
	}
	for _, line := range settle(before.host, func() (leak.Snapshot, error) { return takeAll([]*daemon{d}) }) {
		t.Error(line)
	}
}

// pss is a process's proportional set size in KiB (proc_pid_smaps_rollup in Documentation/filesystems/proc.rst).
func pss(t *testing.T, pid int) (kib int) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatalf("no Pss in smaps_rollup of process %d", pid)
	return 0
}

// slab counts the kernel's active objects of a kind (slabinfo(5)).
func slab(t *testing.T, kind string) (active int) {
	t.Helper()
	data, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if n, _ := fmt.Sscanf(line, kind+" %d", &active); n == 1 {
			return active
		}
	}
	t.Fatalf("no %s in slabinfo", kind)
	return 0
}
