import Logging
package import ShoalCore
import ShoalDiscovery
import ShoalLinks
import ShoalReach
import ShoalTrust

/// Who reaches whom: measuring, telling and hearing; docs/discovery.md.
extension Node {
    private static let measurementPauseMax = Duration.seconds(1)
    private static let measurementPauseMin = Duration.milliseconds(20)

    // MARK: Measuring

    /// Measures what falls due, until the task is cancelled.
    func measureLinks() async {
        await withDiscardingTaskGroup { group in
            // Cancellation ends the wait, and the loop with it.
            repeat {
                for action in dueMeasurements() { group.addTask { await self.measure(action) } }
            } while (try? await Task.sleep(for: measurementPause)) != nil
        }
    }

    /// What waits for an end or for a busy link has no time, so it is looked for regularly.
    private var measurementPause: Duration {
        guard let wake = reach.schedule.nextWake else { return Self.measurementPauseMax }
        return min(max(wake - reach.now, Self.measurementPauseMin), Self.measurementPauseMax)
    }

    private func dueMeasurements() -> [LinkProbeSchedule.Action] {
        guard !isStopping else { return [] }
        let now = reach.now
        let busy = busyNodes
        for node in reachableNodes {
            reach.addressesKnown(addresses(of: node), of: node)
            let isOpen = reach.matrix.best(from: id, to: node) != nil && peers.link(to: node) != nil
            reach.schedule.linkChanged(to: node, isLinked: isOpen, now: now)
            reach.schedule.busyChanged(node, isBusy: busy.contains(id) || busy.contains(node))
        }
        return reach.schedule.tick(now: now)
    }

    /// Peers, and members that a peer is linked with.
    private var reachableNodes: Set<NodeID> {
        Set(peers.connected.keys).union(reach.heardOf).filter { $0 != id && security.trust.isMember($0) }
    }

    /// Nodes of instances that load or answer now.
    private var busyNodes: Set<NodeID> {
        let reports = Array(ownReports.values) + announced.values.joined()
        return reports.filter { $0.phase.isAlive && ($0.phase != .ready || $0.runningRequestCount > 0) }
            .reduce(into: []) { $0.formUnion($1.stages.map(\.node)) }
    }

    private func measure(_ action: LinkProbeSchedule.Action) async {
        switch action {
        case .dial(let node, let address):
            if let finding = await probe(node, at: address) {
                reach.found(finding, of: node, at: address)
                // Also of a node that dialled us: after a restart it may not be able to.
                if finding.state == .open, let proven = try? LinkAddress(parsing: address) {
                    memory.worked(proven, of: node)
                }
            }
            reach.schedule.dialEnded(node, address: address, now: reach.now)
        case .ping(let node, let count):
            await measureQuality(of: node, action, pingCount: count, bulkByteCount: 0)
        case .bulk(let node, let byteCount):
            await measureQuality(
                of: node, action, pingCount: LinkProbeSchedule.Configuration().pingCount, bulkByteCount: byteCount)
        }
        configuration.onChange()
    }

    /// Nil when nothing was found out. The node must prove itself; only where that fails, a bare connection tells
    /// refused from unreachable from somebody else.
    private func probe(_ node: NodeID, at text: String) async -> DialFinding? {
        // Addresses were checked when they were heard.
        guard let address = try? LinkAddress(parsing: text) else { return nil }
        do throws(ShoalError) {
            try await dialProbe(address, of: node).close(because: nil)
            return DialFinding(.open)
        } catch {
            switch error.code {
            case .overloaded, .cancelled: return nil
            case .timedOut: return DialFinding(.timedOut)
            case .notAMember, .protocolViolation: return DialFinding(.stranger, detail: error.message)
            case .addressUnusable: return DialFinding(.unreachable, detail: error.message)
            default: break
            }
        }
        let finding = await LinkProber.dial(
            address, eventLoop: probeLoop, deadline: configuration.limits.tryDeadline)
        // It closes connections: a node that is going away, or another program.
        return finding.state == .open ? nil : finding
    }

    private func dialProbe(_ address: LinkAddress, of node: NodeID) async throws(ShoalError) -> FrameConnection {
        try await LinkDialer.dial(
            address, eventLoop: probeLoop, security: security, hello: identity.hello(purpose: .probe),
            expected: node, deadline: configuration.limits.tryDeadline
        ).0
    }

    /// A node proved itself at an address: for the matrix, and for the next start.
    func reached(_ node: NodeID, at address: LinkAddress) {
        reach.found(DialFinding(.open), of: node, at: address.description)
        memory.worked(address, of: node)
    }

