// Package fault injects faults for real: processes that are stopped and killed,
// proxies that damage bytes, crowds that connect and say nothing, networks that
// carry less than they should.
//
// README.md draws how a test is built and lists the rows of the matrix. The tests
// need Linux. Those with the build tag fault need no root; those with faultnet and
// faultlong make network namespaces, and the latter are for half an hour by hand.
package fault
