// Package store keeps the record of every pod sandbox and container of this boot, and the
// tables of the states they go through.
//
// The nouns: a Pod record holds its Container records and is written as one file,
// <dir>/<pod id>.json; a state table says which event leads from which state to which; a
// Change is what the commit of a record tells subscribers. What a record means, and who may
// change it when, is package lifecycle's business.
//
// Records are immutable once stored. A reader gets pointers to them and never waits for a
// writer's I/O: the index is a map under a mutex that is held for look-ups only. A writer
// changes a private copy (Update); the commit is the file's rename, then the new pointer, then the
// Change. Changes of one pod are serialised; those of different pods run side by side.
//
// The files belong to this boot (a tmpfs), so nothing is synced: rename alone makes a commit
// whole or absent for a daemon that is killed at any point.
package store
