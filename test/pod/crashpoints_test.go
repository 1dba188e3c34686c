package pod

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/leak"
)

// fully says that TestCrashPoints kills at each passing of each point in each operation each of the victims, which
// takes minutes; otherwise at each point once, the victims in turn.
var fully = flag.Bool("crash-fully", false, "kill each victim at each passing of a crash point")

// victims are who is killed at a crash point.
var victims = []string{"daemon", "keeper", "both"}

// scene is what a crash happens to: a daemon that is built with crash points, and containers that have nothing to do
// with the operation, but are there, and must not notice.
type scene struct {
	*household
	d      *daemon
	victim string
	before leak.Snapshot
	// what must not change
	writer, sleeping *ctr
	pids             []int
	ip               string
	offset           int64 // up to which the writer's log was checked
	counted          int   // its lines up to there
	rotated          string
}

// operation is one mutating operation. Its functions work on what begin has made.
type operation struct {
	name  string
	begin func(s *scene) *attempt
}

// attempt is an operation on the way.
type attempt struct {
	call func(ctx context.Context) error // the call that is interrupted, and then made again
	// done says whether the call's effect is there; when the call's retry is refused since it is, that is as good.
	done func() error
	end  func() // removes what is left
	// restarts says that the call itself starts what is killed.
	restarts bool
}

// crashBin builds daemon and keeper with crash points, once.
var crashBin = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(suite.dir, "crash-bin")
	for name, pkg := range map[string]string{"tare": "./cmd/shim", "keeper": "./cmd/keeper"} {
		cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", "crashpoints", "-o", filepath.Join(dir, name), pkg)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build with crash points: %w\n%s", err, out)
		}
	}
	return dir, nil
})

// TestCrashPoints kills daemon, keeper, or both between any two steps of every operation that changes something, starts
// what was killed again, and looks whether the operation is finished or undone, whether it can be made again, whether
// anybody else noticed, and whether anything is left of it.
func TestCrashPoints(t *testing.T) {
	bin, err := crashBin()
	if err != nil {
		t.Fatal(err)
	}
	config, _ := ociConfig(t)
	d := ownDaemon(t, options{bin: bin, config: config})
	d.pull(t, busybox)
	if err := d.warmUp(); err != nil {
		t.Fatal(err)
	}
	s := newScene(t, d)
	killed := map[string]bool{} // at these points
	turn := 0
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			s.in(t)
			for _, p := range s.trace(op) {
				for i, victim := range victims {
					if (*fully || !killed[p.name] && i == turn%len(victims)) && s.crash(op, p, victim) {
						killed[p.name] = true
						turn++
					}
				}
			}
		})
		s.in(t) // the operation's test is over, the scene's clean-up is not
		if t.Failed() {
			return // what the scene is in is anybody's guess
		}
	}
	for _, name := range pointsInSource(t) {
		if !killed[name] {
			t.Errorf("crash point %s: no operation of the suite passes it", name)
		}
	}
}

// passing is the Nth passing of a point in an operation.
type passing struct {
	name string
	n    int
}

func newScene(t *testing.T, d *daemon) *scene {
	s := &scene{d: d}
	s.in(t)
	p := d.runPod(t)
	s.household = &household{pod: p}
	s.writer, s.sleeping = p.start(counter), p.start(sleeper)
	s.household.writer = s.writer
	s.pids = []int{s.writer.pid(), s.sleeping.pid()}
	s.ip = p.ip()
	before, err := s.left()
	if err != nil {
		t.Fatal(err)
	}
	s.before = before
	return s
}

// in makes t the test that the scene's helpers fail.
func (s *scene) in(t *testing.T) {
	if s.household == nil {
		return
	}
	s.t = t
}

// left is what is on the host, of the daemon or otherwise. Descriptors are compared elsewhere: after a crash they are
// another process's.
func (s *scene) left() (leak.Snapshot, error) {
	var dirs []string
	for _, dir := range []string{"state/pods", "root/sandboxes", "state/cni", "root/containers", "root/cni/leases", "netns", "root/images/content", "root/images/overlay/snapshots"} {
		dirs = append(dirs, s.d.path(dir))
	}
	all, err := leak.Take(dirs...)
	if err != nil {
		return nil, err
	}
	for line := range all {
		if pid, isProcess := strings.CutPrefix(line, "process "); isProcess && s.expected(strings.Fields(pid)) ||
			strings.Contains(line, "/snapshots/") && strings.Count(line[strings.Index(line, "/snapshots/"):], "/") > 2 || // inside of layers
			strings.Contains(line, "/cursor-") || strings.HasSuffix(line, "/content/ingest") {
			delete(all, line)
		}
	}
	return all, nil
}

