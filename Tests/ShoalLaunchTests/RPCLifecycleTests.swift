import ShoalCore
import ShoalLaunch
import Testing

private let died = ShoalError(.engineLost, "it died")
private let away = ShoalError(.linkLost, "its node is away")

/// A lifecycle with two workers, and the time.
private struct Fixture {
    var lifecycle: RPCLifecycle
    var now = Duration.seconds(1)

    init(workers: Int = 2) { lifecycle = RPCLifecycle(workerCount: workers, now: .zero) }

    mutating func launched() -> [RPCLifecycle.Action] {
        _ = lifecycle.start(now: now)
        for worker in lifecycle.workers.indices { _ = lifecycle.workerPrepared(worker, generation: 1, now: now) }
        return lifecycle.workersVerified(generation: 1, now: now)
    }

    mutating func ready() {
        _ = launched()
        _ = lifecycle.serverProven(generation: lifecycle.generation, now: now)
    }

    /// Ends the server and lets the pending retry begin.
    mutating func retried(_ actions: [RPCLifecycle.Action]) -> [RPCLifecycle.Action] {
        _ = lifecycle.serverEnded(error: nil, now: now)
        for case .scheduleRetry(let delay, let number) in actions {
            now += delay
            return lifecycle.retryTimerFired(number: number, now: now)
        }
        return []
    }
}

