package seccomp

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tare/spec"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestCache(t *testing.T) {
	var c Cache
	def := spec.Security{Seccomp: spec.Profile{Kind: spec.ProfileRuntimeDefault}}
	var filters [4]*Filter
	var wg sync.WaitGroup
	for i := range filters {
		wg.Go(func() { filters[i], _ = c.Filter(&def, []string{"CAP_KILL", "CAP_CHOWN"}) })
	}
	wg.Wait()
	again, err := c.Filter(&def, []string{"CAP_CHOWN", "CAP_KILL"})
	if err != nil || again == nil {
		t.Fatal(err)
	}
	for _, f := range filters {
		if f != again {
			t.Error("the same profile was made twice")
		}
	}
	if admin, err := c.Filter(&def, []string{"CAP_SYS_ADMIN"}); err != nil || admin == again {
		t.Errorf("capabilities make no difference: %v", err)
	}
	for name, s := range map[string]spec.Security{
		"unset":      {},
		"unconfined": {Seccomp: spec.Profile{Kind: spec.ProfileUnconfined}},
		"privileged": {Privileged: true, Seccomp: def.Seccomp},
	} {
		if f, err := c.Filter(&s, nil); f != nil || err != nil {
			t.Errorf("%s: %v, %v, want no filter", name, f, err)
		}
	}
}

func TestLocalhost(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(content string) string {
		f, err := os.CreateTemp(dir, "*.json")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(content); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	var c Cache
	profile := func(path string) *spec.Security {
		return &spec.Security{Seccomp: spec.Profile{Kind: spec.ProfileLocalhost, Name: path}}
	}
	path := write(`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_AARCH64"],
		"syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}`)
	first, err := c.Filter(profile(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Filter(profile(path), nil); err != nil || again != first {
		t.Errorf("an unchanged file: %v", err)
	}
	if err := os.WriteFile(path, []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := c.Filter(profile(path), nil); err != nil || changed == first {
		t.Errorf("a changed file: %v", err)
	}
	if _, err := c.Filter(profile(filepath.Join(dir, "none")), nil); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("no file: %v, want FailedPrecondition", err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"no JSON":      {write("{"), "unexpected end"},
		"no action":    {write("{}"), "defaultAction"},
		"action":       {write(`{"defaultAction":"SCMP_ACT_NOTIFY"}`), "SCMP_ACT_NOTIFY"},
		"architecture": {write(`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_PDP11"]}`), "SCMP_ARCH_PDP11"},
		"flag":         {write(`{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}`), `flag "X"`},
		"errno":        {write(`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}`), "5000"},
		"argument":     {write(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}`), "syscalls[0]: argument 6"},
		"operator":     {write(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"op":"=="}]}]}`), "operator"},
		"no names":     {write(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_LOG"}]}`), "no names"},
		"listener":     {write(`{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}`), "listenerPath"},
		"directory":    {dir, "regular file"},
		"fifo":         {fifo, "regular file"},
		"too large":    {write(strings.Repeat(" ", maxProfile+1)), "larger"},
	} {
		if _, err := new(Cache).Filter(profile(c.path), nil); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want InvalidArgument with %q", name, err, c.want)
		}
	}
}

func TestCompileInvalid(t *testing.T) {
	if _, err := new(Cache).Compile(&specs.LinuxSeccomp{DefaultAction: "x"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("%v, want InvalidArgument", err)
	}
}

func BenchmarkCompileDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Compile(Default(nil)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCached(b *testing.B) {
	var c Cache
	s := spec.Security{Seccomp: spec.Profile{Kind: spec.ProfileRuntimeDefault}}
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL"}
	for b.Loop() {
		if _, err := c.Filter(&s, caps); err != nil {
			b.Fatal(err)
		}
	}
}
