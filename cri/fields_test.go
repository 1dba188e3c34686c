package cri

import (
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
)

// What becomes of a field of a request. Anything else that fields says begins with "informational: ":
// the API gives the field no effect on this runtime, for the reason that follows.
const (
	honoured = "honoured" // it has an effect, or its value is refused
	refused  = "refused"  // any value is
)

// fields has every field of every request, by the name of its message. Fields below one that is not
// honoured need no entry. An ImageSpec means something else in each place, so its fields are named after the field that has it.
var fields = map[string]map[string]string{
	"VersionRequest": {"version": "informational: the kubelet's version of an API that never had another"},

	"RunPodSandboxRequest": {"config": honoured, "runtime_handler": honoured},
	"PodSandboxConfig": {
		"metadata": honoured, "hostname": honoured, "log_directory": honoured, "dns_config": honoured, "port_mappings": honoured,
		"labels": honoured, "annotations": honoured, "linux": honoured, "windows": refused,
	},
	"PodSandboxMetadata": {"name": honoured, "uid": honoured, "namespace": honoured, "attempt": honoured},
	"DNSConfig":          {"servers": honoured, "searches": honoured, "options": honoured},
	"PortMapping":        {"protocol": honoured, "container_port": honoured, "host_port": honoured, "host_ip": honoured},
	"LinuxPodSandboxConfig": {
		"cgroup_parent": honoured, "security_context": honoured, "sysctls": honoured,
		"overhead":  "informational: the kubelet has put it into the pod's cgroup; kept and shown",
		"resources": "informational: the sum over the containers; kept and shown",
	},
	"LinuxSandboxSecurityContext": {
		"namespace_options": honoured, "selinux_options": honoured, "privileged": honoured,
		"run_as_user":                noSandboxProcess,
		"run_as_group":               noSandboxProcess,
		"readonly_rootfs":            noSandboxProcess,
		"supplemental_groups":        noSandboxProcess,
		"supplemental_groups_policy": noSandboxProcess,
		"seccomp":                    noSandboxProcess,
		"apparmor":                   noSandboxProcess,
		"seccomp_profile_path":       noSandboxProcess,
	},
	"NamespaceOption": {"network": honoured, "pid": honoured, "ipc": honoured, "target_id": honoured, "userns_options": honoured},
	"UserNamespace":   {"mode": honoured, "uids": honoured, "gids": honoured},
	"IDMapping":       {"host_id": honoured, "container_id": honoured, "length": honoured},
	"SELinuxOption":   {"user": honoured, "role": honoured, "type": honoured, "level": honoured},
	"Int64Value":      {"value": honoured},
	"SecurityProfile": {"profile_type": honoured, "localhost_ref": honoured},

	"StopPodSandboxRequest":     {"pod_sandbox_id": honoured},
	"RemovePodSandboxRequest":   {"pod_sandbox_id": honoured},
	"PodSandboxStatusRequest":   {"pod_sandbox_id": honoured, "verbose": honoured},
	"ListPodSandboxRequest":     {"filter": honoured},
	"StreamPodSandboxesRequest": {"filter": honoured},
	"PodSandboxFilter":          {"id": honoured, "state": honoured, "label_selector": honoured},
	"PodSandboxStateValue":      {"state": honoured},

	"CreateContainerRequest": {
		"pod_sandbox_id": honoured, "config": honoured,
		"sandbox_config": "informational: for easy reference, the same as in RunPodSandbox, but for privileged: TestPrivilegedLater (test/pod)",
	},
	"ContainerConfig": {
		"metadata": honoured, "image": honoured, "command": honoured, "args": honoured, "working_dir": honoured, "envs": honoured,
		"mounts": honoured, "devices": honoured, "labels": honoured, "annotations": honoured, "log_path": honoured, "stdin": honoured,
		"stdin_once": honoured, "tty": honoured, "linux": honoured, "windows": refused, "CDI_devices": honoured, "stop_signal": honoured,
	},
	"ContainerMetadata": {"name": honoured, "attempt": honoured},
	"ContainerConfig.image": {
		"image": honoured, "annotations": honoured, "user_specified_image": honoured, "runtime_handler": honoured, "image_ref": ofAnswers,
	},
	"KeyValue": {"key": honoured, "value": honoured},
	"Mount": {
		"container_path": honoured, "host_path": honoured, "readonly": honoured, "selinux_relabel": honoured, "propagation": honoured,
		"uidMappings": honoured, "gidMappings": honoured, "recursive_read_only": honoured, "image": honoured, "image_sub_path": honoured,
		"mount_options": honoured,
	},
	"Mount.image": {
		"image": honoured, "annotations": ofPulls, "user_specified_image": honoured, "runtime_handler": honoured, "image_ref": ofAnswers,
	},
	"Device":               {"container_path": honoured, "host_path": honoured, "permissions": honoured},
	"CDIDevice":            {"name": honoured},
	"LinuxContainerConfig": {"resources": honoured, "security_context": honoured},
	"LinuxContainerResources": {
		"cpu_period": honoured, "cpu_quota": honoured, "cpu_shares": honoured, "memory_limit_in_bytes": honoured, "oom_score_adj": honoured,
		"cpuset_cpus": honoured, "cpuset_mems": honoured, "hugepage_limits": honoured, "unified": honoured, "memory_swap_limit_in_bytes": honoured,
	},
	"HugepageLimit": {"page_size": honoured, "limit": honoured},
	"LinuxContainerSecurityContext": {
		"capabilities": honoured, "privileged": honoured, "namespace_options": honoured, "selinux_options": honoured, "run_as_user": honoured,
		"run_as_group": honoured, "run_as_username": honoured, "readonly_rootfs": honoured, "supplemental_groups": honoured,
		"supplemental_groups_policy": honoured, "no_new_privs": honoured, "masked_paths": honoured, "readonly_paths": honoured,
		"seccomp": honoured, "apparmor": honoured, "apparmor_profile": superseded, "seccomp_profile_path": superseded,
	},
	"Capability": {"add_capabilities": honoured, "drop_capabilities": honoured, "add_ambient_capabilities": honoured},

	"StartContainerRequest":   {"container_id": honoured},
	"StopContainerRequest":    {"container_id": honoured, "timeout": honoured},
	"RemoveContainerRequest":  {"container_id": honoured},
	"ListContainersRequest":   {"filter": honoured},
	"StreamContainersRequest": {"filter": honoured},
	"ContainerFilter":         {"id": honoured, "state": honoured, "pod_sandbox_id": honoured, "label_selector": honoured},
	"ContainerStateValue":     {"state": honoured},
	"ContainerStatusRequest":  {"container_id": honoured, "verbose": honoured},
	"UpdateContainerResourcesRequest": {
		"container_id": honoured, "linux": honoured, "windows": refused,
		"annotations": "informational: for what a client and a runtime agree on beyond the API, which is nothing here",
	},
	"UpdatePodSandboxResourcesRequest": {
		"pod_sandbox_id": honoured,
		"overhead":       "informational: the kubelet has changed the pod's cgroup; kept and shown",
		"resources":      "informational: the kubelet has changed the pod's cgroup; kept and shown",
	},
	"ReopenContainerLogRequest": {"container_id": honoured},
	"ExecSyncRequest":           {"container_id": honoured, "cmd": honoured, "timeout": honoured},
	"ExecRequest":               {"container_id": honoured, "cmd": honoured, "tty": honoured, "stdin": honoured, "stdout": honoured, "stderr": honoured},
	"AttachRequest":             {"container_id": honoured, "stdin": honoured, "tty": honoured, "stdout": honoured, "stderr": honoured},
	"PortForwardRequest":        {"pod_sandbox_id": honoured, "port": "informational: each connection names its own (checked all the same)"},

	"ContainerStatsRequest":          {"container_id": honoured},
	"ListContainerStatsRequest":      {"filter": honoured},
	"StreamContainerStatsRequest":    {"filter": honoured},
	"ContainerStatsFilter":           {"id": honoured, "pod_sandbox_id": honoured, "label_selector": honoured},
	"PodSandboxStatsRequest":         {"pod_sandbox_id": honoured},
	"ListPodSandboxStatsRequest":     {"filter": honoured},
	"StreamPodSandboxStatsRequest":   {"filter": honoured},
	"PodSandboxStatsFilter":          {"id": honoured, "label_selector": honoured},
	"ListMetricDescriptorsRequest":   {},
	"ListPodSandboxMetricsRequest":   {},
	"StreamPodSandboxMetricsRequest": {},
	"GetEventsRequest":               {},

	"StatusRequest":              {"verbose": honoured},
	"RuntimeConfigRequest":       {},
	"UpdateRuntimeConfigRequest": {"runtime_config": honoured},
	"RuntimeConfig":              {"network_config": honoured},
	"NetworkConfig":              {"pod_cidr": honoured},

	"ListImagesRequest":   {"filter": honoured},
	"StreamImagesRequest": {"filter": honoured},
	"ImageFilter":         {"image": honoured},
	"ImageFilter.image": {
		"image": honoured, "annotations": ofPulls, "user_specified_image": ofContainers, "runtime_handler": honoured, "image_ref": ofAnswers,
	},
	"ImageStatusRequest": {"image": honoured, "verbose": honoured},
	"ImageStatusRequest.image": {
		"image": honoured, "annotations": ofPulls, "user_specified_image": ofContainers, "runtime_handler": honoured, "image_ref": ofAnswers,
	},
	"PullImageRequest": {
		"image": honoured, "auth": honoured,
		"sandbox_config": "informational: an image is the same in every pod",
	},
	"PullImageRequest.image": {
		"image": honoured, "annotations": honoured, "user_specified_image": ofContainers, "runtime_handler": honoured, "image_ref": ofAnswers,
	},
	"AuthConfig": {
		"username": honoured, "password": honoured, "auth": honoured, "server_address": honoured, "identity_token": honoured, "registry_token": honoured,
	},
	"RemoveImageRequest": {"image": honoured},
	"RemoveImageRequest.image": {
		"image": honoured, "annotations": ofPulls, "user_specified_image": ofContainers, "runtime_handler": honoured, "image_ref": ofAnswers,
	},
	"ImageFsInfoRequest": {},
}

