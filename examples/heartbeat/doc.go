// Command heartbeat stops a provider and then a consumer, each a process, and shows
// how the other one finds it dead after three unanswered heartbeats.
package main
