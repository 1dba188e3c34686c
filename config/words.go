package config

import (
	"regexp"
	"strings"
)

// goTypes are the types of the structs that are decoded into, in words that people who have not seen them understand.
var goTypes = map[string]string{
	"string": "a string", "[]string": "a list of strings", "bool": "true or false",
	"int": "an integer", "uint16": "an integer", "float64": "a number",
}

var (
	mismatch  = regexp.MustCompile(`^cannot decode TOML (.+?) into (?:struct field \S+ of type )?(\S+)$`)
	outOfPort = regexp.MustCompile(`^(?:negative )?integer value (-?\d+) cannot be stored in uint16$`)
)

// inWords says what the decoder says without Go's types.
func inWords(what string) string {
	if m := mismatch.FindStringSubmatch(what); m != nil {
		want, ok := goTypes[m[2]]
		if !ok {
			want = "a table"
		}
		return "found " + article(m[1]) + ", but the value has to be " + want
	}
	if m := outOfPort.FindStringSubmatch(what); m != nil {
		return m[1] + " is not between 0 and 65535"
	}
	if what == "cannot store an array table in a struct" {
		return "a table is in single brackets: it is no list"
	}
	return what
}

func article(of string) string {
	if strings.ContainsAny(of[:1], "aeiou") {
		return "an " + of
	}
	return "a " + of
}
