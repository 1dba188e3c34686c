package cgroup

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func device1(allow bool, kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
	return specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: &major, Minor: &minor, Access: access}
}

func TestParseDevices(t *testing.T) {
	none := specs.LinuxDeviceCgroup{Access: "rwm"}
	all := specs.LinuxDeviceCgroup{Allow: true, Type: "a"}
	for _, c := range []struct {
		name string
		list []specs.LinuxDeviceCgroup
		want string // "!": what the error says
	}{
		{"empty", nil, "default false but "},
		{"all", []specs.LinuxDeviceCgroup{none, all}, "default true but "},
		{"all but one", []specs.LinuxDeviceCgroup{all, device1(false, "b", 8, 0, "w")}, "default true but b 8:0 w"},
		{"merged", []specs.LinuxDeviceCgroup{none, device1(true, "c", 1, 3, "r"), device1(true, "c", 1, 3, "wm")}, "default false but c 1:3 rwm"},
		{"taken back", []specs.LinuxDeviceCgroup{none, device1(true, "c", 1, 3, ""), device1(false, "c", 1, 3, "w")}, "default false but c 1:3 rm"},
		{"taken back by a wider", []specs.LinuxDeviceCgroup{none, device1(true, "c", 1, 3, "rwm"), device1(true, "c", 2, 3, "r"), device1(false, "c", 1, -1, "rwm")}, "default false but c 2:3 r"},
		{"reset", []specs.LinuxDeviceCgroup{all, device1(false, "c", 1, 3, "r"), none}, "default false but "},
		{"hole", []specs.LinuxDeviceCgroup{none, device1(true, "c", 1, -1, "rwm"), device1(false, "c", 1, 3, "w")}, "!is a part of"},
		{"harmless hole", []specs.LinuxDeviceCgroup{none, device1(true, "c", -1, -1, "m"), device1(false, "c", 1, 3, "w")}, "default false but c *:* m"},
		{"type", []specs.LinuxDeviceCgroup{{Type: "p"}}, "!rule 0: device type"},
		{"access", []specs.LinuxDeviceCgroup{none, device1(true, "c", 1, 3, "rx")}, "!rule 1: device access"},
		{"number", []specs.LinuxDeviceCgroup{none, device1(true, "c", 1<<33, 3, "r")}, "!out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := parseDevices(c.list)
			if message, ok := strings.CutPrefix(c.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), message) {
					t.Errorf("%v, want an error with %q", err, message)
				}
			} else if err != nil || d.String() != c.want {
				t.Errorf("got %q, %v, want %q", d, err, c.want)
			}
		})
	}
}

// TestDevices asks the kernel what processes in groups with rules may open and make.
func TestDevices(t *testing.T) {
	none := specs.LinuxDeviceCgroup{Access: "rwm"}
	all := specs.LinuxDeviceCgroup{Allow: true, Type: "a"}
	for _, c := range []struct {
		name  string
		rules []specs.LinuxDeviceCgroup
		want  string // what of: read null, write null, read+write null, read kmsg, make null, make kmsg
	}{
		{"default", nil, "r w rw - mk mkkmsg"},
		{"privileged", []specs.LinuxDeviceCgroup{none, all}, "r w rw kmsg mk mkkmsg"},
		{"nothing", []specs.LinuxDeviceCgroup{none}, "- - - - - -"},
		{"read only", []specs.LinuxDeviceCgroup{none, device1(true, "c", 1, 3, "r")}, "r - - - - -"},
		{"no mknod", []specs.LinuxDeviceCgroup{none, device1(true, "c", 1, 3, "rw")}, "r w rw - - -"},
		{"major", []specs.LinuxDeviceCgroup{none, device1(true, "c", 1, -1, "rm")}, "r - - kmsg mk mkkmsg"},
		{"all but null", []specs.LinuxDeviceCgroup{all, device1(false, "c", 1, 3, "wm")}, "r - - kmsg - mkkmsg"},
	} {
		t.Run(c.name, func(t *testing.T) {
			forEachKind(t, func(t *testing.T, tree *Tree) {
				g := createWith(t, tree, &specs.LinuxResources{Devices: c.rules})
				// Opens in subshells: a redirection of exec that fails ends the shell.
				cmd, out := run(t, g, "cd "+nodes(t)+` || exit 1
try() { w=$1; shift; if ( "$@" ) 2>&-; then printf '%s ' "$w"; else printf -- '- '; fi; }
r() { exec <$1; }; w() { exec >$1; }; rw() { exec <>$1; }
try r r /dev/null; try w w /dev/null; try rw rw /dev/null; try kmsg r kmsg
try mk mknod n c 1 3; try mkkmsg mknod m c 1 11`)
				if err := cmd.Wait(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
				if got := strings.TrimSpace(out.String()); got != c.want {
					t.Errorf("allowed: %s, want %s", got, c.want)
				}
			})
		})
	}
}

// nodes makes a directory with the node of /dev/kmsg, which no container may read.
func nodes(t *testing.T) string {
	dir := t.TempDir()
	if err := unix.Mknod(dir+"/kmsg", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 11))); err != nil {
		t.Fatal(err)
	}
	return dir
}