// Why fields of some messages are informational.
const (
	noSandboxProcess = "informational: a sandbox has no process that it could be about (checked all the same)"
	superseded       = "informational: beside the field that took its place, which kubelets send as well; honoured alone (TestDeprecatedProfiles)"
	ofAnswers        = "informational: for answers, where it tells the image of a volume"
	ofPulls          = "informational: may help choose among an index's manifests, which the platform does"
	ofContainers     = "informational: what a user called the image of a container, which is asked of it"
)

// unimplemented are the calls that are refused whatever their fields say.
var unimplemented = map[string]bool{"CheckpointContainer": true, "CheckpointPod": true, "RestorePod": true}

// TestFieldsAreKnown fails when the API has a field that nobody decided about.
func TestFieldsAreKnown(t *testing.T) {
	seen := map[string]bool{}
	for name, m := range requests() {
		if !unimplemented[name] {
			checkFields(t, string(m.Name()), m, seen)
		}
	}
	for message, of := range fields {
		for field := range of {
			if !seen[message+"."+field] {
				t.Errorf("%s.%s is no field of the API, or of one that is not honoured", message, field)
			}
		}
	}
}

// requests are the messages of all calls' requests, by the call.
func requests() map[string]protoreflect.MessageDescriptor {
	out := map[string]protoreflect.MessageDescriptor{}
	services := (&runtime.VersionRequest{}).ProtoReflect().Descriptor().ParentFile().Services()
	for i := range services.Len() {
		for methods, j := services.Get(i).Methods(), 0; j < methods.Len(); j++ {
			out[string(methods.Get(j).Name())] = methods.Get(j).Input()
		}
	}
	return out
}