@Suite("The life of an instance of the rpc engine")
struct RPCLifecycleTests {
    @Test("workers first, then a second look, then llama-server, then ready; each phase with its time")
    func launch() {
        var fixture = Fixture()
        #expect(
            fixture.lifecycle.start(now: .seconds(1))
                == [.prepareWorker(0, generation: 1), .prepareWorker(1, generation: 1)])
        #expect(fixture.lifecycle.workerPrepared(1, generation: 1, now: .seconds(2)) == [])
        #expect(fixture.lifecycle.workers.map(\.preparedAt) == [nil, .seconds(2)], "who is still awaited")
        #expect(
            fixture.lifecycle.workerPrepared(0, generation: 1, now: .seconds(3)) == [.verifyWorkers(generation: 1)])
        #expect(fixture.lifecycle.workersVerified(generation: 1, now: .seconds(4)) == [.launchServer(generation: 1)])
        for (second, phase) in [(5, InstancePhase.handshaking), (6, .loading), (7, .warming)] {
            fixture.lifecycle.serverMoved(to: phase, generation: 1, now: .seconds(second))
            #expect(fixture.lifecycle.phase == phase)
        }
        #expect(fixture.lifecycle.serverProven(generation: 1, now: .seconds(8)) == [.becameReady(generation: 1)])
        #expect(
            fixture.lifecycle.phases.records.map(\.phase)
                == [.placing, .starting, .verifying, .launching, .handshaking, .loading, .warming, .ready])
        #expect(fixture.lifecycle.phases.records.dropLast().allSatisfy { $0.endedAt != nil })
    }

    @Test("without workers llama-server is launched at once")
    func alone() {
        var fixture = Fixture(workers: 0)
        #expect(fixture.lifecycle.start(now: .zero) == [.verifyWorkers(generation: 1)])
        #expect(fixture.lifecycle.workersVerified(generation: 1, now: .zero) == [.launchServer(generation: 1)])
        #expect(fixture.lifecycle.stop(now: .zero).contains(.endServer))
        #expect(fixture.lifecycle.serverEnded(error: nil, now: .zero) == [.becameStopped])
    }

    @Test("phases never go back during a launch")
    func phasesAdvance() {
        var fixture = Fixture()
        _ = fixture.launched()
        fixture.lifecycle.serverMoved(to: .loading, generation: 1, now: .zero)
        fixture.lifecycle.serverMoved(to: .handshaking, generation: 1, now: .zero)
        #expect(fixture.lifecycle.phase == .loading)
    }

    @Test("a worker that dies while ready ends llama-server, and everything begins again in a new generation")
    func workerDies() {
        var fixture = Fixture()
        fixture.ready()
        let actions = fixture.lifecycle.workerLost(1, error: died, now: fixture.now)
        #expect(actions.contains(.becameUnready(died)))
        #expect(actions.contains(.endServer))
        #expect(fixture.lifecycle.phase == .recovering)
        #expect(fixture.lifecycle.problem == died)
        #expect(fixture.lifecycle.workers[1].preparedAt == nil)
        // What llama-server says in its turn is the same failure.
        #expect(fixture.lifecycle.serverEnded(error: died, now: fixture.now) == [])
        #expect(
            fixture.retried(actions) == [.prepareWorker(0, generation: 2), .prepareWorker(1, generation: 2)])
    }

    @Test("llama-server that dies is started again with the workers looked at first")
    func serverDies() {
        var fixture = Fixture()
        fixture.ready()
        let actions = fixture.lifecycle.serverEnded(error: died, now: fixture.now)
        #expect(actions.contains(.becameUnready(died)))
        #expect(!actions.contains(.endServer))
        #expect(fixture.retried(actions).first == .prepareWorker(0, generation: 2))
    }

    @Test("the retry waits until the old process is gone")
    func waitsForTheEnd() throws {
        var fixture = Fixture()
        fixture.ready()
        let actions = fixture.lifecycle.workerLost(0, error: died, now: fixture.now)
        guard case .scheduleRetry(_, let number)? = actions.last else { throw died }
        let again = fixture.lifecycle.retryTimerFired(number: number, now: fixture.now)
        guard case .scheduleRetry(_, let next)? = again.first else { throw died }
        _ = fixture.lifecycle.serverEnded(error: nil, now: fixture.now)
        #expect(!fixture.lifecycle.retryTimerFired(number: next, now: fixture.now).isEmpty)
    }

    @Test("news of an old generation change nothing")
    func oldNews() {
        var fixture = Fixture()
        fixture.ready()
        _ = fixture.retried(fixture.lifecycle.serverEnded(error: died, now: fixture.now))
        #expect(fixture.lifecycle.generation == 2)
        #expect(fixture.lifecycle.workerPrepared(0, generation: 1, now: fixture.now) == [])
        #expect(fixture.lifecycle.workerFailed(0, generation: 1, error: died, now: fixture.now) == [])
        #expect(fixture.lifecycle.serverProven(generation: 1, now: fixture.now) == [])
        #expect(fixture.lifecycle.serverFailed(generation: 1, error: died, now: fixture.now) == [])
        #expect(fixture.lifecycle.phase == .starting)
    }

    @Test("launches that fail in a row wait longer and longer, and are given up with the cause")
    func givesUp() {
        var fixture = Fixture()
        var actions = fixture.launched()
        var delays: [Duration] = []
        while fixture.lifecycle.phase != .failed, delays.count < 20 {
            actions = fixture.lifecycle.serverEnded(error: died, now: fixture.now)
            for case .scheduleRetry(let delay, _) in actions { delays.append(delay) }
            _ = fixture.retried(actions)
            let generation = fixture.lifecycle.generation
            for worker in 0...1 {
                _ = fixture.lifecycle.workerPrepared(worker, generation: generation, now: fixture.now)
            }
            _ = fixture.lifecycle.workersVerified(generation: generation, now: fixture.now)
        }
        #expect(delays == delays.sorted())
        #expect(delays.count == 4)
        #expect(fixture.lifecycle.problem?.message.contains("5 launches in a row") == true)
        #expect(fixture.lifecycle.problem?.message.contains("it died") == true)
    }

    @Test("an instance that becomes ready and dies again and again is given up too")
    func crashLoop() {
        var fixture = Fixture()
        fixture.ready()
        var count = 0
        while fixture.lifecycle.phase != .failed, count < 100 {
            count += 1
            let actions = fixture.lifecycle.serverEnded(error: died, now: fixture.now)
            _ = fixture.retried(actions)
            let generation = fixture.lifecycle.generation
            for worker in 0...1 {
                _ = fixture.lifecycle.workerPrepared(worker, generation: generation, now: fixture.now)
            }
            _ = fixture.lifecycle.workersVerified(generation: generation, now: fixture.now)
            _ = fixture.lifecycle.serverProven(generation: generation, now: fixture.now)
        }
        #expect(count == fixture.lifecycle.configuration.crashLoopFailureCountMax)
    }

    @Test("a node that is away is waited for, up to a limit, and then another plan is wanted")
    func nodeAway() {
        var fixture = Fixture()
        fixture.ready()
        var actions = fixture.lifecycle.workerLost(0, error: away, now: fixture.now)
        var attempts = 0
        while fixture.lifecycle.phase != .failed, attempts < 1000 {
            attempts += 1
            _ = fixture.retried(actions)
            actions = fixture.lifecycle.workerFailed(
                0, generation: fixture.lifecycle.generation, error: away, now: fixture.now)
        }
        #expect(attempts > 4)
        #expect(fixture.lifecycle.problem?.message.contains("giving up after recovering") == true)
        #expect(fixture.lifecycle.problem?.code == .linkLost)
    }

    @Test("what no retry cures fails at once")
    func permanent() {
        for code in [ShoalError.Code.fileUnreadable, .invalidPlacement, .malformedModel] {
            var fixture = Fixture()
            _ = fixture.launched()
            _ = fixture.lifecycle.serverEnded(error: ShoalError(code, "no"), now: fixture.now)
            #expect(fixture.lifecycle.phase == .failed)
        }
    }

    @Test("a launch that does not move is ended at the limit, one that moves is not")
    func stalls() {
        var fixture = Fixture()
        _ = fixture.launched()
        for minute in 1...30 {
            fixture.now = .seconds(60 * minute)
            fixture.lifecycle.progressed(now: fixture.now)
            #expect(fixture.lifecycle.tick(now: fixture.now) == [])
        }
        fixture.now += .seconds(599)
        #expect(fixture.lifecycle.tick(now: fixture.now) == [])
        fixture.now += .seconds(2)
        #expect(fixture.lifecycle.tick(now: fixture.now).contains(.endServer))
        #expect(fixture.lifecycle.problem?.code == .timedOut)
        #expect(fixture.lifecycle.problem?.message.hasPrefix("launching made no progress") == true)
    }

    @Test("stop ends llama-server first and releases the workers when it is gone")
    func stop() {
        var fixture = Fixture()
        fixture.ready()
        let actions = fixture.lifecycle.stop(now: fixture.now)
        #expect(actions.contains(.endServer))
        #expect(!actions.contains(.releaseWorker(0)))
        let released = fixture.lifecycle.serverEnded(error: nil, now: fixture.now)
        #expect(released == [.releaseWorker(0), .releaseWorker(1)])
        #expect(fixture.lifecycle.workersReleased(now: fixture.now) == [.becameStopped])
        #expect(fixture.lifecycle.phase == .stopped)
    }
}

