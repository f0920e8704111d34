import ShoalCore
import ShoalScheduling
import Testing

/// Two stages, and the events that bring them where a test wants them.
struct LifecycleFixture {
    var lifecycle: InstanceLifecycle
    var now = Duration.zero

    static let died = ShoalError(.engineLost, "the engine of the test died")

    init(stageCount: Int = 2, configuration: InstanceLifecycleConfiguration = InstanceLifecycleConfiguration()) {
        lifecycle = InstanceLifecycle(stageCount: stageCount, configuration: configuration, now: .zero)
    }

    /// Advances through start, load and warm-up to `phase`.
    static func at(_ phase: InstancePhase, stageCount: Int = 2) -> LifecycleFixture {
        var fixture = LifecycleFixture(stageCount: stageCount)
        fixture.advance(to: phase)
        return fixture
    }

    mutating func advance(to phase: InstancePhase) {
        let stages = lifecycle.stages.indices
        // No lifecycle waits: there is no instance yet.
        guard phase != .placing, phase != .waiting else { return }
        _ = lifecycle.start(now: now)
        guard phase != .starting else { return }
        for stage in stages { lifecycle.stageEngineStarted(stage, generation: 1, now: now) }
        guard phase != .loading else { return }
        for stage in stages { _ = lifecycle.stageLoaded(stage, generation: 1, now: now) }
        guard phase != .warming else { return }
        _ = lifecycle.warmUpSucceeded(generation: 1, now: now)
        guard phase != .ready else { return }
        end(in: phase)
    }

    private mutating func end(in phase: InstancePhase) {
        switch phase {
        case .draining: lifecycle.drain(now: now)
        case .recovering: _ = lose(1)
        case .failed: _ = lifecycle.stageLost(0, error: ShoalError(.malformedModel, "bad"), now: now)
        case .stopped:
            _ = lifecycle.stop(now: now)
            for stage in lifecycle.stages.indices { _ = lifecycle.stageUnloaded(stage, now: now) }
        case .waiting, .placing, .starting, .loading, .warming, .ready, .verifying, .launching, .handshaking: break
        }
    }

    mutating func lose(_ stage: Int, _ error: ShoalError = died) -> [InstanceLifecycleAction] {
        lifecycle.stageLost(stage, error: error, now: now)
    }

    /// The delay and number of a retry among `actions`.
    static func retry(in actions: [InstanceLifecycleAction]) -> (delay: Duration, number: Int)? {
        for case .scheduleRetry(let delay, let number) in actions { return (delay, number) }
        return nil
    }
}

