import ShoalCore
import ShoalMembership
import ShoalScheduling

/// Heads and stages: the real lifecycle of every instance, over the same network.
extension SimulatedCluster {
    /// A request over a link that gets no answer ends when the link is found silent.
    private static let askDeadline = 5_000_000

    // MARK: The leader

    func stageCount(of model: String) -> Int { model == "m3" ? 2 : 1 }

    /// A plan takes a while, and sees the nodes that are alive when it is made.
    mutating func finishPlans(of index: Int) {
        let done = nodes[index].tickets.filter { $0.doneAt <= now }
        nodes[index].tickets.removeAll { $0.doneAt <= now }
        for (ticket, _) in done {
            let membership = nodes[index].member.membership
            var alive = [nodes[index].id] + membership.present.filter { membership.state(of: $0) == .alive }
            let needed = stageCount(of: ticket.wish.model)
            guard alive.count >= needed else {
                let error = ShoalError(.insufficientMemory, "one more node would hold it")
                nodes[index].desired.planFailed(ticket, error, now: nowDuration)
                waitCount += 1
                continue
            }
            alive.shuffle(using: &generator)
            let stages = Array(alive.prefix(generator.between(needed, min(3, alive.count))))
            let id = InstanceID(rawValue: generator.next())
            guard let head = stages.last, nodes[index].desired.planned(ticket, instance: id, head: head) else {
                continue
            }
            nodes[index].plans[id] = stages
        }
    }

    // MARK: Heads

    mutating func obey(_ command: InstanceCommand, stages: [NodeID], at head: Int) {
        let known = nodes[head].instances.firstIndex { $0.id == command.instance }
        switch (command.verb, known) {
        case (.start, nil): start(command, stages: stages, at: head)
        case (.adopt, .some(let index)): nodes[head].instances[index].ownedUnder = command.term
        case (.drain, .some(let index)):
            guard nodes[head].instances[index].drainedAt == nil else { return }
            nodes[head].instances[index].lifecycle.drain(now: nowDuration)
            nodes[head].instances[index].drainedAt = now + 1_000_000
        case (.remove, .some(let index)):
            nodes[head].ended.insert(command.instance)
            perform(nodes[head].instances[index].lifecycle.stop(now: nowDuration), of: command.instance, at: head)
        default: break
        }
    }

    private mutating func start(_ command: InstanceCommand, stages: [NodeID], at head: Int) {
        guard stages.last == nodes[head].id, !nodes[head].ended.contains(command.instance),
            !nodes[head].instances.contains(where: { $0.wish.slot == command.slot && $0.observed.ownsSlot })
        else { return }
        var instance = SimulatedInstance(
            id: command.instance, wish: command.wish, stages: stages, startedUnder: command.term,
            ownedUnder: command.term,
            lifecycle: InstanceLifecycle(
                stageCount: stages.count, configuration: InstanceLifecycleConfiguration(), now: nowDuration),
            hasReaders: generator.chance(50))
        let actions = instance.lifecycle.start(now: nowDuration)
        nodes[head].instances.append(instance)
        perform(actions, of: command.instance, at: head)
    }

    /// Calls `change` with the lifecycle of an instance and does what it says.
    private mutating func change(
        _ id: InstanceID, at head: Int, _ change: (inout InstanceLifecycle, Duration) -> [InstanceLifecycleAction]
    ) {
        guard let index = nodes[head].instances.firstIndex(where: { $0.id == id }) else { return }
        perform(change(&nodes[head].instances[index].lifecycle, nowDuration), of: id, at: head)
    }

