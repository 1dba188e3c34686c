// Package keeper is the daemon's side of the keeper: it starts one where none runs, connects, and
// asks it to run programs and to hold things.
//
// The keeper (cmd/keeper, package keeper/server) is the parent of containers, copies their output
// into logs, records exits and stores files. It outlives the daemon. What it holds belongs to a key that the
// daemon chooses, the id of a container or of an exec.
//
// The life of a container: the daemon makes the output pipes and opens the log, Run passes them,
// with the program, and returns the pid and a pidfd; signals are sent on the pidfd, without the
// keeper. The end comes as an Exit to Options.Exited, and is kept until Forget. When the keeper is
// killed (Lost), Connect starts another, which takes over all that its guard still holds; what it lacks because the guard was
// killed, too, Adopt and Put hand over from the duplicates of the read ends and of the pidfd that the daemon has. When the daemon is
// killed, the next one finds all in List and takes its duplicates with Fetch.
//
// Who wants to see a container's output as it comes, subscribes, and reads a copy beside the log.
//
// An exec that belongs to one call is run tethered: its exit goes to Ran.Exited and is not kept, and
// if the daemon dies, it is killed.
//
// Errors are classed by errdefs: ErrNotFound, ErrAlreadyExists, ErrFailedPrecondition,
// ErrInvalidArgument for what the keeper refuses, ErrUnavailable when it cannot be reached or
// went away. An *nsutil.OpError names the step of a program that failed.
//
// Concurrency: a Client's methods may be called from any goroutine. Two goroutines belong to it: one
// reads the socket and ends with the connection, the other calls Options.Exited and ends after it.
package keeper
