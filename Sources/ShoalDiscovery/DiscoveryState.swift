package import ShoalCore
package import ShoalLinks

/// Decides when to announce, what to believe and whom to dial. Pure: time and random seed come from outside.
///
/// Whoever owns it performs the actions, calls `tick` at `nextWake` at the latest, and reports every dial's end, links
/// that appear and disappear, and the interfaces as often as it likes.
package struct DiscoveryState: Sendable {
    package let configuration: DiscoveryConfiguration
    private var candidates: CandidateTable
    private var limiter: SourceRateLimiter
    private var random: SeededGenerator
    /// All of the machine's.
    private var interfaces: [NetworkInterface] = []
    /// Those that are announced on.
    private var schedules: [NetworkInterface: BeaconSchedule] = [:]
    private var linked: Set<NodeID> = []
    private var repliedAt: [NodeID: Duration] = [:]
    private var ownAddresses: Set<LinkAddress> = []
    private var toldNotices: Set<DiscoveryNotice> = []
    private var expiryDue = Duration.zero
    private static let expiryInterval = Duration.seconds(1)
    /// Notices that are told in one run; the log must not grow by strangers' will.
    private static let noticeCountMax = 64

    /// `seed` spreads retries of nodes that started together.
    package init(configuration: DiscoveryConfiguration, seed: UInt64) {
        self.configuration = configuration
        candidates = CandidateTable(configuration: configuration)
        limiter = SourceRateLimiter(
            burst: configuration.datagramBurst, perSecond: configuration.datagramsPerSecond,
            sourceCountMax: configuration.datagramSourceCountMax)
        random = SeededGenerator(seed: seed)
    }

    /// What is known, best source first.
    package var known: [Candidate] { candidates.sorted }

    /// The interfaces that beacons go out on.
    package var announcedInterfaces: [NetworkInterface] {
        schedules.keys.sorted { ($0.name, $0.address) < ($1.name, $1.address) }
    }

    /// The addresses to tell others about this node.
    package var advertisedAddresses: [LinkAddress] {
        AddressPicker.advertised(interfaces, port: configuration.linkPort)
    }

    /// The interfaces as they are now. A new one is announced on at once and fast.
    package mutating func interfacesRead(_ current: [NetworkInterface], now: Duration) -> [DiscoveryAction] {
        interfaces = current
        guard configuration.usesBeacons else { return [] }
        let wanted = AddressPicker.announcing(on: current)
        guard Set(wanted) != Set(schedules.keys) else { return [] }
        schedules = wanted.reduce(into: [:]) { $0[$1] = schedules[$1] ?? BeaconSchedule(now: now) }
        // What could not be reached may be reachable by the new way.
        for candidate in candidates.sorted where !candidate.isDialling {
            candidates.update(candidate.address) { $0.dialAt = min($0.dialAt, now) }
        }
        return [.listen(on: announcedInterfaces)] + tick(now: now)
    }

    /// Addresses from a person, an invite, the disk or a member. Unusable ones are left out.
    package mutating func addPeers(
        _ addresses: [LinkAddress], node: NodeID? = nil, source: CandidateSource, now: Duration
    ) -> [DiscoveryAction] {
        guard node != configuration.node else { return [] }
        // Both sides hear the news of a common peer.
        let isLater = source == .gossip && node.map { $0 < configuration.node } ?? false
        let patience = isLater ? configuration.laterSideDelay : .zero
        var isFull = false
        for address in addresses where AddressPicker.isUsable(address) && !isOwn(address) {
            let dialAt = now + AddressPicker.delay(of: address, from: interfaces) + patience
            isFull = !candidates.hear(of: address, node: node, source: source, dialAt: dialAt, now: now) || isFull
        }
        return (isFull ? notice(.tableFull) : []) + tick(now: now)
    }

    /// A datagram came in. Whatever it holds, the answer is at most one reply and one new candidate.
    package mutating func received(
        _ bytes: [UInt8], from source: IPAddress, port: UInt16, now: Duration
    ) -> [DiscoveryAction] {
        guard limiter.admits(source, now: now) else { return [] }
        // Anybody may send anything to this port; what is no beacon has no consequence.
        guard let beacon = try? BeaconCodec.decode(bytes) else { return [] }
        guard beacon.cluster == configuration.cluster else { return notice(.otherCluster(beacon.cluster)) }
        guard beacon.node != configuration.node else { return heardOwnIdentity(beacon, from: source) }
        guard beacon.protocolNumber == configuration.protocolNumber else {
            return notice(.otherProtocol(beacon.node, source, protocolNumber: beacon.protocolNumber))
        }
        return heard(beacon, from: source, port: port, now: now)
    }

    /// The end of a dial that an action asked for.
    package mutating func dialEnded(
        _ address: LinkAddress, _ outcome: DialOutcome, now: Duration
    ) -> [DiscoveryAction] {
        switch outcome {
        case .linked(let node):
            candidates.update(address) { candidate in
                candidate.node = node
                candidate.isDialling = false
                candidate.failureCount = 0
                candidate.problem = nil
                candidate.dialAt = now
            }
            linked.insert(node)
        case .isSelf:
            candidates.remove(address)
            if ownAddresses.count < configuration.candidatesPerHostMax { ownAddresses.insert(address) }
        case .stranger(let problem):
            retryLater(address, after: configuration.retryPauseMax, problem: problem, now: now)
        case .failed(let problem):
            let failures = candidates[address]?.failureCount ?? 0
            let doubled = configuration.retryPauseMin * (1 << min(failures, 6))
            retryLater(address, after: min(doubled, configuration.retryPauseMax), problem: problem, now: now)
        }
        return tick(now: now)
    }

    /// An authenticated link to a node exists, whoever dialled: its addresses are not dialled while it does.
    package mutating func linkOpened(to node: NodeID) { linked.insert(node) }

    /// The last link to a node is gone: its addresses are tried at once.
    package mutating func linkClosed(to node: NodeID, now: Duration) -> [DiscoveryAction] {
        linked.remove(node)
        let pause = jittered(.milliseconds(200))
        candidates.updateAll(of: node) { candidate in
            candidate.failureCount = 0
            candidate.dialAt = now + pause
        }
        return tick(now: now)
    }

    /// Forgets a node that was removed from the cluster.
    package mutating func forget(_ node: NodeID) {
        linked.remove(node)
        for candidate in candidates.sorted where candidate.node == node { candidates.remove(candidate.address) }
    }

    /// Everything that is due.
    package mutating func tick(now: Duration) -> [DiscoveryAction] {
        if now >= expiryDue {
            candidates.expire(now: now, keeping: linked)
            expiryDue = now + Self.expiryInterval
        }
        return announcements(now: now) + dials(now: now)
    }

    /// When `tick` has something to do at the latest.
    package var nextWake: Duration? {
        let beacons = schedules.values.map(\.due)
        // Without a free slot, the end of a dial is what comes next.
        let hasFreeSlot = candidates.all.count(where: \.isDialling) < configuration.dialCountMax
        let dials = hasFreeSlot ? candidates.all.filter(isWaiting).map(\.dialAt) : []
        return (beacons + dials).min()
    }

    // MARK: Beacons

    private mutating func announcements(now: Duration) -> [DiscoveryAction] {
        let bytes = BeaconCodec.encode(beacon(.announcement))
        return announcedInterfaces.compactMap { interface in
            guard schedules[interface]?.take(now: now) == true else { return nil }
            return .announce(bytes, on: interface)
        }
    }

    private func beacon(_ kind: Beacon.Kind) -> Beacon {
        Beacon(
            kind: kind, protocolNumber: configuration.protocolNumber, cluster: configuration.cluster,
            node: configuration.node, linkPort: configuration.linkPort)
    }

    private mutating func heard(
        _ beacon: Beacon, from source: IPAddress, port: UInt16, now: Duration
    ) -> [DiscoveryAction] {
        var actions: [DiscoveryAction] = []
        // A text made of an IP address is an address; a refusal would only leave the candidate out.
        if let address = try? LinkAddress(host: source.description, port: beacon.linkPort),
            AddressPicker.isUsable(address)
        {
            let patience = beacon.node < configuration.node ? configuration.laterSideDelay : .zero
            let dialAt = now + AddressPicker.delay(of: address, from: interfaces) + patience
            let hasRoom = candidates.hear(of: address, node: beacon.node, source: .beacon, dialAt: dialAt, now: now)
            candidates.update(address) { $0.protocolNumber = beacon.protocolNumber }
            if !hasRoom { actions += notice(.tableFull) }
        }
        if beacon.kind == .announcement, mayReply(to: beacon.node, now: now) {
            actions.append(.reply(BeaconCodec.encode(self.beacon(.reply)), to: source, port: port))
        }
        return actions + tick(now: now)
    }

    private mutating func mayReply(to node: NodeID, now: Duration) -> Bool {
        if let last = repliedAt[node], now - last < configuration.replyInterval { return false }
        if repliedAt.count >= configuration.replyMemoryCountMax {
            repliedAt = repliedAt.filter { now - $0.value < configuration.replyInterval }
            guard repliedAt.count < configuration.replyMemoryCountMax else { return false }
        }
        repliedAt[node] = now
        return true
    }

    /// Our own beacons come back by multicast and broadcast; with another address it is not us.
    private mutating func heardOwnIdentity(_ beacon: Beacon, from source: IPAddress) -> [DiscoveryAction] {
        let isThisMachine = source.addressClass == .loopback || interfaces.contains { $0.address == source }
        return isThisMachine ? [] : notice(.ownIdentityElsewhere(source))
    }

    private mutating func notice(_ notice: DiscoveryNotice) -> [DiscoveryAction] {
        guard toldNotices.count < Self.noticeCountMax, toldNotices.insert(notice).inserted else { return [] }
        return [.notice(notice)]
    }

    // MARK: Dials

    private mutating func dials(now: Duration) -> [DiscoveryAction] {
        let free = configuration.dialCountMax - candidates.all.count(where: \.isDialling)
        let due = candidates.all.filter { $0.dialAt <= now && isWaiting($0) }.sorted(by: CandidateTable.isBetter)
        return due.prefix(max(free, 0)).map { candidate in
            candidates.update(candidate.address) { $0.isDialling = true }
            return .dial(candidate.address, node: candidate.node)
        }
    }

    private func isWaiting(_ candidate: Candidate) -> Bool {
        guard !candidate.isDialling else { return false }
        return candidate.node.map { !linked.contains($0) } ?? true
    }

    private func isOwn(_ address: LinkAddress) -> Bool {
        if ownAddresses.contains(address) { return true }
        guard address.port == configuration.linkPort, let ip = IPAddress(address.host) else { return false }
        return interfaces.contains { $0.address == ip }
    }

    private mutating func retryLater(
        _ address: LinkAddress, after pause: Duration, problem: String, now: Duration
    ) {
        let dialAt = now + jittered(pause)
        candidates.update(address) { candidate in
            candidate.isDialling = false
            candidate.failureCount += 1
            candidate.problem = problem
            candidate.dialAt = dialAt
        }
    }

    /// Up to half more.
    private mutating func jittered(_ pause: Duration) -> Duration {
        pause + pause * Double.random(in: 0..<0.5, using: &random)
    }
}

/// SplitMix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
private struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
