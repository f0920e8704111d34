package import ShoalCore
package import ShoalLinks

/// What discovery wants done.
package enum DiscoveryAction: Hashable, Sendable {
    /// Send these bytes to every destination from `interface`'s address. A failure is normal and not told.
    case announce([UInt8], on: NetworkInterface)
    /// Send these bytes to one sender.
    case reply([UInt8], to: IPAddress, port: UInt16)
    /// Make a control link, and report with `dialEnded`. `node` is who is expected there.
    case dial(LinkAddress, node: NodeID?)
    /// Open and close sockets so that beacons go out and come in on exactly these.
    case listen(on: [NetworkInterface])
    /// For the log and the doctor; each is told once.
    case notice(DiscoveryNotice)
}

/// Something that a person may want to know.
package enum DiscoveryNotice: Hashable, Sendable, CustomStringConvertible {
    /// A node of this cluster with another protocol.
    case otherProtocol(NodeID, IPAddress, protocolNumber: UInt8)
    /// Another cluster shares the network; its nodes are ignored.
    case otherCluster(ClusterTag)
    /// Another machine uses this node's id: a copied data folder.
    case ownIdentityElsewhere(IPAddress)
    /// The table is full.
    case tableFull

    package var description: String {
        switch self {
        case .otherProtocol(let node, let address, let number):
            "node \(node.rawValue.prefix(8)) at \(address) speaks protocol \(number), this node "
                + "\(ShoalVersion.protocolNumber); install the same Shoal version on both"
        case .otherCluster(let tag):
            "another cluster (tag \(tag)) is on this network; its nodes are ignored"
        case .ownIdentityElsewhere(let address):
            "\(address) announces this node's own id: its data folder was copied; delete the copy's node key there"
        case .tableFull:
            "the table of discovered addresses is full; further ones are ignored until some fall silent"
        }
    }
}