@Suite("Bringing an instance up")
struct InstanceStartTests {
    @Test("stages load side by side, then a warm-up, then ready")
    func startsUp() {
        var fixture = LifecycleFixture()
        #expect(fixture.lifecycle.phase == .placing)
        #expect(
            fixture.lifecycle.start(now: .seconds(1)) == [.loadStage(0, generation: 1), .loadStage(1, generation: 1)])
        #expect(fixture.lifecycle.phase == .starting)
        fixture.lifecycle.stageEngineStarted(0, generation: 1, now: .seconds(2))
        #expect(fixture.lifecycle.phase == .starting)
        fixture.lifecycle.stageEngineStarted(1, generation: 1, now: .seconds(3))
        #expect(fixture.lifecycle.phase == .loading)
        fixture.lifecycle.stageLoadProgressed(0, generation: 1, fraction: 0.5, now: .seconds(4))
        #expect(fixture.lifecycle.stages[0].loadProgress == 0.5)
        #expect(fixture.lifecycle.stageLoaded(0, generation: 1, now: .seconds(5)) == [])
        #expect(fixture.lifecycle.stageLoaded(1, generation: 1, now: .seconds(6)) == [.runWarmUp(generation: 1)])
        #expect(fixture.lifecycle.phase == .warming)
        #expect(fixture.lifecycle.warmUpSucceeded(generation: 1, now: .seconds(7)) == [.becomeReady(generation: 1)])
        #expect(fixture.lifecycle.phase == .ready)
    }

    @Test("each phase keeps when it began and ended")
    func phaseRecords() {
        var fixture = LifecycleFixture()
        _ = fixture.lifecycle.start(now: .seconds(1))
        fixture.lifecycle.stageEngineStarted(0, generation: 1, now: .seconds(2))
        fixture.lifecycle.stageEngineStarted(1, generation: 1, now: .seconds(3))
        let records = fixture.lifecycle.phases.records
        #expect(records.map(\.phase) == [.placing, .starting, .loading])
        #expect(records.map(\.startedAt) == [.zero, .seconds(1), .seconds(3)])
        #expect(records.map(\.endedAt) == [.seconds(1), .seconds(3), nil])
    }

    @Test("an instance of one stage needs no other")
    func oneStage() {
        var fixture = LifecycleFixture.at(.loading, stageCount: 1)
        #expect(fixture.lifecycle.stageLoaded(0, generation: 1, now: .zero) == [.runWarmUp(generation: 1)])
    }

    @Test(
        "what cannot heal fails at once and frees the other stages",
        arguments: [
            ShoalError.Code.unsupportedFamily, .malformedModel, .fileUnreadable, .invalidPlacement, .insufficientMemory,
        ])
    func hopelessLoad(code: ShoalError.Code) {
        var fixture = LifecycleFixture.at(.loading)
        let error = ShoalError(code, "no way")
        #expect(
            fixture.lifecycle.stageFailed(1, generation: 1, error: error, now: .zero)
                == [.failRequests(error), .becameFailed(error), .unloadStage(0)])
        #expect(fixture.lifecycle.phase == .failed)
        #expect(fixture.lifecycle.problem == error)
        #expect(fixture.lifecycle.stages[1].problem == error)
    }

    @Test("a load that may heal is tried again; no requests were running")
    func healingLoad() throws {
        var fixture = LifecycleFixture.at(.loading)
        let actions = fixture.lifecycle.stageFailed(
            1, generation: 1, error: LifecycleFixture.died, now: .seconds(1))
        #expect(actions == [.scheduleRetry(after: .milliseconds(100), number: 1)])
        #expect(fixture.lifecycle.phase == .recovering)
        // Stage 0 is still loading for generation 1: it is awaited, then reset.
        #expect(fixture.lifecycle.retryTimerFired(number: 1, now: .seconds(2)) == [.loadStage(1, generation: 2)])
        #expect(fixture.lifecycle.stageLoaded(0, generation: 1, now: .seconds(3)) == [.resetStage(0, generation: 2)])
        #expect(fixture.lifecycle.stageLoaded(1, generation: 2, now: .seconds(4)) == [])
        #expect(fixture.lifecycle.stageReset(0, generation: 2, now: .seconds(5)) == [.runWarmUp(generation: 2)])
    }

    @Test("no progress for longer than the limit gives up, saying which stage")
    func stalledLoad() throws {
        var fixture = LifecycleFixture.at(.loading)
        fixture.lifecycle.stageLoadProgressed(1, generation: 1, fraction: 0.4, now: .seconds(50))
        #expect(fixture.lifecycle.tick(now: .seconds(110)) == [])
        // The same progress again is none.
        fixture.lifecycle.stageLoadProgressed(1, generation: 1, fraction: 0.4, now: .seconds(100))
        let actions = fixture.lifecycle.tick(now: .seconds(111))
        #expect(fixture.lifecycle.phase == .failed)
        #expect(actions.contains(.unloadStage(0)) && actions.contains(.unloadStage(1)))
        #expect(fixture.lifecycle.problem?.code == .timedOut)
        #expect(fixture.lifecycle.problem?.message.contains("stage 1 (40 %)") == true)
    }

    @Test("a warm-up that never ends gives up too; a ready instance is not timed")
    func stalledWarmUp() {
        var warming = LifecycleFixture.at(.warming)
        #expect(!warming.lifecycle.tick(now: .seconds(61)).isEmpty)
        #expect(warming.lifecycle.phase == .failed)
        var ready = LifecycleFixture.at(.ready)
        #expect(ready.lifecycle.tick(now: .seconds(1000)) == [])
    }

    @Test("progress that is no fraction, or of an unknown stage, changes nothing")
    func foreignProgress() {
        var fixture = LifecycleFixture.at(.loading)
        for fraction in [Double.nan, .infinity, -1, 1.5] {
            fixture.lifecycle.stageLoadProgressed(0, generation: 1, fraction: fraction, now: .seconds(1))
        }
        fixture.lifecycle.stageLoadProgressed(7, generation: 1, fraction: 0.5, now: .seconds(1))
        fixture.lifecycle.stageEngineStarted(-1, generation: 1, now: .seconds(1))
        #expect(fixture.lifecycle.stages.allSatisfy { $0.loadProgress == 0 })
    }
}

