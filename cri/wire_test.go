package cri

import (
	"bytes"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

func TestImageUser(t *testing.T) {
	tests := []struct {
		config string
		uid    *runtime.Int64Value
		name   string
	}{
		{"", &runtime.Int64Value{}, ""},
		{"0", &runtime.Int64Value{}, ""},
		{"1002", &runtime.Int64Value{Value: 1002}, ""},
		{"1003:users", &runtime.Int64Value{Value: 1003}, ""},
		{"www-data", nil, "www-data"},
		{"www-data:100", nil, "www-data"},
		{":100", &runtime.Int64Value{}, ""},
		{"99999999999", nil, "99999999999"},
	}
	for _, tt := range tests {
		uid, name := imageUser(tt.config)
		if uid.String() != tt.uid.String() || (uid == nil) != (tt.uid == nil) || name != tt.name {
			t.Errorf("%q: %v, %q, want %v, %q", tt.config, uid, name, tt.uid, tt.name)
		}
	}
}

func TestFit(t *testing.T) {
	const limit = 10
	for _, tt := range []struct{ out, err, wantOut, wantErr int }{
		{4, 6, 4, 6}, {20, 3, 7, 3}, {3, 20, 3, 7}, {20, 20, 5, 5}, {5, 20, 5, 5}, {20, 0, 10, 0},
	} {
		out, err := fit(bytes.Repeat([]byte("o"), tt.out), bytes.Repeat([]byte("e"), tt.err), limit)
		if len(out) != tt.wantOut || len(err) != tt.wantErr {
			t.Errorf("%d and %d bytes become %d and %d, want %d and %d", tt.out, tt.err, len(out), len(err), tt.wantOut, tt.wantErr)
		}
	}
}

func TestPodCIDRs(t *testing.T) {
	for text, want := range map[string]int{"": 0, "10.0.0.0/24": 1, "10.0.0.0/24,fd00::/64": 2} {
		if got, err := podCIDRs(text, "pod_cidr"); err != nil || len(got) != want {
			t.Errorf("%q: %v, %v, want %d ranges", text, got, err, want)
		}
	}
	for _, text := range []string{"10.0.0.0", "10.0.0.0/24,", "10.0.0.0/24,10.0.1.0/24"} {
		_, err := podCIDRs(text, "pod_cidr")
		wantInvalid(t, err, "pod_cidr: ")
	}
}

func TestSeconds(t *testing.T) {
	if d, err := seconds(1<<62, "timeout"); err != nil || d <= 0 {
		t.Errorf("a long time is %v, %v", d, err)
	}
	_, err := seconds(-1, "timeout")
	wantInvalid(t, err, "timeout: -1 is negative")
}

func TestAuth(t *testing.T) {
	for _, none := range []*runtime.AuthConfig{nil, {}, {ServerAddress: "s"}} {
		if got, err := auth(none, "auth"); got != nil || err != nil {
			t.Errorf("no credential became %v, %v", got, err)
		}
	}
	got, err := auth(&runtime.AuthConfig{Username: "u", Password: "p", Auth: "dTpw", ServerAddress: "s", IdentityToken: "i", RegistryToken: "r"}, "auth")
	want := spec.Auth{Username: "u", Password: "p", Auth: "dTpw", ServerAddress: "s", IdentityToken: "i", RegistryToken: "r"}
	if err != nil || *got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	const secret = "hunter2"
	for want, a := range map[string]*runtime.AuthConfig{
		"auth.username: ":       {Password: secret},
		"auth.auth: ":           {Auth: secret},
		"auth.registry_token: ": {RegistryToken: secret + "\r\nHost: x"},
		"auth.server_address: ": {RegistryToken: secret, ServerAddress: "a b"},
	} {
		_, err := auth(a, "auth")
		wantInvalid(t, err, want)
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%v shows the secret", err)
		}
	}
}
