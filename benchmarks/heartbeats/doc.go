// Command heartbeats measures what heartbeats cost and how well they find the dead,
// with many real connections over the loopback interface:
//
//	go -C benchmarks run ./heartbeats -conns 15000
//
// One process is the provider. The consumers' connections are spread over several
// processes, each endpoint an address of its own in 127.0.0.0/8, all of them the one
// listener. One more process calls when the machine shall be busy. For every
// strategy and interval, one after the other, it
//
//   - waits until all connections are up and have been for a while,
//   - measures a calm time: processor time, memory, goroutines, false strikes,
//   - lets callers keep the machine busy and counts false strikes again,
//   - stops half of the consumer processes at once (SIGSTOP), and measures how long
//     it takes the provider to find each of their connections dead.
//
// Strikes while nobody is stopped are false. Every process needs as many descriptors
// as it has connections. It runs on Linux.
package main