    private func measureQuality(
        of node: NodeID, _ action: LinkProbeSchedule.Action, pingCount: Int, bulkByteCount: Int
    ) async {
        var configuration = ProbeConversation.Configuration()
        configuration.pingCount = pingCount
        configuration.bulkByteCount = bulkByteCount
        let address = reach.matrix.best(from: id, to: node)?.address
        do throws(ShoalError) {
            guard let address else { throw ShoalError(.linkLost, "no address of node \(node) is open") }
            let connection = try await dialProbe(LinkAddress(parsing: address), of: node)
            let quality = try await LinkProber.measure(on: connection, configuration: configuration)
            reach.measured(quality, of: node, at: address)
            reach.schedule.measured(node, action, succeeded: true, now: reach.now)
        } catch {
            logger.debug("a link was not measured", metadata: ["node.id": "\(node)", "error": "\(error)"])
            reach.schedule.measured(node, action, succeeded: false, now: reach.now)
        }
    }

    // MARK: Telling and hearing

    /// What goes with the announcements.
    func tendLinks() async {
        if let advertised = await beacons?.advertisedAddresses() { reach.advertised = advertised.map(\.description) }
        let members = Set(security.trust.members.map(\.nodeID))
        reach.keep(only: members)
        if interfaces.takeChange() { reach.schedule.interfacesChanged(now: reach.now) }
        let news = reach.news(peers: knownPeers)
        if let rows = news.rows { broadcast(.reach(rows)) }
        if let peers = news.peers { broadcast(.peers(peers)) }
        await tendRelayedPeers()
        await memory.store()
    }

    /// What a new link hears first.
    func introduceLinks(over link: ControlLink) {
        send(.reach(reach.matrix.rows(measuredBy: id)), over: link)
        broadcast(.peers(knownPeers))
    }

    /// Whom this node is linked with.
    private var knownPeers: [KnownPeer] {
        peers.connected.keys.sorted().map { node in
            KnownPeer(id: node, addresses: addresses(of: node), isDirect: peers.directLink(to: node) != nil)
        }
    }

    func heard(_ rows: [ReachRow], from node: NodeID) {
        reach.heard(rows, from: node, members: Set(security.trust.members.map(\.nodeID)))
    }

    func heard(_ known: [KnownPeer], from link: ControlLink) {
        guard peers.contains(link) else { return }
        let others = known.prefix(ReachState.acquaintanceCountMax).map { peer in
            KnownPeer(id: peer.id, addresses: believable(peer.addresses, over: link), isDirect: peer.isDirect)
        }
        reach.heard(others, from: link.peer.nodeID, members: Set(security.trust.members.map(\.nodeID)))
        for peer in others where peer.id != id && peers.directLink(to: peer.id) == nil {
            // What cannot be read as an address was left out.
            beacons?.addPeers(
                peer.addresses.compactMap { try? LinkAddress(parsing: $0) }, node: peer.id, source: .gossip)
        }
    }

    /// What a peer says of itself, checked and completed.
    func heard(_ announcement: NodeAnnouncement, from link: ControlLink) {
        guard announcement.id == link.peer.nodeID else { return }
        var announcement = announcement
        announcement.addresses = believable(announcement.addresses, over: link)
        announcement.interfaces = announcement.interfaces.prefix(Self.interfaceCountMax).filter { IPAddress($0) != nil }
        let known = peers.connected[announcement.id]?.announcement?.memoryAvailable
        peers.announce(announcement)
        if known != announcement.memoryAvailable { keeper.inbox.post(.resourcesChanged) }
        if announcement.unixMilliseconds > 0 {
            let offset = Double(announcement.unixMilliseconds) - Double(UnixClock.milliseconds())
            reach.clockOffsets[announcement.id] = offset / 1000
        }
    }

    private static let interfaceCountMax = 64

    /// Addresses that can be read, without those that mean something on the other machine only.
    func believable(_ addresses: [String], over link: ControlLink) -> [String] {
        let isThisMachine = link.connection.peerHost.flatMap { IPAddress($0) }?.addressClass == .loopback
        return addresses.prefix(ReachMatrix.addressesPerPairMax).filter { text in
            // What is no address is left out.
            guard let address = try? LinkAddress(parsing: text), AddressPicker.isUsable(address) else { return false }
            return isThisMachine || !address.isLoopback
        }
    }

