package pod

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/test/registry"
)

// Strings of the CRI are UTF-8: an answer with one that is not is no answer, and one that tells of all pods is then nobody's.
// Here is one that is not, for a shell's printf as well, and how it is shown.
const (
	notText   = "\xff\x1b[2J"
	forPrintf = `\377\033[2J`
	shown     = `\xff\x1b[2J`
)

// questions are those about all pods and containers.
func (d *daemon) questions(t *testing.T) {
	t.Helper()
	ctx := deadline(t)
	_, pods := d.runtime.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	_, containers := d.runtime.ListContainers(ctx, &runtime.ListContainersRequest{})
	_, podStats := d.runtime.ListPodSandboxStats(ctx, &runtime.ListPodSandboxStatsRequest{})
	_, stats := d.runtime.ListContainerStats(ctx, &runtime.ListContainerStatsRequest{})
	_, metrics := d.runtime.ListPodSandboxMetrics(ctx, &runtime.ListPodSandboxMetricsRequest{})
	if err := errors.Join(pods, containers, podStats, stats, metrics); err != nil {
		t.Errorf("questions about all pods: %v", err)
	}
}

// TestEscapeTextInterfaces: the names a container gives to its interfaces are told as text, and no two as one: to
// kubelets that collect metrics, two of the same labels are an error of all.
func TestEscapeTextInterfaces(t *testing.T) {
	leavesNothing(t, suite.shared)
	for name, options := range users {
		t.Run(name, func(t *testing.T) {
			p := suite.shared.runPod(t, options...)
			c := p.start(sleeper, added("NET_ADMIN"))
			hostile, twin := "$(printf '"+forPrintf+"')", "'"+shown+"'"
			c.exec("ip link add type veth && ip link set veth0 name " + hostile + " && ip link set veth1 name " + twin)
			if got := c.exec("ip -o link"); !strings.Contains(got, notText) || !strings.Contains(got, shown) {
				t.Fatalf("the kernel has %q", got)
			}
			p.questions(t)
			var names []string
			for _, i := range p.stats().Linux.Network.Interfaces {
				names = append(names, i.Name)
			}
			metrics := map[string]bool{}
			for _, m := range readMetrics(t, p)["container_network_receive_bytes_total"] {
				metrics[m.LabelValues[len(m.LabelValues)-1]] = true
			}
			if want := `\\xff\\x1b[2J`; len(names) != 3 || !metrics[shown] || !metrics[want] || !strings.Contains(strings.Join(names, " "), want) {
				t.Errorf("interfaces are %q, in metrics %v; want %q and %q", names, metrics, shown, want)
			}
		})
	}
}

