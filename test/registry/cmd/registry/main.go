// Command registry builds the test images and serves them on loopback until it
// is interrupted. Its first line of output is the address, host:port.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"tare/test/registry"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve on")
	certs := flag.String("certs-dir", "", "write certs.d/<host>/hosts.toml files below this directory")
	list := flag.Bool("list", false, "print every image reference with its digest, and exit")
	untilEOF := flag.Bool("until-eof", false, "end when standard input does: when the process at its other end is gone")
	flag.Parse()

	catalog, err := registry.Build()
	if err != nil {
		return err
	}
	if *list {
		return printList(catalog)
	}
	server, err := registry.Serve(catalog, registry.Options{Listen: *listen})
	if err != nil {
		return err
	}
	if *certs != "" {
		if err := registry.WriteCertsDir(*certs, server.Addr(), registry.Hosts...); err != nil {
			return err
		}
	}
	fmt.Println(server.Addr())

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	if *untilEOF {
		go func() { // ends with the program
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(stop)
		}()
	}
	<-stop
	return server.Close()
}

func printList(c *registry.Catalog) error {
	for _, e := range c.Entries {
		digest, err := e.Digest()
		if err != nil {
			return err
		}
		for _, tag := range e.Tags {
			fmt.Printf("%s:%s\t%s\n", e.Repo, tag, digest)
		}
	}
	return nil
}
