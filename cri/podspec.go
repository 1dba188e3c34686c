package cri

import (
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// podSpec validates and converts what RunPodSandbox asks for. That there is such
// a handler is checked by the caller.
func podSpec(cfg *runtime.PodSandboxConfig, handler string) (*spec.Pod, error) {
	if cfg == nil {
		return nil, field("config").errorf("must not be empty")
	}
	if cfg.Windows != nil {
		return nil, field("windows").errorf("this is a runtime for Linux")
	}
	p := &spec.Pod{Handler: handler, Labels: cfg.Labels, Annotations: cfg.Annotations}
	for _, convert := range []func(*runtime.PodSandboxConfig, *spec.Pod) error{
		podMetadata, podHost, podDNS, podLinux, podPorts, podClocks,
	} {
		if err := convert(cfg, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func podMetadata(cfg *runtime.PodSandboxConfig, p *spec.Pod) error {
	m, at := cfg.Metadata, field("metadata")
	if m == nil {
		return at.errorf("must not be empty")
	}
	if err := at.sub("name").required(m.Name); err != nil {
		return err
	}
	if err := at.sub("uid").required(m.Uid); err != nil {
		return err
	}
	if err := at.sub("namespace").required(m.Namespace); err != nil {
		return err
	}
	p.Name, p.UID, p.Namespace, p.Attempt = m.Name, m.Uid, m.Namespace, m.Attempt
	return nil
}

// maxHostname is __NEW_UTS_LEN, sethostname(2).
const maxHostname = 64

// podHost converts what a pod shares with a host: its name and the place of its logs. A name may
// be missing also with a network of its own, whatever the API says: critest leaves it out.
func podHost(cfg *runtime.PodSandboxConfig, p *spec.Pod) error {
	if at := field("hostname"); cfg.Hostname != "" {
		if err := at.word(cfg.Hostname); err != nil {
			return err
		}
		if len(cfg.Hostname) > maxHostname {
			return at.errorf("%q is longer than %d bytes", cfg.Hostname, maxHostname)
		}
	}
	if cfg.LogDirectory != "" {
		if err := field("log_directory").absolute(cfg.LogDirectory); err != nil {
			return err
		}
	}
	p.Hostname, p.LogDirectory = cfg.Hostname, cfg.LogDirectory
	return nil
}

func podLinux(cfg *runtime.PodSandboxConfig, p *spec.Pod) error {
	l, at := cfg.Linux, field("linux")
	if l == nil {
		return nil
	}
	var err error
	if err = podSecurity(l.SecurityContext, at.sub("security_context"), p); err != nil {
		return err
	}
	if p.CgroupParent, err = cgroupParent(l.CgroupParent, at.sub("cgroup_parent")); err != nil {
		return err
	}
	if p.Sysctls, err = sysctls(l.Sysctls, at.sub("sysctls"), p); err != nil {
		return err
	}
	if p.Overhead, err = resources(l.Overhead, at.sub("overhead")); err != nil {
		return err
	}
	p.Resources, err = resources(l.Resources, at.sub("resources"))
	return err
}

// podSecurity converts a sandbox's security context. No process runs in a sandbox of its own, so
// what speaks of one (user, groups, rootfs, seccomp, AppArmor) is checked and otherwise without effect.
func podSecurity(sc *runtime.LinuxSandboxSecurityContext, at field, p *spec.Pod) error {
	if sc == nil {
		return nil
	}
	if sc.RunAsGroup != nil && sc.RunAsUser == nil {
		return at.sub("run_as_group").errorf("needs run_as_user")
	}
	for name, id := range map[string]*runtime.Int64Value{"run_as_user": sc.RunAsUser, "run_as_group": sc.RunAsGroup} {
		if _, err := optionalID(id, at.sub(name)); err != nil {
			return err
		}
	}
	if _, err := ids(sc.SupplementalGroups, at.sub("supplemental_groups")); err != nil {
		return err
	}
	if _, err := strictGroups(sc.SupplementalGroupsPolicy, at.sub("supplemental_groups_policy")); err != nil {
		return err
	}
	//lint:ignore SA1019 deprecated, but still sent
	if _, err := seccomp(sc.Seccomp, sc.SeccompProfilePath, at); err != nil {
		return err
	}
	if _, err := apparmor(sc.Apparmor, "", at); err != nil {
		return err
	}
	var err error
	if p.SELinux, err = selinux(sc.SelinuxOptions, at.sub("selinux_options")); err != nil {
		return err
	}
	p.Privileged = sc.Privileged
	p.Namespaces, err = podNamespaces(sc.NamespaceOptions, at.sub("namespace_options"))
	return err
}
