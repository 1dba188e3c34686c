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
	if err == nil && span < 0 {
		err = fmt.Errorf("%q is negative", text)
	}
	*d = Duration(span)
	return err
}

// MarshalText writes the span.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }
