// Command attack is the moves of known container escapes, for the tests of test/pod: they put it into an image, or
// run it beside one, and see that it gets nowhere. A shell cannot do these: they are races, or system calls of
// their own.
//
//	attack swap A B        exchange two names, over and over (renameat2(2), RENAME_EXCHANGE)
//	attack hunt CANARY MOUNT DEVICE
//	                       look for processes through which CANARY, a file of the host, or their memory can be reached,
//	                       or that show MOUNT or DEVICE, a mount point and a network device of the host
//	attack stop            stop every other process in sight, over and over (kill(2), SIGSTOP)
//	attack trace           trace every other process in sight and keep it (ptrace(2))
//	attack possess PID     trace that process
//	attack overwrite PATH  write into the file that PATH, such as /proc/1/exe, leads to
//	attack handle CANARY   open CANARY by file handles that are guessed (open_by_handle_at(2))
//	attack abstract        connect to every abstract socket in sight (unix(7))
//	attack release [here]  mount cgroup v1 and write release_agent and devices.allow, as root of a new user namespace or as it is
//	attack push TTY LINE   type a line into a terminal (ioctl_tty(2), TIOCSTI)
//	attack keyring         print the number of the session keyring (keyctl(2))
//
// What runs over and over ends by SIGKILL. All else exits with 0 if it got where it wanted, and says so in a line
// that begins with "escaped", and with 1 if not; keyring only prints.
package main
