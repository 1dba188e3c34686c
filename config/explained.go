package config

import (
	_ "embed"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// Explained is the configuration file that a package installs: every option with its default,
// commented out.
//
//go:embed default.toml
var Explained string

// Write writes the configuration as a file that would give it, each value with where it is from.
func (c Config) Write(w io.Writer, origins Origins) error {
	sections := reflect.ValueOf(c)
	for i := range sections.NumField() {
		name := sections.Type().Field(i).Tag.Get("toml")
		if sections.Field(i).Kind() == reflect.Map {
			continue
		}
		if _, err := fmt.Fprintf(w, "[%s]\n", name); err != nil {
			return err
		}
		if err := writeSection(w, name, sections.Field(i), origins); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	return c.writeHandlers(w, origins)
}

func (c Config) writeHandlers(w io.Writer, origins Origins) error {
	for _, name := range slices.Sorted(maps.Keys(c.Handlers)) {
		section := "handlers." + name
		if _, err := fmt.Fprintf(w, "[%s]\n", section); err != nil {
			return err
		}
		if err := writeSection(w, section, reflect.ValueOf(c.Handlers[name]), origins); err != nil {
			return err
		}
	}
	return nil
}

func writeSection(w io.Writer, section string, values reflect.Value, origins Origins) error {
	for i := range values.NumField() {
		name := values.Type().Field(i).Tag.Get("toml")
		line, err := toml.Marshal(map[string]any{name: values.Field(i).Interface()})
		if err != nil {
			return fmt.Errorf("%s.%s: %w", section, name, err)
		}
		from := "default"
		if origin, ok := origins[section+"."+name]; ok {
			from = origin.String()
		}
		if _, err := fmt.Fprintf(w, "# %s\n%s", from, line); err != nil {
			return err
		}
	}
	return nil
}
