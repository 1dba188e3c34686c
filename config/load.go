package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// dropInDir is the directory of further files, beside the configuration file.
const dropInDir = "config.d"

// Origin is where a value was set.
type Origin struct {
	File         string
	Line, Column int
}

// String is the origin as compilers write it.
func (o Origin) String() string { return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column) }

// Origins tell, by key ("cni.bridge"), where values that are no defaults come from.
type Origins map[string]Origin

// Load reads the file at path over the defaults, and then what is in the directory config.d beside it, *.toml in the
// order of their names: a later file's value replaces an earlier one's, lists as a whole, tables key by key. An
// empty path is DefaultPath, where no file need be; one that was asked for must exist (fs.ErrNotExist). A key
// that does not exist, or a value that cannot be, is an error that names file, line, column and key.
func Load(path string) (Config, Origins, error) {
	files, err := find(path)
	if err != nil {
		return Config{}, nil, fmt.Errorf("configuration: %w", err)
	}
	c, origins := Default(), Origins{}
	for _, file := range files {
		if err := c.read(file, origins); err != nil {
			return Config{}, nil, fmt.Errorf("configuration: %w", err)
		}
	}
	return c, origins, nil
}

// find lists the files there are, in the order in which they count.
func find(path string) (files []string, err error) {
	main := path
	if path == "" {
		main = DefaultPath
	}
	if _, err := os.Stat(main); err == nil {
		files = append(files, main)
	} else if path != "" || !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dir := filepath.Join(filepath.Dir(main), dropInDir)
	entries, err := os.ReadDir(dir) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".toml") || strings.HasPrefix(e.Name(), ".") { // what an editor keeps beside it
			continue
		}
		file := filepath.Join(dir, e.Name())
		if err := readable(file); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// readable refuses what reading would wait for, or never come to the end of: a daemon that reloads would hang there.
// A link to /dev/null is an empty file, as systemd's administrators have it.
func readable(file string) error {
	st, err := os.Stat(file)
	if err != nil || st.Mode().IsRegular() {
		return err
	}
	if null, err := os.Stat(os.DevNull); err == nil && os.SameFile(st, null) {
		return nil
	}
	return fmt.Errorf("read %s: it is not a regular file", file)
}

// read reads one file over what c is, and notes what it sets.
func (c *Config) read(file string, origins Origins) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	err = decode(file, data, c)
	places := keyPlaces(data)
	if wrong := places.numbers(); len(wrong) > 0 {
		return places.say(file, wrong) // better than what the decoder says of them, if anything
	}
	if err != nil {
		return err
	}
	if wrong := places.capitals(); len(wrong) > 0 {
		return places.say(file, wrong)
	}
	for key, at := range places.keys {
		origins[key] = Origin{file, at.line, at.column}
	}
	return places.say(file, c.check()) // of this file: the ones before were in order
}

func decode(file string, data []byte, c *Config) error {
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(c)
	if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var errs []error
		for _, e := range unknown.Errors {
			errs = append(errs, misread(file, &e, "unknown key"))
		}
		return errors.Join(errs...)
	}
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		return misread(file, wrong, inWords(strings.TrimPrefix(wrong.Error(), "toml: ")))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// misread says where in a file something is wrong.
func misread(file string, e *toml.DecodeError, what string) error {
	line, column := e.Position()
	if key := strings.Join(e.Key(), "."); key != "" {
		what = key + ": " + what
	}
	return fmt.Errorf("%s: %s", Origin{file, line, column}, what)
}
