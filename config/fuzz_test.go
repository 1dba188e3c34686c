package config

import "testing"

// Whatever a configuration file holds, it is one or refused.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("cni.timeout = \"1m\"\ncni.subnets = [\"10.0.0.0/8\"]\n[images]\npinned = [\"a*\"]\n"))
	f.Add([]byte("streaming.port = 70000\n[streaming]\naddress = 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = keyPlaces(data).numbers()
		c := Default()
		if decode("config.toml", data, &c) == nil {
			_ = c.check()
		}
	})
}
