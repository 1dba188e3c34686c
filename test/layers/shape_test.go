package layers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shape is what the scorecard's measures are taken of.
type shape struct {
	root      string
	files     []source            // shipped
	any       []source            // tests, too
	imports   map[string][]string // of each package, in the module
	wire      []string            // packages that import CRI's wire types
	lines     int
	functions []function
	methods   map[string]int // of each type, by package and name
	contexts  []string       // structs that hold one
}

// source is one file.
type source struct {
	pkg, path string
	lines     int
	tree      *ast.File
	set       *token.FileSet
}

// function is a declared or literal one.
type function struct {
	name              string
	lines, parameters int
}

// vocabularies are types with a method for each word of a language: RPC servers, and the like.
var vocabularies = map[string]string{
	"cri.Server":           "CRI's calls",
	"keeper/server.Server": "the keeper's requests",
	"nsutil.Builder":       "the operations of a program, most of them a system call",
}

// dictated are methods whose parameters an interface outside of the module lays down.
var dictated = map[string]string{
	"adapter.Exec":                    "k8s.io/cri-streaming, streaming.Runtime",
	"adapter.Attach":                  "k8s.io/cri-streaming, streaming.Runtime",
	"counter.RecordPluginAdjustments": "github.com/containerd/nri, adaptation.Metrics",
}

// wireTypes is the import path that wire types have.
const wireTypes = "k8s.io/cri-api/"

// measure reads the module.
func measure(t *testing.T) *shape {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	m := &shape{root: root, methods: map[string]int{}, imports: map[string][]string{}}
	for _, p := range list(t) {
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			m.addAny(parse(t, filepath.Join(p.Dir, name), nil))
		}
		if oneOf(p.name(), outside) {
			continue
		}
		for _, name := range p.GoFiles {
			m.add(p.name(), parse(t, filepath.Join(p.Dir, name), nil))
		}
		m.addImports(p)
	}
	return m
}

func parse(t *testing.T, path string, text any) source {
	t.Helper()
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return source{path: path, tree: tree, set: set, lines: set.File(tree.Pos()).LineCount()}
}

func (m *shape) addAny(f source) { m.any = append(m.any, f) }

// add takes a shipped file in.
func (m *shape) add(pkg string, f source) {
	f.pkg = pkg
	m.files, m.lines = append(m.files, f), m.lines+f.lines
	at := func(n ast.Node) string {
		return fmt.Sprintf("%s:%d", rel(m.root, f.path), f.set.Position(n.Pos()).Line)
	}
	ast.Inspect(f.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			m.addFunction(pkg, n, function{at(n) + " " + n.Name.Name, f.span(n), parameters(n.Type)})
		case *ast.FuncLit: // its lines are its function's
			m.functions = append(m.functions, function{name: at(n), parameters: parameters(n.Type)})
		case *ast.StructType:
			for _, field := range n.Fields.List {
				if isContext(field.Type) {
					m.contexts = append(m.contexts, at(field))
				}
			}
		}
		return true
	})
}

func (m *shape) addFunction(pkg string, n *ast.FuncDecl, f function) {
	if n.Recv != nil {
		of := receiver(n.Recv.List[0].Type)
		m.methods[pkg+"."+of]++
		if dictated[of+"."+n.Name.Name] != "" {
			f.parameters = 0
		}
	}
	m.functions = append(m.functions, f)
}

// addImports notes what a shipped package imports of the module, and of CRI.
func (m *shape) addImports(p goPackage) {
	for _, imported := range p.Imports {
		if name, ours := strings.CutPrefix(imported, module+"/"); ours {
			m.imports[p.name()] = append(m.imports[p.name()], name)
		}
	}
	uses := slices.ContainsFunc(p.Imports, func(i string) bool { return strings.HasPrefix(i, wireTypes) })
	if uses && !strings.HasPrefix(p.name(), "cmd/") {
		m.wire = append(m.wire, p.name())
	}
}

func (f source) span(n ast.Node) int {
	return f.set.Position(n.End()).Line - f.set.Position(n.Pos()).Line + 1
}

