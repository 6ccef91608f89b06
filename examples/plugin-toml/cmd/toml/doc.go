// Command toml is the plugin that brings the serializer toml.
package main
