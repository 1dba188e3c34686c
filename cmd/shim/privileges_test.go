package main

import (
	"strings"
	"testing"

	"tare/security"
)

func TestMissingPrivileges(t *testing.T) {
	all, err := security.Mask(indispensable)
	if err != nil {
		t.Fatal(err)
	}
	one, err := security.Mask([]string{"CAP_NET_ADMIN"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		effective uint64
		words     string
	}{
		{"all", all, ""},
		{"more", ^uint64(0), ""},
		{"one is missing", ^one, "lacks CAP_NET_ADMIN"},
		{"none", 0, "CAP_CHOWN, CAP_DAC_OVERRIDE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := missingPrivileges(c.effective)
			if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v, want %q", err, c.words)
			}
		})
	}
}
