# Tare's commands for people and for CI. "make help" lists them.

GO ?= go
export CGO_ENABLED = 0
# A clone that belongs to another user is no place for git, and then no reason not to build.
export GOFLAGS := $(GOFLAGS) -buildvcs=$(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)

LDFLAGS = -s -w

.PHONY: help run build test test-critest test-vm bench lint clean install-packages

help: ## list the commands
	@echo "Tare, a Kubernetes CRI runtime. As root, on Linux 6.1 or newer:"
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 26

run: install-packages build bin/crictl ## demo: daemon, registry, a pod with two containers; Ctrl-C removes all
	@exec bin/demo

build: ## bin/tare, bin/keeper and the tools beside them
	@echo "== build"
	@$(GO) build -trimpath -ldflags='$(LDFLAGS)' -o bin/tare ./cmd/shim
	@$(GO) build -trimpath -ldflags='$(LDFLAGS)' -o bin/ ./cmd/keeper ./cmd/tare-bridge
	@$(GO) build -trimpath -o bin/ ./hack/demo ./hack/bench ./test/registry/cmd/registry ./test/leak/cmd/leak

# Built in its own module, which test/cri requires for critest.
bin/crictl: test/cri/go.mod
	@echo "== build crictl"
	@$(GO) -C test/cri mod download sigs.k8s.io/cri-tools
	@$(GO) -C "$$($(GO) -C test/cri list -m -f '{{.Dir}}' sigs.k8s.io/cri-tools)" build -mod=readonly -buildvcs=false \
		-trimpath -ldflags='$(LDFLAGS)' -o $(CURDIR)/bin/crictl ./cmd/crictl

test: ## everything CI asks for: lint, unit, kernel and conformance tests
	@hack/test.sh

test-critest: install-packages build ## critest alone: specs in turn, four at a time, benchmarks; COUNT=10 for ten times
	@$(GO) -C test/cri test -count=$(or $(COUNT),1) -timeout 0 -v .

test-vm: build ## tests in a virtual machine with cgroup v2, systemd, AppArmor and SELinux; PARTS=... runs some of hack/vm/parts
	@hack/test-vm.sh $(PARTS)

test-kubelet: install-packages build ## pods by a kubelet, standalone; building it takes minutes the first time
	@$(GO) -C test/kubelet test -count=1 -timeout 0 -v .

bench: install-packages build ## p50/p95 of pods and execs, memory, idle CPU, beside the targets
	@exec bin/bench

lint: ## gofmt, vet and staticcheck, also for arm64
	@hack/lint.sh

install-packages: ## the Debian packages that tests and demo need, as far as they are missing
	@hack/install-packages.sh

clean: ## what was built, the virtual machine too
	@rm -rf bin .vm