/// Workers and llama-server that die at random; what the lifecycle wants is done late, or fails.
private struct World {
    var lifecycle: RPCLifecycle
    var generator: SeededGenerator
    var now = Duration.zero
    var serverGeneration: UInt32?
    var prepared: Set<Int> = []
    var pending: [(at: Duration, action: RPCLifecycle.Action)] = []
    var violations: [String] = []
    var isCalm = false
    var hasStopped = false

    init(seed: UInt64) {
        var configuration = RPCLifecycleConfiguration()
        // What is tested is that it goes on; giving up has tests of its own.
        configuration.failuresInRowMax = .max
        configuration.crashLoopFailureCountMax = .max
        configuration.lostNodeGrace = .seconds(1_000_000)
        generator = SeededGenerator(seed: seed)
        lifecycle = RPCLifecycle(
            workerCount: Int.random(in: 0...4, using: &generator), configuration: configuration, now: .zero)
    }

    mutating func chance(_ one: Int) -> Bool { !isCalm && Int.random(in: 0..<one, using: &generator) == 0 }

    mutating func take(_ actions: [RPCLifecycle.Action]) {
        for action in actions {
            let delay = Duration.milliseconds(Int.random(in: 1...400, using: &generator))
            switch action {
            case .scheduleRetry(let wait, _): pending.append((now + wait, action))
            case .becameStopped: hasStopped = true
            case .launchServer(let generation):
                if serverGeneration != nil { violations.append("two servers") }
                if prepared.count != lifecycle.workers.count { violations.append("launched before the workers") }
                serverGeneration = generation
                pending.append((now + delay, action))
            default: pending.append((now + delay, action))
            }
        }
    }