func checkFields(t *testing.T, key string, m protoreflect.MessageDescriptor, seen map[string]bool) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		name := key + "." + string(f.Name())
		treatment := fields[key][string(f.Name())]
		switch why, informational := strings.CutPrefix(treatment, "informational: "); {
		case treatment == "":
			t.Errorf("what becomes of %s is not decided", name)
		case treatment != honoured && treatment != refused && (!informational || why == ""):
			t.Errorf("%s: %q is no treatment", name, treatment)
		}
		if !seen[name] && treatment == honoured && f.Message() != nil && !f.IsMap() {
			seen[name] = true
			checkFields(t, keyBelow(key, f), f.Message(), seen)
		}
		seen[name] = true
	}
}

// keyBelow is under which name fields has the fields of a message that is a field of another.
func keyBelow(key string, f protoreflect.FieldDescriptor) string {
	if f.Message().Name() == "ImageSpec" {
		return key + "." + string(f.Name())
	}
	return string(f.Message().Name())
}

func TestUnimplemented(t *testing.T) {
	s := reflect.ValueOf(New(Deps{}))
	for name := range unimplemented {
		call := s.MethodByName(name)
		out := call.Call([]reflect.Value{reflect.ValueOf(t.Context()), reflect.New(call.Type().In(1).Elem())})
		if err, _ := out[1].Interface().(error); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v, so its fields are to be decided about", name, err)
		}
	}
}

