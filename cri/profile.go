package cri

import (
	"path"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// localhostPrefix begins a profile's name in the deprecated fields; critest also puts it into
// apparmor.localhost_ref.
const localhostPrefix = "localhost/"

// seccomp converts a seccomp profile, given by the field or by its deprecated predecessor.
func seccomp(p *runtime.SecurityProfile, deprecated string, at field) (spec.Profile, error) {
	profile, from, err := either(p, at.sub("seccomp"), deprecated, at.sub("seccomp_profile_path"))
	if err != nil {
		return profile, err
	}
	if profile.Kind == spec.ProfileLocalhost && !path.IsAbs(profile.Name) {
		return profile, from.errorf("%q is not an absolute path", profile.Name)
	}
	return profile, nil
}

// apparmor converts an AppArmor profile likewise.
func apparmor(p *runtime.SecurityProfile, deprecated string, at field) (spec.Profile, error) {
	profile, from, err := either(p, at.sub("apparmor"), deprecated, at.sub("apparmor_profile"))
	if err != nil {
		return profile, err
	}
	profile.Name = strings.TrimPrefix(profile.Name, localhostPrefix)
	if profile.Kind == spec.ProfileLocalhost {
		return profile, from.required(profile.Name)
	}
	return profile, nil
}

// either converts the field if it is there, else the deprecated one, and says which it was.
func either(p *runtime.SecurityProfile, at field, deprecated string, before field) (spec.Profile, field, error) {
	if p != nil {
		profile, err := securityProfile(p, at)
		return profile, at, err
	}
	profile, err := profileName(deprecated, before)
	return profile, before, err
}

func securityProfile(p *runtime.SecurityProfile, at field) (spec.Profile, error) {
	kinds := map[runtime.SecurityProfile_ProfileType]spec.ProfileKind{
		runtime.SecurityProfile_RuntimeDefault: spec.ProfileRuntimeDefault,
		runtime.SecurityProfile_Unconfined:     spec.ProfileUnconfined,
		runtime.SecurityProfile_Localhost:      spec.ProfileLocalhost,
	}
	kind, ok := kinds[p.ProfileType]
	if !ok {
		return spec.Profile{}, at.sub("profile_type").errorf("%d is not known", p.ProfileType)
	}
	ref := at.sub("localhost_ref")
	if kind != spec.ProfileLocalhost && p.LocalhostRef != "" {
		return spec.Profile{}, ref.errorf("needs profile_type Localhost")
	}
	if kind == spec.ProfileLocalhost {
		if err := ref.required(p.LocalhostRef); err != nil {
			return spec.Profile{}, err
		}
	}
	return spec.Profile{Kind: kind, Name: p.LocalhostRef}, nil
}

// profileName converts the text of a deprecated field.
func profileName(s string, at field) (spec.Profile, error) {
	switch s {
	case "":
		return spec.Profile{}, nil
	case "runtime/default", "docker/default":
		return spec.Profile{Kind: spec.ProfileRuntimeDefault}, nil
	case "unconfined":
		return spec.Profile{Kind: spec.ProfileUnconfined}, nil
	}
	name, ok := strings.CutPrefix(s, localhostPrefix)
	if !ok {
		return spec.Profile{}, at.errorf("%q is not a profile", s)
	}
	return spec.Profile{Kind: spec.ProfileLocalhost, Name: name}, at.required(name)
}
