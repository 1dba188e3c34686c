// Package trace tells where the time of an operation goes: OpenTelemetry spans for each RPC and its steps, down to
// the stages of the program a container starts with.
//
// Nouns: a Step is a span of the operation its context belongs to; a Tracer has what is recorded sent to a collector
// (OTLP) and keeps the last operations itself, each a Tree, for "tare trace".
//
// Without a Tracer nothing is recorded: Start is then a look into the context. Safe for concurrent use. Not here: what
// the steps are.
package trace
