package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"testing"
)

const unixPackage = "golang.org/x/sys/unix"

// doors are the packages that may make the calls below. Constants may be used by all.
var doors = []string{"nsutil", "cgroup", "test"}

// doorCalls are the functions by which one enters namespaces, makes processes in them, and
// mounts. Where a raw number serves, SYS_ constants of the same names are caught, too.
var doorCalls = map[string]bool{
	"Setns": true, "Unshare": true, "Clone": true, "CloneArgs": true,
	"Mount": true, "Unmount": true, "MountSetattr": true, "MoveMount": true, "OpenTree": true, "PivotRoot": true, "Chroot": true,
	"Fsopen": true, "Fsmount": true, "Fspick": true, "FsconfigCreate": true, "FsconfigSetFd": true, "FsconfigSetString": true, "FsconfigSetFlag": true,
	"SYS_SETNS": true, "SYS_UNSHARE": true, "SYS_CLONE": true, "SYS_CLONE3": true,
	"SYS_MOUNT": true, "SYS_UMOUNT2": true, "SYS_MOUNT_SETATTR": true, "SYS_MOVE_MOUNT": true, "SYS_OPEN_TREE": true, "SYS_PIVOT_ROOT": true,
	"SYS_FSOPEN": true, "SYS_FSMOUNT": true, "SYS_FSCONFIG": true,
}

// TestDoors finds calls that belong behind the doors. Tests of packages may make them, to look at
// what was made.
func TestDoors(t *testing.T) {
	for _, p := range list(t) {
		if oneOf(p.name(), doors) {
			continue
		}
		for _, name := range p.GoFiles {
			checkFile(t, filepath.Join(p.Dir, name), p.name())
		}
	}
}

func checkFile(t *testing.T, file, pkg string) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return
	}
	names := syscallNames(tree)
	ast.Inspect(tree, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if ok && names[x.Name] && doorCalls[sel.Sel.Name] {
			t.Errorf("%s: %s uses %s.%s: mounts, clone and setns are made in nsutil and cgroup alone",
				set.Position(sel.Pos()), pkg, x.Name, sel.Sel.Name)
		}
		return true
	})
}

// syscallNames are the names by which a file knows the packages of system calls.
func syscallNames(tree *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, imp := range tree.Imports {
		path, _ := strconv.Unquote(imp.Path.Value) // the parser has accepted it
		if path != unixPackage && path != "syscall" {
			continue
		}
		name := filepath.Base(path)
		if imp.Name != nil {
			name = imp.Name.Name
		}
		names[name] = true
	}
	return names
}
