package enclose

import (
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
)

func TestMain(m *testing.M) {
	code, err := Main(func() (int, error) { return m.Run(), nil })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func TestInside(t *testing.T) {
	if os.Getppid() != 1 || os.Getenv(OuterVar) == "" {
		t.Errorf("parent %d, %s=%q", os.Getppid(), OuterVar, os.Getenv(OuterVar))
	}
	for _, dir := range emptied {
		list, err := os.ReadDir(dir)
		list = slices.DeleteFunc(list, func(e os.DirEntry) bool { return dir+"/"+e.Name() == systemdDir })
		if err != nil || len(list) > 0 {
			t.Errorf("%s: %v, %v", dir, list, err)
		}
	}
	links, err := net.Interfaces()
	if err != nil || len(links) != 1 || links[0].Flags&net.FlagUp == 0 {
		t.Errorf("links: %v, %v", links, err)
	}
}
