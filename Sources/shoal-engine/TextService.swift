internal import ShoalCore
internal import ShoalEngine
internal import ShoalLlama
internal import Synchronization

#if canImport(Darwin)
    internal import Darwin
#elseif canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#else
    #error("a C library is needed")
#endif

/// The text thread: tokenizes, renders and converts while the engine thread computes.
///
/// It never computes, so it notices soon that the daemon is gone, even during a long decode.
final class TextService: Sendable {
    private let vocabulary = Mutex<Vocabulary?>(nil)

    /// Called by the engine thread once the model is loaded.
    func serve(_ vocabulary: Vocabulary) { self.vocabulary.withLock { $0 = vocabulary } }

    /// Runs until the process ends.
    func run(_ channel: ParentChannel) -> Never {
        let parent = getppid()
        var frames = FrameSource(channel)
        while true {
            let frame = frames.next(from: parent)
            do throws(ShoalError) {
                channel.send(reply(to: try EngineJob.textRequest(frame)), to: frame)
            } catch {
                Exit.protocolViolation("\(error)")
            }
        }
    }

    private func reply(to request: EngineRequest) -> EngineReply {
        do throws(ShoalError) {
            return try answer(request)
        } catch {
            return .failed(error)
        }
    }

    private func answer(_ request: EngineRequest) throws(ShoalError) -> EngineReply {
        switch request {
        case .tokenize(let text, let addSpecial, let parseSpecial):
            .tokens(try current().tokens(of: text, addSpecial: addSpecial, parseSpecial: parseSpecial))
        case .pieces(let tokens):
            .pieces(try current().pieces(of: tokens))
        case .renderChat(let messages):
            .text(try current().rendered(messages))
        case .grammar(let schema):
            .text(try Vocabulary.grammar(jsonSchema: schema))
        case .load, .configureSampler, .releaseSampler, .reset, .status, .measureSpeed:
            throw ShoalError(.internal, "not a text request")
        }
    }

    private func current() throws(ShoalError) -> Vocabulary {
        guard let vocabulary = vocabulary.withLock({ $0 }) else {
            throw ShoalError(
                .unavailable, "this engine has no vocabulary: nothing is loaded, or it was loaded without servesText")
        }
        return vocabulary
    }
}