// expected is a process of the runtime's, or one of the scene's containers, which come and go.
func (s *scene) expected(process []string) bool {
	if slices.Contains([]string{"tare", "keeper", "keeper-guard"}, process[1]) {
		return true
	}
	ns, err := os.Readlink(filepath.Join("/proc", process[0], "ns/pid"))
	if err != nil {
		return true // it has ended meanwhile
	}
	return slices.ContainsFunc(s.pids, func(pid int) bool {
		its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		return err == nil && its == ns
	})
}

func (s *scene) planFile() string  { return s.d.path("state/crash.plan") }
func (s *scene) traceFile() string { return s.d.path("state/crash.trace") }

// trace has the operation done once without a crash and returns what points it passes.
func (s *scene) trace(op operation) (all []passing) {
	s.t.Helper()
	a := s.begin(op)
	writeFile(s.t, s.traceFile(), "")
	if err := a.call(deadline(s.t)); err != nil {
		s.t.Fatalf("%s: %v", op.name, err)
	}
	await(s.t, op.name+" is done", a.done)
	text, err := os.ReadFile(s.traceFile())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.Remove(s.traceFile()); err != nil {
		s.t.Fatal(err)
	}
	a.end()
	s.clean(op.name)
	count := map[string]int{}
	for _, name := range strings.Fields(string(text)) {
		if count[name]++; !strings.HasPrefix(name, "log.") || count[name] == 1 {
			all = append(all, passing{name, count[name]})
		}
	}
	if len(all) == 0 {
		s.t.Errorf("%s passes no crash point", op.name)
	}
	return all
}

// begin makes what the operation needs, and waits until nothing else goes on.
func (s *scene) begin(op operation) *attempt {
	s.t.Helper()
	a := op.begin(s)
	await(s.t, "namespaces are made in advance", s.d.ahead)
	return a
}

// crash has the operation interrupted at a point, and reports whether that happened: what an operation leaves to be done
// behind passes points at times that are not its own.
func (s *scene) crash(op operation, p passing, victim string) bool {
	s.t.Helper()
	where := fmt.Sprintf("%s, %s killed at %s (%d)", op.name, victim, p.name, p.n)
	start := time.Now()
	a := s.begin(op)
	s.victim = victim
	temp := s.planFile() + ".new"
	writeFile(s.t, temp, fmt.Sprintf("%s %d %s\n", p.name, p.n, victim))
	if err := os.Rename(temp, s.planFile()); err != nil {
		s.t.Fatal(err)
	}
	called := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	keeper := s.d.keeperPID()
	go func() { called <- a.call(ctx) }() // ends when the daemon does, or with ctx
	killed, fired := s.fired(where, a, called)
	if a.restarts {
		<-called
	}
	if !fired || s.victim != "keeper" && !slices.Contains(killed, s.d.cmd.Process.Pid) { // but the daemon that the call ended
		a.end()
		s.clean(where)
		return false
	}
	s.restart(where, keeper, cancel)
	if !a.restarts {
		<-called
	}
	s.again(where, a)
	s.unharmed(where)
	a.end()
	s.clean(where)
	s.t.Logf("%s: %d ms", where, time.Since(start).Milliseconds())
	return true
}

// fired waits until the point is passed, and returns who is killed there, or until the operation is done without.
func (s *scene) fired(where string, a *attempt, called chan error) (killed []int, fired bool) {
	s.t.Helper()
	returned := false
	await(s.t, where+": the point is passed, or the operation done", func() (err error) {
		if killed, err = s.killed(); err == nil {
			fired = true
			return nil
		}
		if !returned {
			select {
			case err := <-called:
				called <- err // has room
				returned = true
			default:
				return errors.New("neither")
			}
		}
		if err := a.done(); err != nil {
			return err
		}
		return os.Remove(s.planFile()) // fails if it was taken just now
	})
	return killed, fired
}

