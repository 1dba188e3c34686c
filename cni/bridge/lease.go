package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
)

// leases are the addresses of one network that are taken. A lease is a symbolic link in dir,
// named by the address, whose target is the owner: symlink(2) creates it with its content or
// fails with EEXIST, in one step, so that no lock, temporary file or half-written lease exists
// between processes or after a crash.
//
// Allocation goes on from the subnet's last lease, so that an address rests as long as possible
// before the next pod gets it. These cursors are kept in memory and saved by close as links
// "cursor-…": an inode less to create at each ADD (0.6 ms on an ext4 that has just seen many
// deletions), and one that is lost or stale costs nothing but the rest.
type leases struct {
	dir string

	mu      sync.Mutex
	held    map[string][]netip.Addr // by owner: a hint that spares reading dir, verified when used
	cursors map[netip.Prefix]netip.Addr
}

// openLeases makes dir if need be.
func openLeases(dir string) (*leases, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make lease directory: %w", err)
	}
	return &leases{dir: dir, held: make(map[string][]netip.Addr), cursors: make(map[netip.Prefix]netip.Addr)}, nil
}

func (l *leases) path(a netip.Addr) string { return filepath.Join(l.dir, a.String()) }

// acquire takes one address for each family of the subnets. On error nothing is held.
// ErrResourceExhausted: every address of a family's subnets is taken.
func (l *leases) acquire(owner string, subnets []netip.Prefix) ([]netip.Prefix, error) {
	var got []netip.Prefix
	var addrs []netip.Addr
	for _, family := range byFamily(subnets) {
		p, err := l.acquireOne(owner, family)
		if err != nil {
			return nil, errors.Join(err, l.remove(owner, addrs))
		}
		got = append(got, p)
		addrs = append(addrs, p.Addr())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[owner] = addrs
	return got, nil
}

// acquireOne takes an address of the first subnet that has one, with that subnet's length.
func (l *leases) acquireOne(owner string, subnets []netip.Prefix) (netip.Prefix, error) {
	for _, s := range subnets {
		a, err := l.next(owner, s)
		if err != nil {
			return netip.Prefix{}, err
		}
		if a.IsValid() {
			return netip.PrefixFrom(a, s.Bits()), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free address in %v: %w", subnets, errdefs.ErrResourceExhausted)
}

// next takes the first free address after the cursor, or returns none when it came round.
func (l *leases) next(owner string, s netip.Prefix) (netip.Addr, error) {
	start := l.cursor(s)
	for a := start; ; {
		err := os.Symlink(owner, l.path(a))
		if errors.Is(err, fs.ErrNotExist) {
			if err := l.restoreAll(); err != nil {
				return netip.Addr{}, err
			}
			continue
		}
		if err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.cursors[s] = a
			return a, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return netip.Addr{}, fmt.Errorf("lease %s: %w", a, err)
		}
		if a = after(s, a); a == start {
			return netip.Addr{}, nil
		}
	}
}

// restore makes leases that were deleted anew.
func (l *leases) restore(owner string, addrs []netip.Addr) error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return fmt.Errorf("restore leases: %w", err)
	}
	for _, a := range addrs {
		if err := os.Symlink(owner, l.path(a)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("restore lease %s: %w", a, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[owner] = addrs
	return nil
}

// restoreAll makes the leases anew that are held, after the directory was deleted.
func (l *leases) restoreAll() error {
	l.mu.Lock()
	held := maps.Clone(l.held)
	l.mu.Unlock()
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return fmt.Errorf("restore leases: %w", err)
	}
	var errs []error
	for owner, addrs := range held {
		errs = append(errs, l.restore(owner, addrs))
	}
	return errors.Join(errs...)
}

// cursor is the address to try first.
func (l *leases) cursor(s netip.Prefix) netip.Addr {
	l.mu.Lock()
	last, ok := l.cursors[s]
	l.mu.Unlock()
	if !ok {
		target, _ := os.Readlink(l.cursorPath(s))
		last, _ = netip.ParseAddr(target)
	}
	if !usable(s, last) {
		return firstPod(s)
	}
	return after(s, last)
}

// close saves the cursors. The temporary name holds the address, which nobody else was given
// last, so two processes do not meet there.
func (l *leases) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for s, a := range l.cursors {
		tmp := l.path(a) + ".tmp"
		err := os.Symlink(a.String(), tmp)
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = os.Rename(tmp, l.cursorPath(s))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // after a teardown
			errs = append(errs, fmt.Errorf("save lease cursor: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (l *leases) cursorPath(s netip.Prefix) string {
	return filepath.Join(l.dir, fmt.Sprintf("cursor-%s-%d", s.Addr(), s.Bits()))
}

// of returns the addresses that owner holds.
func (l *leases) of(owner string) ([]netip.Addr, error) {
	l.mu.Lock()
	hint := l.held[owner]
	l.mu.Unlock()
	if len(hint) > 0 && !slices.ContainsFunc(hint, func(a netip.Addr) bool { return !l.holds(owner, a) }) {
		return hint, nil
	}
	all, err := l.all()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for a, o := range all {
		if o == owner {
			addrs = append(addrs, a)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs, nil
}

func (l *leases) holds(owner string, a netip.Addr) bool {
	target, err := os.Readlink(l.path(a))
	return err == nil && target == owner
}

// remove removes the leases of these addresses, which owner holds.
func (l *leases) remove(owner string, addrs []netip.Addr) error {
	l.mu.Lock()
	delete(l.held, owner)
	l.mu.Unlock()
	var errs []error
	for _, a := range addrs {
		if err := os.Remove(l.path(a)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("release lease: %w", err))
		}
	}
	return errors.Join(errs...)
}

// all reads every lease: address → owner.
func (l *leases) all() (map[netip.Addr]string, error) {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.restoreAll(); err != nil {
			return nil, err
		}
		entries, err = os.ReadDir(l.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	all := make(map[netip.Addr]string, len(entries))
	for _, e := range entries {
		a, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue // a cursor
		}
		if owner, err := os.Readlink(filepath.Join(l.dir, e.Name())); err == nil {
			all[a] = owner
		}
	}
	return all, nil
}
