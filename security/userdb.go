package security

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"tare/nsutil"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// maxUserFile bounds what is read of an image's user database.
const maxUserFile = 1 << 20

// database is an image's etc/passwd and etc/group, read when first asked for. It parses strictly:
// a line whose numbers are none is no entry, where a lenient parser would make it root's.
type database struct {
	root           *os.File
	passwd, groups *string
}

// userEntry is a line of passwd(5).
type userEntry struct {
	name, home string
	uid, gid   uint32
}

// groupEntry is a line of group(5).
type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// user returns the first entry that matches.
func (db *database) user(match func(userEntry) bool) (userEntry, bool, error) {
	content, err := db.read(&db.passwd, "etc/passwd")
	for line := range strings.Lines(content) {
		// name:password:uid:gid:comment:home:shell
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) < 4 || f[0] == "" {
			continue
		}
		e := userEntry{name: f[0]}
		var okUID, okGID bool
		var errUID, errGID error
		e.uid, okUID, errUID = number(f[2])
		e.gid, okGID, errGID = number(f[3])
		if len(f) > 5 {
			e.home = f[5]
		}
		if okUID && okGID && errUID == nil && errGID == nil && match(e) {
			return e, true, nil
		}
	}
	return userEntry{}, false, err
}

// group returns the first group of that name.
func (db *database) group(name string) (groupEntry, bool, error) {
	all, err := db.allGroups()
	i := slices.IndexFunc(all, func(g groupEntry) bool { return g.name == name })
	if i < 0 {
		return groupEntry{}, false, err
	}
	return all[i], true, nil
}

// groupsOf returns the groups that list the user as a member.
func (db *database) groupsOf(user string) ([]uint32, error) {
	all, err := db.allGroups()
	var gids []uint32
	for _, g := range all {
		if slices.Contains(g.members, user) {
			gids = append(gids, g.gid)
		}
	}
	return gids, err
}

func (db *database) allGroups() ([]groupEntry, error) {
	content, err := db.read(&db.groups, "etc/group")
	var all []groupEntry
	for line := range strings.Lines(content) {
		// name:password:gid:member,member
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) < 3 || f[0] == "" {
			continue
		}
		g := groupEntry{name: f[0]}
		if len(f) > 3 && f[3] != "" {
			g.members = strings.Split(f[3], ",")
		}
		var isNumber bool
		var bad error
		if g.gid, isNumber, bad = number(f[2]); isNumber && bad == nil {
			all = append(all, g)
		}
	}
	return all, err
}

// read returns a file of the image; one that is missing is empty. The image may have put a link, a
// FIFO, a device or something endless in its place: it is resolved inside the root, looked at before it is
// opened (O_PATH, open(2), has no side effects), and read up to a limit.
func (db *database) read(cache **string, path string) (string, error) {
	if *cache != nil {
		return **cache, nil
	}
	content, err := db.readFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		err = nil
	}
	if errors.Is(err, unix.ELOOP) {
		err = fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return "", fmt.Errorf("read the image's /%s: %w", path, err)
	}
	*cache = &content
	return content, nil
}

func (db *database) readFile(path string) (string, error) {
	place, err := nsutil.OpenInRoot(db.root, path, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer place.Close()
	st, err := place.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", fmt.Errorf("it is not a regular file: %w", errdefs.ErrInvalidArgument)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", place.Fd()))
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxUserFile+1))
	if len(content) > maxUserFile {
		err = fmt.Errorf("it is larger than %d bytes: %w", maxUserFile, errdefs.ErrInvalidArgument)
	}
	return string(content), err
}
