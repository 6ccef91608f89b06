package core

import "github.com/bhrpc/bhrpc/core/internal/wire"

// ProtocolVersion is the version of the native protocol that this package speaks.
const ProtocolVersion = wire.Version