    private mutating func perform(_ actions: [InstanceLifecycleAction], of id: InstanceID, at head: Int) {
        for action in actions {
            guard let index = nodes[head].instances.firstIndex(where: { $0.id == id }) else { return }
            switch action {
            case .loadStage(let stage, let generation): prepare(stage, generation, isReset: false, index, at: head)
            case .resetStage(let stage, let generation): prepare(stage, generation, isReset: true, index, at: head)
            case .unloadStage(let stage):
                let engine = engine(stage, index, at: head)
                nodes[head].instances[index].unloads.append((stage, now + Self.askDeadline))
                tell(.unload(engine), from: head, to: nodes[head].instances[index].stages[stage])
            case .runWarmUp(let generation):
                nodes[head].instances[index].warmUp = (generation, now + 50_000)
            case .scheduleRetry(let delay, let number):
                let at = now + Int(delay / .microseconds(1))
                nodes[head].instances[index].retries.append((number, at))
            case .becomeReady: readyCount += 1
            case .becameFailed: failureCount += 1
            case .failRequests: break
            case .becameStopped: nodes[head].instances.remove(at: index)
            }
        }
    }

    private func engine(_ stage: Int, _ index: Int, at head: Int) -> SimulatedEngine {
        SimulatedEngine(instance: nodes[head].instances[index].id, stage: stage, head: nodes[head].id)
    }

    private mutating func prepare(_ stage: Int, _ generation: UInt32, isReset: Bool, _ index: Int, at head: Int) {
        nodes[head].instances[index].lifecycle.stageEngineStarted(stage, generation: generation, now: nowDuration)
        nodes[head].instances[index].asks.append(
            SimulatedInstance.Ask(
                stage: stage, generation: generation, isReset: isReset, deadline: now + Self.askDeadline))
        let engine = engine(stage, index, at: head)
        tell(
            .prepare(engine, generation: generation, isReset: isReset), from: head,
            to: nodes[head].instances[index].stages[stage])
    }

    private mutating func tell(_ message: StageMessage, from sender: Int, to receiver: NodeID) {
        guard let receiver = index(of: receiver) else { return }
        guard receiver != sender else { return queue.schedule(.stage(message, at: receiver, from: sender), at: now) }
        send(.stage(message), from: sender, to: receiver)
    }

    /// What a head hears of the cluster, as a node tells it.
    mutating func heads(at index: Int, hear event: MembershipEvent) {
        for instance in nodes[index].instances {
            for (stage, node) in instance.stages.enumerated() where node == event.node {
                let lost = ShoalError(.linkLost, "node \(node) is lost")
                switch event {
                case .died: change(instance.id, at: index) { $0.stageLost(stage, error: lost, now: $1) }
                case .suspected where instance.hasReaders:
                    change(instance.id, at: index) { $0.stageLost(stage, error: lost, now: $1) }
                case .suspected: break
                case .joined, .recovered, .restarted:
                    change(instance.id, at: index) { $0.nodeReturned(stage, now: $1) }
                }
            }
        }
    }

    // MARK: Stages and time

    mutating func receive(_ message: StageMessage, at index: Int, from sender: Int) {
        switch message {
        case .prepare(let engine, let generation, let isReset):
            if isReset, !nodes[index].engines.contains(engine) {
                return tell(.lost(engine), from: index, to: nodes[sender].id)
            }
            nodes[index].work.append(
                (engine, generation, now + (isReset ? 20_000 : generator.between(100_000, 900_000))))
        case .unload(let engine):
            nodes[index].engines.remove(engine)
            nodes[index].work.removeAll { $0.engine == engine }
            tell(.unloaded(engine), from: index, to: nodes[sender].id)
        case .prepared(let engine, let generation): prepared(engine, generation, at: index)
        case .unloaded(let engine):
            forgetUnload(engine, at: index)
            change(engine.instance, at: index) { $0.stageUnloaded(engine.stage, now: $1) }
        case .lost(let engine):
            let error = ShoalError(.engineLost, "the engine is gone")
            change(engine.instance, at: index) { $0.stageLost(engine.stage, error: error, now: $1) }
        }
    }

