package bhrpc

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/sirupsen/logrus"
)

// newLogger returns the logger that the configuration's log: block describes.
func newLogger(cfg config.Log, out io.Writer) (*logrus.Logger, error) {
	log := logrus.New()
	log.Out = out
	level, err := logrus.ParseLevel(cfg.Level)
	if err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	log.Level = level
	log.Formatter = lineFormatter{}
	if cfg.Format == "json" {
		log.Formatter = &logrus.JSONFormatter{}
	}
	return log, nil
}

// lineFormatter writes one line: time, level, message, fields by name.
type lineFormatter struct{}

// Format implements [logrus.Formatter].
func (lineFormatter) Format(e *logrus.Entry) ([]byte, error) {
	var b strings.Builder
	b.WriteString(e.Time.Format("15:04:05.000 "))
	b.WriteString(levelNames[e.Level] + " ")
	b.WriteString(e.Message)
	for i, key := range slices.Sorted(maps.Keys(e.Data)) {
		if i == 0 {
			b.WriteByte(' ')
		}
		b.WriteString(" " + key + "=" + quoteIfNeeded(fmt.Sprint(e.Data[key])))
	}
	b.WriteByte('\n')
	return []byte(b.String()), nil
}

var levelNames = map[logrus.Level]string{
	logrus.PanicLevel: "PANIC", logrus.FatalLevel: "FATAL", logrus.ErrorLevel: "ERROR", logrus.WarnLevel: "WARN",
	logrus.InfoLevel: "INFO", logrus.DebugLevel: "DEBUG", logrus.TraceLevel: "TRACE",
}

func quoteIfNeeded(v string) string {
	if v == "" || strings.ContainsAny(v, " \t\n\"=") {
		return strconv.Quote(v)
	}
	return v
}
