// Command tare-bridge is the network plugin of package cni/bridge as an ordinary CNI plugin
// binary, for use under any runtime. Tare itself calls the package in process.
package main

import "tare/cni/bridge"

func main() { bridge.Main() }
