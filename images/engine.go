package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	cimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"tare/spec"
)

const (
	// namespace is containerd's word for a tenant of its database; there is one here.
	namespace = "tare"
	// snapshotterName must be this one: core/unpack gives layers whose parent is set at commit
	// overlay's whiteouts only under that name (bindToOverlay).
	snapshotterName = "overlayfs"
	// openTimeout bounds the wait for another process to let go of the store.
	openTimeout = 5 * time.Second
)

// engine is containerd's storage, put together: blobs, layers, and the database that knows which
// of them are needed.
type engine struct {
	root    string
	blobs   content.Store // below the database: what is really on disk
	db      *metadata.DB
	content content.Store
	layers  snapshots.Snapshotter
	records cimages.Store
	leases  leases.Manager
	usage   atomic.Pointer[spec.FilesystemUsage]
	sweeper sync.Mutex // held by collect: who comes second finds done what the first one began
	log     *slog.Logger
}

func openEngine(ctx context.Context, root string, log *slog.Logger) (*engine, error) {
	// Layers hold setuid programs, which no user of the host may reach (CVE-2021-41103). Overlayfs
	// reads its layers with the credentials of who mounted it, so containers are not hindered.
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	file, err := bolt.Open(filepath.Join(root, "meta.db"), 0o600, &bolt.Options{
		Timeout:        openTimeout,
		NoFreelistSync: true, // one page less to write per commit
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("held by another process: %w", errdefs.ErrUnavailable)
	}
	if err != nil {
		return nil, err
	}
	e := &engine{root: root, log: log}
	e.usage.Store(&spec.FilesystemUsage{Mountpoint: root}) // until something is counted, which may fail
	if err := e.assemble(ctx, file); err != nil {
		file.Close()
		return nil, err
	}
	return e, nil
}

// assemble builds the stores on an open database file, which it owns only if it succeeds.
func (e *engine) assemble(ctx context.Context, file *bolt.DB) error {
	for _, dir := range []string{"content", "overlay"} {
		if err := os.Mkdir(filepath.Join(e.root, dir), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	// Downloads in progress, which nobody resumes: what a crash left here may lack the file by
	// which the content store would know it.
	if err := os.RemoveAll(filepath.Join(e.root, "content", "ingest")); err != nil {
		return err
	}
	blobs, err := local.NewStore(filepath.Join(e.root, "content"))
	if err != nil {
		return fmt.Errorf("open blobs: %w", err)
	}
	// Asynchronous removal: directories are deleted after the database has let go of its locks,
	// so that a pull does not wait for a large image to disappear.
	layers, err := overlay.NewSnapshotter(filepath.Join(e.root, "overlay"),
		overlay.AsynchronousRemove, overlay.WithUpperdirLabel)
	if err != nil {
		return fmt.Errorf("open layers: %w", err)
	}
	db := metadata.NewDB(file, blobs, map[string]snapshots.Snapshotter{snapshotterName: layers})
	if err := db.Init(ctx); err != nil {
		layers.Close()
		return fmt.Errorf("open database: %w", err)
	}
	e.blobs, e.db = blobs, db
	e.content, e.layers = db.ContentStore(), db.Snapshotter(snapshotterName)
	e.records, e.leases = metadata.NewImageStore(db), metadata.NewLeaseManager(db)
	e.dropUnfinished(e.scope(ctx))
	return nil
}

func (e *engine) close() error { return errors.Join(e.layers.Close(), e.db.Close()) }

// scope returns ctx with what containerd's packages look for in it: namespace and logger.
func (e *engine) scope(ctx context.Context) context.Context {
	return withLogger(namespaces.WithNamespace(ctx, namespace), e.log)
}

// dropUnfinished lets go of what pulls of an earlier process held, so that the next collection
// takes it. Nothing here is worth failing for: what stays is found again at the next start.
func (e *engine) dropUnfinished(ctx context.Context) {
	held, err := e.leases.List(ctx)
	for _, l := range held {
		err = errors.Join(err, e.leases.Delete(ctx, l))
	}
	// Blobs and layers which a crash kept from the database are compared with it only by a
	// collection that has seen something of their kind go.
	var orphans []content.Info
	walkErr := e.blobs.Walk(ctx, func(i content.Info) error {
		if _, err := e.content.Info(ctx, i.Digest); errdefs.IsNotFound(err) {
			orphans = append(orphans, i)
		}
		return nil
	})
	if !errors.Is(walkErr, os.ErrNotExist) { // no blob was ever written
		err = errors.Join(err, walkErr)
	}
	for _, i := range orphans {
		err = errors.Join(err, e.blobs.Delete(ctx, i.Digest))
	}
	const probe = "compare-layers"
	if _, prepareErr := e.layers.Prepare(ctx, probe, ""); prepareErr != nil && !errdefs.IsAlreadyExists(prepareErr) {
		err = errors.Join(err, prepareErr)
	} else {
		err = errors.Join(err, e.layers.Remove(ctx, probe))
	}
	for _, file := range []string{"meta.db", "overlay/metadata.db"} {
		err = errors.Join(err, reserve(filepath.Join(e.root, file)))
	}
	if err != nil {
		e.log.Warn("leftovers of unfinished pulls stay for now", "err", err)
	}
}

// reserved is the room a database is given. Records of five hundred layers take half of it.
const reserved = 2 << 20

// reserve gives a database its disk space in advance: on a full disk, removing an image has to
// write to it. Nor does containerd survive a database that cannot write while a download begins:
// it loses the open file and its lock (metadata.contentStore.Writer).
//
// The space is written, not just allocated: then a commit's fdatasync changes no extent and need
// not wait for a journal that ext4 lets wait for the layers being unpacked.
func reserve(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // not yet written to
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() >= reserved {
		return err
	}
	if _, err := f.WriteAt(make([]byte, reserved-st.Size()), st.Size()); err != nil {
		return err
	}
	return f.Sync()
}

// lease returns a context under which nothing that is fetched or unpacked can be collected, and
// the function that ends this.
func (e *engine) lease(ctx context.Context) (context.Context, func() error, error) {
	l, err := e.leases.Create(ctx, leases.WithRandomID())
	if err != nil {
		return nil, nil, fmt.Errorf("lease: %w", err)
	}
	end := context.WithoutCancel(ctx)
	return leases.WithLease(ctx, l.ID), func() error { return e.leases.Delete(end, l) }, nil
}

// collect removes blobs and layers that nothing refers to, and counts what is left.
func (e *engine) collect(ctx context.Context) error {
	ctx = e.scope(context.WithoutCancel(ctx))
	e.sweeper.Lock()
	defer e.sweeper.Unlock()
	if _, err := e.db.GarbageCollect(ctx); err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	return e.count(ctx)
}

// count brings usage up to date. Sizes of layers were measured when they were committed.
func (e *engine) count(ctx context.Context) error {
	u := spec.FilesystemUsage{Mountpoint: e.root}
	var names []string
	err := e.layers.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind == snapshots.KindCommitted {
			names = append(names, i.Name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list layers: %w", err)
	}
	for _, name := range names {
		l, err := e.layers.Usage(ctx, name)
		if err != nil && !errdefs.IsNotFound(err) { // collected since it was listed
			return fmt.Errorf("usage of layer %s: %w", name, err)
		}
		u.Bytes += uint64(l.Size)
		u.Inodes += uint64(l.Inodes)
	}
	err = e.content.Walk(ctx, func(i content.Info) error {
		u.Bytes += uint64(i.Size)
		u.Inodes++
		return nil
	})
	if err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	e.usage.Store(&u)
	return nil
}
