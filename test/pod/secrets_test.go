package pod

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	v1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// secrets are marked, so that they are found wherever they come out.
var secrets = map[string]string{
	"password of a request":        "marked-password-0d1f",
	"token of a request":           "marked-token-5c9a",
	"credential of the node":       "marked-node-77be",
	"value of a variable":          "marked-variable-e3c4",
	"argument of a container":      "marked-argument-91d2", // for what runs, ps(1) shows it, and so does a verbose status
	"argument of an exec":          "marked-exec-4b6f",
	"standard input":               "marked-input-a8e5",
	"output of an exec":            "marked-output-1f0b",
	"variable of the daemon's own": "from-the-host", // hostSecret's
}

// TestSecrets gives a daemon, whose log is as detailed as can be, secrets wherever one may be, has its calls succeed
// and fail, and looks for them in all it writes and answers but where they belong: the files of its state, which are
// root's (TestModes), and a container's own log.
func TestSecrets(t *testing.T) {
	const host = "secrets.tare.test"
	password := base64.StdEncoding.EncodeToString([]byte("user:" + secrets["password of a request"]))
	node := base64.StdEncoding.EncodeToString([]byte("user:" + secrets["credential of the node"]))
	frontedRegistry(t, host, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		switch r.Header.Get("Authorization") {
		case "Basic " + password, "Basic " + node, "Bearer " + secrets["token of a request"]:
			pass.ServeHTTP(w, r)
		default: // a hostile one: it says what it was told
			w.Header().Set("WWW-Authenticate", `Basic realm="tare"`)
			http.Error(w, r.Header.Get("Authorization"), http.StatusUnauthorized)
		}
	})
	file := filepath.Join(t.TempDir(), "auth.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"auths": {"%s/layers": {"auth": %q}}}`, hostOf(t, host), node), 0o600); err != nil {
		t.Fatal(err)
	}
	d := ownDaemon(t, options{config: fmt.Sprintf("registry.auth_file = %q\n[tracing]\nkeep = 1000\n", file)})
	var answers strings.Builder
	note := func(what string, answer any, err error) {
		fmt.Fprintf(&answers, "%s: %v, %v\n", what, answer, err)
	}
	for i, auth := range []*v1.AuthConfig{
		{Username: "user", Password: secrets["password of a request"]}, {Auth: password}, {RegistryToken: secrets["token of a request"]}, nil,
		{Username: "user", Password: secrets["password of a request"] + "wrong"}, {RegistryToken: secrets["token of a request"] + "wrong"},
		{Auth: secrets["password of a request"]}, {Password: secrets["password of a request"]},
		{RegistryToken: secrets["token of a request"], ServerAddress: "a b"}, {IdentityToken: secrets["token of a request"]},
	} {
		ref := host + "/layers:gzip"
		d.removeImage(t, ref)
		note(fmt.Sprintf("pull %d", i), nil, d.pullWith(t, ref, auth))
		note("pull of nothing", nil, d.pullWith(t, host+"/layers:none", auth))
	}
	d.pull(t, busybox)
	p := d.runPod(t)
	secret := func(c *v1.ContainerConfig) {
		c.Envs = []*v1.KeyValue{{Key: "SECRET", Value: []byte(secrets["value of a variable"])}}
		c.Args = []string{secrets["argument of a container"]}
		c.Stdin = true
	}
	c := p.start(secret, sleeper)
	s := c.attach(asked{stdin: true})
	s.types(secrets["standard input"] + "\n")
	for _, bad := range []option{command("/no/such"), func(c *v1.ContainerConfig) { c.WorkingDir = "/etc/passwd" }, image("none.test/none"), asUser(-1)} {
		config := p.containerConfig(secret, bad)
		config.Args = []string{secrets["argument of a container"]}
		id, err := p.tryCreate(config)
		if err == nil {
			err = (&ctr{p, id, config}).tryStart()
		}
		note("bad container", id, err)
	}
	for _, cmd := range [][]string{{"echo", secrets["output of an exec"]}, {"/no/such", secrets["argument of an exec"]}, {"sh", "-c", "sleep 1000 #" + secrets["argument of an exec"]}} {
		resp, err := c.tryExec(1, cmd...)
		note("exec", resp.GetExitCode(), err)
	}
	url := c.execURL(asked{}, "echo", secrets["argument of an exec"])
	if code := connect(t, asked{}, url).finish(); code != 0 {
		t.Errorf("exec: exit code %d", code)
	}
	s.stdin.Close()
	c.describe(note)
	shown := strings.ReplaceAll(answers.String(), secrets["argument of a container"], "")
	for what, text := range map[string]string{"the answers": shown, "the daemon's log": d.logFile(), "the keeper's log": read(t, d.path("state/keeper.log"))} {
		for name, secret := range secrets {
			for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte("user:" + secret))} {
				if at := strings.Index(text, form); at >= 0 {
					t.Errorf("%s: the %s is in …%q…", what, name, text[max(0, at-200):min(len(text), at+100)])
				}
			}
		}
		if token := url[strings.LastIndexByte(url, '/')+1:]; strings.Contains(text, token) {
			t.Errorf("%s: the token of a session, %s, is in it", what, token)
		}
	}
	if !strings.Contains(d.logFile(), "level=DEBUG") || !strings.Contains(answers.String(), c.id) {
		t.Error("the log is not detailed, or there are no answers: nothing was looked for")
	}
}

