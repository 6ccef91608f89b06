// Command adaptive is the plugin that brings the heartbeat adaptive.
package main
