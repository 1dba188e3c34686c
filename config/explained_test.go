package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"
)

// TestExplained has the file that is installed be true: it changes nothing as it is, and with its options in
// force it sets each option there is, to its default.
func TestExplained(t *testing.T) {
	got, origins, err := Load(place(t, map[string]string{"config.toml": Explained}))
	if err != nil || !reflect.DeepEqual(got, Default()) || len(origins) > 0 {
		t.Errorf("as it is: %+v, %v, %v", got, origins, err)
	}
	inForce := regexp.MustCompile(`(?m)^#([a-z_]+ = )`).ReplaceAllString(Explained, "$1")
	got, origins, err = Load(place(t, map[string]string{"config.toml": inForce}))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range options(Default()) {
		if set := options(got)[key]; !equal(set, value) {
			t.Errorf("%s is %v, the default is %v", key, set, value)
		}
		if _, ok := origins[key]; !ok {
			t.Errorf("%s is not explained", key)
		}
	}
}

// equal takes an empty list for none.
func equal(a, b reflect.Value) bool {
	return a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 || reflect.DeepEqual(a.Interface(), b.Interface())
}

// options are the values by key.
func options(c Config) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	sections := reflect.ValueOf(c)
	for i := range sections.NumField() {
		section := sections.Field(i)
		if section.Kind() == reflect.Map {
			continue
		}
		for j := range section.NumField() {
			out[sections.Type().Field(i).Tag.Get("toml")+"."+section.Type().Field(j).Tag.Get("toml")] = section.Field(j)
		}
	}
	return out
}

// TestWrite reads what was written, and finds the same.
func TestWrite(t *testing.T) {
	path := place(t, map[string]string{"config.toml": "cni.subnets = ['10.9.0.0/16']\n", "config.d/x.toml": "cni.timeout = '3s'\n"})
	want, origins, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := want.Write(&text, origins); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"# " + path + ":1:1\nsubnets = ['10.9.0.0/16']\n", filepath.Dir(path) + "/config.d/x.toml:1:1\ntimeout = '3s'\n", "# default\nbridge = 'tare0'\n"} {
		if !bytes.Contains(text.Bytes(), []byte(line)) {
			t.Errorf("lacks %q:\n%s", line, text.Bytes())
		}
	}
	written := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(written, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	got, _, err := Load(written)
	if err != nil {
		t.Fatalf("%v\n%s", err, text.Bytes())
	}
	for key, value := range options(want) {
		if !equal(options(got)[key], value) {
			t.Errorf("%s: %v, was %v", key, options(got)[key], value)
		}
	}
}
