package import ShoalCore

/// What a node says about itself, as far as the doctor needs it.
package struct NodeFacts: Hashable, Sendable, Codable {
    package var id: NodeID
    package var name: String
    package var shoalVersion: String
    package var protocolNumber: UInt8
    /// Of libllama; empty when not known.
    package var engineBuild: String
    /// IP addresses of its interfaces, as text.
    package var addresses: [String]
    /// The IP addresses among them where it accepts links; empty when not known.
    package var listensAt: [String] = []
    /// Where it accepts links; nil when it accepts none.
    package var linkPort: UInt16?
    /// Whether anybody has a link to it now.
    package var isLinked: Bool
    /// Its clock minus the clock of the node that diagnoses, seconds; nil when not known.
    package var clockOffsetSeconds: Double?

    package init(
        id: NodeID, name: String, shoalVersion: String, protocolNumber: UInt8, engineBuild: String,
        addresses: [String], linkPort: UInt16?, isLinked: Bool, clockOffsetSeconds: Double? = nil
    ) {
        self.id = id
        self.name = name
        self.shoalVersion = shoalVersion
        self.protocolNumber = protocolNumber
        self.engineBuild = engineBuild
        self.addresses = addresses
        self.linkPort = linkPort
        self.isLinked = isLinked
        self.clockOffsetSeconds = clockOffsetSeconds
    }
}
