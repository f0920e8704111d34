package import ShoalCore

extension Membership {
    /// A message of `sender`, as the link authenticated it.
    package mutating func receive(
        _ message: MembershipMessage, from sender: NodeID, now: Duration
    ) -> [MembershipAction] {
        guard sender != node, message.source.node == sender, message.source.state == .alive else { return [] }
        guard message.rumors.count <= configuration.memberCountMax + 1 else { return [] }
        var actions = record(message.source, isTold: true, now: now)
        // The dead accuse nobody, except this node itself, which can answer.
        let isBelieved = rows[sender]?.state != .dead
        // Whoever gets a whole table need not tell it on: the digest repairs what others miss.
        let isTold = message.kind != .sync && message.kind != .syncReply
        for rumor in message.rumors where isBelieved || rumor.state == .alive || rumor.node == node {
            guard rumor.state == .dead, rumor.node != sender, rumor.node != node else {
                actions += record(rumor, isTold: isTold || rumor.state != .alive, now: now)
                continue
            }
            actions += hearOfDeath(rumor, now: now)
        }
        return actions + answer(message, from: sender, now: now)
    }

    private mutating func answer(
        _ message: MembershipMessage, from sender: NodeID, now: Duration
    ) -> [MembershipAction] {
        switch message.kind {
        case .ping(let number):
            return [.send(self.message(.ack(number: number), about: sender), to: sender)]
        case .ack(let number):
            return acknowledged(by: sender, number: number) + correction(of: message.source)
                + syncIfDifferent(from: message.digest, of: sender, now: now)
        case .pingRequest(let number, let target):
            return relayProbe(of: target, number: number, origin: sender, now: now) + correction(of: message.source)
        case .relayedAck(let number, let target):
            probes.removeAll { $0.target == target && $0.number == number }
            return correction(of: message.source)
        case .gossip, .syncReply:
            return correction(of: message.source)
        case .sync:
            return [.send(table(.syncReply), to: sender)]
        }
    }

    /// A death that others declared counts once the node was suspect here for `closedTimeout`: it may object. Without
    /// this, two sides of a healed partition would bury each other before they knew each other again.
    private mutating func hearOfDeath(_ rumor: Rumor, now: Duration) -> [MembershipAction] {
        guard let row = rows[rumor.node], row.state != .dead, rumor.isNewer(than: row.rumor) else {
            return record(rumor, isTold: true, now: now)
        }
        let deadline = (row.state == .suspect ? row.since : now) + configuration.closedTimeout
        guard now < deadline else { return record(rumor, isTold: true, now: now) }
        var suspicion = rumor
        suspicion.state = .suspect
        let actions = record(suspicion, isTold: true, now: now)
        let earlier = min(deadline, rows[rumor.node]?.deathDeadline ?? deadline)
        rows[rumor.node]?.deathDeadline = earlier
        return actions
    }

    /// Takes news in if it is news. `isTold` says whether it is told on.
    mutating func record(_ rumor: Rumor, isTold: Bool, now: Duration) -> [MembershipAction] {
        guard rumor.incarnation <= configuration.incarnationMax else { return [] }
        guard rumor.node != node else {
            defend(against: rumor)
            return []
        }
        guard let row = rows[rumor.node] else { return insert(rumor, isTold: isTold, now: now) }
        guard rumor.isNewer(than: row.rumor) else { return [] }
        var updated = Member(
            rumor: rumor, since: row.state == rumor.state ? row.since : now,
            joinedAt: row.state == .dead ? now : row.joinedAt)
        if rumor.state == .suspect { updated.deathDeadline = now + configuration.suspicionTimeout }
        rows[rumor.node] = updated
        reindex(from: row.rumor, to: rumor)
        if isTold { news.add(rumor.node, tellCount: tellCount) }
        return event(from: row.rumor, to: rumor).map { [.changed($0)] } ?? []
    }

    private mutating func insert(_ rumor: Rumor, isTold: Bool, now: Duration) -> [MembershipAction] {
        // An unknown node that is dead is nobody's concern.
        guard rumor.state != .dead, makeRoom() else { return [] }
        var row = Member(rumor: rumor, since: now, joinedAt: now)
        if rumor.state == .suspect { row.deathDeadline = now + configuration.suspicionTimeout }
        rows[rumor.node] = row
        reindex(from: nil, to: rumor)
        if isTold { news.add(rumor.node, tellCount: tellCount) }
        return [.changed(.joined(rumor.node))]
    }

    /// A node that is no member of the cluster any more: its row goes, and news of it is the owner's to keep out.
    package mutating func forget(_ node: NodeID) {
        guard var rumor = rows[node]?.rumor else { return }
        let known = rumor
        rumor.state = .dead
        reindex(from: known, to: rumor)
        tombstones.removeAll { $0 == node }
        rows[node] = nil
    }

    private mutating func makeRoom() -> Bool {
        guard rows.count >= configuration.memberCountMax else { return true }
        guard !tombstones.isEmpty else { return false }
        rows[tombstones.removeFirst()] = nil
        return true
    }

