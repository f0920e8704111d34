internal import CShoalSystem
internal import ShoalCore
internal import ShoalEngine
internal import ShoalLlama

/// The child process that links libllama: one stage, frames over descriptors 0 and 1, no network.
///
/// Two threads, each with a socket. The main thread is the engine thread: it owns everything of libllama that changes,
/// and works off what comes, in order. The text thread tokenizes and renders, and notices when the daemon is gone.
@main
enum ShoalEngineMain {
    static func main() {
        if CommandLine.arguments.dropFirst().first == "--build" { Exit.tellingBuild(LlamaLibrary.build) }
        shoal_depend_on_parent()
        guard let (work, texts) = ParentChannel.takeOver() else {
            Exit.internalError("descriptors 0 and 1 cannot be taken over")
        }
        LlamaLibrary.start()
        let text = TextService()
        work.send(.started(build))
        guard ProcessThread.start({ text.run(texts) }) else { Exit.internalError("the system gives no thread") }
        StageEngine(channel: work, text: text).run()
    }

    private static var build: EngineBuild {
        EngineBuild(
            shoalVersion: ShoalVersion.current, protocolNumber: ShoalVersion.protocolNumber,
            llamaBuild: LlamaLibrary.build)
    }
}
