import ShoalCore
import ShoalMembership

/// Virtual machines, network and clock, from one seed: a packet simulator in the spirit of TigerBeetle's
/// (testing/packet_simulator.zig). It breaks what may break, and watches what must hold.
struct SimulatedCluster {
    /// What the network does to every message. Times in microseconds.
    struct Network {
        var lossPercent = 0
        var duplicatePercent = 0
        var delayMin = 500
        var delayMax = 2_000
        /// Of messages that take ten times as long.
        var stragglerPercent = 0
    }

    enum Event {
        case tick(Int, life: UInt64)
        case deliver(SimulatedMessage, from: Int, to: Int)
        case closed(Int, by: Int)
        /// On the node itself.
        case stage(StageMessage, at: Int, from: Int)
        case fault
    }

    var generator: SeededGenerator
    var network = Network()
    var nodes: [SimulatedNode] = []
    private var indices: [NodeID: Int] = [:]
    var queue = EventQueue<Event>()
    /// Microseconds.
    var now = 0
    /// `isBlocked[from][to]`: that direction carries nothing.
    var isBlocked: [[Bool]]
    /// Sim-wide facts, kept apart from the code under test.
    var claimedTerms: [Term: Int] = [:]
    var memberEvents: [(time: Int, node: Int, event: MembershipEvent)] = []
    var leaderEvents: [(time: Int, node: Int, event: ElectionEvent)] = []
    var sentCommands: [(command: InstanceCommand, stages: [NodeID], sender: Int)] = []
    var refusedCommandCount = 0
    var adoptionCount = 0
    var drainCount = 0
    var waitCount = 0
    var readyCount = 0
    var failureCount = 0
    var engineKillCount = 0
    var messageCount = 0
    var lastServed: [SlotID: [(instance: InstanceID, time: Int)]] = [:]
    /// The first broken promise.
    var violation: String?
    /// Off for large clusters, where only membership and leader are looked at.
    var runsInstances = true

    init(seed: UInt64, nodeCount: Int) {
        generator = SeededGenerator(seed: seed)
        isBlocked = Array(repeating: Array(repeating: false, count: nodeCount), count: nodeCount)
        for index in 0..<nodeCount {
            nodes.append(SimulatedNode(id: nodeID(index), life: generator.next(), now: .zero))
            indices[nodeID(index)] = index
            scheduleTicks(of: index)
        }
    }

    var nowDuration: Duration { .microseconds(now) }

    func index(of node: NodeID) -> Int? { indices[node] }

    /// Runs until `time`, or the first violation.
    mutating func run(until time: Int) {
        while violation == nil, let (at, event) = queue.next(until: time) {
            now = at
            handle(event)
        }
        now = max(now, time)
    }

    private mutating func handle(_ event: Event) {
        switch event {
        case .tick(let index, let life): tick(index, life: life)
        case .deliver(let message, let sender, let receiver): deliver(message, from: sender, to: receiver)
        case .closed(let index, let peer): closed(index, by: peer)
        case .stage(let message, let index, let sender):
            if nodes[index].isRunning { receive(message, at: index, from: sender) }
        case .fault: injectFault()
        }
    }

    mutating func scheduleTicks(of index: Int) {
        queue.schedule(.tick(index, life: nodes[index].life), at: now + generator.below(100_000))
    }

    private mutating func tick(_ index: Int, life: UInt64) {
        guard nodes[index].isRunning, nodes[index].life == life else { return }
        queue.schedule(.tick(index, life: life), at: now + 100_000)
        guard !nodes[index].isFrozen else { return }
        perform(nodes[index].member.tick(now: nowDuration), of: index)
        nodes[index].tickCount += 1
        check(index)
        if nodes[index].tickCount % 20 == 0 { discover(by: index) }
        guard runsInstances else { return }
        advanceInstances(of: index)
        guard nodes[index].tickCount % 5 == 0 else { return }
        manageInstances(of: index)
        checkTables(of: index)
    }

    /// Every half second: report to the leader; as leader, tell the heads.
    private mutating func manageInstances(of index: Int) {
        noteServing(index)
        guard let report = nodes[index].report(), let leader = self.index(of: report.term.leader) else { return }
        guard nodes[index].member.isLeading else { return send(.report(report), from: index, to: leader) }
        nodes[index].desired.receive(report)
        reconcile(index)
        for peer in nodes[index].member.membership.present {
            guard let peer = self.index(of: peer) else { continue }
            send(.desired(nodes[index].desired.desired), from: index, to: peer)
        }
    }

