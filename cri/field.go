package cri

import (
	"fmt"
	"path"
	"strings"

	"github.com/containerd/errdefs"
)

// field is the path of a request's field, as in api.proto: "linux.sysctls".
type field string

// sub is a field of a message.
func (f field) sub(name string) field {
	if f == "" {
		return field(name)
	}
	return f + "." + field(name)
}

// at is an element of a repeated field.
func (f field) at(i int) field { return field(fmt.Sprintf("%s[%d]", f, i)) }

// key is a value of a map field.
func (f field) key(k string) field { return field(fmt.Sprintf("%s[%q]", f, k)) }

// errorf says what is wrong with the field: ErrInvalidArgument.
func (f field) errorf(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(string(f) + ": " + fmt.Sprintf(format, args...))
}

// required refuses an empty text.
func (f field) required(value string) error {
	if value == "" {
		return f.errorf("must not be empty")
	}
	return f.text(value)
}

// text refuses what no C string can hold.
func (f field) text(value string) error {
	if strings.ContainsRune(value, 0) {
		return f.errorf("contains a NUL byte")
	}
	return nil
}

// texts refuses what no C string can hold, in a list.
func (f field) texts(values []string) error {
	for i, v := range values {
		if err := f.at(i).text(v); err != nil {
			return err
		}
	}
	return nil
}

// known refuses a value that its enumeration has no name for.
func (f field) known(value int32, names map[int32]string) error {
	if _, ok := names[value]; !ok {
		return f.errorf("%d is not known", value)
	}
	return nil
}

// word refuses a text that is empty or would end the word in a configuration file.
func (f field) word(value string) error {
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return f.errorf("%q is not a word", value)
	}
	return nil
}

// pathMax is the longest path the kernel takes at once, without its NUL byte (PATH_MAX, path_resolution(7)).
const pathMax = 4095

// path refuses a text that is longer than any path.
func (f field) path(value string) error {
	if len(value) > pathMax {
		return f.errorf("%d bytes are longer than a path may be: %d", len(value), pathMax)
	}
	return f.text(value)
}

// absolute refuses a path that is not absolute.
func (f field) absolute(value string) error {
	if err := f.required(value); err != nil {
		return err
	}
	if err := f.path(value); err != nil {
		return err
	}
	if !path.IsAbs(value) {
		return f.errorf("%q is not an absolute path", value)
	}
	return nil
}

// within refuses a relative path that leaves the directory it is relative to.
func (f field) within(value string) error {
	if err := f.path(value); err != nil {
		return err
	}
	if clean := path.Clean(value); path.IsAbs(value) || clean == ".." || strings.HasPrefix(clean, "../") {
		return f.errorf("%q is not a path below its directory", value)
	}
	return nil
}
