package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// spot is where something is set, and whether as a string.
type spot struct {
	line, column int
	text         bool
}

// places tell where in a file each key is set, and where of each table something is set first.
type places struct {
	keys, tables map[string]spot
}

// keyPlaces reads a file as far as it is TOML.
func keyPlaces(data []byte) places {
	found := places{map[string]spot{}, map[string]spot{}}
	var p unstable.Parser
	p.Reset(data)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = joined("", e.Key())
			found.within(table, at(&p, e))
		case unstable.KeyValue:
			found.note(&p, e, table)
		}
	}
	return found
}

// note notes a key, or those of the table it is given in one line.
func (s places) note(p *unstable.Parser, e *unstable.Node, table string) {
	key, here := joined(table, e.Key()), at(p, e)
	if e.Value().Kind == unstable.InlineTable {
		s.within(key, here)
		for pairs := e.Value().Children(); pairs.Next(); {
			s.note(p, pairs.Node(), key)
		}
		return
	}
	here.text = e.Value().Kind == unstable.String
	s.keys[key] = here
	s.within(parent(key), here)
}

// within notes that something is set in a table, and so in those around it.
func (s places) within(table string, here spot) {
	for ; table != ""; table = parent(table) {
		if _, ok := s.tables[table]; !ok {
			s.tables[table] = here
		}
	}
}

// find is where a key is set or, if it is not, the table around it.
func (s places) find(key string) spot {
	if at, ok := s.keys[key]; ok {
		return at
	}
	for ; key != ""; key = parent(key) {
		if at, ok := s.tables[key]; ok {
			return at
		}
	}
	return spot{line: 1, column: 1}
}

// say names the place of each problem.
func (s places) say(file string, of []problem) error {
	var errs []error
	for _, p := range of {
		at := s.find(p.key)
		errs = append(errs, fmt.Errorf("%s: %w", Origin{file, at.line, at.column}, p))
	}
	return errors.Join(errs...)
}

// capitals finds keys that the decoder takes although they are not spelt as they are here: TOML's keys are case-sensitive,
// and nobody else would find their places.
func (s places) capitals() []problem {
	var found []*problem
	for _, key := range slices.Sorted(maps.Keys(s.keys)) {
		section, option := key[:strings.IndexByte(key+".", '.')], key[strings.LastIndexByte(key, '.')+1:]
		if strings.ToLower(section+option) != section+option {
			found = append(found, wrong(key, "unknown key: keys are in lower case"))
		}
	}
	return problems(found...)
}

// numbers finds spans of time that are no strings: the decoder takes an integer for nanoseconds, and does not say where
// others are.
func (s places) numbers() []problem {
	var found []*problem
	for _, key := range slices.Sorted(maps.Keys(s.keys)) {
		if !s.keys[key].text && isSpan(reflect.TypeFor[Config](), key) {
			found = append(found, wrong(key, "a span of time is in quotes and has a unit: \"30s\""))
		}
	}
	return problems(found...)
}

// isSpan says whether the value of a key below what is of a type is a span of time.
func isSpan(t reflect.Type, key string) bool {
	name, rest, _ := strings.Cut(key, ".")
	switch {
	case t == reflect.TypeFor[Duration]():
		return key == ""
	case key == "":
		return false
	case t.Kind() == reflect.Map:
		return isSpan(t.Elem(), rest)
	case t.Kind() != reflect.Struct:
		return false
	}
	for f := range t.Fields() {
		if f.Tag.Get("toml") == name {
			return isSpan(f.Type, rest)
		}
	}
	return false
}

// at is where an expression begins.
func at(p *unstable.Parser, e *unstable.Node) spot {
	keys := e.Key()
	keys.Next()
	start := p.Shape(keys.Node().Raw).Start
	return spot{line: start.Line, column: start.Column}
}

// parent is the table a key is in, "" if it is in none.
func parent(key string) string { return key[:max(strings.LastIndexByte(key, '.'), 0)] }

func joined(table string, keys unstable.Iterator) string {
	var parts []string
	if table != "" {
		parts = append(parts, table)
	}
	for keys.Next() {
		parts = append(parts, string(keys.Node().Data))
	}
	return strings.Join(parts, ".")
}
