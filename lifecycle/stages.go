package lifecycle

import (
	"context"
	"time"

	"tare/nsutil"
	"tare/trace"
)

// stagesOf is where a program notes how far it has come, if the operation is recorded.
func stagesOf(ctx context.Context) (*nsutil.Stages, error) {
	if !trace.Recording(ctx) {
		return nil, nil
	}
	return nsutil.NewStages()
}

// tellStages records the stages that a program launched at begin has been through. The last one ends with execve, which
// its launcher has been told of by now.
func tellStages(ctx context.Context, s *nsutil.Stages, begin time.Time) {
	past, err := s.Past()
	if err != nil || len(past) == 0 {
		return // nothing is known, and the step shows that
	}
	for _, p := range past {
		trace.Past(ctx, p.Name, begin, p.At)
		begin = p.At
	}
	trace.Past(ctx, "privileges, execve", begin, time.Now())
}