    private mutating func reconcile(_ index: Int) {
        finishPlans(of: index)
        let membership = nodes[index].member.membership
        for action in nodes[index].desired.reconcile(membership: membership, now: nowDuration) {
            switch action {
            case .plan(let ticket):
                nodes[index].tickets.append((ticket, now + generator.between(1_000, 100_000)))
            case .command(let command):
                guard let head = self.index(of: command.head) else { continue }
                if command.verb == .drain { checkDrain(command, at: head, by: index) }
                let stages = nodes[index].plans[command.instance] ?? []
                sentCommands = sentCommands.suffix(19) + [(command, stages, index)]
                guard head != index else { execute(command, stages, at: index, from: index); continue }
                send(.command(command, stages: stages), from: index, to: head)
            }
        }
    }

    mutating func send(_ message: SimulatedMessage, from sender: Int, to receiver: Int) {
        messageCount += 1
        let copies = generator.chance(network.duplicatePercent) ? 2 : 1
        for _ in 0..<copies where !isBlocked[sender][receiver] && !generator.chance(network.lossPercent) {
            let delay = generator.between(network.delayMin, network.delayMax)
            let factor = generator.chance(network.stragglerPercent) ? 10 : 1
            queue.schedule(.deliver(message, from: sender, to: receiver), at: now + delay * factor)
        }
    }

    private mutating func deliver(_ message: SimulatedMessage, from sender: Int, to receiver: Int) {
        guard nodes[receiver].isRunning, !isBlocked[sender][receiver] else { return }
        guard !nodes[receiver].isFrozen else {
            return queue.schedule(.deliver(message, from: sender, to: receiver), at: now + 50_000)
        }
        switch message {
        case .cluster(let message):
            let actions = nodes[receiver].member.receive(message, from: nodes[sender].id, now: nowDuration)
            perform(actions, of: receiver)
        case .report(let report): nodes[receiver].desired.receive(report)
        case .desired(let entries): nodes[receiver].desired.merge(entries)
        case .command(let command, let stages): execute(command, stages, at: receiver, from: sender)
        case .stage(let message): receive(message, at: receiver, from: sender)
        }
        check(receiver)
    }

    /// As a head does it: the term first, then the command.
    private mutating func execute(_ command: InstanceCommand, _ stages: [NodeID], at head: Int, from sender: Int) {
        let highest = nodes[head].highestTerm
        do {
            try nodes[head].member.admit(command.term, from: nodes[sender].id)
        } catch {
            refusedCommandCount += 1
            return
        }
        if let highest, command.term < highest { fail("node \(head) obeyed \(command.term) after \(highest)") }
        if command.term.leader != nodes[sender].id { fail("node \(head) obeyed a command of somebody else's term") }
        if command.verb == .adopt { adoptionCount += 1 }
        obey(command, stages: stages, at: head)
    }

    mutating func perform(_ actions: [ClusterMemberAction], of index: Int) {
        for action in actions {
            switch action {
            case .send(let message, let peer):
                guard let peer = self.index(of: peer) else { return fail("node \(index) writes to a ghost, \(peer)") }
                send(.cluster(message), from: index, to: peer)
            case .memberChanged(let event):
                memberEvents.append((now, index, event))
                if event.isArrival { nodes[index].desired.nodeArrived(now: nowDuration) }
                if runsInstances { heads(at: index, hear: event) }
            case .leaderChanged(let event): leaderChanged(event, at: index)
            }
        }
    }

    private mutating func leaderChanged(_ event: ElectionEvent, at index: Int) {
        leaderEvents.append((now, index, event))
        switch event {
        case .tookLead(let term):
            if claimedTerms.updateValue(index, forKey: term) != nil { fail("\(term) was claimed twice") }
            if term.leader != nodes[index].id { fail("node \(index) claimed \(term)") }
            nodes[index].desired.beginReign(term, now: nowDuration)
        case .follows(let term):
            if claimedTerms[term] == nil { fail("node \(index) follows \(term), which nobody claimed") }
            nodes[index].desired.endReign()
        }
    }

    mutating func fail(_ text: String) {
        if violation == nil { violation = "at \(Double(now) / 1e6) s: \(text)" }
    }
}
