package pod

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type securityContext = runtime.LinuxContainerSecurityContext

// Capabilities by number, linux/capability.h.
const (
	capChown   = 1 << 0
	capKill    = 1 << 5
	capNetBind = 1 << 10
	capNetRaw  = 1 << 13
	capAdmin   = 1 << 21
	capSysTime = 1 << 25
)

func TestCapabilityRows(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	asked := func(c *runtime.Capability, user int64) option {
		return secured(func(s *securityContext) { s.Capabilities, s.RunAsUser = c, &runtime.Int64Value{Value: user} })
	}
	sets := func(effective, bounding, ambient uint64) map[string]string {
		return map[string]string{"CapEff": caps(effective), "CapPrm": caps(effective), "CapBnd": caps(bounding), "CapInh": caps(ambient), "CapAmb": caps(ambient)}
	}
	only := func(mask uint64) map[string]string { return sets(mask, mask, 0) }
	all := hostCapabilities(t)
	for _, r := range []row{
		{name: "none", proc: only(defaultCaps)},
		{name: "add, lower case without prefix", sent: asked(&runtime.Capability{AddCapabilities: []string{"sys_time"}}, 0), proc: only(defaultCaps | capSysTime&all)},
		{name: "add, with prefix", sent: asked(&runtime.Capability{AddCapabilities: []string{"CAP_SYS_ADMIN"}}, 0), proc: only(defaultCaps | capAdmin&all)},
		{name: "add, mixed case", sent: asked(&runtime.Capability{AddCapabilities: []string{"Cap_Sys_Admin"}}, 0), proc: only(defaultCaps | capAdmin&all)},
		{name: "add one that it has", sent: asked(&runtime.Capability{AddCapabilities: []string{"CHOWN", "chown"}}, 0), proc: only(defaultCaps)},
		{name: "add ALL", sent: asked(&runtime.Capability{AddCapabilities: []string{"ALL"}}, 0), proc: only(all)},
		{name: "add all but one", sent: asked(&runtime.Capability{AddCapabilities: []string{"all"}, DropCapabilities: []string{"CHOWN"}}, 0), proc: only(all &^ capChown)},
		{name: "drop one", sent: asked(&runtime.Capability{DropCapabilities: []string{"net_raw"}}, 0), proc: only(defaultCaps &^ capNetRaw)},
		{name: "drop one that it has not", sent: asked(&runtime.Capability{DropCapabilities: []string{"SYS_ADMIN"}}, 0), proc: only(defaultCaps)},
		{name: "drop ALL", sent: asked(&runtime.Capability{DropCapabilities: []string{"ALL"}}, 0), proc: only(0)},
		{name: "drop all but one", sent: asked(&runtime.Capability{DropCapabilities: []string{"all"}, AddCapabilities: []string{"KILL"}}, 0), proc: only(capKill)},
		{name: "add and drop the same", sent: asked(&runtime.Capability{AddCapabilities: []string{"SYS_ADMIN"}, DropCapabilities: []string{"SYS_ADMIN"}}, 0), proc: only(defaultCaps)},
		{name: "user", sent: asked(&runtime.Capability{AddCapabilities: []string{"SYS_ADMIN"}}, 1000), proc: sets(0, defaultCaps|capAdmin&all, 0)},
		{name: "add_ambient, user", sent: asked(&runtime.Capability{AddAmbientCapabilities: []string{"net_bind_service"}}, 1000),
			proc: sets(capNetBind, defaultCaps, capNetBind)},
		{name: "add_ambient, all others dropped", sent: asked(&runtime.Capability{DropCapabilities: []string{"ALL"}, AddAmbientCapabilities: []string{"KILL"}}, 1000),
			proc: sets(capKill, capKill, capKill)},
		{name: "add_ambient ALL", sent: asked(&runtime.Capability{AddAmbientCapabilities: []string{"all"}}, 1000), proc: sets(defaultCaps, defaultCaps, defaultCaps)}, // all that it has
		{name: "add_ambient and drop the same", sent: asked(&runtime.Capability{AddAmbientCapabilities: []string{"KILL"}, DropCapabilities: []string{"KILL"}}, 1000),
			proc: sets(0, defaultCaps&^capKill, 0)},
	} {
		r.name = "capabilities: " + r.name
		r.check(t, p)
	}
	for name, c := range map[string]*runtime.Capability{
		"add_capabilities[1]":         {AddCapabilities: []string{"KILL", "FLY"}},
		"drop_capabilities[0]":        {DropCapabilities: []string{"CAP_FLY"}},
		"add_ambient_capabilities[0]": {AddAmbientCapabilities: []string{"fly "}},
		"add_capabilities[0]":         {AddCapabilities: []string{""}},
	} {
		_, err := p.tryCreate(p.containerConfig(asked(c, 0)))
		refused(t, err, codes.InvalidArgument, "linux.security_context.capabilities."+name)
	}
}

