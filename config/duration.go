package config

import (
	"fmt"
	"time"
)

// Duration is a time span written as Go does: "1m30s".
type Duration time.Duration

// UnmarshalText reads a span, which is never negative.
func (d *Duration) UnmarshalText(text []byte) error {
	span, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no span of time such as \"1m30s\"", text)
	}
	if span < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	*d = Duration(span)
	return nil
}

// MarshalText writes the span.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }
