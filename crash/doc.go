// Package crash names the moments between two steps of an operation, so that a test can kill the daemon, the
// keeper, or both exactly there.
//
// A step ends with a Point. In an ordinary build Point is an empty function that the compiler removes with its
// argument. Built with the tag crashpoints, it looks for orders in the state directory:
//
//	crash.plan    "NAME N VICTIMS": at the Nth passing of NAME, counted from the moment the plan is there,
//	              the plan is removed and the victims are killed by SIGKILL: daemon, keeper, or both
//	crash.victims "[PID ...]": who is about to be killed, there after the plan is gone
//	crash.trace   if it exists, the name of every point is appended as it is passed
//
// So the trace of an operation lists the moments to kill at, and a step that is added is killed at without anybody
// having to think of it.
package crash
