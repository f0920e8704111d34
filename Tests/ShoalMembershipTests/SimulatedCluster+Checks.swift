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
        for instance in nodes[index].instances.map(\.observed) where instance.phase.isServing {
            lastServed[instance.slot, default: []].removeAll {
                $0.instance == instance.id || $0.time < now - 20_000_000
            }
            lastServed[instance.slot, default: []].append((instance.id, now))
        }
    }

    /// An instance that answers ends only because its slot is not wanted or another one answers in its place.
    mutating func checkDrain(_ command: InstanceCommand, at head: Int, by leader: Int) {
        guard let drained = nodes[head].instances.first(where: { $0.id == command.instance })?.observed,
            drained.phase.isServing
        else { return }
        drainCount += 1
        let isWanted = isWanted(command.slot, by: leader)
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
        let state = nodes[leader].desired
        for index in running where nodes[index].desired.desired != state.desired { return "copies of \(index) differ" }
        let instances = running.flatMap { nodes[$0].instances.map(\.observed) }
        for instance in instances where instance.phase != .ready && instance.phase != .failed {
            return "instance \(instance.id) of \(instance.wish.model) is stuck \(instance.phase)"
        }
        for instance in instances where instance.ownsSlot && !isWanted(instance.slot, by: leader) {
            return "instance \(instance.id) owns the slot of \(instance.wish.model), which is not wanted"
        }
        for entry in state.desired where entry.isWanted {
            if let problem = disagreement(about: entry, instances, leader: leader, running: running) { return problem }
        }
        return nil
    }

    private func isWanted(_ slot: SlotID, by leader: Int) -> Bool {
        nodes[leader].desired.desired.contains { $0.slot == slot && $0.isWanted }
    }

    private func disagreement(
        about entry: DesiredInstance, _ instances: [ObservedInstance], leader: Int, running: [Int]
    ) -> String? {
        let owners = instances.filter { $0.slot == entry.slot && $0.ownsSlot }
        let status = nodes[leader].desired.status(of: entry.slot)
        if status?.state == .failed { return owners.isEmpty ? nil : "given up, and owned: \(owners)" }
        guard running.count >= stageCount(of: entry.wish.model) else {
            return owners.isEmpty && status?.state == .waiting ? nil : "\(entry.wish.model) cannot run: \(owners)"
        }
        guard owners.count == 1 else {
            return "the slot of \(entry.wish.model) has \(owners.count) owners: \(owners), \(status as Any)"
        }
        guard owners[0].phase == .ready, owners[0].ownedUnder == nodes[leader].member.term else {
            return "the slot of \(entry.wish.model): \(owners[0])"
        }
        return nil
    }

    /// Slots that the leader has given up.
    var givenUpCount: Int {
        nodes.filter { $0.isRunning && $0.member.isLeading }
            .reduce(0) { $0 + $1.desired.statuses.count { $0.state == .failed } }
    }
}
