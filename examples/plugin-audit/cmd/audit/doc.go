// Command audit is the plugin that brings the proxy audit.
package main
