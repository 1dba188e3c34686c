package store

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare/spec"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, broken, err := Open(dir)
	if err != nil || len(broken) > 0 {
		t.Fatalf("Open: broken %v, error %v", broken, err)
	}
	return s
}

func newPod(uid string) *Pod {
	return &Pod{
		ID:    spec.NewPodID(),
		Spec:  spec.Pod{Name: "web", Namespace: "default", UID: uid, Labels: map[string]string{UIDLabel: uid}},
		State: PodCreating, CreatedAt: time.Now().UTC().Round(0),
	}
}

func newContainer(p spec.PodID, name string) *Container {
	return &Container{
		ID: spec.NewContainerID(), Pod: p, State: ContainerCreated, CreatedAt: time.Now().UTC().Round(0),
		Spec: spec.Container{
			Name: name, Env: []spec.EnvVar{{Name: "BYTES", Value: "\xff\xfe"}},
			StopSignal: unix.SIGINT, Resources: &spec.Resources{Memory: 1 << 20},
		},
		User: User{UID: 1000, GID: 1000, Groups: []uint32{5}},
		OCI:  &specs.Spec{Version: specs.Version, Process: &specs.Process{Args: []string{"sleep"}, Env: []string{"BYTES=\xff\xfe"}}},
	}
}

func mustCreate(t testing.TB, s *Store, p *Pod) *Pod {
	t.Helper()
	if err := s.Create(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func mustAdd(t testing.TB, s *Store, c *Container) *Pod {
	t.Helper()
	p, err := s.Update(c.Pod, func(p *Pod) error { p.Containers[c.ID] = c; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	a := newPod("a")
	a.IPs = []netip.Addr{netip.MustParseAddr("10.88.0.2"), netip.MustParseAddr("fd00::2")}
	a.Namespaces = map[string]uint64{"net": 4026532001}
	mustCreate(t, s, a)
	a = mustAdd(t, s, newContainer(a.ID, "main"))
	gone := mustCreate(t, s, newPod("gone"))
	if err := s.Delete(gone.ID); err != nil {
		t.Fatal(err)
	}

	again := open(t, dir)
	got := again.Pods()
	if len(got) != 1 {
		t.Fatalf("%d pods after reopening, want 1", len(got))
	}
	for _, c := range a.Containers {
		if _, other, err := again.ResolveContainer(string(c.ID[:8])); err != nil || !reflect.DeepEqual(other, c) {
			t.Errorf("container after reopening: %v\n got %+v\nwant %+v", err, other, c)
		}
	}
	if !reflect.DeepEqual(got[0], a) {
		t.Errorf("pod after reopening:\n got %+v\nwant %+v", got[0], a)
	}
	if info, err := os.Stat(again.path(a.ID)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("record file: %v, %v, want mode 0600", info.Mode(), err)
	}
}

func TestBroken(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	whole := mustCreate(t, s, newPod("whole"))
	data, err := os.ReadFile(s.path(whole.ID))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"torn.json":    string(data[:len(data)/2]),
		"empty.json":   "",
		"nopod.json":   `{"Version":1}`,
		"newer.json":   strings.Replace(string(data), `"Version":1`, `"Version":2`, 1),
		"other.json":   string(data),
		"samekey.json": strings.Replace(string(data), string(whole.ID), "samekey", 1),
		"stray.json":   `{"Version":1,"Pod":{"ID":"stray","State":"ready","Containers":{"c":{"ID":"d"}}}}`,
		"state.json":   `{"Version":1,"Pod":{"ID":"state","State":"happy"}}`,
		"zero.json":    `{"Version":1,"Pod":{"ID":"zero"}}`,
		"zeroctr.json": `{"Version":1,"Pod":{"ID":"zeroctr","State":"ready","Containers":{"c":{"ID":"c","Pod":"zeroctr"}}}}`,
		"a.json.tmp":   "half a rec", // a commit that never happened: not broken, swept
		"README":       "not a record",
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	s, broken, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, b := range broken {
		ids = append(ids, string(b.ID))
		if b.Err == nil {
			t.Errorf("%s: no reason given", b.ID)
		}
	}
	slices.Sort(ids)
	// Of two records with one key the first by file name stays; here an id of hex digits.
	want := []string{"empty", "newer", "nopod", "other", "samekey", "state", "stray", "torn", "zero", "zeroctr"}
	if !slices.Equal(ids, want) {
		t.Errorf("broken %v, want %v", ids, want)
	}
	if got := s.Pods(); len(got) != 1 || got[0].ID != whole.ID {
		t.Errorf("pods %v, want the whole one", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "a.json.tmp")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("torn temporary file: %v, want it gone", err)
	}
	for _, b := range broken {
		if err := s.Delete(b.ID); err != nil {
			t.Error(err)
		}
	}
	open(t, dir)
}

func TestCreateTwice(t *testing.T) {
	s := open(t, t.TempDir())
	p := mustCreate(t, s, newPod("a"))
	if err := s.Create(p); !errdefs.IsAlreadyExists(err) {
		t.Errorf("same id: %v, want AlreadyExists", err)
	}
	if err := s.Create(newPod("a")); !errdefs.IsAlreadyExists(err) {
		t.Errorf("same key: %v, want AlreadyExists", err)
	}
	next := newPod("a")
	next.Spec.Attempt = 1
	mustCreate(t, s, next)
	if got := s.PodsByUID("a"); len(got) != 2 {
		t.Errorf("%d pods with the uid, want 2", len(got))
	}
	if err := s.Delete(p.ID); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, s, newPod("a"))
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	kept := mustCreate(t, s, newPod("kept"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p := newPod("a")
	if err := s.Create(p); err == nil {
		t.Fatal("Create without a directory succeeded")
	}
	if _, err := s.PodByKey(p.Spec.Key()); !errdefs.IsNotFound(err) {
		t.Errorf("pod after a failed Create: %v, want NotFound", err)
	}
	if _, err := s.Update(kept.ID, func(p *Pod) error { p.State = PodReady; return nil }); err == nil {
		t.Error("Update without a directory succeeded")
	}
	if got, err := s.Pod(kept.ID); err != nil || got != kept {
		t.Errorf("pod after a failed Update: %v, %v, want the old record", got, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, s, p)
}

func TestUpdate(t *testing.T) {
	s := open(t, t.TempDir())
	p := mustCreate(t, s, newPod("a"))
	c := newContainer(p.ID, "main")
	mustAdd(t, s, c)

	refused := errors.New("no")
	_, err := s.Update(p.ID, func(p *Pod) error { p.State = PodRemoving; delete(p.Containers, c.ID); return refused })
	if err != refused {
		t.Errorf("Update = %v, want change's own error", err)
	}
	_, before, _ := s.Container(c.ID)
	after, err := s.Update(p.ID, func(p *Pod) error { p.Containers[c.ID].State = ContainerStarting; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if before.State != ContainerCreated || after.Containers[c.ID].State != ContainerStarting {
		t.Errorf("old record is %s, new one %s", before.State, after.Containers[c.ID].State)
	}
	_, err = s.Update(p.ID, func(p *Pod) error {
		twin := newContainer(p.ID, "main")
		p.Containers[twin.ID] = twin
		return nil
	})
	if !errdefs.IsAlreadyExists(err) {
		t.Errorf("second container of one key: %v, want AlreadyExists", err)
	}
	if _, err := s.Update(p.ID, func(p *Pod) error { p.Spec.UID = "b"; return nil }); !errdefs.IsInternal(err) {
		t.Errorf("change of identity: %v, want Internal", err)
	}
	if _, err := s.Update("nobody", func(*Pod) error { return nil }); !errdefs.IsNotFound(err) {
		t.Errorf("unknown pod: %v, want NotFound", err)
	}
}

func TestLookups(t *testing.T) {
	s := open(t, t.TempDir())
	a, b := newPod("a"), newPod("b")
	a.ID, b.ID = "aaa1", "aaa2"
	mustCreate(t, s, a)
	mustCreate(t, s, b)
	c := newContainer(a.ID, "main")
	c.ID = "ccc1"
	c.Spec.Labels = map[string]string{UIDLabel: "odd"}
	mustAdd(t, s, c)

	for prefix, want := range map[string]func(error) bool{
		"aaa": errdefs.IsInvalidArgument, "": errdefs.IsInvalidArgument, "x": errdefs.IsNotFound, "aaa11": errdefs.IsNotFound,
	} {
		if _, err := s.ResolvePod(prefix); !want(err) {
			t.Errorf("pod %q: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"aaa1", "c", "ccc1"} {
		p, err := s.ResolvePod(prefix)
		if prefix != "aaa1" {
			p, _, err = s.ResolveContainer(prefix)
		}
		if err != nil || p.ID != a.ID {
			t.Errorf("%q: %v, %v", prefix, p, err)
		}
	}
	if _, _, err := s.ResolveContainer(""); !errdefs.IsInvalidArgument(err) {
		t.Errorf("empty container id: %v", err)
	}
	for _, uid := range []string{"a", "odd"} {
		if got := s.PodsByUID(uid); len(got) != 1 || got[0].ID != a.ID {
			t.Errorf("uid %s: %v", uid, got)
		}
	}
	if _, got, err := s.ContainerByKey(c.Key()); err != nil || got.ID != c.ID {
		t.Errorf("container by key: %v, %v", got, err)
	}
	if _, _, err := s.ContainerByKey(spec.ContainerKey{Pod: a.ID, Name: "main", Attempt: 1}); !errdefs.IsNotFound(err) {
		t.Errorf("container by unknown key: %v", err)
	}

	if _, err := s.Update(a.ID, func(p *Pod) error { delete(p.Containers, c.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Container(c.ID); !errdefs.IsNotFound(err) {
		t.Errorf("removed container: %v, want NotFound", err)
	}
	if got := s.PodsByUID("odd"); len(got) != 0 {
		t.Errorf("uid of a removed container: %v", got)
	}
}

func TestChanges(t *testing.T) {
	s := open(t, t.TempDir())
	sub := s.Subscribe(64)
	p := mustCreate(t, s, newPod("a"))
	c, d := newContainer(p.ID, "main"), newContainer(p.ID, "removed-while-it-runs")
	steps := []func(*Pod){
		func(p *Pod) { p.State = PodReady },
		func(p *Pod) { p.IPs = []netip.Addr{netip.MustParseAddr("10.0.0.1")} },
		func(p *Pod) { p.Containers[c.ID] = c },
		func(p *Pod) { p.Containers[c.ID].State = ContainerStarting },
		func(p *Pod) { p.Containers[c.ID].State = ContainerRunning },
		func(p *Pod) { p.State = PodNotReady },
		func(p *Pod) { p.Containers[c.ID].State, p.Containers[c.ID].FinishedAt = ContainerExited, time.Now() },
		func(p *Pod) { p.Containers[c.ID].State = ContainerRemoving },
		func(p *Pod) { d.State = ContainerRunning; p.Containers[d.ID] = d },
		func(p *Pod) { p.Containers[d.ID].State = ContainerRemoving },
		func(p *Pod) { p.Containers[d.ID].FinishedAt = time.Now() },
		func(p *Pod) { delete(p.Containers, d.ID) },
		func(p *Pod) { p.State = PodRemoving },
	}
	for _, step := range steps {
		if _, err := s.Update(p.ID, func(p *Pod) error { step(p); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(p.ID); err != nil {
		t.Fatal(err)
	}
	s.Close()

	names := map[ChangeKind]string{Created: "created", Started: "started", Stopped: "stopped", Deleted: "deleted"}
	var got []string
	for {
		ch, err := sub.Next(t.Context())
		if err != nil {
			break
		}
		who := "pod "
		if ch.Container != nil {
			who = "container "
		}
		if ch.Pod == nil || ch.At.IsZero() {
			t.Errorf("change %+v lacks pod or time", ch)
		}
		got = append(got, who+names[ch.Kind])
	}
	want := []string{
		"pod created", "pod started", "container created", "container started", "pod stopped",
		"container stopped", "container created", "container started", "container stopped", "container deleted",
		"container deleted", "pod deleted",
	}
	if !slices.Equal(got, want) {
		t.Errorf("changes\n got %q\nwant %q", got, want)
	}
}
