package apparmor

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

const (
	enabledFile  = "/sys/module/apparmor/parameters/enabled"
	profilesFile = "/sys/kernel/security/apparmor/profiles"
)

// Enabled says why no profile can be applied on this host; nil: they can.
var Enabled = sync.OnceValue(func() error {
	on, err := os.ReadFile(enabledFile)
	switch {
	case os.IsNotExist(err):
		return fmt.Errorf("this kernel has no AppArmor")
	case err != nil:
		return err
	case !bytes.HasPrefix(on, []byte("Y")):
		return fmt.Errorf("AppArmor is not enabled")
	}
	// In a container that does not see it, or not mounted: nobody can tell what is loaded.
	_, err = os.Stat(profilesFile)
	return err
})

// loaded reports whether the kernel has a profile of this name.
func loaded(name string) (bool, error) {
	f, err := os.Open(profilesFile)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return listed(f, name)
}

// listed looks for a name in lines such as "name (enforce)"; names may have spaces.
func listed(profiles io.Reader, name string) (bool, error) {
	lines := bufio.NewScanner(profiles)
	for lines.Scan() {
		if i := strings.LastIndex(lines.Text(), " ("); i >= 0 && lines.Text()[:i] == name {
			return true, nil
		}
	}
	return false, lines.Err()
}

// own is the profile this process runs under, "" if none.
func own() (string, error) {
	label, err := os.ReadFile("/proc/self/attr/apparmor/current")
	if err != nil {
		return "", err
	}
	name, _, confined := strings.Cut(strings.TrimSpace(string(label)), " (")
	if !confined {
		return "", nil
	}
	return name, nil
}
