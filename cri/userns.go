package cri

import (
	"math"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// userNamespace converts a choice of user namespace; nil is the host's. Nothing given is that of
// kubelets which knew no user namespaces.
func userNamespace(u *runtime.UserNamespace, at field) (*spec.UserNamespace, error) {
	if u == nil {
		return nil, nil
	}
	switch u.Mode {
	case runtime.NamespaceMode_POD:
	case runtime.NamespaceMode_NODE:
		if len(u.Uids) > 0 || len(u.Gids) > 0 {
			return nil, at.errorf("mode NODE takes no mappings")
		}
		return nil, nil
	default:
		return nil, at.errorf("mode %s is not supported", u.Mode)
	}
	uid, err := podMapping(u.Uids, at.sub("uids"))
	if err != nil {
		return nil, err
	}
	gid, err := podMapping(u.Gids, at.sub("gids"))
	if err != nil {
		return nil, err
	}
	return &spec.UserNamespace{UID: uid, GID: gid}, nil
}

// podMapping converts the mapping of a pod: exactly one, that begins at the container's id 0
// (critest, UserNamespaces).
func podMapping(mappings []*runtime.IDMapping, at field) (spec.IDMap, error) {
	if len(mappings) != 1 {
		return spec.IDMap{}, at.errorf("%d mappings, exactly one is supported", len(mappings))
	}
	m, err := idMap(mappings[0], at.at(0))
	if err != nil {
		return m, err
	}
	if m.Container != 0 {
		return m, at.at(0).sub("container_id").errorf("%d, but the container's id 0 has to be mapped", m.Container)
	}
	return m, nil
}

// idMaps converts the mappings of a mount.
func idMaps(mappings []*runtime.IDMapping, at field) ([]spec.IDMap, error) {
	var out []spec.IDMap
	for i, m := range mappings {
		converted, err := idMap(m, at.at(i))
		if err != nil {
			return nil, err
		}
		out = append(out, converted)
	}
	return out, nil
}

// idMap converts one range. The id 2³²-1 is none (user_namespaces(7)), so no range reaches it.
func idMap(m *runtime.IDMapping, at field) (spec.IDMap, error) {
	out := spec.IDMap{Container: m.GetContainerId(), Host: m.GetHostId(), Length: m.GetLength()}
	if out.Length == 0 {
		return out, at.sub("length").errorf("must not be 0")
	}
	if last := uint64(math.MaxUint32); uint64(out.Container)+uint64(out.Length) > last || uint64(out.Host)+uint64(out.Length) > last {
		return out, at.errorf("goes beyond the last id")
	}
	return out, nil
}

func sameUserNamespace(a, b *spec.UserNamespace) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
