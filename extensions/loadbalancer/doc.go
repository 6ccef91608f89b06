// Package loadbalancer holds the built-in load balancers:
//
//   - random: any usable endpoint.
//   - round-robin: one after the other.
//   - weighted-random: by weight.
//   - p2c: the better of two random ones, by latency, load and weight. The default.
//
// Every pick is a few loads and a random number or an atomic addition: no lock, no
// allocation. Where endpoints are not usable, their share is spread over all that
// are, not given to the next one in the list.
//
// Only package extensions imports this one.
package loadbalancer