@Suite("Recovering an instance")
struct InstanceRecoveryTests {
    @Test("a lost stage is loaded again and the others reset, in a new generation")
    func losesStage() {
        var fixture = LifecycleFixture.at(.ready)
        #expect(
            fixture.lose(1)
                == [.failRequests(LifecycleFixture.died), .scheduleRetry(after: .milliseconds(100), number: 1)])
        #expect(fixture.lifecycle.phase == .recovering)
        #expect(fixture.lifecycle.generation == 2)
        #expect(
            fixture.lifecycle.retryTimerFired(number: 1, now: .seconds(1))
                == [.resetStage(0, generation: 2), .loadStage(1, generation: 2)])
        #expect(fixture.lifecycle.stages[1].restartCount == 1)
        #expect(fixture.lifecycle.stageReset(0, generation: 2, now: .seconds(1)) == [])
        #expect(fixture.lifecycle.stageLoaded(1, generation: 2, now: .seconds(2)) == [.runWarmUp(generation: 2)])
        #expect(fixture.lifecycle.warmUpSucceeded(generation: 2, now: .seconds(3)) == [.becomeReady(generation: 2)])
        #expect(fixture.lifecycle.problem == nil)
        #expect(fixture.lifecycle.stages[1].problem == nil)
        let recoveries = fixture.lifecycle.phases.reports.filter { $0.phase == .recovering }
        #expect(recoveries.map(\.cause) == [LifecycleFixture.died.message])
    }

    @Test("stages lost together are one failure and one attempt")
    func losesBoth() {
        var fixture = LifecycleFixture.at(.ready)
        _ = fixture.lose(1)
        #expect(fixture.lose(0) == [])
        #expect(
            fixture.lifecycle.retryTimerFired(number: 1, now: .seconds(1))
                == [.loadStage(0, generation: 2), .loadStage(1, generation: 2)])
    }

    @Test("a stage lost again during the attempt starts another generation; answers to the old one do nothing")
    func losesStageAgain() throws {
        var fixture = LifecycleFixture.at(.recovering)
        _ = fixture.lifecycle.retryTimerFired(number: 1, now: .seconds(1))
        let retry = try #require(LifecycleFixture.retry(in: fixture.lose(1)))
        #expect(retry.delay == .milliseconds(200) && retry.number == 2)
        #expect(fixture.lifecycle.generation == 3)
        #expect(fixture.lifecycle.stageReset(0, generation: 2, now: .seconds(1)) == [])
        #expect(fixture.lifecycle.retryTimerFired(number: 1, now: .seconds(2)) == [])
        #expect(
            fixture.lifecycle.retryTimerFired(number: 2, now: .seconds(2))
                == [.resetStage(0, generation: 3), .loadStage(1, generation: 3)])
        #expect(fixture.lifecycle.stageLoaded(1, generation: 2, now: .seconds(2)) == [])
    }

    @Test("late news of an engine that was replaced already is ignored")
    func staleLoss() {
        var fixture = LifecycleFixture.at(.recovering)
        _ = fixture.lifecycle.retryTimerFired(number: 1, now: .seconds(1))
        #expect(
            fixture.lifecycle.stageLost(1, engineGeneration: 1, error: LifecycleFixture.died, now: .seconds(1)) == [])
        #expect(fixture.lifecycle.generation == 2)
        #expect(
            !fixture.lifecycle.stageLost(1, engineGeneration: 2, error: LifecycleFixture.died, now: .seconds(1)).isEmpty
        )
    }

    @Test("retries wait twice as long each time, up to the limit, and begin anew once it was ready")
    func backOff() throws {
        var configuration = InstanceLifecycleConfiguration()
        configuration.crashLoopFailureCountMax = 100
        var fixture = LifecycleFixture(configuration: configuration)
        fixture.advance(to: .ready)
        var delays: [Duration] = []
        for _ in 0..<9 {
            let retry = try #require(LifecycleFixture.retry(in: fixture.lose(1)))
            delays.append(retry.delay)
            _ = fixture.lifecycle.retryTimerFired(number: retry.number, now: fixture.now)
        }
        #expect(delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10].map { .milliseconds(Int($0 * 1000)) })
        let generation = fixture.lifecycle.generation
        _ = fixture.lifecycle.stageReset(0, generation: generation, now: fixture.now)
        _ = fixture.lifecycle.stageLoaded(1, generation: generation, now: fixture.now)
        _ = fixture.lifecycle.warmUpSucceeded(generation: generation, now: fixture.now)
        #expect(try #require(LifecycleFixture.retry(in: fixture.lose(1))).delay == .milliseconds(100))
    }

    @Test("a crash loop gives up with its cause; the same crashes spread over time do not")
    func crashLoop() throws {
        for (spacing, isGivingUp) in [(Duration.seconds(10), true), (.seconds(20), false)] {
            var fixture = LifecycleFixture.at(.ready)
            for _ in 0..<5 where fixture.lifecycle.phase != .failed {
                fixture.now += spacing
                guard let retry = LifecycleFixture.retry(in: fixture.lose(1)) else { continue }
                _ = fixture.lifecycle.retryTimerFired(number: retry.number, now: fixture.now)
            }
            #expect((fixture.lifecycle.phase == .failed) == isGivingUp, "\(spacing)")
            guard isGivingUp else { continue }
            #expect(fixture.lifecycle.problem?.code == .engineLost)
            #expect(fixture.lifecycle.problem?.message.contains("the engine of the test died") == true)
            #expect(fixture.lifecycle.problem?.message.contains("5 failures") == true)
        }
    }

    @Test("a link that is lost again and again is no crash loop, but not tried for ever")
    func lostLink() {
        var fixture = LifecycleFixture.at(.ready)
        let unplugged = ShoalError(.linkLost, "the link to b broke")
        var attemptCount = 0
        while fixture.lifecycle.phase != .failed, attemptCount < 1000 {
            attemptCount += 1
            guard let retry = LifecycleFixture.retry(in: fixture.lose(1, unplugged)) else { continue }
            fixture.now += retry.delay
            _ = fixture.lifecycle.retryTimerFired(number: retry.number, now: fixture.now)
        }
        #expect(attemptCount > 50 && attemptCount < 1000)
        #expect(fixture.now > .seconds(600) && fixture.now < .seconds(620))
        #expect(fixture.lifecycle.problem?.code == .linkLost)
    }

    @Test("an instance waits for a lost node for a grace, shorter before it was ever ready, and then gives up")
    func lostNodeGrace() {
        for (phase, grace) in [(InstancePhase.loading, Duration.seconds(2)), (.ready, .seconds(5))] {
            var fixture = LifecycleFixture.at(phase)
            _ = fixture.lose(1, ShoalError(.linkLost, "node b is lost"))
            #expect(fixture.lifecycle.tick(now: grace).isEmpty)
            let actions = fixture.lifecycle.tick(now: grace + .milliseconds(1))
            #expect(fixture.lifecycle.phase == .failed && !actions.isEmpty)
            #expect(fixture.lifecycle.problem?.code == .linkLost)
            #expect(fixture.lifecycle.problem?.message.contains("node b is lost; it was not back") == true)
        }
    }

    @Test("a node that is back in time is tried at once")
    func nodeReturned() throws {
        var fixture = LifecycleFixture.at(.ready)
        let lost = fixture.lose(1, ShoalError(.linkLost, "node b is lost"))
        #expect(LifecycleFixture.retry(in: lost) != nil)
        fixture.now = .seconds(1)
        let actions = fixture.lifecycle.nodeReturned(1, now: fixture.now)
        #expect(actions.contains(.loadStage(1, generation: 2)) && actions.contains(.resetStage(0, generation: 2)))
        #expect(fixture.lifecycle.nodeReturned(1, now: fixture.now).isEmpty)
        #expect(fixture.lifecycle.tick(now: .seconds(30)).isEmpty, "loading may take longer than the grace")
    }

    @Test("a failed warm-up resets every stage")
    func warmUpFails() {
        var fixture = LifecycleFixture.at(.warming)
        let error = ShoalError(.timedOut, "no answer")
        #expect(
            fixture.lifecycle.warmUpFailed(generation: 1, error: error, now: .zero)
                == [.scheduleRetry(after: .milliseconds(100), number: 1)])
        #expect(
            fixture.lifecycle.retryTimerFired(number: 1, now: .seconds(1))
                == [.resetStage(0, generation: 2), .resetStage(1, generation: 2)])
        #expect(fixture.lifecycle.warmUpSucceeded(generation: 1, now: .seconds(1)) == [])
    }

    @Test("a pipeline that broke the protocol is reset, unless the news is old")
    func pipelineBroken() {
        var fixture = LifecycleFixture.at(.ready)
        let error = ShoalError(.protocolViolation, "outputs that nobody asked for")
        #expect(fixture.lifecycle.pipelineBroken(generation: 0, error: error, now: .zero) == [])
        #expect(
            fixture.lifecycle.pipelineBroken(generation: 1, error: error, now: .zero)
                == [.failRequests(error), .scheduleRetry(after: .milliseconds(100), number: 1)])
    }

    @Test("the phases that are kept are bounded")
    func phaseRecordsAreBounded() throws {
        var configuration = InstanceLifecycleConfiguration()
        configuration.phaseRecordCountMax = 4
        var fixture = LifecycleFixture(configuration: configuration)
        fixture.advance(to: .recovering)
        #expect(fixture.lifecycle.phases.records.map(\.phase) == [.loading, .warming, .ready, .recovering])
    }
}

