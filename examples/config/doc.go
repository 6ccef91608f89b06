// Command config runs one program under three configuration files: the same calls,
// made with other serializers, load balancers and timeouts.
package main