    private mutating func prepared(_ engine: SimulatedEngine, _ generation: UInt32, at head: Int) {
        guard let index = nodes[head].instances.firstIndex(where: { $0.id == engine.instance }),
            let ask = nodes[head].instances[index].asks.firstIndex(where: {
                $0.stage == engine.stage && $0.generation == generation
            })
        else { return }
        let isReset = nodes[head].instances[index].asks.remove(at: ask).isReset
        change(engine.instance, at: head) { lifecycle, now in
            isReset
                ? lifecycle.stageReset(engine.stage, generation: generation, now: now)
                : lifecycle.stageLoaded(engine.stage, generation: generation, now: now)
        }
    }

    private mutating func forgetUnload(_ engine: SimulatedEngine, at head: Int) {
        guard let index = nodes[head].instances.firstIndex(where: { $0.id == engine.instance }) else { return }
        nodes[head].instances[index].unloads.removeAll { $0.stage == engine.stage }
    }

    /// An engine process dies; its node says so to the head.
    mutating func killEngine(at index: Int) {
        guard let engine = nodes[index].engines.sorted(by: { ($0.instance, $0.stage) < ($1.instance, $1.stage) }).first
        else { return }
        nodes[index].engines.remove(engine)
        tell(.lost(engine), from: index, to: engine.head)
    }

    /// Every tick: engines that have loaded, and the clocks of the heads.
    mutating func advanceInstances(of index: Int) {
        let done = nodes[index].work.filter { $0.doneAt <= now }
        nodes[index].work.removeAll { $0.doneAt <= now }
        for (engine, generation, _) in done {
            nodes[index].engines.insert(engine)
            tell(.prepared(engine, generation: generation), from: index, to: engine.head)
        }
        for id in nodes[index].instances.map(\.id) { advance(id, at: index) }
    }

    private mutating func advance(_ id: InstanceID, at head: Int) {
        guard let index = nodes[head].instances.firstIndex(where: { $0.id == id }) else { return }
        let instance = nodes[head].instances[index]
        nodes[head].instances[index].asks.removeAll { $0.deadline <= now }
        nodes[head].instances[index].unloads.removeAll { $0.deadline <= now }
        nodes[head].instances[index].retries.removeAll { $0.at <= now }
        if let warmUp = instance.warmUp, warmUp.at <= now {
            nodes[head].instances[index].warmUp = nil
            finish(warmUp.generation, of: instance, at: head)
        }
        for ask in instance.asks where ask.deadline <= now {
            let error = ShoalError(.linkLost, "node \(instance.stages[ask.stage]) did not answer")
            change(id, at: head) {
                $0.stageFailed(ask.stage, generation: ask.generation, error: error, now: $1)
            }
        }
        for unload in instance.unloads where unload.deadline <= now {
            change(id, at: head) { $0.stageUnloaded(unload.stage, now: $1) }
        }
        for retry in instance.retries where retry.at <= now {
            change(id, at: head) { $0.retryTimerFired(number: retry.number, now: $1) }
        }
        if let drained = instance.drainedAt, drained <= now {
            nodes[head].ended.insert(id)
            change(id, at: head) { $0.stop(now: $1) }
        }
        change(id, at: head) { $0.tick(now: $1) }
    }

    /// A token went through all stages, or did not.
    private mutating func finish(_ generation: UInt32, of instance: SimulatedInstance, at head: Int) {
        let isWhole = instance.stages.enumerated().allSatisfy { stage, node in
            guard let index = index(of: node), nodes[index].isRunning, !nodes[index].isFrozen else { return false }
            let engine = SimulatedEngine(instance: instance.id, stage: stage, head: nodes[head].id)
            return nodes[index].engines.contains(engine) && !isBlocked[head][index] && !isBlocked[index][head]
        }
        change(instance.id, at: head) { lifecycle, now in
            isWhole
                ? lifecycle.warmUpSucceeded(generation: generation, now: now)
                : lifecycle.warmUpFailed(
                    generation: generation, error: ShoalError(.linkLost, "the token was lost"), now: now)
        }
    }
}
