// Package service tests the runtime as the service that systemd makes of packaging/systemd: what a
// start waits for, and what containers notice of restarts, reloads, crashes and a daemon that hangs (TestService, installed
// by make install); and the Debian package from its installation to its purge (TestPackage).
//
// It installs the runtime on the machine it runs on, so it has to be asked: -args -install. It is made
// for a virtual machine (make test-vm), whose disk is new at each boot.
package service
