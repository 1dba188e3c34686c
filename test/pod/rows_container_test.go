package pod

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestContainerRows(t *testing.T) {
	d := suite.shared
	d.pull(t, configured)
	leavesNothing(t, d)
	ref := func(change func(*runtime.ImageSpec)) option {
		return func(c *runtime.ContainerConfig) { change(c.Image) }
	}
	at := func(dir string, others ...option) option {
		return func(c *runtime.ContainerConfig) {
			c.WorkingDir = dir
			for _, o := range others {
				o(c)
			}
		}
	}
	readonly := secured(func(s *securityContext) { s.ReadonlyRootfs = true })
	asUser := secured(func(s *securityContext) { s.RunAsUser = &runtime.Int64Value{Value: 1000} })
	odd := map[string]string{"a": "", "": "b", "io.kubernetes.container.hash": "x", "\x00\x01": "\n\x7f\u2028\ufffd", "cgroup2-mount-hierarchy-rw.crio.io": "true", strings.Repeat("k", 300): strings.Repeat("v", 100<<10)}
	where := map[string]string{"readlink /proc/1/cwd; stat -c '%u:%g %a' /proc/1/cwd/.": "/new/dir\n0:0 755\n"}
	rows := []row{
		{name: "metadata.attempt", sent: func(c *runtime.ContainerConfig) { c.Metadata.Attempt = 3 },
			tells: "3", told: func(s *runtime.ContainerStatus) any { return s.Metadata.Attempt }},
		{name: "image.user_specified_image", sent: ref(func(i *runtime.ImageSpec) { i.UserSpecifiedImage = "my/name:tag" }),
			tells: "my/name:tag my/name:tag", told: func(s *runtime.ContainerStatus) any { return s.Image.Image + " " + s.Image.UserSpecifiedImage }},
		{name: "image.annotations", sent: ref(func(i *runtime.ImageSpec) { i.Annotations = odd }),
			tells: odd, told: func(s *runtime.ContainerStatus) any { return s.Image.Annotations }},
		{name: "image.runtime_handler", sent: ref(func(i *runtime.ImageSpec) { i.RuntimeHandler = "tare" })},
		{name: "working_dir, missing", sent: at("/new/dir"), shell: where},
		{name: "working_dir, missing, read-only root", sent: at("/new/dir", readonly), shell: where},
		{name: "working_dir, missing, user", sent: at("/new/dir", asUser), shell: where},
		{name: "working_dir, with dots", sent: at("/new/./x/../dir/"), shell: where},
		{name: "working_dir of the user's own", sent: at("/root"), shell: map[string]string{"readlink /proc/1/cwd": "/root\n"}},
		{name: "envs, HOSTNAME and HOME", sent: func(c *runtime.ContainerConfig) {
			c.Envs = []*runtime.KeyValue{{Key: "HOSTNAME", Value: []byte("mine")}, {Key: "HOME", Value: nil}, {Key: "strange name.", Value: []byte("=\n\xfe\x80")}}
		}, shell: map[string]string{`tr '\0' '|' < /proc/1/environ | grep -c "HOSTNAME=mine|"; env | grep -c ^HOME=$`: "1\n1\n", "tr '\\0' '|' < /proc/1/environ | tail -n1": "\xfe\x80|"}},
		{name: "labels", sent: func(c *runtime.ContainerConfig) { c.Labels = odd }, tells: odd, told: func(s *runtime.ContainerStatus) any { return s.Labels }},
		{name: "annotations", sent: func(c *runtime.ContainerConfig) { c.Annotations = odd }, tells: odd, told: func(s *runtime.ContainerStatus) any { return s.Annotations }},
		{name: "stdin, none", shell: map[string]string{"readlink /proc/1/fd/0": "/dev/null\n"}},
		{name: "stdin", sent: interactive(false), shell: map[string]string{"readlink /proc/1/fd/0 | cut -d: -f1": "pipe\n"}},
		{name: "stdin_once without stdin", sent: func(c *runtime.ContainerConfig) { c.StdinOnce = true }, shell: map[string]string{"readlink /proc/1/fd/0": "/dev/null\n"}},
		{name: "tty", sent: terminal, shell: map[string]string{"for i in 0 1 2; do readlink /proc/1/fd/$i; done; tr '\\0' '\\n' < /proc/1/environ | grep ^TERM": "/dev/pts/0\n/dev/pts/0\n/dev/pts/0\nTERM=xterm\n"}},
		{name: "stop_signal, none", tells: "SIGNAL_SIGTERM", told: stopSignal},
		{name: "stop_signal of the image", sent: image(configured), tells: "SIGNAL_SIGUSR1", told: stopSignal},
		{name: "stop_signal over the image's", sent: func(c *runtime.ContainerConfig) {
			image(configured)(c)
			c.StopSignal = runtime.Signal_SIGNAL_SIGRTMINPLUS3
		}, tells: "SIGNAL_SIGRTMINPLUS3", told: stopSignal},
	}
	p := d.runPod(t)
	for _, r := range rows {
		r.check(t, p)
	}
	user := d.runPod(t, inUserNS)
	row{name: "working_dir, missing, user namespace", sent: at("/new/dir"), shell: where}.check(t, user)

	for name, tt := range map[string]struct {
		sent option
		word string
	}{
		"log_path of a directory":       {func(c *runtime.ContainerConfig) { c.LogPath = "a/" }, "log_path"},
		"log_path of the log directory": {func(c *runtime.ContainerConfig) { c.LogPath = "." }, "log_path"},
		"image.runtime_handler":         {ref(func(i *runtime.ImageSpec) { i.RuntimeHandler = "none" }), "image.runtime_handler"},
		"stop_signal":                   {func(c *runtime.ContainerConfig) { c.StopSignal = 1000 }, "stop_signal"},
		"windows":                       {func(c *runtime.ContainerConfig) { c.Windows = &runtime.WindowsContainerConfig{} }, "windows"},
		"envs with a NUL byte":          {func(c *runtime.ContainerConfig) { c.Envs = []*runtime.KeyValue{{Key: "A", Value: []byte("a\x00")}} }, "envs[0].value"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			_, err := p.tryCreate(p.containerConfig(tt.sent))
			refused(t, err, codes.InvalidArgument, tt.word)
		})
	}
}