    mutating func step() {
        guard let index = pending.indices.min(by: { pending[$0].at < pending[$1].at }) else {
            now += .milliseconds(500)
            return misfortune()
        }
        let (time, action) = pending.remove(at: index)
        now = max(now, time)
        perform(action)
        misfortune()
        take(lifecycle.tick(now: now))
    }

    private mutating func perform(_ action: RPCLifecycle.Action) {
        let generation = lifecycle.generation
        switch action {
        case .prepareWorker(let worker, let wanted):
            if chance(6) { return take(lifecycle.workerFailed(worker, generation: wanted, error: died, now: now)) }
            prepared.insert(worker)
            take(lifecycle.workerPrepared(worker, generation: wanted, now: now))
        case .verifyWorkers(let wanted):
            guard prepared.count == lifecycle.workers.count else {
                let missing = lifecycle.workers.indices.first { !prepared.contains($0) } ?? 0
                return take(lifecycle.workerFailed(missing, generation: wanted, error: died, now: now))
            }
            take(lifecycle.workersVerified(generation: wanted, now: now))
        case .launchServer(let wanted):
            guard serverGeneration == wanted else { return }
            if chance(5) { return end(died) }
            lifecycle.serverMoved(to: .loading, generation: wanted, now: now)
            take(lifecycle.serverProven(generation: generation, now: now))
        case .endServer: end(nil)
        case .scheduleRetry(_, let number): take(lifecycle.retryTimerFired(number: number, now: now))
        case .releaseWorker(let worker):
            prepared.remove(worker)
            if prepared.isEmpty { take(lifecycle.workersReleased(now: now)) }
        case .becameReady, .becameUnready, .becameFailed, .becameStopped: break
        }
    }

    private mutating func end(_ error: ShoalError?) {
        guard serverGeneration != nil else { return }
        serverGeneration = nil
        take(lifecycle.serverEnded(error: error, now: now))
    }

    private mutating func misfortune() {
        if chance(25) { end(died) }
        for worker in lifecycle.workers.indices where chance(40) {
            prepared.remove(worker)
            take(lifecycle.workerLost(worker, error: chance(2) ? died : away, now: now))
        }
        if chance(60), let generation = serverGeneration {
            take(lifecycle.serverFailed(generation: generation, error: ShoalError(.engineLost, "hung"), now: now))
        }
    }
}

@Suite("The rpc lifecycle, simulated")
struct RPCLifecycleSimulation {
    @Test("whatever dies whenever, one server at a time after its workers; calm ends in ready, stop in stopped")
    func simulate() {
        for seed in 1...1500 as ClosedRange<UInt64> {
            var world = World(seed: seed)
            world.take(world.lifecycle.start(now: .zero))
            for _ in 0..<200 { world.step() }
            world.isCalm = true
            for _ in 0..<200 where world.lifecycle.phase != .ready { world.step() }
            #expect(world.lifecycle.phase == .ready, "seed \(seed): \(world.lifecycle.phase)")
            #expect(world.violations.isEmpty, "seed \(seed): \(world.violations)")
            world.take(world.lifecycle.stop(now: world.now))
            for _ in 0..<50 where !world.hasStopped { world.step() }
            #expect(world.hasStopped, "seed \(seed) does not stop")
            #expect(world.serverGeneration == nil, "seed \(seed) leaves a server")
        }
    }
}
