/// What an rpc-server says of itself when it is asked by its own protocol.
package struct RPCServerFacts: Sendable, Hashable, Codable {
    /// One device that it computes on, in its order.
    package struct Device: Sendable, Hashable, Codable {
        /// Of a CPU on Linux: all memory of the machine, whatever is in use.
        package var freeByteCount: UInt64
        package var totalByteCount: UInt64

        package init(freeByteCount: UInt64, totalByteCount: UInt64) {
            self.freeByteCount = freeByteCount
            self.totalByteCount = totalByteCount
        }
    }

    /// "7.0.0".
    package var protocolVersion: String
    package var devices: [Device]

    package init(protocolVersion: String, devices: [Device]) {
        self.protocolVersion = protocolVersion
        self.devices = devices
    }
}
