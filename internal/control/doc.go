// Package control lets a user look into the running processes of the same user, and
// restart their plugins: a [Server] in each, on a unix socket in a directory that nobody else can enter, and
// [Ask], which asks all of them. docs/control.md draws it.
//
// The facade and the command-line tool import this package; it imports core and spi.
package control
