package registry

import (
	"fmt"
	"os"
	"path/filepath"
)

// WriteCertsDir writes dir/<host>/hosts.toml for every host, in containerd's
// layout, so that a runtime whose registry.config_path is dir pulls from the
// server at addr (host:port) over plain http, and from nowhere else.
func WriteCertsDir(dir, addr string, hosts ...string) error {
	for _, host := range append([]string{addr}, hosts...) {
		path := filepath.Join(dir, host, "hosts.toml")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		text := fmt.Sprintf("server = \"http://%[1]s\"\n\n[host.\"http://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", addr)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