// hostCapabilities are those that anybody on this host can have.
func hostCapabilities(t *testing.T) (mask uint64) {
	t.Helper()
	if _, err := fmt.Sscanf(procStatus(suite.shared.keeperPID())["CapBnd"], "%x", &mask); err != nil {
		t.Fatal(err)
	}
	return mask
}

func TestUserRows(t *testing.T) {
	d := suite.shared
	const predefined = "gcr.io/k8s-staging-cri-tools/test-image-predefined-group:latest" // user 1000, in group 50000
	d.pull(t, predefined)
	leavesNothing(t, d)
	p := d.runPod(t)
	id := func(n int64) *runtime.Int64Value { return &runtime.Int64Value{Value: n} }
	const merge, strict = runtime.SupplementalGroupsPolicy_Merge, runtime.SupplementalGroupsPolicy_Strict
	for _, tt := range []struct {
		name   string
		change func(*securityContext)
		want   string // user, group: groups
	}{
		{"image's user, policy none", func(*securityContext) {}, "1000 1000: 1000 50000"},
		{"policy Merge", func(s *securityContext) { s.SupplementalGroups, s.SupplementalGroupsPolicy = []int64{1234}, merge }, "1000 1000: 1000 1234 50000"},
		{"policy Strict", func(s *securityContext) { s.SupplementalGroups, s.SupplementalGroupsPolicy = []int64{1234}, strict }, "1000 1000: 1000 1234"},
		{"policy Strict, no groups", func(s *securityContext) { s.SupplementalGroupsPolicy = strict }, "1000 1000: 1000"},
		{"run_as_user of another, Merge", func(s *securityContext) { s.RunAsUser, s.SupplementalGroups = id(33), []int64{7, 5, 7} }, "33 33: 5 7 33"},
		{"run_as_user, run_as_group, Merge", func(s *securityContext) { s.RunAsUser, s.RunAsGroup = id(1000), id(9) }, "1000 9: 9 50000"},
		{"run_as_user, run_as_group, Strict", func(s *securityContext) {
			s.RunAsUser, s.RunAsGroup, s.SupplementalGroupsPolicy = id(1000), id(9), strict
		}, "1000 9: 9"},
		{"run_as_username", func(s *securityContext) { s.RunAsUsername = "default-user" }, "1000 1000: 1000 50000"},
		{"run_as_username that is a number of the image", func(s *securityContext) { s.RunAsUsername = "33" }, "33 33: 33"},
		{"run_as_user 0", func(s *securityContext) { s.RunAsUser = id(0) }, "0 0: 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := p.start(sleeper, image(predefined), secured(tt.change))
			proc := procStatus(c.pid())
			groups := strings.Fields(proc["Groups"])
			seen := fmt.Sprintf("%s %s: %s", strings.Fields(proc["Uid"])[0], strings.Fields(proc["Gid"])[0], strings.Join(groups, " "))
			if seen != tt.want {
				t.Errorf("the kernel shows %q, want %q", seen, tt.want)
			}
			u := c.status().User.GetLinux()
			told := fmt.Sprintf("%d %d: %s", u.GetUid(), u.GetGid(), strings.Trim(fmt.Sprint(u.GetSupplementalGroups()), "[]"))
			if told != tt.want {
				t.Errorf("the status tells %q, want %q", told, tt.want)
			}
			if got := c.exec("echo $(id -u) $(id -g): $(id -G | tr ' ' '\\n' | sort -n)"); got != tt.want+"\n" {
				t.Errorf("an exec runs as %q, want %q", got, tt.want)
			}
		})
	}
	for name, tt := range map[string]struct {
		change func(*securityContext)
		words  []string
	}{
		"run_as_username that is not in the image":       {func(s *securityContext) { s.RunAsUsername = "nosuch" }, []string{"run_as_username", "nosuch"}},
		"run_as_username that is a number of nobody":     {func(s *securityContext) { s.RunAsUsername = "4711" }, []string{"run_as_username", "4711"}},
		"run_as_group without a user":                    {func(s *securityContext) { s.RunAsGroup = id(1) }, []string{"run_as_group"}},
		"supplemental_groups_policy that is not known":   {func(s *securityContext) { s.SupplementalGroupsPolicy = 2 }, []string{"supplemental_groups_policy", "2"}},
		"supplemental_groups with one that is no group":  {func(s *securityContext) { s.SupplementalGroups = []int64{1, -1} }, []string{"supplemental_groups[1]"}},
		"run_as_user that the kernel cannot tell apart":  {func(s *securityContext) { s.RunAsUser = id(1<<32 - 1) }, []string{"run_as_user"}},
		"run_as_user and run_as_username, the same user": {func(s *securityContext) { s.RunAsUser, s.RunAsUsername = id(33), "www-data" }, []string{"run_as_username"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.tryCreate(p.containerConfig(image(predefined), secured(tt.change)))
			refused(t, err, codes.InvalidArgument, tt.words...)
		})
	}
}

