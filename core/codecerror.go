package core

import (
	"errors"

	"github.com/bhrpc/bhrpc/spi"
)

// blame makes e, which tells of err, an error of whoever the serializer says is to
// blame: one that asks another process returns an [spi.Error] if that does not answer,
// and then neither value nor data are at fault.
func blame(e *spi.Error, err error) *spi.Error {
	var chosen *spi.Error
	if errors.As(err, &chosen) && chosen.Code.Valid() {
		e.Code, e.Hint = chosen.Code, "" // its own hint is in the message
	}
	return e
}
