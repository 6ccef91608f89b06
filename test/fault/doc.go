// Package fault injects faults for real: processes that are stopped and killed,
// proxies that damage bytes, crowds that connect and say nothing.
//
// README.md draws how a test is built and lists the rows of the matrix. The tests
// carry the build tag fault and need Linux, for /proc and limits of descriptors;
// no root. The tags faultnet (network namespaces) and faultlong are kept for what
// is to come.
package fault
