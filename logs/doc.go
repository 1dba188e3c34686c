// Package logs writes the output of containers into log files as the kubelet reads them.
//
// A Log is one container's file; a Stream is one of its outputs, which copies a pipe or a terminal
// into the Log until its end. A line of output becomes one record
//
//	2016-10-06T00:17:09.669794202Z stdout F the line
//
// (kubernetes/design-proposals-archive, node/kubelet-cri-logging.md): time in UTC, stream, a tag, the
// content. F ends a line; P says that the line goes on in the stream's next record. A line is cut by
// P records where it is longer than 16 KiB, where its end has not come for a while (a prompt; nothing
// is held back from the reader, nor kept in memory), and at the end of the output, where it has no
// end: so that putting the contents together, with a newline after each F, gives the output byte for byte.
// A carriage return before a newline is taken off a terminal's output, where the line discipline put
// it (ONLCR, termios(3)), and kept in a pipe's, where the program did.
//
// A Follower gets a copy of a stream's output as it comes, for people who watch. It never holds up
// container or log for longer than a moment: one that does not keep up is dropped.
//
// On its way, output lies in a Spool's buffers, memory files that outlive the process: whoever has them, the sources and the log
// goes on where it was killed, and no byte is lost or written twice.
//
// What is not here: rotation (the kubelet renames and calls Reopen through others), reading, and
// any knowledge of containers.
//
// Concurrency: the Streams of one Log run in goroutines of their own; records never mix within a
// line of the file.
package logs
