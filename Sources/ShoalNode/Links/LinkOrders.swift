package import ShoalCore
package import ShoalLinks

/// "Dial me": the sender wants a connection that it cannot dial.
package struct DialBack: Sendable, Codable, Hashable {
    static let addressCountMax = 8

    /// For the hello of that connection.
    package var token: LinkToken
    /// What the connection is for, as if the sender had dialled it.
    package var purpose: LinkHello.Purpose
    /// HOST:PORT of the sender, the most promising first.
    package var addresses: [String]
}

/// "Pass bytes on between us": the sender and the receiver each connect to a third node with this token.
package struct RelayOrder: Sendable, Codable, Hashable {
    package var token: LinkToken
    package var to: NodeID
}

/// "Somebody wants a link with you through me."
package struct RelayOffer: Sendable, Codable, Hashable {
    package var token: LinkToken
    package var from: NodeID
}
