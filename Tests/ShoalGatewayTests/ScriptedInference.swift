import ShoalCore
import Synchronization

/// An inference service that plays a script, remembers what it was asked, and tells when an answer was cancelled.
final class ScriptedInference: InferenceService {
    /// What one request gets.
    enum Script: Sendable {
        /// These events, the last one terminal.
        case events([GenerationEvent])
        /// These events, then silence until the reader goes away.
        case eventsThenSilence([GenerationEvent])
        case refusal(ShoalError)
    }

    private let script: @Sendable (_ request: GenerationRequest, _ index: Int) -> Script
    private let received = Mutex<[GenerationRequest]>([])
    private let consumed = Mutex(0)
    private let terminations: AsyncStream<RequestID>.Continuation
    private let arrivalSource: AsyncStream<RequestID>.Continuation
    /// Requests as they come in.
    let arrivals: AsyncStream<RequestID>
    /// Requests whose reader went away before the last event.
    let cancelled: AsyncStream<RequestID>

    init(_ script: @escaping @Sendable (_ request: GenerationRequest, _ index: Int) -> Script) {
        self.script = script
        (cancelled, terminations) = AsyncStream.makeStream()
        (arrivals, arrivalSource) = AsyncStream.makeStream()
    }

    /// Every request gets the same pieces of text, one token each.
    convenience init(pieces: [String], finish: FinishReason = .stop) {
        self.init { _, _ in .events(.answer(pieces, finish: finish)) }
    }

    var requests: [GenerationRequest] { received.withLock { $0 } }
    /// Tokens whose consumption was reported back.
    var consumedTokenCount: Int { consumed.withLock { $0 } }

    func servedModels() async -> [ServedModel] {
        ["models/tiny.gguf", "tiny"].map {
            ServedModel(
                name: $0, instance: InstanceID(rawValue: 0xABC), createdUnixSeconds: 1_700_000_000,
                contextTokenCount: 2048)
        }
    }

    func generate(_ request: GenerationRequest) async throws(ShoalError) -> GenerationStream {
        let index = received.withLock {
            $0.append(request)
            return $0.count - 1
        }
        arrivalSource.yield(request.id)
        guard await servedModels().contains(where: { $0.name == request.model }) else {
            throw ShoalError(.modelNotFound, "no instance serves the model \"\(request.model)\"")
        }
        let events: [GenerationEvent]
        let ends: Bool
        switch script(request, index) {
        case .refusal(let error): throw error
        case .events(let list): (events, ends) = (list, true)
        case .eventsThenSilence(let list): (events, ends) = (list, false)
        }
        let (stream, source) = AsyncStream<GenerationEvent>.makeStream()
        source.onTermination = { [terminations] reason in
            if case .cancelled = reason { terminations.yield(request.id) }
        }
        for event in events { source.yield(event) }
        if ends { source.finish() } else { open.withLock { $0.append(source) } }
        return GenerationStream(events: stream) { [consumed = self] count in
            consumed.consumed.withLock { $0 += count }
        }
    }

    /// Keeps silent answers from ending by themselves.
    private let open = Mutex<[AsyncStream<GenerationEvent>.Continuation]>([])
}

extension [GenerationEvent] {
    /// A whole answer of one token per piece to a prompt of seven tokens, of which two were cached.
    static func answer(_ pieces: [String], finish: FinishReason = .stop) -> [GenerationEvent] {
        let usage = GenerationUsage(
            promptTokenCount: 7, outputTokenCount: pieces.count, reusedTokenCount: 2, queueSeconds: 0.25,
            prefillSeconds: 0.5, decodeSeconds: 0.5)
        return [.started(promptTokenCount: 7, headName: "a")]
            + pieces.map { .text($0, tokens: [TokenID(rawValue: 1)]) }
            + [.finished(finish, usage)]
    }
}
