package kubelet

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// roleVar makes this program something else: what runs in a container that mounts it.
const roleVar = "TARE_KUBELET_TEST_ROLE"

// play plays a role and does not return.
func play(role string) {
	err := fmt.Errorf("no role %q", role)
	if role == "server" {
		err = serveHealth()
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func healthy() bool {
	_, err := os.Stat("/state/sick")
	return err != nil
}

// serveHealth answers over HTTP and gRPC that it is healthy as long as it is, and listens on a
// port for as long.
func serveHealth() error {
	http.HandleFunc("/healthy", func(w http.ResponseWriter, r *http.Request) {
		if !healthy() || r.Header.Get("X-Probe") != "1" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	failed := make(chan error)
	go func() { failed <- http.ListenAndServe(":8080", nil) }() // ends with the program
	listener, err := net.Listen("tcp", ":9090")
	if err != nil {
		return err
	}
	status, server := health.NewServer(), grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, status)
	go func() { failed <- server.Serve(listener) }() // ends with the program
	go func() { failed <- listenWhileHealthy(status) }()
	return <-failed
}

func listenWhileHealthy(status *health.Server) error {
	var open net.Listener
	var err error
	for ; ; time.Sleep(50 * time.Millisecond) {
		switch well := healthy(); {
		case well && open == nil:
			if open, err = net.Listen("tcp", ":7070"); err != nil {
				return err
			}
			status.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
		case !well && open != nil:
			open.Close()
			open = nil
			status.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		}
	}
}
