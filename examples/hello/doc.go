// Command hello runs a provider and a consumer as two processes and prints what the
// consumer hears.
package main
