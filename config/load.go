package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Load reads the file at path over the defaults. An empty path is DefaultPath, where no file need
// be; one that was asked for must exist (fs.ErrNotExist). A key that does not exist, or a value that
// cannot be, is an error that names file, line and key.
func Load(path string) (Config, error) {
	asked := path != ""
	if !asked {
		path = DefaultPath
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !asked {
		return Default(), nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	c := Default()
	if err := decode(data, &c); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

func decode(data []byte, c *Config) error {
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(c)
	if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var errs []error
		for _, e := range unknown.Errors {
			errs = append(errs, at(&e, "unknown key"))
		}
		return errors.Join(errs...)
	}
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		return at(wrong, strings.TrimPrefix(wrong.Error(), "toml: "))
	}
	return err
}

// at says where in the file something is wrong.
func at(e *toml.DecodeError, what string) error {
	line, _ := e.Position()
	if key := strings.Join(e.Key(), "."); key != "" {
		return fmt.Errorf("line %d: %s: %s", line, key, what)
	}
	return fmt.Errorf("line %d: %s", line, what)
}
