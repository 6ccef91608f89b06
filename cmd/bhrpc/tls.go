package main

import (
	"errors"

	"github.com/bhrpc/bhrpc"
	"github.com/spf13/cobra"
)

// tlsFlags say how a command secures its connection.
type tlsFlags struct {
	on                        bool
	ca, cert, key, serverName string
}

func (f *tlsFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.on, "tls", false, "secure the connection; the flags below do so too")
	cmd.Flags().StringVar(&f.ca, "ca", "", "file with the authorities that sign the provider's certificate; otherwise the system's")
	cmd.Flags().StringVar(&f.cert, "cert", "", "file with the certificate to show")
	cmd.Flags().StringVar(&f.key, "key", "", "file with the private key of --cert")
	cmd.Flags().StringVar(&f.serverName, "server-name", "", "name that the provider's certificate must carry; otherwise the host of ADDRESS")
}

// set puts the flags that were given into a configuration.
func (f *tlsFlags) set(cfg *bhrpc.Config) error {
	var errs []error
	for key, value := range map[string]string{"ca": f.ca, "cert": f.cert, "key": f.key, "server_name": f.serverName} {
		if value != "" {
			f.on = true
			errs = append(errs, cfg.Set("consumer.tls."+key, value))
		}
	}
	if f.on {
		errs = append(errs, cfg.Set("consumer.tls.enabled", true))
	}
	return errors.Join(errs...)
}