    /// Objects to anything about this node that it did not say in this life.
    private mutating func defend(against rumor: Rumor) {
        guard rumor != source, rumor.incarnation >= source.incarnation else { return }
        tableDigest ^= Membership.contribution(of: source)
        source.incarnation = min(rumor.incarnation + 1, configuration.incarnationMax)
        tableDigest ^= Membership.contribution(of: source)
        news.add(node, tellCount: tellCount)
    }

    /// Keeps the ring, the suspects, the tombstones and the digest equal to the rows.
    private mutating func reindex(from old: Rumor?, to new: Rumor) {
        let oldState = old?.state ?? .dead
        if let old { tableDigest ^= Membership.contribution(of: old) }
        tableDigest ^= Membership.contribution(of: new)
        if oldState == .suspect { suspects.removeAll { $0 == new.node } }
        if new.state == .suspect { suspects.append(new.node) }
        let position = ring.partitioningIndex { $0 >= new.node }
        if oldState == .dead, new.state != .dead {
            tombstones.removeAll { $0 == new.node }
            ring.insert(new.node, at: position)
        } else if oldState != .dead, new.state == .dead {
            ring.remove(at: position)
            tombstones.append(new.node)
            probes.removeAll { $0.target == new.node }
        }
    }

    private func event(from old: Rumor, to new: Rumor) -> MembershipEvent? {
        switch (old.state, new.state) {
        case (.dead, .alive), (.dead, .suspect): .joined(new.node)
        case (.alive, .alive), (.suspect, .alive):
            old.life != new.life ? .restarted(new.node) : old.state == .suspect ? .recovered(new.node) : nil
        case (.alive, .suspect): .suspected(new.node)
        case (_, .dead): old.state == .dead ? nil : .died(new.node)
        case (.suspect, .suspect): nil
        }
    }

    /// Tells whoever is suspect, dead, or known in another life, so that it can object at once.
    private mutating func correction(of told: Rumor) -> [MembershipAction] {
        guard let row = rows[told.node], !told.isNewer(than: row.rumor) else { return [] }
        guard row.state != .alive || row.rumor.life != told.life else { return [] }
        return [.send(message(.gossip, about: told.node), to: told.node)]
    }

    private mutating func syncIfDifferent(from digest: UInt64, of peer: NodeID, now: Duration) -> [MembershipAction] {
        guard digest != tableDigest, now >= nextSync else { return [] }
        nextSync = now + configuration.syncInterval
        return [.send(table(.sync), to: peer)]
    }

    /// Tells the news to some others while there is any.
    mutating func gossip() -> [MembershipAction] {
        guard !news.isEmpty || spreadTickCount > 0 else { return [] }
        spreadTickCount = max(0, spreadTickCount - 1)
        return randomMembers(countMax: configuration.gossipFanout, except: node).map {
            .send(message(.gossip, about: $0), to: $0)
        }
    }

    /// Some members that are not dead, none twice.
    mutating func randomMembers(countMax: Int, except excluded: NodeID) -> [NodeID] {
        guard ring.count > countMax + 1 else { return ring.filter { $0 != excluded } }
        var chosen: [NodeID] = []
        // Collisions are rare and cost one choice.
        for _ in 0..<countMax * 2 where chosen.count < countMax {
            let candidate = ring[Int.random(in: ring.indices, using: &generator)]
            if candidate != excluded, !chosen.contains(candidate) { chosen.append(candidate) }
        }
        return chosen
    }

    /// A message with the news, and with what is believed of `subject` if that is not alive.
    mutating func message(_ kind: MembershipMessage.Kind, about subject: NodeID) -> MembershipMessage {
        var rumors = news.take(countMax: configuration.rumorsPerMessageMax - 1).compactMap(rumor)
        if let row = rows[subject], !rumors.contains(row.rumor) { rumors.append(row.rumor) }
        return message(kind, rumors: rumors)
    }

    func message(_ kind: MembershipMessage.Kind, rumors: [Rumor]) -> MembershipMessage {
        MembershipMessage(kind: kind, source: source, rumors: rumors, digest: tableDigest)
    }

    /// Everything that is known.
    private func table(_ kind: MembershipMessage.Kind) -> MembershipMessage {
        message(kind, rumors: (ring + tombstones).compactMap(rumor))
    }

    private func rumor(of node: NodeID) -> Rumor? { node == self.node ? source : rows[node]?.rumor }

    /// How often each piece of news is told.
    var tellCount: Int {
        let memberCount = rows.count + 2
        return configuration.gossipFactor * (Int.bitWidth - memberCount.leadingZeroBitCount)
    }

    /// A row's part of the digest; dead rows have none, because they expire at different times.
    static func contribution(of rumor: Rumor) -> UInt64 {
        guard rumor.state != .dead else { return 0 }
        return mixed(stableHash(rumor.node.rawValue) ^ mixed(rumor.incarnation << 1 | UInt64(rumor.state.rawValue)))
    }
}
