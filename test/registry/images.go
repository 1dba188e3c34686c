package registry

import (
	"runtime"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Repositories of the conformance suite (cri-tools pkg/validate/consts.go).
const (
	staging = "k8s-staging-cri-tools/"
	e2e     = "e2e-test-images/"
)

// conformanceImages are the busybox images: the default container image, and
// k8s-staging-cri-tools/test-image-*, which differ by one file or by their user.
// test-image-digest is missing: critest names it by the digest of upstream's build.
func conformanceImages(b *baseLayers) ([]Entry, error) {
	shell := v1.Config{Cmd: []string{"sh"}}
	var list entries

	list.image(e2e+"busybox", []string{"1.29-2", "1.29-4", "1.37.0-1"}, shell, b.busybox, b.tools)
	list.image("library/busybox", []string{"latest", "1", "1-glibc", "1-musl", "1-uclibc", "1.35.0-glibc"}, shell, b.busybox, b.tools)

	for _, img := range []struct {
		name, file string
		tags       []string
	}{
		{"test-image-1", "test-image-1", []string{"latest"}},
		{"test-image-2", "test-image-2", []string{"latest"}},
		{"test-image-3", "test-image-3", []string{"latest"}},
		{"test-image-latest", "test-image-latest", []string{"latest"}},
		{"test-image-digest", "test-image-digest", []string{"latest"}},
		{"test-image-tags", "same-image", []string{"1", "2", "3"}},
		{"test-image-tag", "test", []string{"test"}},
		{"test-image-tag", "all", []string{"all"}},
	} {
		mark := newTree()
		mark.file(img.file, 0o644, nil)
		list.image(staging+img.name, img.tags, shell, b.busybox, list.layer(mark))
	}

	for _, img := range []struct{ name, user string }{
		{"test-image-user-uid", "1002"},
		{"test-image-user-username", "www-data"},
		{"test-image-user-uid-group", "1003:1004"},
		{"test-image-user-username-group", "www-data:1004"},
	} {
		list.image(staging+img.name, []string{"latest"}, v1.Config{Cmd: shell.Cmd, User: img.user}, b.busybox)
	}

	users := newTree()
	users.file("etc/passwd", 0o644, []byte(passwd+"default-user:x:1000:1000:default-user:/home/default-user:/bin/sh\n"))
	users.file("etc/group", 0o644, []byte(group+"default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"))
	list.image(staging+"test-image-predefined-group", []string{"latest"}, v1.Config{Cmd: shell.Cmd, User: "1000"}, b.busybox, list.layer(users))
	return list.done()
}

// serverImages answer http: nginx on 80 and on 12003, httpd on 80.
func serverImages(b *baseLayers) ([]Entry, error) {
	var list entries
	program := newTree()
	program.program("usr/sbin/nginx", "/usr/sbin/nginx", 0o755)
	program.file("usr/share/nginx/html/index.html", 0o644, []byte("<h1>Welcome to nginx</h1>\n"))
	for _, dir := range []string{"var/lib/nginx", "var/log/nginx"} {
		program.dir(dir, 0o755)
	}
	nginx := list.layer(program)
	cfg := v1.Config{
		Entrypoint:   []string{"nginx"},
		Cmd:          []string{"-g", "daemon off;"},
		StopSignal:   "SIGQUIT",
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}
	on80 := newTree()
	on80.file("etc/nginx/nginx.conf", 0o644, []byte(nginxConf("80")))
	web := list.layer(on80)
	list.image(e2e+"nginx", []string{"1.14-2", "1.14-4"}, cfg, b.busybox, nginx, web)
	list.image("library/nginx", []string{"latest"}, cfg, b.busybox, nginx, web)

	on12003 := newTree()
	on12003.file("etc/nginx/nginx.conf", 0o644, []byte(nginxConf("12003")))
	hostNet := list.layer(on12003)
	cfg.ExposedPorts = map[string]struct{}{"12003/tcp": {}}
	list.image(staging+"hostnet-nginx", []string{"latest"}, cfg, b.busybox, nginx, hostNet)
	list.image(staging+"hostnet-nginx-"+runtime.GOARCH, []string{"latest"}, cfg, b.busybox, nginx, hostNet)

	page := newTree()
	page.file("var/www/index.html", 0o644, []byte("<h1>It works!</h1>\n"))
	list.image(e2e+"httpd", []string{"2.4.39-4"}, v1.Config{
		Cmd:          []string{"sh", "-c", "echo httpd: ready; exec httpd -f -p 80 -h /var/www"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}, b.busybox, list.layer(page))
	return list.done()
}

// nginxConf logs to stdio, and keeps the pid where critest looks for it.
func nginxConf(port string) string {
	return `user www-data;
worker_processes 1;
pid /var/run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 256; }
http {
    access_log /dev/stdout;
    server {
        listen ` + port + ` default_server;
        root /usr/share/nginx/html;
    }
}
`
}

// smallImages are pause, which only waits, and nonewprivs, whose set-user-id
// program tells whether it could raise its privileges.
func smallImages(b *baseLayers) ([]Entry, error) {
	var list entries
	pause := newTree()
	pause.program("pause", "/usr/bin/catatonit", 0o755)
	tags := []string{"3.9", "3.6", "3.8", "3.10", "3.10.1", "latest"}
	list.image("pause", tags, v1.Config{Entrypoint: []string{"/pause", "-P"}, User: "65535:65535"}, list.layer(pause))

	setuid := newTree()
	setuid.program("usr/local/bin/effective-id", "/usr/bin/id", 0o4755)
	list.image(e2e+"nonewprivs", []string{"1.3"}, v1.Config{
		Cmd: []string{"sh", "-c", `echo "Effective uid: $(effective-id -u)"`},
	}, b.busybox, list.layer(setuid))
	return list.done()
}

// entries collects images; the first error sticks and is reported by done.
type entries struct {
	list []Entry
	err  error
}

// layer compresses t with gzip.
func (e *entries) layer(t *tree) v1.Layer {
	l, err := t.layer(compression.GZip)
	if err != nil && e.err == nil {
		e.err = err
	}
	return l
}

func (e *entries) image(repo string, tags []string, cfg v1.Config, layers ...v1.Layer) {
	if e.err != nil {
		return
	}
	img, err := image(cfg, layers...)
	if err != nil {
		e.err = err
		return
	}
	add, err := entry(repo, img, tags...)
	e.err = err
	e.list = append(e.list, add)
}

func (e *entries) done() ([]Entry, error) { return e.list, e.err }
