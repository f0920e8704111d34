internal import CShoalSystem
internal import ShoalCore
internal import ShoalEngine
internal import ShoalLlama

/// The child process that links libllama: one stage, frames over descriptors 0 and 1, no network.
///
/// Three threads. The main thread is the engine thread: it owns everything of libllama that changes and works jobs off
/// in order. The reader cuts frames and notices when the daemon is gone. The text thread tokenizes and renders.
@main
enum ShoalEngineMain {
    /// Frames that wait for the engine thread; a pipeline keeps far fewer in flight.
    private static let jobCountMax = 256
    private static let textJobCountMax = 1024

    static func main() {
        if CommandLine.arguments.dropFirst().first == "--build" { Exit.tellingBuild(LlamaLibrary.build) }
        shoal_depend_on_parent()
        guard let channel = ParentChannel() else { Exit.internalError("descriptors 0 and 1 cannot be taken over") }
        LlamaLibrary.start()
        let jobs = BlockingQueue<EngineJob>(capacity: jobCountMax)
        let textJobs = BlockingQueue<TextJob>(capacity: textJobCountMax)
        let text = TextService(channel: channel)
        let intake = FrameIntake(channel: channel, jobs: jobs, textJobs: textJobs)
        channel.send(.started(build))
        guard ProcessThread.start({ intake.run() }), ProcessThread.start({ text.run(textJobs) }) else {
            Exit.internalError("the system gives no threads")
        }
        StageEngine(channel: channel, text: text).run(jobs)
    }

    private static var build: EngineBuild {
        EngineBuild(
            shoalVersion: ShoalVersion.current, protocolNumber: ShoalVersion.protocolNumber,
            llamaBuild: LlamaLibrary.build)
    }
}
