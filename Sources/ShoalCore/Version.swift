/// Shoal's own version.
package enum ShoalVersion {
    package static let current = "0.1.0"
    /// Of frames between nodes and between a node and its engines. Peers must be equal; docs/protocol.md.
    package static let protocolNumber: UInt8 = 1
}