// TestEscapeTextFailures: what a program of the image says when it fails at a start is in the status of the container
// and in the event, as text.
func TestEscapeTextFailures(t *testing.T) {
	d, dir, _ := cdiDaemon(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := d.runtime.GetContainerEvents(ctx, &runtime.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	p := d.runPod(t)
	c := p.create(sleeper, hookedDevice(t, dir, "text", map[string]string{"startContainer": "printf '" + forPrintf + "'; exit 3"}))
	refused(t, c.tryStart(), codes.FailedPrecondition, "hook startContainer", "\x1b[2J")
	if s := c.status(); s.Reason != "StartError" || !utf8.ValidString(s.Message) || !strings.Contains(s.Message, "[2J") {
		t.Errorf("status %s: %q", s.Reason, s.Message)
	}
	d.questions(t)
	if err := c.tryRemove(); err != nil {
		t.Error(err)
	}
	for {
		e, err := events.Recv()
		if err != nil {
			t.Fatalf("the events end: %v", err)
		}
		if e.ContainerEventType == runtime.ContainerEventType_CONTAINER_DELETED_EVENT {
			break
		}
	}
}

// TestEscapeTextOutput: what a container writes, and what files it makes, are bytes; nobody takes them for text.
func TestEscapeTextOutput(t *testing.T) {
	leavesNothing(t, suite.shared)
	p := suite.shared.runPod(t)
	termination := filepath.Join(t.TempDir(), "termination")
	writeFile(t, termination, "")
	const text = "\xff\x00\x1b[2J\r2020-01-01T00:00:00.000000000Z stdout F forged\nnext"
	print := `printf '\377\000\033[2J\r2020-01-01T00:00:00.000000000Z stdout F forged\nnext'`
	c := p.start(script(print+"; "+print+` > /termination; mkdir "$(printf '/\377\n\033')"; echo > "$(printf '/\377\n\033/\377')"; `+
		`cp /bin/busybox "$(printf '/busybox\377\033')"; exec "$(printf '/busybox\377\033')" sleep 1000000`),
		volume(&runtime.Mount{HostPath: termination, ContainerPath: "/termination"}),
		func(c *runtime.ContainerConfig) {
			c.Envs = []*runtime.KeyValue{{Key: "BYTES", Value: []byte(text[2:])}, {Key: "LATIN", Value: []byte("\xff")}}
		})
	await(t, "the log has it all", func() error {
		if got := c.logged("stdout"); got != text {
			return errors.New("it is " + got)
		}
		return nil
	})
	if got, err := os.ReadFile(termination); err != nil || string(got) != text {
		t.Errorf("the termination message is %q, %v", got, err)
	}
	resp, err := c.tryExec(0, "sh", "-c", print+"; "+print+" >&2")
	if err != nil || string(resp.Stdout) != text || string(resp.Stderr) != text {
		t.Errorf("ExecSync returns %v, %v", resp, err)
	}
	if got := c.exec("echo \"$LATIN\""); got != "\xff\n" {
		t.Errorf("the variable is %q", got)
	}
	if got := procStatus(c.pid())["Name"]; !strings.Contains(got, "\xff") {
		t.Errorf("the process is called %q", got)
	}
	if _, err := c.tryExec(0, "/no/such\xff"); err == nil {
		t.Error("a command that is no text is sent")
	}
	if out, err := run(suite.bin+"/tare", "ps", "--state", suite.shared.path("state")); err != nil || !utf8.ValidString(out) || strings.Contains(out, "\x1b") {
		t.Errorf("tare ps says %q, %v", out, err)
	}
	c.stats()
	p.questions(t)
	for i, line := range strings.Split(suite.shared.logFile(), "\n") {
		if !utf8.ValidString(line) || strings.ContainsAny(line, "\x00\x1b") {
			t.Errorf("line %d of the daemon's log is no text: %q", i+1, line)
		}
	}
}

// TestEscapeTextPlugins: a variable that is no text keeps no plugin from its work.
func TestEscapeTextPlugins(t *testing.T) {
	d := ownDaemon(t, options{})
	d.pull(t, busybox)
	latin := func(c *runtime.ContainerConfig) {
		c.Envs = []*runtime.KeyValue{{Key: "LATIN", Value: []byte("\xff")}}
	}
	before := d.runPod(t).start(sleeper, latin)
	plugin := newPlugin(t, d, &plugin{}) // is told of the one that is there
	after := d.runPod(t).start(sleeper, latin)
	for _, c := range []*ctr{before, after} {
		if got := c.exec("echo \"$LATIN\""); got != "\xff\n" {
			t.Errorf("the variable is %q", got)
		}
	}
	if got := strings.Join(plugin.told(), ", "); !strings.Contains(got, "started running") {
		t.Errorf("the plugin is told of %s", got)
	}
}

// noTexts are configurations of images with strings that are none, by the word of the refusal if there is one.
var noTexts = map[string]struct {
	config v1.Config
	want   string
}{
	"user":        {v1.Config{User: notText}, "user"},
	"env":         {v1.Config{Env: []string{"A=" + notText, notText}}, ""},
	"label":       {v1.Config{Labels: map[string]string{notText: notText}}, ""},
	"workdir":     {v1.Config{WorkingDir: "/" + notText}, ""},
	"stop-signal": {v1.Config{StopSignal: notText}, ""},
	"cmd":         {v1.Config{Entrypoint: []string{"/" + notText}}, "no such file"},
}

// bytesAsIs is an image with the byte 0xff in its configuration where the encoder put what stands for it.
func bytesAsIs(img v1.Image) (v1.Image, error) {
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	raw := &rawImage{Image: img, config: bytes.ReplaceAll(config, []byte(`\ufffd`), []byte{0xff})}
	manifest = manifest.DeepCopy()
	if manifest.Config.Digest, manifest.Config.Size, err = v1.SHA256(bytes.NewReader(raw.config)); err != nil {
		return nil, err
	}
	if raw.manifest, err = json.Marshal(manifest); err != nil {
		return nil, err
	}
	return partial.CompressedToImage(raw)
}

// rawImage is an image by what its configuration and manifest are encoded to.
type rawImage struct {
	v1.Image
	config, manifest []byte
}

func (i *rawImage) RawConfigFile() ([]byte, error) { return i.config, nil }
func (i *rawImage) RawManifest() ([]byte, error)   { return i.manifest, nil }

func (i *rawImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	return i.Image.LayerByDigest(h)
}

// textImages are the images registry.LocalHost/escape:text-NAME.
func textImages(base v1.Layer) (out []registry.Entry, err error) {
	for name, tt := range noTexts {
		tt.config.Env = append([]string{"PATH=/bin"}, tt.config.Env...)
		if tt.config.Cmd = []string{"1000000"}; tt.config.Entrypoint == nil {
			tt.config.Entrypoint = []string{"sleep"}
		}
		img, err := imageOf(tt.config, base)
		if err == nil {
			img, err = bytesAsIs(img)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, registry.Entry{Repo: "escape", Tags: []string{"text-" + name}, Image: img})
	}
	return out, nil
}

// TestEscapeTextConfigs: an image whose configuration has bytes in its strings that are no text is shown as text.
func TestEscapeTextConfigs(t *testing.T) {
	d := suite.shared
	leavesNothing(t, d)
	p := d.runPod(t)
	for name, tt := range noTexts {
		t.Run(name, func(t *testing.T) {
			q := *p
			q.t = t
			ref := registry.LocalHost + "/escape:text-" + name
			d.pull(t, ref)
			resp, err := d.images.ImageStatus(deadline(t), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}, Verbose: true})
			if err != nil || resp.Image == nil {
				t.Errorf("status of the image: %v, %v", resp, err)
			}
			if _, err := d.images.ListImages(deadline(t), &runtime.ListImagesRequest{}); err != nil {
				t.Error(err)
			}
			q.startsAs(ref, func(*runtime.ContainerConfig) {}, tt.want, func(c *ctr) {
				if tt.want != "" {
					t.Errorf("it starts, and should be refused for %q", tt.want)
				}
				resp, err := c.runtime.ContainerStatus(deadline(t), &runtime.ContainerStatusRequest{ContainerId: c.id, Verbose: true})
				if err != nil || resp.Info["info"] == "" {
					t.Errorf("status %v, %v", resp, err)
				}
			})
			q.questions(t)
		})
	}
}
