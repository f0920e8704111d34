import ShoalCore

extension Membership {
    /// Asks the neighbours in the ring, one other at random, and now and then a dead one.
    mutating func probeRound(now: Duration) -> [MembershipAction] {
        var targets = neighbours()
        for _ in 0..<configuration.randomProbeCount {
            guard let other = ring.randomElement(using: &generator), !targets.contains(other) else { continue }
            targets.append(other)
        }
        var actions = targets.flatMap { beginProbe(of: $0, now: now) }
        if now >= nextDeadProbe, let dead = tombstones.randomElement(using: &generator) {
            nextDeadProbe = now + configuration.deadProbeInterval
            actions.append(ping(dead, number: takeNumber()))
        }
        return actions
    }

    /// The next `watchedCount` alive members after this one, and the suspects between them: the loss of neighbours
    /// must not leave those behind them unwatched.
    private func neighbours() -> [NodeID] {
        let start = ring.partitioningIndex { $0 > node }
        var targets: [NodeID] = []
        var aliveCount = 0
        for offset in ring.indices {
            let candidate = ring[(start + offset) % ring.count]
            targets.append(candidate)
            if rows[candidate]?.state == .alive { aliveCount += 1 }
            if aliveCount == configuration.watchedCount || targets.count == configuration.watchedCount * 4 { break }
        }
        return targets
    }

    /// Nothing if `target` already has a ping to answer.
    mutating func beginProbe(of target: NodeID, now: Duration) -> [MembershipAction] {
        guard !probes.contains(where: { $0.target == target }) else { return [] }
        let number = takeNumber()
        probes.append(Probe(target: target, number: number, startedAt: now))
        return [ping(target, number: number)]
    }

    mutating func advanceProbes(now: Duration) -> [MembershipAction] {
        var actions: [MembershipAction] = []
        for index in probes.indices where !probes[index].isIndirect {
            guard now - probes[index].startedAt >= configuration.directTimeout else { continue }
            actions += askOthers(probeIndex: index)
        }
        let failed = probes.filter { now - $0.startedAt >= configuration.probeTimeout }
        guard !failed.isEmpty else { return actions }
        probes.removeAll { now - $0.startedAt >= configuration.probeTimeout }
        for probe in failed { actions += suspect(probe.target, now: now) }
        return actions
    }

    /// Lets others try: the link may be bad, not the node.
    mutating func askOthers(probeIndex: Int) -> [MembershipAction] {
        probes[probeIndex].isIndirect = true
        let probe = probes[probeIndex]
        let requests = randomMembers(countMax: configuration.relayCount, except: probe.target).map { relay in
            let request = MembershipMessage.Kind.pingRequest(number: probe.number, target: probe.target)
            return MembershipAction.send(message(request, about: probe.target), to: relay)
        }
        // Once more directly, too: two nodes have nobody else to ask.
        return [ping(probe.target, number: probe.number)] + requests
    }

    /// Pings for `origin`.
    mutating func relayProbe(
        of target: NodeID, number originNumber: UInt64, origin: NodeID, now: Duration
    ) -> [MembershipAction] {
        relayedProbes.removeAll { $0.deadline <= now }
        guard target != node, target != origin, relayedProbes.count < configuration.relayedProbeCountMax else {
            return []
        }
        let number = takeNumber()
        relayedProbes.append(
            RelayedProbe(
                target: target, number: number, origin: origin, originNumber: originNumber,
                deadline: now + configuration.probeTimeout))
        return [ping(target, number: number)]
    }

    /// An answer to our ping, or to one that we sent for another.
    mutating func acknowledged(by sender: NodeID, number: UInt64) -> [MembershipAction] {
        probes.removeAll { $0.target == sender && $0.number == number }
        guard let index = relayedProbes.firstIndex(where: { $0.target == sender && $0.number == number }) else {
            return []
        }
        let relayed = relayedProbes.remove(at: index)
        let answer = MembershipMessage.Kind.relayedAck(number: relayed.originNumber, target: sender)
        return [.send(message(answer, about: sender), to: relayed.origin)]
    }

    mutating func suspect(_ target: NodeID, now: Duration) -> [MembershipAction] {
        guard var rumor = rows[target]?.rumor, rumor.state == .alive else { return [] }
        rumor.state = .suspect
        return record(rumor, isTold: true, now: now)
    }

    mutating func ping(_ target: NodeID, number: UInt64) -> MembershipAction {
        .send(message(.ping(number: number), about: target), to: target)
    }

    mutating func takeNumber() -> UInt64 {
        defer { nextNumber &+= 1 }
        return nextNumber
    }
}

extension [NodeID] {
    /// The first index whose element satisfies `isAfter`, in an array where all those come last.
    func partitioningIndex(where isAfter: (NodeID) -> Bool) -> Int {
        var low = startIndex
        var high = endIndex
        while low < high {
            let middle = (low + high) / 2
            if isAfter(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