func stopSignal(s *runtime.ContainerStatus) any { return s.StopSignal }

// TestStates follows one container through its life, in its status and in lists.
func TestStates(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	begun := time.Now().UnixNano()
	c := p.create(script("trap 'exit 3' TERM; echo ready; sleep 1000000 & wait"))
	is := func(state runtime.ContainerState, started, finished bool, code int32, reason string) {
		t.Helper()
		s := c.status()
		if s.Id != c.id || s.Metadata.String() != c.config.Metadata.String() || s.State != state || s.ExitCode != code || s.Reason != reason {
			t.Errorf("want %s, %d, %q: %v", state, code, reason, s)
		}
		now := time.Now().UnixNano()
		if s.CreatedAt < begun || s.CreatedAt > now || (s.StartedAt != 0) != started || (s.FinishedAt != 0) != finished ||
			started && (s.StartedAt < s.CreatedAt || s.StartedAt > now) || finished && (s.FinishedAt < s.StartedAt || s.FinishedAt > now) {
			t.Errorf("created %d, started %d, finished %d, now %d", s.CreatedAt, s.StartedAt, s.FinishedAt, now)
		}
		for _, in := range []runtime.ContainerState{runtime.ContainerState_CONTAINER_CREATED, runtime.ContainerState_CONTAINER_RUNNING, runtime.ContainerState_CONTAINER_EXITED} {
			list, err := c.runtime.ListContainers(deadline(t), &runtime.ListContainersRequest{
				Filter: &runtime.ContainerFilter{PodSandboxId: p.id, State: &runtime.ContainerStateValue{State: in}},
			})
			if err != nil || (len(list.Containers) == 1) != (in == state) {
				t.Errorf("%s: %v, %v", in, list, err)
			}
		}
	}
	is(runtime.ContainerState_CONTAINER_CREATED, false, false, 0, "")
	if err := c.tryStart(); err != nil {
		t.Fatal(err)
	}
	is(runtime.ContainerState_CONTAINER_RUNNING, true, false, 0, "")
	c.says("ready")
	c.stop(20)
	is(runtime.ContainerState_CONTAINER_EXITED, true, true, 3, "Error")
	if err := c.tryRemove(); err != nil {
		t.Fatal(err)
	}
	_, err := c.runtime.ContainerStatus(deadline(t), &runtime.ContainerStatusRequest{ContainerId: c.id})
	refused(t, err, codes.NotFound, c.id)
}

