package cri

import (
	"encoding/json"
	"fmt"
)

// info is the extra information of a verbose answer: one entry, in JSON.
func info(key string, value any) (map[string]string, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", key, err)
	}
	return map[string]string{key: string(data)}, nil
}
