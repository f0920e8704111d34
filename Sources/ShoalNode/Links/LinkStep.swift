import ShoalCore
import ShoalReach

/// How a connection came about.
enum LinkRoute: Hashable, Sendable, CustomStringConvertible {
    case dialled(address: String)
    /// The other node dialled, because it was asked to.
    case reversed
    /// A third node passes the bytes on: slow, and nothing for weights.
    case relayed(through: NodeID)

    var description: String {
        switch self {
        case .dialled(let address): "dialled \(address)"
        case .reversed: "dialled by the other node on request"
        case .relayed(let node): "through node \(node.rawValue.prefix(8))"
        }
    }
}

/// One thing to try for a connection to another node.
enum LinkStep: Hashable, Sendable {
    case dial(addresses: [String])
    case askToDial
    case relay(through: NodeID)

    /// What to try, in this order, until something works: what was measured to work first; then the rest, because
    /// measurements grow old. Pure.
    ///
    /// `addresses` are the other node's, best first. `relays` are linked with both. `isControlRelayed` says that not
    /// even the control link to the node is a direct one.
    static func steps(
        _ plan: DialPlan, addresses: [String], relays: [NodeID], isControlRelayed: Bool
    ) -> [LinkStep] {
        let dial = addresses.isEmpty ? [] : [LinkStep.dial(addresses: Array(addresses.prefix(addressCountMax)))]
        let relay = relays.prefix(relayCountMax).map { LinkStep.relay(through: $0) }
        let all: [LinkStep] =
            switch plan.way {
            case .dial(by: plan.first, let address): [.dial(addresses: [address]), .askToDial] + relay + dial
            case .dial: [.askToDial] + dial + relay
            case .relay(let through): [.relay(through: through)] + relay + dial + [.askToDial]
            case .untested, .blocked: isControlRelayed ? relay + dial + [.askToDial] : dial + [.askToDial] + relay
            }
        var seen: Set<LinkStep> = []
        return all.filter { seen.insert($0).inserted }
    }

    static let addressCountMax = 3
    static let relayCountMax = 2
}
