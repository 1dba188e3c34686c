package main

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tare/security"
)

// indispensable are the capabilities that nothing goes without: mounts and namespaces, networks, files and
// processes of other users (capabilities(7)).
var indispensable = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
	"CAP_NET_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_ADMIN"}

// checkPrivileges tells what of the indispensable this process has not, before anything is made with the
// rest.
func checkPrivileges() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // by 32 capabilities, capget(2)
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	return missingPrivileges(uint64(data[1].Effective)<<32 | uint64(data[0].Effective))
}

func missingPrivileges(effective uint64) error {
	needed, err := security.Mask(indispensable)
	if err != nil {
		return err
	}
	if missing := needed &^ effective; missing != 0 {
		return fmt.Errorf("the runtime has to be root of the host: it lacks %s", strings.Join(security.Names(missing), ", "))
	}
	return nil
}
