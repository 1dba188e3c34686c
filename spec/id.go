package spec

import (
	"crypto/rand"
	"encoding/hex"
)

// PodID names one pod sandbox on this node: 64 lower-case hex digits.
type PodID string

// ContainerID names one container on this node: 64 lower-case hex digits.
type ContainerID string

// ImageID is the digest of an image's configuration, "sha256:…": the one identity an image
// keeps whatever it is called, and what CRI calls image id and image_ref.
type ImageID string

// NewPodID returns a fresh random id.
func NewPodID() PodID { return PodID(randomID()) }

// NewContainerID returns a fresh random id.
func NewContainerID() ContainerID { return ContainerID(randomID()) }

// Short is the id's first 12 digits, for names with a length limit and for people.
func (id PodID) Short() string { return short(string(id)) }

// Short is the id's first 12 digits, for names with a length limit and for people.
func (id ContainerID) Short() string { return short(string(id)) }

func short(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

func randomID() string {
	var b [32]byte
	rand.Read(b[:]) // crypto/rand.Read never fails: it ends the program instead
	return hex.EncodeToString(b[:])
}
