package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

var (
	errDirectory = errors.New("is a directory")
	errTooLarge  = errors.New("too large")
)

// readAll returns what the file at path holds.
func readAll(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, errDirectory
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errTooLarge
	}
	return data, err
}

// explain says why a file cannot be read and what to do.
func explain(path string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		message := "no such file"
		if other := sibling(path); other != "" {
			message += "; there is " + other + ": rename it, or give its name"
		} else if dir, err := os.Getwd(); err == nil && !filepath.IsAbs(path) {
			message += "; the working directory is " + dir
		}
		return message
	case errors.Is(err, errDirectory):
		return "it is a directory; give the file in it, such as " + filepath.Join(path, "bhrpc.yaml")
	case errors.Is(err, errTooLarge):
		return fmt.Sprintf("more than %v; a configuration is smaller", spi.Size(maxFile))
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err.Error()
	}
	return err.Error()
}

// sibling returns the file that is called as path but for the other spelling of
// its extension, "" if there is none.
func sibling(path string) string {
	extension := filepath.Ext(path)
	other, ok := map[string]string{".yaml": ".yml", ".yml": ".yaml"}[extension]
	if !ok {
		return ""
	}
	other = strings.TrimSuffix(path, extension) + other
	if _, err := os.Stat(other); err != nil {
		return ""
	}
	return other
}
