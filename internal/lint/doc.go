// Package lint holds the project's rules about its packages, as tests: who may
// import whom, what a package may be called, and that each says what it is for.
//
// A package that no rule covers fails, so the rule comes with the package. Nobody
// imports lint; it imports the standard library.
package lint
