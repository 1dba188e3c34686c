package cri

import (
	"math"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// runAs converts as whom a container is to run.
func runAs(sc *runtime.LinuxContainerSecurityContext, at field) (u spec.User, err error) {
	if sc.RunAsUser != nil && sc.RunAsUsername != "" {
		return u, at.sub("run_as_username").errorf("cannot go with run_as_user")
	}
	if sc.RunAsGroup != nil && sc.RunAsUser == nil && sc.RunAsUsername == "" {
		return u, at.sub("run_as_group").errorf("needs run_as_user or run_as_username")
	}
	if u.UID, err = optionalID(sc.RunAsUser, at.sub("run_as_user")); err != nil {
		return u, err
	}
	if u.GID, err = optionalID(sc.RunAsGroup, at.sub("run_as_group")); err != nil {
		return u, err
	}
	u.Name = sc.RunAsUsername
	return u, at.sub("run_as_username").text(u.Name)
}

func optionalID(v *runtime.Int64Value, at field) (*uint32, error) {
	if v == nil {
		return nil, nil
	}
	id, err := id(v.Value, at)
	return &id, err
}

// id refuses what is no user or group id: 2³²-1 means none to the kernel (setresuid(2)).
func id(v int64, at field) (uint32, error) {
	if v < 0 || v >= math.MaxUint32 {
		return 0, at.errorf("%d is not within 0-%d", v, uint32(math.MaxUint32-1))
	}
	return uint32(v), nil
}

func ids(values []int64, at field) ([]uint32, error) {
	var out []uint32
	for i, v := range values {
		converted, err := id(v, at.at(i))
		if err != nil {
			return nil, err
		}
		out = append(out, converted)
	}
	return out, nil
}

func strictGroups(p runtime.SupplementalGroupsPolicy, at field) (bool, error) {
	switch p {
	case runtime.SupplementalGroupsPolicy_Merge:
		return false, nil
	case runtime.SupplementalGroupsPolicy_Strict:
		return true, nil
	}
	return false, at.errorf("%d is not known", p)
}