// killed takes the note about who is killed.
func (s *scene) killed() (pids []int, err error) {
	path := s.d.path("state/crash.victims")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for _, field := range strings.Fields(strings.Trim(string(text), "[]")) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, os.Remove(path)
}

// restart starts the daemon again, if it was killed, and waits until it serves with a keeper that lives.
func (s *scene) restart(where string, keeper int, hangUp func()) {
	s.t.Helper()
	if s.victim != "keeper" {
		<-s.d.done
		hangUp() // else the call waits for the next daemon
		if err := s.d.start(); err != nil {
			s.t.Fatalf("%s: the daemon does not come back: %v\n%s", where, err, tail(s.d.logFile(), 20))
		}
		return
	}
	if keeper == 0 {
		return
	}
	await(s.t, where+": the daemon has another keeper", func() error {
		if pid := s.d.keeperPID(); pid == 0 || pid == keeper {
			return fmt.Errorf("it is %d", pid)
		}
		return nil
	})
	s.serves(where)
}

func (s *scene) serves(where string) {
	s.t.Helper()
	await(s.t, where+": the daemon serves", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		_, err := s.d.runtime.Version(ctx, &runtime.VersionRequest{})
		return err
	})
}

// again makes the call once more, and looks for its effect. A call that is refused because it was done is done.
func (s *scene) again(where string, a *attempt) {
	s.t.Helper()
	if err := a.call(deadline(s.t)); err != nil {
		if done := a.done(); done != nil {
			s.t.Fatalf("%s: the call, made again: %v; and its effect: %v", where, err, done)
		}
	}
	await(s.t, where+": the operation has its effect", a.done)
}

// unharmed checks the containers that had nothing to do with it.
func (s *scene) unharmed(where string) {
	s.t.Helper()
	for i, c := range []*ctr{s.writer, s.sleeping} {
		st := c.status()
		if st.State != runtime.ContainerState_CONTAINER_RUNNING {
			s.t.Fatalf("%s: a container that ran is %s, exit code %d, reason %q", where, st.State, st.ExitCode, st.Reason)
		}
		if pid := c.pid(); pid != s.pids[i] {
			s.t.Errorf("%s: a container has pid %d, had %d", where, pid, s.pids[i])
		}
	}
	if ip := s.ip2(); ip != s.ip {
		s.t.Errorf("%s: the pod's address is %s, was %s", where, ip, s.ip)
	}
	if r, err := s.sleeping.tryExec(0, "true"); err != nil || r.ExitCode != 0 {
		s.t.Errorf("%s: exec in a container that ran: %v, exit code %d", where, err, r.GetExitCode())
	}
	s.linesGoOn(where)
}

func (s *scene) ip2() string { return s.pod.ip() }

// linesGoOn checks that the writer's log has every number once, and that more come: once, since what was written while
// nobody read may come first, and once more.
func (s *scene) linesGoOn(where string) {
	s.t.Helper()
	for range 2 {
		now := s.counted
		await(s.t, where+": the log grows", func() error {
			s.count(where)
			if s.counted == now {
				return fmt.Errorf("%d lines", now)
			}
			return nil
		})
	}
}

// count reads on in the writer's log.
func (s *scene) count(where string) { s.countIn(s.writer.logFile(), where) }

func (s *scene) countIn(path, where string) {
	s.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, s.offset, 1<<40))
	if err != nil {
		s.t.Fatal(err)
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	for line := range strings.Lines(string(data)) {
		e, ok := logLine(line)
		if !ok || e.partial || e.content != strconv.Itoa(s.counted) {
			s.t.Fatalf("%s: the log of a container that ran has %q where line %d should be", where, line, s.counted)
		}
		s.counted++
	}
	s.offset += int64(len(data))
}

// clean fails if anything of the operation is left.
func (s *scene) clean(where string) {
	s.t.Helper()
	if lines := settle(s.before, s.left); len(lines) > 0 {
		s.t.Fatalf("%s: when all was removed, this differs from before:\n\t%s", where, strings.Join(lines, "\n\t"))
	}
}

// pointCall is where a point is named.
var pointCall = regexp.MustCompile(`(?:crash\.Point|passed)\("([^"]+)"\)`)

// pointsInSource are the names of all crash points.
func pointsInSource(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "test" || d.Name() == "hack") {
			return cmp.Or(err, fs.SkipDir)
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range pointCall.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
