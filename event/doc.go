// Package event hands each published value, in order, to every subscriber. It knows nothing of
// what the values mean: package store publishes its changes through it, from the commit of a
// record and from nowhere else.
//
// Publishing never waits. A subscriber that falls behind by more than its queue holds is cut
// off and told so (ErrLagged); it must subscribe again and read the state anew. Dropping
// single events instead would leave it with a picture that is wrong for ever, silently.
//
// Safe for concurrent use. No goroutines.
package event
