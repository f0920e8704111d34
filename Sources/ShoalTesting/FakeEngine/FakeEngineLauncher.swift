package import NIOCore
package import ShoalCore
package import ShoalEngine
package import ShoalLinks
internal import Synchronization

/// Gives a node engines that live in this process and need no libllama, over real sockets and real frames.
package final class FakeEngineLauncher: EngineLauncher {
    private struct Script {
        var launchFailures: [ShoalError] = []
        var loadFailures: [ShoalError] = []
    }

    package let model: FakeModel
    /// Every engine that was launched, in order.
    package let engines = EventRecorder<FakeEngine>()
    private let script = Mutex(Script())
    private let build: EngineBuild

    package init(model: FakeModel = FakeModel(), llamaBuild: String = "fake") {
        self.model = model
        build = EngineBuild(
            shoalVersion: ShoalVersion.current, protocolNumber: ShoalVersion.protocolNumber, llamaBuild: llamaBuild)
    }

    /// Engines that were launched and have not ended.
    package var liveEngineCount: Int { engines.events.count { $0.ended.events.isEmpty } }

    /// The next launch that is not failed already throws `error`.
    package func failNextLaunch(_ error: ShoalError) { script.withLock { $0.launchFailures.append(error) } }

    /// The next engine to be launched answers its first `load` with `error`.
    package func failNextLoad(_ error: ShoalError) { script.withLock { $0.loadFailures.append(error) } }

    package func launch(
        label: String, eventLoop: any EventLoop, receiver: any FrameReceiver,
        onLoadProgress: @escaping @Sendable (Double) -> Void
    ) async throws(ShoalError) -> any EngineHandle {
        let (launchFailure, loadFailure) = script.withLock { script -> (ShoalError?, ShoalError?) in
            if !script.launchFailures.isEmpty { return (script.launchFailures.removeFirst(), nil) }
            return (nil, script.loadFailures.isEmpty ? nil : script.loadFailures.removeFirst())
        }
        if let launchFailure { throw launchFailure }
        var links = LinkConfiguration()
        links.saysGoodbye = false
        let (near, far) = try await ConnectionPair.make(eventLoop: eventLoop, configuration: links)
        let engine = FakeEngine(label: label, connection: far, model: model, loadFailure: loadFailure)
        let session = EngineSession(
            connection: near, receiver: receiver, onLoadProgress: onLoadProgress,
            describeEnd: {
                let exit = await engine.ended.first()
                return exit.wasRequested ? nil : exit.error
            })
        engine.start(build)
        let build = try await session.start(deadline: .seconds(30))
        engines.record(engine)
        return FakeEngineHandle(session: session, engine: engine, build: build)
    }
}

/// The node's side of a fake engine.
private final class FakeEngineHandle: EngineHandle {
    let build: EngineBuild
    private let session: EngineSession
    private let engine: FakeEngine

    init(session: EngineSession, engine: FakeEngine, build: EngineBuild) {
        self.session = session
        self.engine = engine
        self.build = build
    }

    var connection: FrameConnection { session.connection }

    var processID: Int32? { nil }

    var launchRecord: LaunchRecord? { nil }

    func request(_ request: EngineRequest, deadline: Duration) async throws(ShoalError) -> EngineReply {
        try await session.request(request, deadline: deadline)
    }

    func post(_ request: EngineRequest, onFailure: @escaping @Sendable (ShoalError) -> Void) {
        session.post(request, onFailure: onFailure)
    }

    func waitForExit() async -> EngineExit { await engine.ended.first() }

    func stop() async {
        connection.close(because: nil)
        _ = await waitForExit()
        await session.waitForEnd()
    }

    func logTail() -> [String] { [] }
}
