// Package layers holds the module to the table of its packages (docs/architecture.md): imports
// point down, and what only some packages may touch is touched by no other. It reads what
// the compiler would, for both architectures' files are the same.
package layers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"
)

const module = "tare"

// rows is the table, the highest row first. A package may import those of lower rows.
var rows = [][]string{
	{"cmd/shim", "cmd/keeper", "cmd/tare-bridge", "config"},
	{"cri", "stream"},
	{"lifecycle"},
	{"sandbox", "container", "checkpoint", "images", "stats", "nri"},
	{"store", "keeper", "cni", "logs", "oci", "security"},
	{"spec", "event", "trace"},
	{"nsutil", "cgroup", "crash"},
}

// drawn are the imports that are allowed although they do not point down.
var drawn = map[string]string{
	"container": "sandbox", // a container is started in a pod's namespaces
	"keeper":    "logs",    // the keeper's server copies output into logs
	"cmd/shim":  "config",
	"cgroup":    "spec", // a cgroup is named after a container's id; spec imports nothing
}

// leaves import nothing of the module.
var leaves = map[string]string{
	"config": "whoever reads the configuration depends on nothing but the file",
	"spec":   "every package speaks its types",
	"nsutil": "the keeper links it, and it is the last word on system calls",
}

// outside are directories that are beside the table: they may import anything, nothing in it them.
var outside = []string{"hack", "test"}

// guarded are packages that only some may import, by the reason.
var guarded = []struct {
	path   string // itself or below
	users  []string
	reason string
}{
	{"k8s.io/cri-api/", []string{"cri", "stream", "cmd/shim", "hack", "test"}, "wire types end where requests are converted"},
	{"google.golang.org/grpc/codes", []string{"cri", "hack", "test"}, "error classes become codes in cri/errors.go alone"},
	{"google.golang.org/grpc/status", []string{"cri", "hack", "test"}, "error classes become codes in cri/errors.go alone"},
	{module + "/config", []string{"cmd/shim"}, "parts get the settings they need, not the configuration"},
}

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath                         string
	Dir                                string
	Imports, TestImports, XTestImports []string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Error                              *struct{ Err string }
}

func (p goPackage) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// list reads the module's packages, those only built for some system included.
func list(t *testing.T) []goPackage {
	cmd := exec.Command("go", "list", "-e", "-json", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(out); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Error != nil {
			t.Errorf("%s: %s", p.ImportPath, p.Error.Err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		for _, imported := range p.Imports {
			if reason := verdict(p.name(), imported); reason != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imported, reason)
			}
		}
	}
}

// verdict says what is wrong with an import; empty: nothing.
func verdict(from, to string) string {
	for _, g := range guarded {
		if (to == g.path || strings.HasSuffix(g.path, "/") && strings.HasPrefix(to, g.path)) && !oneOf(from, g.users) && from != g.path {
			return fmt.Sprintf("only %s may: %s", strings.Join(g.users, ", "), g.reason)
		}
	}
	to, ours := strings.CutPrefix(to, module+"/")
	switch {
	case !ours || oneOf(from, outside):
		return ""
	case oneOf(to, outside):
		return "the runtime does not depend on its tests and tools"
	}
	return rowVerdict(from, to)
}

func rowVerdict(from, to string) string {
	if reason := leaves[from]; reason != "" {
		return "it is to import nothing of the module: " + reason
	}
	fromRow, fromTop := place(from)
	toRow, toTop := place(to)
	switch {
	case fromRow < 0:
		return from + " is in no row of the table: enter it in test/layers and docs/architecture.md"
	case toRow < 0:
		return to + " is in no row of the table: enter it in test/layers and docs/architecture.md"
	case fromTop == toTop, fromRow < toRow, drawn[fromTop] == toTop:
		return ""
	case fromRow == toRow:
		return fmt.Sprintf("both are in one row, and no arrow from %s to %s is drawn", fromTop, toTop)
	}
	return fmt.Sprintf("it points up: %s is in a higher row", toTop)
}

// place finds a package's row, 0 being the highest, and the entry it belongs to: itself or a
// directory above.
func place(pkg string) (row int, entry string) {
	for i, r := range rows {
		for _, entry := range r {
			if within(pkg, entry) {
				return i, entry
			}
		}
	}
	return -1, ""
}

func oneOf(pkg string, entries []string) bool {
	for _, e := range entries {
		if within(pkg, e) {
			return true
		}
	}
	return false
}

func within(pkg, entry string) bool { return pkg == entry || strings.HasPrefix(pkg, entry+"/") }

// TestVerdict makes sure that the rules would find something.
func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		bad      string // a word of the reason; empty: allowed
	}{
		{"cri", "tare/spec", ""},
		{"cri", "tare/cri/x", ""},
		{"event", "tare/cri", "points up"},
		{"store", "tare/cni", "one row"},
		{"container", "tare/sandbox", ""},
		{"sandbox", "tare/container", "one row"},
		{"keeper/server", "tare/logs", ""},
		{"cni/bridge", "tare/lifecycle", "points up"},
		{"lifecycle", "k8s.io/cri-api/pkg/apis/runtime/v1", "wire types"},
		{"lifecycle", "google.golang.org/grpc/codes", "error classes"},
		{"cri", "google.golang.org/grpc/status", ""},
		{"lifecycle", "tare/config", "settings"},
		{"cmd/keeper", "tare/config", "settings"},
		{"cmd/shim", "tare/config", ""},
		{"cgroup", "tare/event", "points up"},
		{"nsutil", "tare/cgroup", "nothing of the module"},
		{"config", "tare/spec", "nothing of the module"},
		{"cri", "tare/test/registry", "tests and tools"},
		{"hack/demo", "tare/test/registry", ""},
		{"helpers", "tare/spec", "no row"},
	} {
		t.Run(tt.from+" "+path.Base(tt.to), func(t *testing.T) {
			got := verdict(tt.from, tt.to)
			if (tt.bad == "") != (got == "") || !strings.Contains(got, tt.bad) {
				t.Errorf("%q, want a reason with %q", got, tt.bad)
			}
		})
	}
}
