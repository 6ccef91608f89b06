// Command zone is the plugin that brings the load balancer zone-aware.
package main
