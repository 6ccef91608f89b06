//go:build !unix

package main

import "errors"

// both needs what this system does not have.
func both() error {
	return errors.New("this example stops processes by SIGSTOP and needs a Unix; bhrpc drill freeze shows the same here")
}
