package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/hack/node"
	"tare/test/registry"
)

const (
	webImage  = "docker.io/library/nginx:latest"
	peerImage = "docker.io/library/busybox:latest"

	// peerScript fetches its neighbour's page over the pod's localhost into the pod's shared
	// memory, and says so there and on its output.
	peerScript = `until wget -q -O /dev/shm/page http://127.0.0.1/; do sleep 0.02; done
echo "peer: fetched $(wc -c </dev/shm/page) bytes from my neighbour at 127.0.0.1"
echo "a note from peer, in the pod's shared memory" >/dev/shm/note
exec sleep infinity`

	// settle is how long servers may take to be ready.
	settle = 10 * time.Second
)

// namespaceOptions are the kubelet's for a pod without shareProcessNamespace.
var namespaceOptions = &runtime.NamespaceOption{Pid: runtime.NamespaceMode_CONTAINER}

// demo is one demonstration under way.
type demo struct {
	*place
	registry *registry.Server
	node     *node.Node
	cri      *node.CRI
	sandbox  *runtime.PodSandboxConfig
	pod      string
	ip       string
	web      string
	peer     string
}

// show does everything there is to see.
func (d *demo) show(ctx context.Context) error {
	heading("A node")
	if err := d.startNode(ctx); err != nil {
		return err
	}
	heading("A pod of two containers")
	if err := d.startPod(ctx); err != nil {
		return err
	}
	heading("What they do")
	if err := d.lookInside(ctx); err != nil {
		return err
	}
	heading("Whose namespaces they are in")
	return d.namespaces(ctx)
}

func (d *demo) startNode(ctx context.Context) error {
	err := step("build images, serve them on loopback", func() (_ string, err error) {
		if d.registry, err = node.Serve(); err != nil {
			return "", err
		}
		return "registry on " + d.registry.Addr(), nil
	})
	if err != nil {
		return err
	}
	err = step("start the daemon", func() (_ string, err error) {
		if d.node, err = node.Start(ctx, d.Options, d.registry.Addr()); err != nil {
			return "", err
		}
		if d.cri, err = node.Dial("unix://" + d.Socket); err != nil {
			return "", err
		}
		v, err := d.cri.Version(ctx, &runtime.VersionRequest{})
		return fmt.Sprintf("%s %s on unix://%s", v.GetRuntimeName(), v.GetRuntimeVersion(), d.Socket), err
	})
	if err != nil {
		return err
	}
	for _, image := range []string{webImage, peerImage} {
		err := step("pull "+image, func() (string, error) {
			id, err := d.cri.Pull(ctx, image)
			return short(strings.TrimPrefix(id, "sha256:")), err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startPod(ctx context.Context) error {
	d.sandbox = &runtime.PodSandboxConfig{
		Metadata:     &runtime.PodSandboxMetadata{Name: "demo", Namespace: "default", Uid: "demo"},
		Hostname:     "demo",
		LogDirectory: filepath.Join(d.Work, "logs"),
		Linux: &runtime.LinuxPodSandboxConfig{
			SecurityContext: &runtime.LinuxSandboxSecurityContext{NamespaceOptions: namespaceOptions},
		},
	}
	err := step("run the pod sandbox", func() (string, error) {
		r, err := d.cri.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: d.sandbox})
		if err != nil {
			return "", err
		}
		d.pod = r.PodSandboxId
		s, err := d.cri.PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: d.pod})
		d.ip = s.GetStatus().GetNetwork().GetIp()
		return "address " + d.ip + ", no process", err
	})
	if err != nil {
		return err
	}
	if d.web, err = d.startContainer(ctx, "web", webImage); err != nil {
		return err
	}
	d.peer, err = d.startContainer(ctx, "peer", peerImage, "sh", "-c", peerScript)
	return err
}

func (d *demo) startContainer(ctx context.Context, name, image string, command ...string) (id string, err error) {
	err = step("create and start container "+name, func() (string, error) {
		id, err = d.cri.Run(ctx, d.pod, d.sandbox, &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: name},
			Image:    &runtime.ImageSpec{Image: image},
			Command:  command,
			LogPath:  name + ".log",
			Linux: &runtime.LinuxContainerConfig{
				SecurityContext: &runtime.LinuxContainerSecurityContext{NamespaceOptions: namespaceOptions},
			},
		})
		if err != nil {
			return "", err
		}
		pid, err := d.cri.ContainerPid(ctx, id)
		return fmt.Sprintf("pid %d", pid), err
	})
	return id, err
}

// lookInside asks the containers for what they have done.
func (d *demo) lookInside(ctx context.Context) error {
	var page string
	err := step("GET http://"+d.ip+"/ from the host", func() (_ string, err error) {
		page, err = get(ctx, "http://"+d.ip+"/")
		return "answered by web", err
	})
	if err != nil {
		return err
	}
	quote(page)
	if err := d.await(ctx, "peer.log", "fetched"); err != nil {
		return err
	}
	command := []string{"sh", "-c", "echo \"$(hostname), uid $(id -u), I am process $$\"; cat /dev/shm/note"}
	var out string
	err = step("exec in web", func() (string, error) {
		r, err := d.cri.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: d.web, Cmd: command, Timeout: 10})
		if err == nil && r.ExitCode != 0 {
			err = fmt.Errorf("exit code %d: %s", r.ExitCode, r.Stderr)
		}
		out = string(r.GetStdout())
		return "", err
	})
	if err != nil {
		return err
	}
	quote(out)
	for _, name := range []string{"web.log", "peer.log"} {
		text, err := os.ReadFile(filepath.Join(d.sandbox.LogDirectory, name))
		if err != nil {
			return err
		}
		fmt.Println("    log of", strings.TrimSuffix(name, ".log"))
		quote(lastLines(string(text), 3))
	}
	return nil
}

// await waits until a log has a word in it.
func (d *demo) await(ctx context.Context, name, word string) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for {
		text, err := os.ReadFile(filepath.Join(d.sandbox.LogDirectory, name))
		if err == nil && strings.Contains(string(text), word) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not say %q: %w", name, word, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// get fetches a page from a server that may just be starting.
func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		resp, err := client.Do(req)
		if err == nil {
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			return resp.Status + "\n" + string(body), err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
