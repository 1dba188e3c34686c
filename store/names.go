package store

import "fmt"

// name is the text of an enum value, also of one that does not exist.
func name[E ~int](names map[E]string, e E) string {
	if n, ok := names[e]; ok {
		return n
	}
	return fmt.Sprintf("%d", int(e))
}

func marshalName[E ~int](names map[E]string, e E) ([]byte, error) {
	n, ok := names[e]
	if !ok {
		return nil, fmt.Errorf("state %d does not exist", int(e))
	}
	return []byte(n), nil
}

func unmarshalName[E ~int](names map[E]string, e *E, text string) error {
	for v, n := range names {
		if n == text {
			*e = v
			return nil
		}
	}
	return fmt.Errorf("state %q does not exist", text)
}
