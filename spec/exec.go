package spec

// ExecResult is how a synchronous exec ended.
type ExecResult struct {
	Stdout   []byte // at most 16 MiB; what came after is dropped (CVE-2022-1708)
	Stderr   []byte // likewise
	ExitCode int32  // of the command; 128+n if signal n ended it
}
