package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"tare/spec"
	"tare/trace"
)

// File is one file of the pod that its containers see, below Plan.Dir.
type File struct {
	Name string // its name there
	Path string // where containers see it
	data func() ([]byte, error)
}

// Names of the files.
const (
	resolvConf   = "resolv.conf"
	hostnameFile = "hostname"
	hostsFile    = "hosts"
)

func files(pod *spec.Pod) []File {
	return []File{
		{resolvConf, "/etc/resolv.conf", func() ([]byte, error) { return resolv(pod.DNS) }},
		{hostnameFile, "/etc/hostname", func() ([]byte, error) { return hostname(pod) }},
		{hostsFile, "/etc/hosts", func() ([]byte, error) { return hosts(pod, nil) }},
	}
}

// ContainerFiles are the pod's files with their host paths, as containers mount them.
func ContainerFiles(dir string) []File {
	out := files(&spec.Pod{})
	for i := range out {
		out[i].Name = filepath.Join(dir, out[i].Name)
	}
	return out
}

// write makes the files. They are readable by everybody: a container's user has to be able to.
func (p *Plan) write(ctx context.Context) (err error) {
	_, step := trace.Start(ctx, "files")
	defer step.End(&err)
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return fmt.Errorf("make sandbox directory: %w", err)
	}
	for _, f := range p.Files {
		data, err := f.data()
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(p.Dir, f.Name), data); err != nil {
			return fmt.Errorf("write %s of the pod: %w", f.Name, err)
		}
	}
	return nil
}

func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644) // whatever the umask is
}

// WriteHosts writes the pod's /etc/hosts anew, now that its addresses are known. The kubelet
// mounts its own over it; others see the pod's name there.
func WriteHosts(dir string, pod *spec.Pod, ips []netip.Addr) error {
	data, err := hosts(pod, ips)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, hostsFile), data); err != nil {
		return fmt.Errorf("write hosts of the pod: %w", err)
	}
	return nil
}

func hosts(pod *spec.Pod, ips []netip.Addr) ([]byte, error) {
	if pod.Namespaces.Network == spec.ModeNode {
		return hostCopy("/etc/hosts")
	}
	name, err := Hostname(pod)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, ip := range ips {
		fmt.Fprintf(&b, "%s\t%s\n", ip, name)
	}
	return b.Bytes(), nil
}

// Hostname is what gethostname(2) says in the pod: a pod without a name of its own has the host's,
// also in a UTS namespace of its own, which begins as a copy.
func Hostname(pod *spec.Pod) (string, error) {
	if pod.Hostname != "" {
		return pod.Hostname, nil
	}
	return os.Hostname()
}

func hostname(pod *spec.Pod) ([]byte, error) {
	name, err := Hostname(pod)
	return []byte(name + "\n"), err
}

// resolv is resolv.conf(5) from a DNS configuration, or the host's.
func resolv(d spec.DNS) ([]byte, error) {
	if len(d.Servers)+len(d.Searches)+len(d.Options) == 0 {
		return hostCopy("/etc/resolv.conf")
	}
	var b bytes.Buffer
	if len(d.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.Searches, " "))
	}
	for _, s := range d.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(d.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.Options, " "))
	}
	return b.Bytes(), nil
}

// hostCopy is a file of the host; one that is not there counts as empty.
func hostCopy(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	return data, err
}
