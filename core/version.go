package core

import "github.com/bhrpc/bhrpc/core/internal/wire"

// agent is what this implementation calls itself to its peers.
const agent = "bhrpc-go/0.1"

// ProtocolVersion is the version of the native protocol that this package speaks.
const ProtocolVersion = wire.Version