// describe collects all that tells of a container.
func (c *ctr) describe(note func(what string, answer any, err error)) {
	ctx := deadline(c.t)
	one, err := c.runtime.ContainerStatus(ctx, &v1.ContainerStatusRequest{ContainerId: c.id, Verbose: true})
	note("ContainerStatus", one, err)
	all, err := c.runtime.PodSandboxStatus(ctx, &v1.PodSandboxStatusRequest{PodSandboxId: c.pod.id, Verbose: true})
	note("PodSandboxStatus", all, err)
	status, err := c.runtime.Status(ctx, &v1.StatusRequest{Verbose: true})
	note("Status", status, err)
	img, err := c.images.ImageStatus(ctx, &v1.ImageStatusRequest{Image: &v1.ImageSpec{Image: busybox}, Verbose: true})
	note("ImageStatus", img, err)
	containers, err := c.runtime.ListContainers(ctx, &v1.ListContainersRequest{})
	note("ListContainers", containers, err)
	stats, err := c.runtime.ListContainerStats(ctx, &v1.ListContainerStatsRequest{})
	note("ListContainerStats", stats, err)
	metrics, err := c.runtime.ListPodSandboxMetrics(ctx, &v1.ListPodSandboxMetricsRequest{})
	note("ListPodSandboxMetrics", metrics, err)
	events, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.runtime.GetContainerEvents(events, &v1.GetEventsRequest{})
	if err == nil {
		c.stop(0)
		var e *v1.ContainerEventResponse
		e, err = stream.Recv()
		note("GetContainerEvents", e, err)
	}
	note("events", nil, err)
	for _, args := range [][]string{{"ps"}, {"trace", c.pod.id}} {
		out, err := run(filepath.Join(suite.bin, "tare"), append(args, "--state", c.path("state"))...)
		note("tare "+args[0], out, err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestTokens: what opens a session is long, made of nothing that repeats, and good for one use by one kind of session
// (TestStreamToken) and for a minute (cri-streaming).
func TestTokens(t *testing.T) {
	leavesNothing(t, suite.shared)
	c := suite.shared.runPod(t).start(sleeper)
	const n = 200
	seen, ones := map[string]bool{}, [48]int{}
	for range n {
		url := c.execURL(asked{}, "true")
		token := url[strings.LastIndexByte(url, '/')+1:]
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || len(raw) < 6 || !regexp.MustCompile(`^[\w-]{8,}$`).MatchString(token) {
			t.Fatalf("token %q: %v", token, err)
		}
		if seen[token] {
			t.Fatalf("token %q comes again", token)
		}
		seen[token] = true
		for bit := range ones {
			ones[bit] += int(raw[bit/8]>>(bit%8)) & 1
		}
		if connect(t, asked{}, url).finish() != 0 {
			t.Fatal("the session fails")
		}
	}
	for bit, count := range ones { // a fair bit is out of these bounds once in 10^9 times
		if count < n/2-43 || count > n/2+43 {
			t.Errorf("bit %d of %d tokens is set in %d", bit, n, count)
		}
	}
}
