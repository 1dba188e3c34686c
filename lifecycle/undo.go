package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"tare/crash"
)

// undo runs step, which takes back what a failed operation had done, on its own deadline, and
// returns the operation's error with that of the step behind it.
func undo(ctx context.Context, cause error, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := step(ctx); err != nil {
		return fmt.Errorf("%w (and undoing it: %v)", cause, err)
	}
	return cause
}

// passed is a crash point among the steps of all.
func passed(point string) func() error { return func() error { crash.Point(point); return nil } }

// all runs every step, whatever the others return, and joins their errors.
func all(steps ...func() error) error {
	var errs []error
	for _, s := range steps {
		errs = append(errs, s())
	}
	return errors.Join(errs...)
}
