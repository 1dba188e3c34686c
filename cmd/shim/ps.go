package main

import "github.com/spf13/cobra"

func psCommand() *cobra.Command { return &cobra.Command{Use: "ps"} }
