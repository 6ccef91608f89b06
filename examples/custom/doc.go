// Command custom links a load balancer of its own, package primary, into a program
// and chooses it by key.
package main
