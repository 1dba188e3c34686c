# Tare's commands for people and for CI. "make help" lists them.

GO ?= go
export CGO_ENABLED = 0
# A clone that belongs to another user is no place for git, and then no reason not to build.
export GOFLAGS := $(GOFLAGS) -buildvcs=$(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)

# Where programs are built, and a release's version, instead of the one in cmd/shim/version.go.
BIN ?= bin
VERSION ?=

LDFLAGS = -s -w $(if $(VERSION),-X main.version=$(VERSION))

# Where "make install" installs; DESTDIR goes before all of it. Units below /usr and /usr/local are found by
# systemd (systemd.unit(5)); with another PREFIX, UNITDIR=/etc/systemd/system.
PREFIX ?= /usr/local
UNITDIR ?= $(PREFIX)/lib/systemd/system
CNIDIR ?= /usr/lib/cni

# The tests about hostile containers, images and neighbours (test/pod/escape_test.go has the index).
ESCAPES = Escape|Race|Hostile|Modes|Secrets|Tokens|StreamToken|Isolated|Descriptors|Visible|LogPath|ImageUsers|UserRows|ExecSyncMuch|TimeoutTree

.PHONY: help run build install install-files uninstall deb test test-crash test-critest test-vm test-kubelet test-escape test-soak fuzz bench lint clean install-packages

help: ## list the commands
	@echo "Tare, a Kubernetes CRI runtime. As root, on Linux 6.8 or newer:"
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 26

run: install-packages build bin/crictl ## demo: daemon, registry, a pod with two containers; Ctrl-C removes all
	@exec bin/demo

build: ## bin/tare, bin/keeper and the tools beside them
	@echo "== build"
	@$(GO) build -trimpath -ldflags='$(LDFLAGS)' -o $(BIN)/tare ./cmd/shim
	@$(GO) build -trimpath -ldflags='$(LDFLAGS)' -o $(BIN)/ ./cmd/keeper ./cmd/tare-bridge ./test/attack
	@$(GO) build -trimpath -o $(BIN)/ ./hack/demo ./hack/cri-bench ./hack/floor ./test/registry/cmd/registry ./test/leak/cmd/leak

install: build install-files ## programs, unit, configuration below PREFIX and /etc; an existing configuration stays

# The daemon finds the keeper beside itself, wherever a link leads to it.
install-files:
	@install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)/etc/tare/config.d
	@install -D -t $(DESTDIR)$(PREFIX)/lib/tare $(BIN)/tare $(BIN)/keeper
	@ln -sfn ../lib/tare/tare $(DESTDIR)$(PREFIX)/bin/tare
	@install -D -t $(DESTDIR)$(CNIDIR) $(BIN)/tare-bridge
	@sed 's|/usr/local/bin/tare|$(PREFIX)/bin/tare|; s|, in /usr/local/bin||' packaging/systemd/tare.service | install -D -m 644 /dev/stdin $(DESTDIR)$(UNITDIR)/tare.service
	@[ -e $(DESTDIR)/etc/tare/config.toml ] || install -m 644 config/default.toml $(DESTDIR)/etc/tare/config.toml
	@install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/tare/examples packaging/crictl.yaml
	@install -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/tare docs/kubernetes.md
	@$(BIN)/tare completion bash | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tare
	@$(BIN)/tare completion zsh | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_tare
	@$(BIN)/tare completion fish | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tare.fish

uninstall: ## remove what install put there; configuration and state stay: "tare stop --all" before ends pods
	@rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/tare lib/tare/tare lib/tare/keeper share/doc/tare/examples/crictl.yaml share/doc/tare/kubernetes.md) \
		$(DESTDIR)$(CNIDIR)/tare-bridge $(DESTDIR)$(UNITDIR)/tare.service \
		$(addprefix $(DESTDIR)$(PREFIX)/share/,bash-completion/completions/tare zsh/vendor-completions/_tare fish/vendor_completions.d/tare.fish)
	@rmdir --ignore-fail-on-non-empty $(addprefix $(DESTDIR)$(PREFIX)/,lib/tare share/doc/tare/examples share/doc/tare) 2>/dev/null || true
	@echo "left: configuration in $(DESTDIR)/etc/tare, images in /var/lib/tare, state in /run/tare; then: systemctl daemon-reload"

deb: build ## bin/tare_VERSION_ARCH.deb; VERSION=... for another than the one in cmd/shim/version.go
	@hack/deb.sh $(BIN)

# Built in its own module, which test/cri requires for critest.
bin/crictl: test/cri/go.mod
	@echo "== build crictl"
	@$(GO) -C test/cri mod download sigs.k8s.io/cri-tools
	@$(GO) -C "$$($(GO) -C test/cri list -m -f '{{.Dir}}' sigs.k8s.io/cri-tools)" build -mod=readonly -buildvcs=false \
		-trimpath -ldflags='$(LDFLAGS)' -o $(CURDIR)/bin/crictl ./cmd/crictl

test: ## everything CI asks for: lint, unit, kernel and conformance tests, pods by a kubelet, some of test-vm
	@hack/test.sh

test-crash: install-packages build ## daemon, keeper, or both killed between any two steps of every operation: some minutes
	@$(GO) test -count=1 -timeout 0 -run 'TestCrash' -v ./test/pod -args -crash-fully

test-critest: install-packages build ## critest alone: specs in turn, four at a time, benchmarks; COUNT=10 for ten times; HANDLER=runc: in turn, by an OCI runtime
	@$(GO) -C test/cri test -count=$(or $(COUNT),1) -timeout 0 -v $(if $(HANDLER),-run 'TestCRI$$') . $(if $(HANDLER),-args -handler $(HANDLER))

test-vm: ## tests in a virtual machine with cgroup v2, systemd, AppArmor and SELinux; PARTS=... runs some of hack/vm/parts
	@hack/test-vm.sh $(PARTS)

test-kubelet: install-packages build ## pods by a kubelet, standalone; building it takes minutes the first time
	@$(GO) -C test/kubelet test -count=1 -timeout 0 -v .

test-escape: install-packages build ## known escapes from containers, and races for thousands of rounds; minutes
	@$(GO) test ./test/pod -count=1 -timeout 0 -v -run '$(ESCAPES)' -args -full

test-soak: install-packages build ## ten thousand pods, a hundred thousand execs, a line of a gigabyte: nothing grows; ten minutes
	@$(GO) test ./test/pod -count=1 -timeout 0 -v -run Soak -args -soak

fuzz: ## every fuzz target in turn; SECONDS_EACH=30
	@hack/fuzz.sh $(or $(SECONDS_EACH),30)

bench: install-packages build ## Tare beside containerd and runc: table, bin/bench.json, bin/bench.svg; BENCH=... passes options
	@hack/install-packages.sh hack/packages-bench
	@exec bin/cri-bench --containerd --cni --json bin/bench.json --svg bin/bench.svg $(BENCH)

lint: ## gofmt, vet and staticcheck, also for arm64
	@hack/lint.sh

install-packages: ## the Debian packages that tests and demo need, as far as they are missing
	@hack/install-packages.sh

clean: ## what was built, the virtual machine too
	@rm -rf bin .vm
