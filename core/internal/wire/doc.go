// Package wire appends and parses the frames of the native protocol, as
// docs/protocol.md lays them out.
//
// It is pure: bytes in, values out, no I/O, no goroutine, no state. Parsers never
// panic, never allocate more than in proportion to their input, and return views
// of it where they can; the caller keeps the input as long as it keeps the views.
// Lengths are checked against limits by the caller, who knows them.
//
// It imports the standard library only and is imported by core.
package wire