// TestFieldsHaveEffect changes one field after the other of requests that say something about
// everything, and sees what that changes in the specification.
func TestFieldsHaveEffect(t *testing.T) {
	ids := spec.IDMap{Host: 65536, Length: 10}
	pod := podRecord(spec.Namespaces{User: &spec.UserNamespace{UID: ids, GID: ids}})
	pod.Spec.Privileged = true
	s := New(Deps{Handlers: []Handler{{Name: "tare"}}})
	for _, tt := range []struct {
		request proto.Message
		convert func(proto.Message) (any, error)
	}{
		{fullPodConfig(), func(m proto.Message) (any, error) { return podSpec(m.(*runtime.PodSandboxConfig), "") }},
		{fullContainerConfig(), func(m proto.Message) (any, error) {
			cfg := m.(*runtime.ContainerConfig)
			c, err := containerSpec(cfg, pod)
			return c, errors.Join(err, s.checkImages(cfg))
		}},
	} {
		name := tt.request.ProtoReflect().Descriptor().Name()
		before, err := tt.convert(tt.request)
		if err != nil {
			t.Fatal(err)
		}
		effect := map[string]bool{}
		for n := 0; ; n++ {
			changed := proto.Clone(tt.request)
			c := change{left: n}
			if !c.below(string(name), "", changed.ProtoReflect()) {
				break
			}
			after, err := tt.convert(changed)
			effect[c.path] = effect[c.path] || err != nil || !reflect.DeepEqual(before, after)
			switch {
			case err != nil && !c.namedBy(err):
				t.Errorf("%s is refused as %q, which does not name it", c.path, err)
			case err == nil && c.treatment == refused:
				t.Errorf("%s is accepted", c.path)
			case err == nil && c.treatment == honoured && !effect[c.path]:
				t.Errorf("%s is ignored", c.path)
			case err != nil && strings.HasPrefix(c.treatment, "informational") && !strings.Contains(c.treatment, "checked"):
				t.Errorf("%s is refused, though %s: %v", c.path, c.treatment, err)
			}
		}
	}
}

// change is the change of one field of a message.
type change struct {
	left      int // fields that come before it
	path      string
	treatment string
}

// below changes the field if it is in m, whose fields the table has under key.
func (c *change) below(key, path string, m protoreflect.Message) bool {
	all := m.Descriptor().Fields()
	for i := range all.Len() {
		f := all.Get(i)
		treatment, path := fields[key][string(f.Name())], string(field(path).sub(string(f.Name())))
		switch {
		case treatment != honoured || f.Message() == nil || f.IsMap():
			if c.left--; c.left < 0 {
				c.path, c.treatment = path, treatment
				alter(m, f)
				return true
			}
		case f.IsList():
			for j := range m.Get(f).List().Len() {
				if c.below(keyBelow(key, f), path, m.Get(f).List().Get(j).Message()) {
					return true
				}
			}
		case m.Has(f):
			if c.below(keyBelow(key, f), path, m.Get(f).Message()) {
				return true
			}
		}
	}
	return false
}

// alter gives a field another value, of the right kind.
func alter(m protoreflect.Message, f protoreflect.FieldDescriptor) {
	switch v := m.Get(f); {
	case (f.IsMap() || f.IsList()) && m.Has(f):
		m.Clear(f)
	case f.IsMap():
		m.Mutable(f).Map().Set(protoreflect.ValueOfString("x").MapKey(), protoreflect.ValueOfString("x"))
	case f.IsList() && f.Kind() == protoreflect.StringKind:
		m.Mutable(f).List().Append(protoreflect.ValueOfString("x"))
	case f.IsList() && f.Kind() == protoreflect.Int64Kind:
		m.Mutable(f).List().Append(protoreflect.ValueOfInt64(1))
	case f.Kind() == protoreflect.MessageKind:
		m.Set(f, m.NewField(f))
	case f.Kind() == protoreflect.BoolKind:
		m.Set(f, protoreflect.ValueOfBool(!v.Bool()))
	case f.Kind() == protoreflect.StringKind:
		m.Set(f, protoreflect.ValueOfString(v.String()+"x"))
	case f.Kind() == protoreflect.BytesKind:
		m.Set(f, protoreflect.ValueOfBytes(append(v.Bytes(), 'x')))
	case f.Kind() == protoreflect.EnumKind:
		m.Set(f, protoreflect.ValueOfEnum((v.Enum()+1)%protoreflect.EnumNumber(f.Enum().Values().Len())))
	case f.Kind() == protoreflect.Int32Kind:
		m.Set(f, protoreflect.ValueOfInt32(int32(v.Int()+1)))
	case f.Kind() == protoreflect.Int64Kind:
		m.Set(f, protoreflect.ValueOfInt64(v.Int()+1))
	case f.Kind() == protoreflect.Uint32Kind:
		m.Set(f, protoreflect.ValueOfUint32(uint32(v.Uint()+1)))
	case f.Kind() == protoreflect.Uint64Kind:
		m.Set(f, protoreflect.ValueOfUint64(v.Uint()+1))
	}
}

// namedBy reports whether an error begins with the path of the field, of one that it is in, or of one
// beside it.
func (c *change) namedBy(err error) bool {
	at, _, _ := strings.Cut(err.Error(), ":")
	at = indices.ReplaceAllString(at, "")
	parent := c.path[:max(0, strings.LastIndex(c.path, "."))]
	return strings.HasPrefix(c.path, at) || parent != "" && strings.HasPrefix(at, parent)
}

var indices = regexp.MustCompile(`\[[^]]*\]`)
