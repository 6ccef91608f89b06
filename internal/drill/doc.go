// Package drill breaks a connection on purpose and watches whether what bhrpc promises
// holds: that a dead peer is found after three unanswered heartbeats, that its calls
// go elsewhere, that both sides free everything, that the consumer comes back.
//
//	passed, err := drill.Run(ctx, drill.Config{Kind: "freeze", Interval: time.Second, Strikes: 3}, os.Stdout)
//
// It prints what happens while it happens. Times are those of the tool's own clock and
// of the last byte that passed its link; of the engine's own figures none is
// believed. docs/drills.md says what each kind does and expects.
//
// It imports the facade, core, spi, plugins and internal/link; cmd/bhrpc imports it.
package drill
