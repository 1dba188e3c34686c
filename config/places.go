package config

import (
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// keyPlaces tells where in a file each key is set. The file has been decoded: there is
// nothing wrong with it.
func keyPlaces(data []byte) map[string]unstable.Position {
	places := map[string]unstable.Position{}
	var p unstable.Parser
	p.Reset(data)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = joined("", e.Key())
		case unstable.KeyValue:
			note(&p, e, table, places)
		}
	}
	return places
}

// note notes a key, or those of the table it is given in one line.
func note(p *unstable.Parser, e *unstable.Node, table string, places map[string]unstable.Position) {
	key := joined(table, e.Key())
	if e.Value().Kind == unstable.InlineTable {
		for pairs := e.Value().Children(); pairs.Next(); {
			note(p, pairs.Node(), key, places)
		}
		return
	}
	keys := e.Key()
	keys.Next()
	places[key] = p.Shape(keys.Node().Raw).Start
}

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
