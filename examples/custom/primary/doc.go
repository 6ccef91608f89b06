// Package primary is a load balancer: calls go to the first endpoint of a list that
// can be used, so the others are there for the day it cannot.
//
// It is written as anybody would write one in a repository of their own. It imports
// spi; the program that uses it passes [Register] to bhrpc.Open.
package primary
