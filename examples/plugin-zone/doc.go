// Package zone is a load balancer that stays in one zone, and lets calls go to others
// where its own endpoints fail or have too much to do.
//
// The same source works linked into a program, which passes [Register] to
// bhrpc.Open, and as a plugin: cmd/zone.
package zone