    /// Where a node may be dialled, most dependable first: where it was, where it says, where others say.
    func addresses(of node: NodeID) -> [String] {
        var addresses = reach.matrix.rows(from: id, to: node).filter { $0.state == .open }.map(\.address)
        addresses += peers.targets.filter { $0.value.lastNode == node }.map(\.key).sorted()
        if let peer = peers.connected[node], let link = peer.links.first {
            addresses += believable([peer.hello.linkAddress], over: link)
            addresses += peer.announcement?.addresses ?? []
        }
        addresses += reach.toldAddresses(of: node)
        var seen: Set<String> = []
        return Array(addresses.filter { seen.insert($0).inserted }.prefix(ReachMatrix.addressesPerPairMax))
    }

    /// The announcement with what concerns links.
    func withLinks(_ announcement: NodeAnnouncement) -> NodeAnnouncement {
        var announcement = announcement
        announcement.engineBuild = configuration.llamaBuild
        announcement.addresses = reach.advertised
        announcement.interfaces = interfaces.current
        announcement.unixMilliseconds = UnixClock.milliseconds()
        return announcement
    }

    // MARK: Reports

    package func links() async throws(ShoalError) -> ReachReport {
        var matrix = reach.matrix
        matrix.keep(only: Set(security.trust.members.map(\.nodeID)))
        return ReachReport(matrix, members: security.trust.members.map(\.nodeID), name: memberName)
    }

    package func doctor() async throws(ShoalError) -> DoctorReport {
        var matrix = reach.matrix
        matrix.keep(only: Set(security.trust.members.map(\.nodeID)))
        let announcements = [announcement()] + presentPeers.compactMap(\.announcement).sorted { $0.name < $1.name }
        let foreign = announcements.flatMap {
            Diagnosis.foreignWorkers($0.rpc?.foreignWorkers ?? [], of: $0.name)
        }
        var report = Diagnosis.report(
            nodes: security.trust.members.map(facts), matrix: matrix,
            others: targetProblems + foreign + security.versionRefusals.map { DoctorCheck(.failure, $0) } + notes.all)
        let instances = await instances().filter(\.phase.isAlive)
        report.environments = announcements.map { environment(of: $0, instances) }
        return report
    }

    private func environment(of node: NodeAnnouncement, _ instances: [InstanceReport]) -> NodeEnvironment {
        var environment = NodeEnvironment(
            nodeName: node.name, shoalVersion: node.shoalVersion,
            engineBuild: node.engineBuild.isEmpty ? nil : node.engineBuild, speed: node.speed,
            threadCount: node.threadCount, memoryTotal: node.memoryTotal)
        environment.held = instances.flatMap { instance in
            instance.stages.filter { $0.node == node.id }.map {
                .init(model: instance.model, layers: $0.layers, weightBytes: $0.weightBytes)
            }
        }
        return environment
    }

    /// Addresses that a person named and that lead to nobody.
    private var targetProblems: [DoctorCheck] {
        let linked = Set(peers.connected.keys.flatMap(addresses))
        return peers.targets.filter { $0.value.connectedTo == nil && !linked.contains($0.key) }
            .sorted { $0.key < $1.key }
            .map { address, target in
                DoctorCheck(
                    .failure, "no link to \(address), which was given to this node: \(target.problem ?? "not dialled")")
            }
    }

    /// The name, with some of the id when it is not unique.
    func memberName(_ node: NodeID) -> String {
        let members = security.trust.members
        guard let member = members.first(where: { $0.nodeID == node }) else { return String(node.rawValue.prefix(8)) }
        let isUnique = members.count { $0.name == member.name } == 1
        return isUnique ? member.name : "\(member.name) (\(node.rawValue.prefix(8)))"
    }

    private func facts(_ member: Member) -> NodeFacts {
        let isThis = member.nodeID == id
        let announcement = isThis ? self.announcement() : peers.connected[member.nodeID]?.announcement
        let hosts = announcement?.addresses.compactMap { try? LinkAddress(parsing: $0) } ?? []
        var facts = NodeFacts(
            id: member.nodeID, name: announcement?.name ?? member.name,
            shoalVersion: announcement?.shoalVersion ?? ShoalVersion.current,
            protocolNumber: announcement?.protocolNumber ?? ShoalVersion.protocolNumber,
            engineBuild: announcement?.engineBuild ?? "",
            addresses: Array(Set((announcement?.interfaces ?? []) + hosts.map(\.host))).sorted(),
            linkPort: hosts.first?.port,
            isLinked: isThis || peers.connected[member.nodeID] != nil || reach.heardOf.contains(member.nodeID),
            clockOffsetSeconds: isThis ? 0 : reach.clockOffsets[member.nodeID])
        facts.listensAt = hosts.map(\.host)
        return facts
    }
}