@Suite("Ending an instance")
struct InstanceEndTests {
    @Test("draining keeps the stages; stop frees them, and is over when all are free")
    func drainsAndStops() {
        var fixture = LifecycleFixture.at(.ready)
        fixture.lifecycle.drain(now: .zero)
        #expect(fixture.lifecycle.phase == .draining)
        let actions = fixture.lifecycle.stop(now: .zero)
        #expect(actions.dropFirst() == [.unloadStage(0), .unloadStage(1)])
        #expect(fixture.lifecycle.stageUnloaded(1, now: .zero) == [])
        #expect(fixture.lifecycle.stageUnloaded(0, now: .zero) == [.becameStopped])
        #expect(fixture.lifecycle.phase == .stopped)
        #expect(fixture.lifecycle.stop(now: .zero) == [])
    }

    @Test("stop ends every phase, and nothing that comes later revives it", arguments: InstancePhase.allCases)
    func stopsFromAnyPhase(phase: InstancePhase) {
        var fixture = LifecycleFixture.at(phase)
        _ = fixture.lifecycle.stop(now: .seconds(1))
        let generation = fixture.lifecycle.generation
        var late: [InstanceLifecycleAction] = fixture.lifecycle.start(now: .seconds(1))
        late += fixture.lifecycle.warmUpSucceeded(generation: generation, now: .seconds(1))
        late += fixture.lifecycle.warmUpFailed(generation: generation, error: LifecycleFixture.died, now: .seconds(1))
        late += fixture.lifecycle.retryTimerFired(number: 1, now: .seconds(1))
        late += fixture.lifecycle.tick(now: .seconds(1000))
        for stage in 0...1 {
            late += fixture.lifecycle.stageLoaded(stage, generation: generation, now: .seconds(1))
            late += fixture.lifecycle.stageReset(stage, generation: generation, now: .seconds(1))
            late += fixture.lifecycle.stageFailed(
                stage, generation: generation, error: LifecycleFixture.died, now: .seconds(1))
        }
        #expect(late == [])
        for stage in 0...1 { _ = fixture.lifecycle.stageUnloaded(stage, now: .seconds(2)) }
        #expect(fixture.lifecycle.phase == .stopped)
        #expect(fixture.lifecycle.stages.allSatisfy { $0.condition == .absent })
    }

