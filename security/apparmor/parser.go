package apparmor

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// parserTimeout bounds one run of the parser, which takes a tenth of a second.
const parserTimeout = 30 * time.Second

// Parser returns the path of apparmor_parser(8), or why there is none (exec.ErrNotFound).
func Parser() (string, error) {
	path, err := exec.LookPath("apparmor_parser")
	if err != nil { // a daemon's PATH need not have it
		path, err = exec.LookPath("/usr/sbin/apparmor_parser")
	}
	if err != nil {
		return "", fmt.Errorf("apparmor_parser: %w", exec.ErrNotFound)
	}
	return path, nil
}

// load brings the default profile into the kernel, in the place of one of that name.
func load(ctx context.Context) error {
	parser, err := Parser()
	if err != nil {
		return err
	}
	name, err := own()
	if err != nil {
		return fmt.Errorf("apparmor profile %q: %w", DefaultName, err)
	}
	ctx, cancel := context.WithTimeout(ctx, parserTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, parser, "--replace", "--skip-cache")
	cmd.Stdin = strings.NewReader(defaultText(name))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("load apparmor profile %q: %w: %s", DefaultName, err, bytes.TrimSpace(out))
	}
	return nil
}
