package cri

import (
	"path"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
)

// security converts a container's security context within its pod. None given is an empty one.
func security(sc *runtime.LinuxContainerSecurityContext, at field, pod *store.Pod) (spec.Security, error) {
	if sc == nil {
		sc = &runtime.LinuxContainerSecurityContext{}
	}
	s := spec.Security{
		Privileged: sc.Privileged, ReadonlyRootfs: sc.ReadonlyRootfs, NoNewPrivs: sc.NoNewPrivs,
		MaskedPaths: sc.MaskedPaths, ReadonlyPaths: sc.ReadonlyPaths,
	}
	if sc.Privileged && !pod.Spec.Privileged {
		return s, at.sub("privileged").errorf("the pod sandbox is not for privileged containers")
	}
	for _, convert := range []func(*runtime.LinuxContainerSecurityContext, field, *spec.Security) error{
		securityUser, securityCapabilities, securityPaths, securityProfiles,
	} {
		if err := convert(sc, at, &s); err != nil {
			return s, err
		}
	}
	var err error
	s.Namespaces, err = containerNamespaces(sc.NamespaceOptions, at.sub("namespace_options"), pod)
	return s, err
}

func securityUser(sc *runtime.LinuxContainerSecurityContext, at field, s *spec.Security) (err error) {
	if s.User, err = runAs(sc, at); err != nil {
		return err
	}
	if s.SupplementalGroups, err = ids(sc.SupplementalGroups, at.sub("supplemental_groups")); err != nil {
		return err
	}
	s.StrictGroups, err = strictGroups(sc.SupplementalGroupsPolicy, at.sub("supplemental_groups_policy"))
	return err
}

func securityCapabilities(sc *runtime.LinuxContainerSecurityContext, at field, s *spec.Security) (err error) {
	c, at := sc.Capabilities, at.sub("capabilities")
	if s.AddCaps, err = capabilities(c.GetAddCapabilities(), at.sub("add_capabilities")); err != nil {
		return err
	}
	if s.DropCaps, err = capabilities(c.GetDropCapabilities(), at.sub("drop_capabilities")); err != nil {
		return err
	}
	s.AmbientCaps, err = capabilities(c.GetAddAmbientCapabilities(), at.sub("add_ambient_capabilities"))
	return err
}

func securityPaths(sc *runtime.LinuxContainerSecurityContext, at field, _ *spec.Security) error {
	for i, p := range sc.MaskedPaths {
		at := at.sub("masked_paths").at(i)
		if err := at.absolute(p); err != nil {
			return err
		}
		if path.Clean(p) == "/" {
			return at.errorf("%q is all that the container has", p)
		}
	}
	for i, p := range sc.ReadonlyPaths {
		if err := at.sub("readonly_paths").at(i).absolute(p); err != nil {
			return err
		}
	}
	return nil
}

func securityProfiles(sc *runtime.LinuxContainerSecurityContext, at field, s *spec.Security) (err error) {
	//lint:ignore SA1019 deprecated, but still sent
	if s.Seccomp, err = seccomp(sc.Seccomp, sc.SeccompProfilePath, at); err != nil {
		return err
	}
	//lint:ignore SA1019 deprecated, but still sent, by critest among others
	if s.AppArmor, err = apparmor(sc.Apparmor, sc.ApparmorProfile, at); err != nil {
		return err
	}
	s.SELinux, err = selinux(sc.SelinuxOptions, at.sub("selinux_options"))
	return err
}
