import ShoalCore
import ShoalMembership

extension SimulatedCluster {
    /// What must hold for a node after every step.
    mutating func check(_ index: Int) {
        guard let term = nodes[index].member.term else {
            if let before = nodes[index].highestTerm { fail("node \(index) forgot the term \(before)") }
            return
        }
        guard term != nodes[index].highestTerm else { return }
        if let before = nodes[index].highestTerm, term < before { fail("node \(index) went from \(before) to \(term)") }
        nodes[index].highestTerm = term
        guard let claimant = claimedTerms[term] else {
            return fail("node \(index) accepted \(term), claimed by nobody")
        }
        if nodes[claimant].id != term.leader { fail("\(term) was claimed by node \(claimant)") }
        if nodes[index].member.isLeading != (term.leader == nodes[index].id && term.life == nodes[index].life) {
            fail("node \(index) is wrong about leading \(term)")
        }
    }

    /// The table of a node agrees with itself: one row per node, no ghosts, never itself.
    mutating func checkTables(of index: Int) {
        let membership = nodes[index].member.membership
        let rows = membership.members
        if Set(rows.map(\.node)).count != rows.count { fail("node \(index) has two rows of one node") }
        if rows.contains(where: { $0.node == nodes[index].id || self.index(of: $0.node) == nil }) {
            fail("node \(index) lists itself or a ghost")
        }
        if rows.filter({ $0.state != .dead }).map(\.node) != membership.present {
            fail("the ring of \(index) is wrong")
        }
        if rows.count(where: { $0.state == .alive }) + 1 != membership.aliveCount { fail("\(index) counts wrong") }
    }

    mutating func noteServing(_ index: Int) {
        for (instance, _) in nodes[index].instances where instance.phase.isServing {
            lastServed[instance.slot, default: []].removeAll {
                $0.instance == instance.id || $0.time < now - 20_000_000
            }
            lastServed[instance.slot, default: []].append((instance.id, now))
        }
    }

    /// An instance that answers ends only because its slot is not wanted or another one answers in its place.
    mutating func checkDrain(_ command: InstanceCommand, at head: Int, by leader: Int) {
        guard let drained = nodes[head].instances.first(where: { $0.instance.id == command.instance })?.instance,
            drained.phase.isServing
        else { return }
        drainCount += 1
        let isWanted = nodes[leader].desired.desired.contains { $0.slot == command.slot && $0.isWanted }
        let others = lastServed[command.slot, default: []].filter { $0.instance != command.instance }
        if isWanted, others.isEmpty {
            fail("instance \(command.instance) of slot \(command.slot) answered alone and was drained")
        }
    }

    /// What is still wrong when everything had time to settle. Nil if nothing is.
    func disagreement() -> String? {
        let running = nodes.indices.filter { nodes[$0].isRunning }
        guard let first = running.first else { return "nobody runs" }
        let term = nodes[first].member.term
        for index in running {
            if let problem = disagreement(at: index) { return problem }
            if nodes[index].member.term != term { return "node \(index) follows \(nodes[index].member.term as Any)" }
            if nodes[index].member.membership.digest != nodes[first].member.membership.digest {
                return "digests of \(first) and \(index) differ"
            }
        }
        let leaders = running.filter { nodes[$0].member.isLeading }
        guard leaders.count == 1, let leader = leaders.first else { return "leaders: \(leaders)" }
        return runsInstances ? slotDisagreement(leader: leader, running: running) : nil
    }

    private func disagreement(at index: Int) -> String? {
        let membership = nodes[index].member.membership
        for other in nodes.indices where other != index {
            let row = membership.member(nodes[other].id)
            let state = row?.state ?? .dead
            if nodes[other].isRunning {
                guard state == .alive else { return "node \(index) holds \(other) \(state)" }
                guard row?.rumor.life == nodes[other].life else { return "node \(index) knows an old life of \(other)" }
            } else if state != .dead {
                return "node \(index) holds the dead \(other) \(state)"
            }
        }
        return nil
    }

    private func slotDisagreement(leader: Int, running: [Int]) -> String? {
        let desired = nodes[leader].desired.desired
        for index in running where nodes[index].desired.desired != desired { return "copies of \(index) differ" }
        let owners = running.flatMap { nodes[$0].instances.map(\.instance) }.filter(\.ownsSlot)
        for instance in owners where !desired.contains(where: { $0.slot == instance.slot && $0.isWanted }) {
            return "instance \(instance.id) owns slot \(instance.slot), which is not wanted"
        }
        for entry in desired where entry.isWanted {
            let own = owners.filter { $0.slot == entry.slot }
            guard own.count == 1 else { return "slot \(entry.slot) has \(own.count) owners: \(own)" }
            guard own[0].phase == .ready, own[0].ownedUnder == nodes[leader].member.term else {
                return "slot \(entry.slot): \(own[0])"
            }
        }
        return nil
    }
}
