import Logging
import ShoalCore
import ShoalLinks
import ShoalTrust

/// Control links through a third node, for members that cannot dial each other, and their end when they can.
extension Node {
    /// Once per round of announcements.
    func tendRelayedPeers() async {
        let unlinked = reach.heardOf.filter { node in
            node != id && security.trust.isMember(node) && peers.link(to: node) == nil && !relays(to: node).isEmpty
        }
        for node in reach.relayWishes.due(unlinked: unlinked, now: reach.now) {
            dialRequestsContinuation.yield(.relayed(node))
        }
        await closeReplacedLinks()
    }

    /// Makes a control link to `node` through whoever is linked with it.
    func linkThroughOther(_ node: NodeID) async {
        var problem = ShoalError(.linkLost, "nobody is linked with it")
        for relay in relays(to: node).prefix(LinkStep.relayCountMax) where peers.link(to: node) == nil {
            do throws(ShoalError) {
                let (connection, hello) = try await dial(node, through: relay, purpose: .control)
                guard peers.link(to: node) == nil, !isStopping else {
                    connection.close(because: nil)
                    break
                }
                _ = try attach(connection, hello)
            } catch {
                problem = error
            }
        }
        let isLinked = peers.link(to: node) != nil
        reach.relayWishes.ended(node, succeeded: isLinked, now: reach.now)
        if !isLinked {
            logger.info(
                "no link through another node",
                metadata: ["node.id": "\(node)", "error": "\(problem.message)"])
        }
    }

    /// A relayed link is given up for a direct one when nothing uses it any more.
    private func closeReplacedLinks() async {
        for peer in peers.connected.values {
            guard let direct = peer.links.first, !direct.isRelayed else { continue }
            for link in peer.links where link.isRelayed && !streams.use(link) {
                guard requestsByLink[ObjectIdentifier(link)] == nil, await link.isIdle else { continue }
                link.close(because: ShoalError(.linkLost, "a direct link has replaced this one"))
            }
        }
    }
}

extension ControlLink {
    var isRelayed: Bool { connection.relay != nil }
}