// TestTerminationMessage: as kubelets have it, who find the file by its path in the container.
func TestTerminationMessage(t *testing.T) {
	leavesNothing(t, suite.shared)
	const inside = "/dev/termination-log"
	for name, options := range map[string][]podOption{"plain": nil, "user namespace": {inUserNS}} {
		t.Run(name, func(t *testing.T) {
			p := suite.shared.runPod(t, options...)
			file := filepath.Join(t.TempDir(), "0")
			writeFile(t, file, "")
			if err := os.Chmod(file, 0o666); err != nil {
				t.Fatal(err)
			}
			s := p.start(script("echo why > "+inside+"; exit 4"), volume(&runtime.Mount{ContainerPath: inside, HostPath: file})).finish()
			i := slices.IndexFunc(s.Mounts, func(m *runtime.Mount) bool { return m.ContainerPath == inside })
			if s.ExitCode != 4 || i < 0 || s.Mounts[i].HostPath != file {
				t.Fatalf("exit code %d, mounts %v", s.ExitCode, s.Mounts)
			}
			if got, err := os.ReadFile(s.Mounts[i].HostPath); err != nil || string(got) != "why\n" {
				t.Errorf("message %q, %v", got, err)
			}
		})
	}
}

// TestImageIdentity: one image has one id, however it is asked for (critest, image_id_consistency), and one
// reference by digest.
func TestImageIdentity(t *testing.T) {
	d := suite.shared
	d.pull(t, layers)
	leavesNothing(t, d)
	p := d.runPod(t)
	image := func(ref string) *runtime.Image {
		resp, err := d.images.ImageStatus(deadline(t), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}})
		if err != nil || resp.Image == nil {
			t.Fatalf("%s: %v, %v", ref, resp, err)
		}
		return resp.Image
	}
	byTag := image(layers)
	if len(byTag.RepoDigests) == 0 {
		t.Fatalf("%v", byTag)
	}
	for _, ref := range []string{layers, byTag.RepoDigests[0], byTag.Id} {
		pulled, err := d.tryPull(t, ref)
		if ref != byTag.Id && (err != nil || pulled != byTag.Id) {
			t.Errorf("pull of %s gives %q, %v, want %s", ref, pulled, err, byTag.Id)
		}
		c := p.create(func(c *runtime.ContainerConfig) { c.Image = &runtime.ImageSpec{Image: ref, UserSpecifiedImage: layers} })
		s := c.status()
		list, err := d.runtime.ListContainers(deadline(t), &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{Id: c.id}})
		if err != nil || len(list.Containers) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		l := list.Containers[0]
		for what, id := range map[string]string{
			"image's status": image(ref).Id, "status' image_id": s.ImageId, "list's image_id": l.ImageId,
		} {
			if id != byTag.Id {
				t.Errorf("%s: the %s is %q, want %s", ref, what, id, byTag.Id)
			}
		}
		for what, digest := range map[string]string{"status": s.ImageRef, "list": l.ImageRef} { // what kubectl shows as imageID
			if digest != byTag.RepoDigests[0] {
				t.Errorf("%s: the %s' image_ref is %q, want %s", ref, what, digest, byTag.RepoDigests[0])
			}
		}
	}
}

// TestRestartKeeps: what a client said is not lost with the daemon, not even bytes that are no text.
func TestRestartKeeps(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	odd := map[string]string{"\x00\x01": "\n\x7f\u2028\ufffd<>&", "": ""}
	p := d.runPod(t, func(c *runtime.PodSandboxConfig) {
		maps.Copy(c.Labels, odd)
		c.Annotations = odd
	})
	config := func(c *runtime.ContainerConfig) {
		c.Labels, c.Annotations, c.Image.Annotations = odd, odd, odd
		c.Envs = []*runtime.KeyValue{{Key: "BYTES", Value: []byte("\xff\xfe\x80 \u2028")}}
	}
	created := p.create(config, script("echo $BYTES; sleep 1000000"))
	exited := p.start(config, script("exit 255"))
	exited.finish()
	said := func() string {
		var b strings.Builder
		for _, c := range []*ctr{created, exited} {
			fmt.Fprintln(&b, c.status())
		}
		fmt.Fprintln(&b, p.status())
		return b.String()
	}
	before := said()
	d.signal(syscall.SIGKILL)
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	if after := said(); after != before {
		t.Errorf("statuses\nbefore: %s\nafter:  %s", before, after)
	}
	if err := created.tryStart(); err != nil {
		t.Fatal(err)
	}
	created.says("\xff\xfe\x80 \u2028")
	if got := created.exec("echo $BYTES"); got != "\xff\xfe\x80 \u2028\n" {
		t.Errorf("an exec has the variable as %q", got)
	}
}
