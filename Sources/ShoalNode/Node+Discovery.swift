import Logging
import ShoalCore
import ShoalDiscovery
import ShoalLinks
import ShoalReach
import ShoalTrust

/// Members of the cluster find each other by beacons; docs/discovery.md. Who may link is decided by the link itself.
extension Node {
    /// Begins to announce this node and to listen, in place of what ran before: the cluster may be another one now.
    func startDiscovery() async {
        guard !isStopping else { return }
        guard let bound = try? LinkAddress(parsing: linkAddress),
            let tag = UInt64(security.trust.clusterID.prefix(2 * ClusterTag.byteCount), radix: 16)
        else { return logger.error("this node cannot be announced", metadata: ["link": "\(linkAddress)"]) }
        let old = beacons
        beacons = nil
        await old?.stop()
        var discovery = DiscoveryConfiguration(node: id, cluster: ClusterTag(rawValue: tag), linkPort: bound.port)
        discovery.usesBeacons = configuration.discovers
        discovery.retryPauseMin = configuration.limits.redialDelay
        discovery.retryPauseMax = configuration.limits.redialDelayMax * 3
        let fresh = await BeaconService.start(
            discovery, eventLoop: dataLoop,
            interfaces: { [interfaces] in try interfaces.read().filter { $0.reaches(bound.host) } }, logger: logger,
            onNotice: { [notes] in notes.add($0) },
            onDial: { [dialRequestsContinuation] address, node in
                dialRequestsContinuation.yield(.once(address, node))
            })
        guard !isStopping, beacons == nil else { return await fresh.stop() }
        beacons = fresh
        for entry in memory.entries where security.trust.isMember(entry.node) {
            fresh.addPeers([entry.address], node: entry.node, source: .remembered)
        }
        for node in peers.connected.keys where peers.directLink(to: node) != nil { fresh.linkOpened(to: node) }
    }

    /// Dials an address that discovery found, once; discovery decides whether it is tried again.
    func dialOnce(_ address: LinkAddress, expecting node: NodeID?) async {
        let outcome: DialOutcome
        do throws(ShoalError) {
            outcome = try await link(to: address)
        } catch {
            if let node, error.code == .timedOut {
                reach.found(DialFinding(.timedOut), of: node, at: address.description)
            }
            outcome = error.code == .notAMember ? .stranger(error.message) : .failed(error.message)
        }
        beacons?.dialEnded(address, outcome)
    }

    private func link(to address: LinkAddress) async throws(ShoalError) -> DialOutcome {
        let (connection, hello) = try await LinkDialer.dial(
            address, eventLoop: dataLoop, security: security, hello: identity.hello(purpose: .control),
            deadline: configuration.limits.dialDeadline)
        guard hello.nodeID != id else {
            connection.close(because: nil)
            return .isSelf
        }
        reached(hello.nodeID, at: address)
        guard peers.directLink(to: hello.nodeID) == nil, !isStopping else {
            connection.close(because: nil)
            return .linked(hello.nodeID)
        }
        _ = try attach(connection, hello)
        return .linked(hello.nodeID)
    }
}

/// An address that wants a link.
enum DialRequest: Sendable {
    /// Again and again: somebody named it.
    case keep(String)
    /// Now: discovery found it.
    case once(LinkAddress, NodeID?)
    /// Through a third node: nothing else has worked.
    case relayed(NodeID)
}

extension NetworkInterface {
    /// Whether a node that listens at `host` can be reached through this interface.
    fileprivate func reaches(_ host: String) -> Bool {
        if host == "0.0.0.0" || host == "::" { return true }
        if let listening = IPAddress(host) { return address == listening }
        return address.addressClass == .loopback
    }
}
