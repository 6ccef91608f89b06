// Package fault injects faults for real: processes that are stopped and killed,
// proxies that damage bytes, network namespaces that lose them.
//
// Its tests carry the build tags fault, faultnet and faultlong. There are none yet.
package fault
