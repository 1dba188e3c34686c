package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tare/config"
)

func configCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "config",
		Short: "Show the configuration that a daemon would start with",
		Long: `Print the configuration that the files give, as TOML, each value with the file and line it comes
from. The files are the configuration file and then, in the order of their names, config.d/*.toml
beside it; what a later one sets replaces what an earlier one does.

A daemon that runs has what it read when it was started or last reloaded: crictl info.`,
		Example: `  tare config
  tare config check && systemctl reload tare
  tare config default > /etc/tare/config.toml`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, origins, err := config.Load(path)
			if err != nil {
				return err
			}
			return cfg.Write(c.OutOrStdout(), origins)
		},
	}
	c.PersistentFlags().StringVar(&path, "config", "", "configuration file (default "+config.DefaultPath+", if it exists)")
	c.AddCommand(&cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the configuration; the exit status is 1 then",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, _, err := config.Load(path)
			return err
		},
	}, &cobra.Command{
		Use:   "default",
		Short: "Print a configuration file with every option explained",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(c.OutOrStdout(), config.Explained)
			return err
		},
	})
	return c
}