// TestUserRowsOfUserNamespace: ids are the user namespace's, and only those.
func TestUserRowsOfUserNamespace(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t, inUserNS)
	id := func(n int64) *runtime.Int64Value { return &runtime.Int64Value{Value: n} }
	const last = manyIDs - 1
	c := p.start(sleeper, secured(func(s *securityContext) {
		s.RunAsUser, s.RunAsGroup, s.SupplementalGroups = id(last), id(last), []int64{last - 1}
	}))
	if proc := procStatus(c.pid()); strings.Fields(proc["Uid"])[0] != fmtInt(hostIDs+last) || proc["Groups"] != fmt.Sprintf("%d %d", hostIDs+last-1, hostIDs+last) {
		t.Errorf("the host sees user %s and groups %s", proc["Uid"], proc["Groups"])
	}
	if u := c.status().User.GetLinux(); u.GetUid() != last || u.GetGid() != last || fmt.Sprint(u.GetSupplementalGroups()) != fmt.Sprint([]int64{last - 1, last}) {
		t.Errorf("the status tells %v", u)
	}
	for field, change := range map[string]func(*securityContext){
		"run_as_user":         func(s *securityContext) { s.RunAsUser = id(manyIDs) },
		"run_as_group":        func(s *securityContext) { s.RunAsUser, s.RunAsGroup = id(0), id(manyIDs) },
		"supplemental_groups": func(s *securityContext) { s.SupplementalGroups = []int64{1, manyIDs} },
	} {
		_, err := p.tryCreate(p.containerConfig(secured(change)))
		refused(t, err, codes.InvalidArgument, "linux.security_context."+field, fmtInt(manyIDs), "user namespace")
	}
}

// noMkdir is a seccomp profile that allows all but mkdir.
const noMkdir = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}`

// narrowProfile is one that refuses calls a container's program makes on its way to the command and the command does not, as profiles
// do that list what their author has seen it call.
const narrowProfile = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO",
	"names": ["openat2", "fchdir", "close_range", "setgroups", "setresgid", "setresuid", "keyctl", "setsid", "lsm_set_self_attr"]}]}`

