import ShoalCore
import ShoalLinks
import Synchronization

/// How a node introduces itself on a new link, from any thread.
final class NodeIntroduction: Sendable {
    private let id: NodeID
    private let configuration: NodeConfiguration
    private let linkAddress: Mutex<String>

    init(id: NodeID, configuration: NodeConfiguration) {
        self.id = id
        self.configuration = configuration
        linkAddress = Mutex(configuration.linkAddress)
    }

    /// The address is known once the port is bound.
    func bound(to address: String) { linkAddress.withLock { $0 = address } }

    func hello(purpose: LinkHello.Purpose) -> LinkHello {
        LinkHello(
            nodeID: id, nodeName: configuration.name, llamaBuild: configuration.llamaBuild,
            linkAddress: linkAddress.withLock { $0 }, apiAddress: configuration.apiAddress, purpose: purpose)
    }
}
