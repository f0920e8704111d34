internal import NIOCore
internal import ShoalCore
internal import ShoalLinks

/// An engine that is a child process of this node.
final class ProcessEngine: EngineHandle {
    static let terminateSignal: Int32 = 15
    static let killSignal: Int32 = 9

    let build: EngineBuild
    let launchRecord: LaunchRecord?
    private let session: EngineSession
    private let ending: EngineEnding
    private let log: EngineLog

    init(session: EngineSession, ending: EngineEnding, log: EngineLog, build: EngineBuild, launchRecord: LaunchRecord) {
        self.session = session
        self.ending = ending
        self.log = log
        self.build = build
        self.launchRecord = launchRecord
    }

    var connection: FrameConnection { session.connection }

    var processID: Int32? { ending.processID }

    func request(_ request: EngineRequest, deadline: Duration) async throws(ShoalError) -> EngineReply {
        try await session.request(request, deadline: deadline)
    }

    func post(_ request: EngineRequest, onFailure: @escaping @Sendable (ShoalError) -> Void) {
        session.post(request, onFailure: onFailure)
    }

    func waitForExit() async -> EngineExit { await ending.wait() }

    func stop() async {
        ending.askFor()
        connection.close(because: nil)
        _ = await ending.end()
        await session.waitForEnd()
    }

    func logTail() -> [String] { log.lines }
}
