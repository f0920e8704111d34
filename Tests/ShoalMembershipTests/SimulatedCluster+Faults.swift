import ShoalCore
import ShoalMembership

extension SimulatedCluster {
    /// A link between two nodes comes up: both are told.
    mutating func connect(_ left: Int, _ right: Int) {
        for (one, other) in [(left, right), (right, left)] where nodes[one].isRunning {
            perform(nodes[one].member.connected(to: nodes[other].id, now: nowDuration), of: one)
        }
    }

    /// Beacons: a node of which nothing is known is found, if it can be reached.
    mutating func discover(by index: Int) {
        let peer = generator.below(nodes.count)
        guard peer != index, nodes[peer].isRunning, !isBlocked[peer][index] else { return }
        guard nodes[index].member.membership.member(nodes[peer].id) == nil else { return }
        connect(index, peer)
    }

    /// The process ends. `closes`: its machine tells the peers, as it does unless the power fails.
    mutating func crash(_ index: Int, closes: Bool) {
        nodes[index].isRunning = false
        nodes[index].isFrozen = false
        nodes[index].instances = []
        nodes[index].engines = []
        nodes[index].work = []
        guard closes else { return }
        for peer in nodes.indices where peer != index && nodes[peer].isRunning && !isBlocked[index][peer] {
            queue.schedule(.closed(peer, by: index), at: now + generator.between(1_000, 20_000))
        }
    }

    mutating func closed(_ index: Int, by peer: Int) {
        guard nodes[index].isRunning, !nodes[index].isFrozen, !nodes[peer].isRunning else { return }
        perform(nodes[index].member.connectionClosed(to: nodes[peer].id, now: nowDuration), of: index)
    }

    /// A new life of the same node. With state it remembers what should run; it never remembers its members.
    mutating func restart(_ index: Int, keepsState: Bool) {
        let remembered = nodes[index].desired.desired
        nodes[index] = SimulatedNode(id: nodes[index].id, life: generator.next(), now: nowDuration)
        if keepsState { nodes[index].desired.merge(remembered) }
        scheduleTicks(of: index)
        // Discovery finds one, some or all of the others.
        let first = generator.below(nodes.count)
        for peer in nodes.indices where peer != index && (peer == first || generator.chance(50)) {
            connect(index, peer)
        }
    }

    mutating func thaw(_ index: Int) { nodes[index].isFrozen = false }

    /// One of what can go wrong, then schedules the next.
    mutating func injectFault() {
        queue.schedule(.fault, at: now + generator.between(200_000, 2_500_000))
        let index = generator.below(nodes.count)
        replayCommand()
        switch generator.below(13) {
        case 0, 1: split(oneWay: generator.chance(30))
        case 2: isolate(index, oneWay: generator.chance(40))
        case 3: unblockAll()
        case 4, 5: if nodes[index].isRunning { crash(index, closes: generator.chance(60)) }
        case 6, 7: if !nodes[index].isRunning { restart(index, keepsState: generator.chance(50)) }
        case 8: nodes[index].isFrozen = nodes[index].isRunning
        case 9: thaw(index)
        case 10: network = randomNetwork()
        case 11: if engineKillCount < 3 { engineKillCount += 1; killEngine(at: index) }
        default: changeWish()
        }
    }

    /// A command that was stuck somewhere arrives late, or again.
    private mutating func replayCommand() {
        guard generator.chance(30), let old = sentCommands.randomElement(using: &generator),
            let head = index(of: old.command.head), head != old.sender
        else { return }
        send(.command(old.command, stages: old.stages), from: old.sender, to: head)
    }

    mutating func randomNetwork() -> Network {
        Network(
            lossPercent: generator.chance(50) ? 0 : generator.between(1, 25),
            duplicatePercent: generator.chance(50) ? 0 : generator.between(1, 20),
            delayMin: generator.between(100, 2_000), delayMax: generator.between(2_000, 80_000),
            stragglerPercent: generator.chance(50) ? 0 : generator.between(1, 10))
    }

    private mutating func split(oneWay: Bool) {
        let isLeft = nodes.map { _ in generator.chance(50) }
        for from in nodes.indices {
            for to in nodes.indices where isLeft[from] != isLeft[to] { isBlocked[from][to] = !oneWay || isLeft[from] }
        }
    }

    private mutating func isolate(_ index: Int, oneWay: Bool) {
        let hears = oneWay && generator.chance(50)
        for other in nodes.indices where other != index {
            isBlocked[index][other] = !oneWay || hears
            isBlocked[other][index] = !oneWay || !hears
        }
    }

    mutating func unblockAll() {
        isBlocked = isBlocked.map { $0.map { _ in false } }
    }

    /// The user loads or unloads something at whoever leads.
    mutating func changeWish() {
        let leaders = nodes.indices.filter { nodes[$0].isRunning && !nodes[$0].isFrozen && nodes[$0].member.isLeading }
        guard !leaders.isEmpty else { return }
        let leader = leaders[generator.below(leaders.count)]
        let wish = sampleWish("m\(generator.between(1, 3))")
        do {
            try nodes[leader].desired.set(wish, isWanted: generator.chance(75))
        } catch {
            fail("the leader \(leader) refused a wish: \(error)")
        }
    }

    /// The faults end: everything that is not dead for good works again.
    mutating func heal() {
        queue = queue.without { if case .fault = $0 { true } else { false } }
        unblockAll()
        network = Network()
        if generator.chance(30) { network.lossPercent = 2 }
        for index in nodes.indices {
            thaw(index)
            if !nodes[index].isRunning, generator.chance(70) { restart(index, keepsState: generator.chance(50)) }
        }
        guard !nodes.contains(where: \.isRunning) else { return }
        restart(0, keepsState: true)
    }
}

extension EventQueue {
    /// The same queue without some events.
    func without(_ isUnwanted: (Event) -> Bool) -> EventQueue {
        var rest = self
        var kept = EventQueue()
        while let (time, event) = rest.next(until: .max) {
            if !isUnwanted(event) { kept.schedule(event, at: time) }
        }
        return kept
    }
}
