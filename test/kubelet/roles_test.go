package kubelet

import "os"

// roleVar makes this program something else: the one inside a container that mounts it.
const roleVar = "TARE_KUBELET_TEST_ROLE"

func play(role string) { os.Exit(2) }
