/// What an rpc-server says of itself when it is asked by its own protocol.
package struct RPCServerFacts: Sendable, Hashable, Codable {
    /// One device that it computes on, in its order.
    package struct Device: Sendable, Hashable, Codable {
        /// Of a CPU on Linux: all memory of the machine, whatever is in use.
        package var freeByteCount: UInt64
        package var totalByteCount: UInt64
        /// Of addresses in a buffer of it; nil when it did not say.
        package var alignment: UInt64?
        /// Of one buffer; nil when it did not say.
        package var maxByteCount: UInt64?
        /// Whether it takes no more for rows of quantized numbers than they have; CUDA and others pad them.
        package var addsNoPadding = false

        package init(freeByteCount: UInt64, totalByteCount: UInt64) {
            self.freeByteCount = freeByteCount
            self.totalByteCount = totalByteCount
        }
    }

    /// "7.0.0".
    package var protocolVersion: String
    package var devices: [Device]
    /// Its answer to HELLO, without capabilities; nil when it is not to be used again.
    package var hello: [UInt8]?

    package init(protocolVersion: String, devices: [Device]) {
        self.protocolVersion = protocolVersion
        self.devices = devices
    }
}
