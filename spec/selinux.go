package spec

// Labels are SELinux contexts. The zero value is none: SELinux is off.
type Labels struct {
	Process string // what processes run under; empty: the keeper's own, as for privileged containers
	Mount   string // what their files carry; empty: what the files have
}
