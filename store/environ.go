package store

import (
	"unicode/utf8"

	"tare/spec"
)

// environ keeps a container's environment apart from its record where a value is not UTF-8:
// a JSON string would replace such bytes, and CRI's KeyValue.value is bytes.
type environ struct {
	Spec [][]byte // Container.Spec.Env's values, in its order
	OCI  [][]byte // Container.OCI.Process.Env
}

// saveEnviron takes the environments of p that JSON strings cannot hold.
func saveEnviron(p *Pod) map[spec.ContainerID]environ {
	var out map[spec.ContainerID]environ
	for id, c := range p.Containers {
		if validEnv(c) {
			continue
		}
		var e environ
		for _, v := range c.Spec.Env {
			e.Spec = append(e.Spec, []byte(v.Value))
		}
		for _, v := range ociEnv(c) {
			e.OCI = append(e.OCI, []byte(v))
		}
		if out == nil {
			out = make(map[spec.ContainerID]environ)
		}
		out[id] = e
	}
	return out
}

// restoreEnviron is saveEnviron backwards, on a record that nobody else sees yet.
func restoreEnviron(p *Pod, saved map[spec.ContainerID]environ) {
	for id, e := range saved {
		c := p.Containers[id]
		if c == nil || len(c.Spec.Env) != len(e.Spec) || len(ociEnv(c)) != len(e.OCI) {
			continue
		}
		for i, v := range e.Spec {
			c.Spec.Env[i].Value = string(v)
		}
		for i, v := range e.OCI {
			c.OCI.Process.Env[i] = string(v)
		}
	}
}

// validEnv reports whether every value of c's environment is UTF-8.
func validEnv(c *Container) bool {
	for _, v := range c.Spec.Env {
		if !utf8.ValidString(v.Value) {
			return false
		}
	}
	for _, v := range ociEnv(c) {
		if !utf8.ValidString(v) {
			return false
		}
	}
	return true
}

func ociEnv(c *Container) []string {
	if c.OCI == nil || c.OCI.Process == nil {
		return nil
	}
	return c.OCI.Process.Env
}