// parameters counts a function's parameters without its context.
func parameters(f *ast.FuncType) (n int) {
	for _, p := range f.Params.List {
		if !isContext(p.Type) {
			n += max(1, len(p.Names))
		}
	}
	return n
}

func isContext(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == "context" && sel.Sel.Name == "Context"
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

func longFunctions(m *shape) (float64, string) {
	var names []string
	long := 0
	for _, f := range m.functions {
		if f.lines > 100 {
			long += f.lines
			names = append(names, f.name)
		}
	}
	return 100 * float64(long) / float64(max(1, m.lines)), strings.Join(names, ", ")
}

func mostMethods(m *shape) (most float64, where string) {
	for _, name := range slices.Sorted(maps.Keys(m.methods)) {
		if n := float64(m.methods[name]); n > most && vocabularies[name] == "" {
			most, where = n, name
		}
	}
	return most, where
}

func mostParameters(m *shape) (most float64, where string) {
	var names []string
	for _, f := range m.functions {
		switch n := float64(f.parameters); {
		case n > most:
			most, names = n, []string{f.name}
		case n == most && n > 4:
			names = append(names, f.name)
		}
	}
	return most, strings.Join(names, ", ")
}

// longestChain counts the packages of the longest path of imports.
func longestChain(m *shape) (float64, string) {
	longest := map[string][]string{} // from a package on
	var from func(pkg string) []string
	from = func(pkg string) []string {
		if chain, known := longest[pkg]; known {
			return chain
		}
		var below []string
		for _, next := range m.imports[pkg] {
			if chain := from(next); len(chain) > len(below) {
				below = chain
			}
		}
		longest[pkg] = append([]string{pkg}, below...)
		return longest[pkg]
	}
	var most []string
	for _, pkg := range slices.Sorted(maps.Keys(m.imports)) {
		if chain := from(pkg); len(chain) > len(most) {
			most = chain
		}
	}
	return float64(len(most)), strings.Join(most, " → ")
}

func wireUsers(m *shape) (float64, string) { return float64(len(m.wire)), strings.Join(m.wire, ", ") }

func storedContexts(m *shape) (float64, string) {
	return float64(len(m.contexts)), strings.Join(m.contexts, ", ")
}

func largestFile(m *shape) (most float64, where string) {
	for _, f := range m.any {
		if n := float64(f.lines); n > most {
			most, where = n, rel(m.root, f.path)
		}
	}
	return most, where
}

// citation is a manual page, a kernel document or source file, a commit, a KEP or a CVE.
var citation = regexp.MustCompile(`\b[a-z_]\w*\([1-9]\w*\)|Documentation/|\b[\w-]+\.rst\b|\b\w+/[\w/-]+\.c\b|\bcommit [0-9a-f]{12}|\bKEP-\d+|\bCVE-\d+`)

// citing makes the measure of the comments of a package that cite.
func citing(pkg string) func(m *shape) (float64, string) {
	return func(m *shape) (float64, string) {
		comments, lines := 0, 0
		for _, f := range m.files {
			if !within(f.pkg, pkg) {
				continue
			}
			lines += f.lines
			for _, group := range f.tree.Comments {
				if citation.MatchString(group.Text()) {
					comments++
				}
			}
		}
		return 1000 * float64(comments) / float64(max(1, lines)), fmt.Sprintf("%d in %d lines", comments, lines)
	}
}

// stand-ins for the kernel or for packages of ours, by what people call them.
var fakeName = regexp.MustCompile(`^([Ff]ake|[Mm]ock|[Ss]tub)([A-Z_0-9]|$)`)

func fakes(m *shape) (float64, string) {
	var found []string
	for _, f := range m.any {
		ast.Inspect(f.tree, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && fakeName.MatchString(spec.Name.Name) {
				found = append(found, rel(m.root, f.path)+" "+spec.Name.Name)
			}
			return true
		})
	}
	return float64(len(found)), strings.Join(found, ", ")
}
