package cni

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tare/spec"

	"github.com/containerd/errdefs"
)

// args are CNI_ARGS, by the names that every Kubernetes plugin knows.
func args(p Pod) ([][2]string, error) {
	for field, value := range map[string]string{"namespace": p.Namespace, "name": p.Name, "uid": p.UID} {
		if strings.ContainsAny(value, ";=") { // CNI_ARGS has no quoting
			return nil, fmt.Errorf("metadata.%s: %q holds a character that CNI arguments cannot: %w", field, value, errdefs.ErrInvalidArgument)
		}
	}
	return [][2]string{
		{"IgnoreUnknown", "1"},
		{"K8S_POD_NAMESPACE", p.Namespace},
		{"K8S_POD_NAME", p.Name},
		{"K8S_POD_INFRA_CONTAINER_ID", string(p.ID)},
		{"K8S_POD_UID", p.UID},
	}, nil
}

// capabilities are the capability arguments (CNI CONVENTIONS.md and what containerd passes);
// libcni gives each plugin those it declares.
func capabilities(p Pod, cidrs []string) (map[string]any, error) {
	caps := make(map[string]any)
	ports, err := portMappings(p.PortMappings)
	if err != nil {
		return nil, err
	}
	if len(ports) > 0 {
		caps["portMappings"] = ports
	}
	if len(p.DNS.Servers)+len(p.DNS.Searches)+len(p.DNS.Options) > 0 {
		caps["dns"] = map[string][]string{"servers": p.DNS.Servers, "searches": p.DNS.Searches, "options": p.DNS.Options}
	}
	if p.CgroupPath != "" {
		caps["cgroupPath"] = p.CgroupPath
	}
	if len(p.Annotations) > 0 {
		caps["io.kubernetes.cri.pod-annotations"] = p.Annotations
	}
	if len(cidrs) > 0 {
		caps["ipRanges"] = ipRanges(cidrs)
	}
	bw, err := bandwidth(p.Annotations)
	if err != nil {
		return nil, err
	}
	if len(bw) > 0 {
		caps["bandwidth"] = bw
	}
	return caps, nil
}

// portMapping is in alphabetical order, as a record gives it back: DEL gets ADD's very bytes.
type portMapping struct {
	ContainerPort int32  `json:"containerPort"`
	HostIP        string `json:"hostIP,omitempty"`
	HostPort      int32  `json:"hostPort"`
	Protocol      string `json:"protocol"`
}

func portMappings(mappings []spec.PortMapping) ([]portMapping, error) {
	var list []portMapping
	for _, m := range mappings {
		if m.HostPort == 0 { // asks for nothing (CRI PortMapping)
			continue
		}
		protocol := strings.ToLower(m.Protocol)
		if !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
			return nil, fmt.Errorf("port mapping: protocol %q: %w", m.Protocol, errdefs.ErrInvalidArgument)
		}
		if _, err := netip.ParseAddr(m.HostIP); err != nil && m.HostIP != "" {
			return nil, fmt.Errorf("port mapping: host ip %q: %w", m.HostIP, errdefs.ErrInvalidArgument)
		}
		for _, port := range []int32{m.HostPort, m.ContainerPort} {
			if port < 1 || port > math.MaxUint16 {
				return nil, fmt.Errorf("port mapping: port %d: %w", port, errdefs.ErrInvalidArgument)
			}
		}
		list = append(list, portMapping{ContainerPort: m.ContainerPort, HostIP: m.HostIP, HostPort: m.HostPort, Protocol: protocol})
	}
	return list, nil
}

// ipRanges: a list of alternatives for each address that the pod is to get.
func ipRanges(cidrs []string) [][]map[string]string {
	var ranges [][]map[string]string
	for _, c := range cidrs {
		ranges = append(ranges, []map[string]string{{"subnet": c}})
	}
	return ranges
}

// bandwidth reads the annotations that ask for traffic shaping, in bits per second. The burst
// is as good as unlimited, which is what kubelet's own network plugin gave.
func bandwidth(annotations map[string]string) (map[string]uint64, error) {
	limits := make(map[string]uint64)
	for _, dir := range []string{"ingress", "egress"} {
		text, ok := annotations["kubernetes.io/"+dir+"-bandwidth"]
		if !ok {
			continue
		}
		rate, err := bitRate(text)
		if err != nil {
			return nil, fmt.Errorf("annotation kubernetes.io/%s-bandwidth %q: %w: %w", dir, text, err, errdefs.ErrInvalidArgument)
		}
		limits[dir+"Rate"], limits[dir+"Burst"] = rate, math.MaxUint32
	}
	return limits, nil
}

// Bounds of a sensible limit, those of Kubernetes (pkg/util/bandwidth).
const (
	minBitRate = 1e3
	maxBitRate = 1e15
)

// bitRate reads a Kubernetes quantity.
func bitRate(text string) (uint64, error) {
	number := strings.TrimRight(text, "kKMGTPi")
	factor, ok := map[string]float64{
		"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50,
	}[text[len(number):]]
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok {
		return 0, fmt.Errorf("not a quantity")
	}
	if rate := value * factor; rate >= minBitRate && rate <= maxBitRate {
		return uint64(rate), nil
	}
	return 0, fmt.Errorf("not between 1k and 1P")
}
