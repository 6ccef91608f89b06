// Package interceptor holds the built-in interceptors, which the keys
// consumer.interceptors and provider.interceptors put around calls:
//
//   - access-log: one line in the log for every call.
//   - recover: a panic becomes the error of the one call.
//
// None is there unless it is named.
//
// Only package extensions imports this one.
package interceptor
