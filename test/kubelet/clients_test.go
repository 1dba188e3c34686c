package kubelet

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1 "k8s.io/api/core/v1"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	nodeName    = "node"
	kubeletPort = 10250
)

// callTimeout bounds one call.
func callTimeout() time.Duration { return lasting(30 * time.Second) }

// clients are the two ways to look at the node: the kubelet's API and the CRI.
type clients struct {
	kubeletAPI *http.Client
	runtime    runtime.RuntimeServiceClient
	images     runtime.ImageServiceClient
}

// connect makes the clients; both connect when they are used.
func (m *machine) connect() error {
	conn, err := grpc.NewClient(m.endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	m.clients = clients{
		// The certificate is one the kubelet signed itself.
		kubeletAPI: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
		runtime:    runtime.NewRuntimeServiceClient(conn),
		images:     runtime.NewImageServiceClient(conn),
	}
	return nil
}

func kubeletURL(path string) string { return fmt.Sprintf("https://127.0.0.1:%d%s", kubeletPort, path) }

// get asks the kubelet.
func (c *clients) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, kubeletURL(path), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.kubeletAPI.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	return body, err
}

// pods are those the kubelet knows, with their statuses.
func (c *clients) pods() (map[string]*v1.Pod, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout())
	defer cancel()
	body, err := c.get(ctx, "/pods")
	if err != nil {
		return nil, err
	}
	var list v1.PodList
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	pods := map[string]*v1.Pod{}
	for i := range list.Items {
		pods[list.Items[i].Name] = &list.Items[i]
	}
	return pods, nil
}

// metric is the value of one of the kubelet's own metrics that has no labels.
func (c *clients) metric(t *testing.T, name string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout())
	defer cancel()
	body, err := c.get(ctx, "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return n
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
