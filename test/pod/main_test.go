package pod

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"tare/test/enclose"
)

func TestMain(m *testing.M) {
	if startedAsPlugin() {
		os.Exit(servePlugin())
	}
	flag.Parse()
	code, err := enclose.Main(func() (int, error) { return runSuite(m) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/pod:", err)
		code = 1
	}
	os.Exit(code)
}
