// Package prometheus shows [core.Metrics] to Prometheus:
//
//	registry.MustRegister(prometheus.NewCollector(app.Metrics))
//
// It is no extension with a key: what scrapes a program, and where, is the program's
// own affair. Programs that use it import it, and nothing else in this module does.
// docs/metrics.md lists what it shows.
package prometheus
