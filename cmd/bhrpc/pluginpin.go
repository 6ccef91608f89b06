package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/spf13/cobra"
)

func pluginPinCommand() *cobra.Command {
	var file, name string
	cmd := &cobra.Command{
		Use:   "pin PATH",
		Short: "Print the sha256 line of a program, or write it into a configuration file",
		Long: `Print the line sha256 that a plugin's configuration needs for the program at PATH.

With --config the line is written into that file, for the plugin whose path is PATH,
or the one that --name names, and everything else in the file stays as it is. A host
that runs goes on with the old program; bhrpc plugin restart NAME --sha256 replaces it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name != "" && file == "" {
				return errors.New("--name says which plugin of a file; give the file by --config")
			}
			hash, err := hashOf(args[0])
			if err != nil {
				return err
			}
			if file != "" {
				if err := pin(file, name, args[0], hash); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), config.Hash(hash))
			return err
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file to write it into")
	cmd.Flags().StringVar(&name, "name", "", "the plugin of the file that it is for; empty: the one with that path")
	return cmd
}

// hashOf returns the SHA-256 of a file, in hexadecimal digits.
func hashOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// pin writes the hash of a program into a configuration file, which is replaced at
// once.
func pin(file, name, program, hash string) error {
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(target)
	if err != nil {
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	pinned, err := config.Pin(file, text, hash, func(named, path string) bool {
		if name != "" {
			return named == name
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(file), path)
		}
		return sameFile(path, program)
	})
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(target), ".pin")
	if err != nil {
		return err
	}
	_, err = next.Write(pinned)
	err = errors.Join(err, next.Chmod(info.Mode().Perm()), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), target)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", file, err), os.Remove(next.Name()))
	}
	return nil
}

// sameFile reports whether two paths lead to one file that is there.
func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}