func TestSeccompRows(t *testing.T) {
	leavesNothing(t, suite.shared)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, text)
		return path
	}
	allowed, narrow := file("allowed.json", noMkdir), file("narrow.json", narrowProfile)
	profile := func(kind runtime.SecurityProfile_ProfileType, ref string) option {
		return secured(func(s *securityContext) { s.Seccomp = &runtime.SecurityProfile{ProfileType: kind, LocalhostRef: ref} })
	}
	old := func(text string) option {
		return secured(func(s *securityContext) {
			s.SeccompProfilePath = text //lint:ignore SA1019 deprecated, but still sent
		})
	}
	const (
		def, unconfined, localhost = runtime.SecurityProfile_RuntimeDefault, runtime.SecurityProfile_Unconfined, runtime.SecurityProfile_Localhost
		tryMkdir                   = "mkdir /x 2>&1; rmdir /x 2>/dev/null; echo done"
	)
	filtered, free := map[string]string{"Seccomp": "2", "Seccomp_filters": "1"}, map[string]string{"Seccomp": "0", "Seccomp_filters": "0"}
	noDirectory := map[string]string{tryMkdir: "mkdir: can't create directory '/x': Operation not supported\ndone\n"}
	anything := map[string]string{tryMkdir: "done\n"}
	// clone(2) with CLONE_NEWUSER is what the default profile is best known to refuse.
	noUserNS, userNS := map[string]string{"unshare -U true 2>/dev/null; echo $?": "1\n"}, map[string]string{"unshare -U true; echo $?": "0\n"}
	rows := []row{
		{name: "none", proc: free, shell: userNS},
		{name: "RuntimeDefault", sent: profile(def, ""), proc: filtered, shell: noUserNS},
		{name: "Unconfined", sent: profile(unconfined, ""), proc: free, shell: userNS},
		{name: "Localhost", sent: profile(localhost, allowed), proc: filtered, shell: noDirectory},
		{name: "Localhost, without what the runtime calls", sent: profile(localhost, narrow), proc: filtered, shell: anything},
		{name: "Localhost, without what the runtime calls, no_new_privs for a user", proc: filtered, shell: map[string]string{"id -u": "1000\n"}, sent: secured(func(s *securityContext) {
			s.Seccomp, s.NoNewPrivs, s.RunAsUser = &runtime.SecurityProfile{ProfileType: localhost, LocalhostRef: narrow}, true, &runtime.Int64Value{Value: 1000}
		})},
		{name: "runtime/default in the deprecated field", sent: old("runtime/default"), proc: filtered, shell: noUserNS},
		{name: "unconfined in the deprecated field", sent: old("unconfined"), proc: free, shell: userNS},
		{name: "localhost/ in the deprecated field", sent: old("localhost/" + allowed), proc: filtered, shell: noDirectory},
		{name: "both fields", proc: free, shell: anything, sent: secured(func(s *securityContext) {
			s.Seccomp = &runtime.SecurityProfile{ProfileType: unconfined}
			s.SeccompProfilePath = "localhost/" + allowed //lint:ignore SA1019 deprecated, but still sent
		})},
		{name: "Localhost and no_new_privs for a user", proc: map[string]string{"Seccomp": "2", "NoNewPrivs": "1", "CapEff": caps(0)}, sent: secured(func(s *securityContext) {
			s.Seccomp, s.NoNewPrivs, s.RunAsUser = &runtime.SecurityProfile{ProfileType: localhost, LocalhostRef: allowed}, true, &runtime.Int64Value{Value: 1000}
		})},
	}
	p := suite.shared.runPod(t)
	for _, r := range rows {
		r.name = "seccomp: " + r.name
		r.check(t, p)
	}
	privileged := suite.shared.runPod(t, func(c *runtime.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	row{name: "seccomp: Localhost, privileged", proc: free, shell: anything, sent: secured(func(s *securityContext) {
		s.Privileged, s.Seccomp = true, &runtime.SecurityProfile{ProfileType: localhost, LocalhostRef: allowed}
	})}.check(t, privileged)

	for name, tt := range map[string]struct {
		sent option
		code codes.Code
		word string
	}{
		"a file that is not there":  {profile(localhost, filepath.Join(dir, "none")), codes.FailedPrecondition, "none"},
		"a directory":               {profile(localhost, dir), codes.InvalidArgument, "regular file"},
		"a file that is empty":      {profile(localhost, file("empty", "")), codes.InvalidArgument, "empty"},
		"a file that is no JSON":    {profile(localhost, file("text", "allow all")), codes.InvalidArgument, "text"},
		"an action that is none":    {profile(localhost, file("action", `{"defaultAction": "SCMP_ACT_MAYBE"}`)), codes.InvalidArgument, "SCMP_ACT_MAYBE"},
		"a profile without default": {profile(localhost, file("default", `{"syscalls": []}`)), codes.InvalidArgument, "defaultAction"},
		"an operator that is none": {profile(localhost, file("operator",
			`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "op": "SCMP_CMP_LIKE"}]}]}`)), codes.InvalidArgument, "SCMP_CMP_LIKE"},
		"a relative path":                       {profile(localhost, "profile.json"), codes.InvalidArgument, "profile.json"},
		"no path":                               {profile(localhost, ""), codes.InvalidArgument, "localhost_ref"},
		"a path for the default":                {profile(def, allowed), codes.InvalidArgument, "localhost_ref"},
		"a type that is none":                   {profile(9, ""), codes.InvalidArgument, "profile_type"},
		"a word that is none, deprecated field": {old("default"), codes.InvalidArgument, "seccomp_profile_path"},
		"a relative path, deprecated field":     {old("localhost/profile.json"), codes.InvalidArgument, "seccomp_profile_path"},
	} {
		t.Run("seccomp: "+name, func(t *testing.T) {
			config := p.containerConfig(sleeper, tt.sent)
			id, err := p.tryCreate(config)
			if err == nil { // a profile's content is that of the moment of the start
				c := &ctr{p, id, config}
				err = c.tryStart()
				defer c.tryRemove()
			}
			refused(t, err, tt.code, "linux.security_context.seccomp", tt.word)
		})
	}
}

func TestPathRows(t *testing.T) {
	leavesNothing(t, suite.shared)
	const hidden = "wc -c < /proc/timer_list"
	// In a user namespace that takes CAP_NET_ADMIN, so that what refuses is the mount.
	const protected = "(echo 60 > /proc/sys/net/ipv4/tcp_fin_timeout) 2>/dev/null; echo $?"
	paths := func(masked, readonly []string) option {
		return secured(func(s *securityContext) {
			s.MaskedPaths, s.ReadonlyPaths = masked, readonly
			s.Capabilities = &runtime.Capability{AddCapabilities: []string{"NET_ADMIN"}}
			s.Apparmor = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Unconfined} // whose default refuses, too
		})
	}
	plain, user := suite.shared.runPod(t), suite.shared.runPod(t, inUserNS)
	for _, r := range []struct {
		row
		in *pod
	}{
		{row{name: "paths: none: the defaults", sent: paths(nil, nil), shell: map[string]string{hidden: "0\n", protected: "1\n"}}, plain},
		{row{name: "paths: only masked_paths: nothing else", sent: paths([]string{"/proc/timer_list"}, nil), shell: map[string]string{hidden: "0\n", protected: "0\n"}}, plain},
		{row{name: "paths: only readonly_paths: nothing else", sent: paths(nil, []string{"/proc/sys"}), shell: map[string]string{protected: "1\n", "ls /sys/firmware | wc -l": hostEntries(t, "/sys/firmware")}}, plain},
		// ProcMount Unmasked, which Kubernetes allows with a user namespace only.
		{row{name: "paths: none, in a user namespace: unmasked", sent: paths(nil, nil), shell: map[string]string{protected: "0\n", "grep -c ' /proc/' /proc/mounts || true": "0\n"}}, user},
		{row{name: "paths: given, in a user namespace", sent: paths([]string{"/proc/timer_list"}, []string{"/proc/sys"}), shell: map[string]string{hidden: "0\n", protected: "1\n"}}, user},
		{row{name: "readonly_rootfs", sent: secured(func(s *securityContext) { s.ReadonlyRootfs = true }),
			shell: map[string]string{"touch /x 2>/dev/null; echo $?; grep -c '^[^ ]* / [^ ]* ro,' /proc/mounts": "1\n1\n"}}, plain},
		{row{name: "no_new_privs", sent: secured(func(s *securityContext) { s.NoNewPrivs = true }), proc: map[string]string{"NoNewPrivs": "1"},
			shell: map[string]string{"grep ^NoNewPrivs /proc/self/status": "NoNewPrivs:\t1\n"}}, plain},
	} {
		r.check(t, r.in)
	}
}

// hostEntries is how many entries a directory of the host has, as wc prints it.
func hostEntries(t *testing.T, dir string) string {
	t.Helper()
	return fmt.Sprintln(len(mustReadDir(t, dir)))
}