    @Test("a stage that dies while it is being unloaded is unloaded")
    func losesStageWhileStopping() {
        var fixture = LifecycleFixture.at(.ready)
        _ = fixture.lifecycle.stop(now: .zero)
        _ = fixture.lifecycle.stageUnloaded(0, now: .zero)
        #expect(fixture.lose(1) == [.becameStopped])
    }

    @Test("a stage that dies while draining fails the requests and is not built up again")
    func losesStageWhileDraining() {
        var fixture = LifecycleFixture.at(.draining)
        #expect(fixture.lose(1) == [.failRequests(LifecycleFixture.died)])
        #expect(fixture.lifecycle.phase == .draining)
        #expect(fixture.lifecycle.stop(now: .zero).contains(.unloadStage(0)))
    }

    @Test("a failed instance stays failed until it is stopped")
    func failedStays() {
        var fixture = LifecycleFixture.at(.failed)
        #expect(fixture.lifecycle.stages[1].condition == .unloading)
        #expect(fixture.lifecycle.stageUnloaded(1, now: .zero) == [])
        #expect(fixture.lifecycle.start(now: .zero) == [])
        #expect(fixture.lifecycle.tick(now: .seconds(1000)) == [])
        #expect(fixture.lifecycle.phase == .failed)
        #expect(fixture.lifecycle.stop(now: .zero).last == .becameStopped)
    }
}
