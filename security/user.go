package security

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"tare/spec"

	"github.com/containerd/errdefs"
)

// securityContext is where a request's fields are.
const securityContext = "linux.security_context."

// maxGroups is NGROUPS_MAX, setgroups(2).
const maxGroups = 65536

// Identity is as whom a container's process runs.
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // with GID, sorted
	Home     string   // absolute
}

// ResolveUser finds out as whom a container runs: the request's user, else the image's ("USER" of its
// configuration: "user", "user:group", each a name or a number), else root. root is the container's root file
// system.
//
// Names are looked up in the image's etc/passwd and etc/group; one that is not there is ErrInvalidArgument. A number
// needs no entry but as run_as_username (api.proto); if it has one, the primary group comes from it, else it is 0. Unless the request
// is for strict groups, those that etc/group lists the user in are added to the request's.
func ResolveUser(root *os.File, s *spec.Security, imageUser string) (Identity, error) {
	want, err := wanted(s.User, imageUser)
	if err != nil {
		return Identity{}, err
	}
	db := database{root: root}
	id, name, err := want.lookUp(&db)
	if err != nil {
		return Identity{}, fmt.Errorf("%s: %w", want.field, err)
	}
	id.Groups = append([]uint32{id.GID}, s.SupplementalGroups...)
	if !s.StrictGroups && name != "" {
		member, err := db.groupsOf(name)
		if err != nil {
			return Identity{}, fmt.Errorf("%s: %w", want.field, err)
		}
		id.Groups = append(id.Groups, member...)
	}
	slices.Sort(id.Groups)
	id.Groups = slices.Compact(id.Groups)
	if len(id.Groups) > maxGroups {
		return Identity{}, fmt.Errorf("%ssupplemental_groups: %d groups, a process can have %d: %w", securityContext, len(id.Groups), maxGroups, errdefs.ErrInvalidArgument)
	}
	return id, checkMapped(id, s, want.field)
}

// checkMapped refuses ids that the pod's user namespace has not got: no process there can take them
// (user_namespaces(7)). field is who asked for the user.
func checkMapped(id Identity, s *spec.Security, field string) error {
	ns := s.Namespaces.User
	if ns == nil {
		return nil
	}
	if !ns.UID.Has(id.UID) {
		return fmt.Errorf("%s: user %d is not in the pod's user namespace: %w", field, id.UID, errdefs.ErrInvalidArgument)
	}
	for _, g := range id.Groups {
		switch {
		case ns.GID.Has(g):
			continue
		case s.User.GID != nil && *s.User.GID == g:
			field = securityContext + "run_as_group"
		case slices.Contains(s.SupplementalGroups, g):
			field = securityContext + "supplemental_groups"
		}
		return fmt.Errorf("%s: group %d is not in the pod's user namespace: %w", field, g, errdefs.ErrInvalidArgument)
	}
	return nil
}

// userRequest is a user as somebody wrote it.
type userRequest struct {
	field       string // who did
	user, group string // names or numbers; group may be empty
	listed      bool   // the user has to be in etc/passwd, also if it is a number
}

// wanted picks whose word counts.
func wanted(u spec.User, imageUser string) (userRequest, error) {
	want := userRequest{field: "image user", user: "0"}
	switch {
	case u.Name != "":
		want = userRequest{field: securityContext + "run_as_username", user: u.Name, listed: true}
	case u.UID != nil:
		want = userRequest{field: securityContext + "run_as_user", user: strconv.FormatUint(uint64(*u.UID), 10)}
	case u.GID != nil:
		return want, fmt.Errorf("%srun_as_group: needs a user beside it: %w", securityContext, errdefs.ErrInvalidArgument)
	case imageUser != "":
		user, group, ok := strings.Cut(imageUser, ":")
		if user == "" || ok && group == "" || strings.Contains(group, ":") {
			return want, fmt.Errorf("image user %q is not user or user:group: %w", imageUser, errdefs.ErrInvalidArgument)
		}
		want.user, want.group = user, group
	}
	if u.GID != nil {
		want.group = strconv.FormatUint(uint64(*u.GID), 10)
	}
	return want, nil
}

// lookUp returns ids and home of the wanted user, and its name in the image, if any.
func (w userRequest) lookUp(db *database) (Identity, string, error) {
	id := Identity{Home: "/"}
	uid, isNumber, err := number(w.user)
	if err != nil {
		return id, "", err
	}
	entry, found, err := db.user(func(e userEntry) bool {
		return isNumber && e.uid == uid || !isNumber && e.name == w.user
	})
	switch {
	case err != nil:
		return id, "", err
	case found:
		id.UID, id.GID = entry.uid, entry.gid
		if strings.HasPrefix(entry.home, "/") {
			id.Home = entry.home
		}
	case isNumber && !w.listed:
		id.UID = uid
	default:
		return id, "", fmt.Errorf("no user %q in the image's /etc/passwd: %w", w.user, errdefs.ErrInvalidArgument)
	}
	if w.group != "" {
		id.GID, err = w.lookUpGroup(db)
	}
	return id, entry.name, err
}

func (w userRequest) lookUpGroup(db *database) (uint32, error) {
	gid, isNumber, err := number(w.group)
	if err != nil || isNumber {
		return gid, err
	}
	entry, found, err := db.group(w.group)
	if err == nil && !found {
		err = fmt.Errorf("no group %q in the image's /etc/group: %w", w.group, errdefs.ErrInvalidArgument)
	}
	return entry.gid, err
}

// number reads an id. The limit is containerd's and runc's, whose images these are.
func number(s string) (id uint32, isNumber bool, err error) {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > math.MaxInt32 {
		return 0, true, fmt.Errorf("id %s is out of range: %w", s, errdefs.ErrInvalidArgument)
	}
	return uint32(n), true, nil
}
