package cni

import (
	"os"
	"testing"

	"github.com/containernetworking/cni/pkg/types/create"

	"tare/spec"
)

// Whatever a plugin prints as its result, it has addresses or is refused.
func FuzzResult(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.9.8.7/24","interface":0}]}`))
	f.Add([]byte(`{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.9.8.7/24","interface":-1}]}`))
	f.Add([]byte(`{"cniVersion":"0.2.0","ip4":{"ip":"10.9.8.7/24"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		answer, err := create.CreateFromBytes(data)
		if err != nil {
			return
		}
		r, err := readResult(answer, "net")
		if err == nil && len(r.IPs) == 0 {
			t.Error("a result without an address")
		}
	})
}

// Whatever is found as a configuration or as the record of an attachment, it is one or refused.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"tare-bridge","capabilities":{"portMappings":true}}]}`))
	f.Add([]byte(`{"Pod":"p","NetNS":"/n","Config":{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"x"}]},"Args":[["a","b"]],"Capabilities":{"x":[1]}}`))
	d, err := openRecords(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = parseConfig(data)
		if err := os.WriteFile(d.path("p"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if rec, err := d.read(spec.PodID("p")); err == nil {
			rec.runtimeConf()
			_, _ = parseConfig(rec.Config)
		}
	})
}
