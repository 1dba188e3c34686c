package images

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"tare/spec"
)

// Options says where the images are kept and how long a registry may be silent.
type Options struct {
	Root           string        // directory of the store, made if absent; one process at a time
	RegistryConfig string        // certs.d directory of <host>/hosts.toml; may be empty or absent
	AuthFile       string        // credentials for pulls that bring none, as docker login writes them; empty: none
	VerifierDir    string        // programs that judge images; empty: DefaultVerifierDir, if it exists
	KeysDir        string        // private keys for encrypted layers; empty: DefaultDecryptionKeysDir
	Pinned         []string      // references and patterns of images reported as never to be collected
	DialTimeout    time.Duration // to connect to a registry; zero: DefaultDialTimeout
	ReplyTimeout   time.Duration // from a request to the head of its reply; zero: DefaultReplyTimeout
	StallTimeout   time.Duration // between two pieces of a body; zero: DefaultStallTimeout
}

// The deadlines that zero values in Options stand for. None bounds a pull as a whole: a slow
// registry may take its time as long as it moves.
const (
	DefaultDialTimeout  = 10 * time.Second
	DefaultReplyTimeout = 30 * time.Second
	DefaultStallTimeout = 60 * time.Second
)

// Store is the node's images. All methods may be called concurrently.
type Store struct {
	engine     *engine
	registries registries
	verifier   *verifier
	keys       keyring
	catalog    *catalog
	flights    flights
	shared     *keyLocks // blobs and layers in transfer
	janitor    *janitor
	log        *slog.Logger
}

// Open opens the store in o.Root, lists the images that are whole, and removes what a crash left
// of pulls. Layers of images that are no longer listed stay until Sweep, since containers that
// outlived the daemon may run on them. ErrUnavailable: another process has the store open.
func Open(ctx context.Context, o Options, log *slog.Logger) (*Store, error) {
	pinned, err := newPins(o.Pinned)
	if err != nil {
		return nil, err
	}
	registries, err := newRegistries(o)
	if err != nil {
		return nil, err
	}
	verifier, err := newVerifier(o.VerifierDir)
	if err != nil {
		return nil, err
	}
	e, err := openEngine(ctx, o.Root, log)
	if err != nil {
		return nil, fmt.Errorf("open image store %s: %w", o.Root, err)
	}
	c := &catalog{engine: e, holds: newHolds(), pinned: pinned}
	if err := c.load(ctx); err != nil {
		e.close()
		return nil, fmt.Errorf("list images of %s: %w", o.Root, err)
	}
	if err := e.collect(ctx); err != nil { // a full disk must not keep the daemon down
		log.Warn("unfinished pulls could not be removed", "err", err)
	}
	s := &Store{engine: e, registries: registries, verifier: verifier, keys: keyring{cmp.Or(o.KeysDir, DefaultDecryptionKeysDir)}, catalog: c, shared: &keyLocks{}, log: log}
	s.janitor = startJanitor(ctx, c)
	return s, nil
}

// Close ends running pulls, waits for background removal, and closes the files. Directories lent
// by Acquire stay where they are.
func (s *Store) Close() error {
	s.flights.close()
	s.janitor.close()
	if err := s.engine.close(); err != nil {
		return fmt.Errorf("close image store: %w", err)
	}
	return nil
}

// Get finds an image by id (with or without "sha256:", or an unambiguous beginning of it, of twelve digits), by
// tag as people write it ("busybox" is docker.io/library/busybox:latest), or by digest.
func (s *Store) Get(ref string) (spec.Image, error) {
	if img, ok := s.catalog.index().find(ref); ok {
		return img, nil
	}
	return spec.Image{}, fmt.Errorf("image %q: %w", ref, errdefs.ErrNotFound)
}

// List returns the images, ordered by id.
func (s *Store) List() []spec.Image { return s.catalog.index().list() }

// Usage is what the images take: unpacked layers and the blobs kept beside them.
func (s *Store) Usage(context.Context) (spec.FilesystemUsage, error) {
	u := *s.engine.usage.Load()
	u.Time = time.Now() // the numbers change with pulls and removals only, so they are of now
	return u, nil
}

// Acquire returns the directories of the image's layers, the topmost first, and keeps them on
// disk until Release has been called as often as Acquire. It finds a removed image too, while
// something holds it and between Open and Sweep. The slice must not be changed. ErrNotFound.
func (s *Store) Acquire(_ context.Context, id spec.ImageID) ([]string, error) {
	if dirs, ok := s.catalog.holds.acquire(id); ok {
		return dirs, nil
	}
	return nil, fmt.Errorf("layers of image %s: %w", id, errdefs.ErrNotFound)
}

// Release gives back what one Acquire took. If the image has been removed meanwhile and nothing
// else holds it, its layers are deleted in the background.
func (s *Store) Release(id spec.ImageID) {
	if last := s.catalog.holds.release(id); last {
		s.janitor.wake()
	}
}

// Remove takes away the image that ref leads to, with all its tags and digests. An unknown
// reference is no error. Layers that are still acquired stay until they are released.
func (s *Store) Remove(ctx context.Context, ref string) error {
	removed, err := s.catalog.remove(ctx, ref)
	if err != nil {
		return fmt.Errorf("remove image %q: %w", ref, err)
	}
	if !removed {
		return nil
	}
	if err := s.catalog.reap(ctx); err != nil {
		return fmt.Errorf("remove layers of image %q: %w", ref, err)
	}
	return nil
}

// Sweep deletes the layers of images that are neither listed nor acquired. It is called once,
// when start-up recovery has acquired what running containers use.
func (s *Store) Sweep(ctx context.Context) error {
	if err := s.catalog.sweep(ctx); err != nil {
		return fmt.Errorf("sweep images: %w", err)
	}
	return nil
}

// janitor deletes in the background what a Release or a pull left over. It ends at close.
type janitor struct {
	work chan struct{} // capacity 1: several wake-ups before it looks are one
	stop context.CancelFunc
	done sync.WaitGroup
}

func startJanitor(ctx context.Context, c *catalog) *janitor {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	j := &janitor{work: make(chan struct{}, 1), stop: stop}
	j.done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-j.work:
				if err := c.reap(ctx); err != nil && ctx.Err() == nil {
					c.engine.log.Warn("released image layers could not be removed", "err", err)
				}
			}
		}
	})
	return j
}

func (j *janitor) wake() {
	select {
	case j.work <- struct{}{}:
	default: // already told
	}
}

func (j *janitor) close() {
	j.stop()
	j.done.Wait()
}
