import ShoalCore
import Synchronization

/// One answer as its reader sees it, whichever instances compute it.
///
/// It keeps the tokens that the reader was told of. When the instance is lost, `onLost` looks for the next one, which
/// goes on behind them. Events come in order, from one thread at a time; the reader's calls from any.
final class ContinuedAnswer: Sendable {
    /// Who computes it at the moment.
    struct Place: Sendable {
        var consumed: @Sendable (_ tokenCount: Int) -> Void
        var cancel: @Sendable () -> Void
    }

    private enum Phase {
        /// Nobody computes it: at first, and while another instance is looked for.
        case homeless
        /// An instance is asked; whoever asks learns of a loss by the error.
        case asking(Place)
        case lostWhileAsking(ShoalError)
        case running(Place)
        case ended
    }

    private struct State {
        var phase = Phase.homeless
        var tokens: [TokenID] = []
        var isStarted = false
        var wasLost = false
        /// Instances lost without `progressTokenCount` tokens in between.
        var lossCount = 0
        var tokenCountAtLoss = 0
        let submittedAt = ContinuousClock.now
        var firstTextAt: ContinuousClock.Instant?

        var place: Place? {
            switch phase {
            case .asking(let place), .running(let place): place
            case .homeless, .lostWhileAsking, .ended: nil
            }
        }

        var hasEnded: Bool { if case .ended = phase { true } else { false } }
    }

    /// An answer under which instances are lost again and again may be what ends them.
    private static let lossCountMax = 3
    private static let progressTokenCount = 16

    /// Its name, however the request called it.
    let model: String
    private let state = Mutex(State())
    private let original: GenerationRequest
    private let reader: AsyncStream<GenerationEvent>.Continuation
    private let onLost: @Sendable (ContinuedAnswer, ShoalError) -> Void

    /// `onLost` must hand the answer on to another instance or `fail` it; on the thread of the events, must not block.
    init(
        _ request: GenerationRequest, by model: String, reader: AsyncStream<GenerationEvent>.Continuation,
        onLost: @escaping @Sendable (ContinuedAnswer, ShoalError) -> Void
    ) {
        var original = request
        // Whoever goes on draws the same numbers.
        if original.sampling.temperature > 0, original.sampling.seed == nil {
            original.sampling.seed = .random(in: 0...(.max))
        }
        self.original = original
        self.model = model
        self.reader = reader
        self.onLost = onLost
    }

    var id: RequestID { original.id }

    /// What to ask the next instance for.
    var request: GenerationRequest {
        var request = original
        let (tokens, wasLost) = state.withLock { ($0.tokens, $0.wasLost) }
        if wasLost { request.answerSoFar = tokens }
        return request
    }

    /// Whether nobody waits for it any more.
    var hasEnded: Bool { state.withLock(\.hasEnded) }

    // MARK: The instance

    /// `place` is about to be asked; from now on the reader's calls go there. False when the reader has left.
    func asks(_ place: Place) -> Bool {
        state.withLock { state in
            guard !state.hasEnded else { return false }
            state.phase = .asking(place)
            return true
        }
    }

    /// Who was asked took it. Throws why it is lost again already.
    func wasTaken() throws(ShoalError) {
        let lost = state.withLock { state -> ShoalError? in
            switch state.phase {
            case .asking(let place): state.phase = .running(place)
            case .lostWhileAsking(let error):
                state.phase = .homeless
                return error
            case .homeless, .running, .ended: break
            }
            return nil
        }
        if let lost { throw lost }
    }

    /// Who was asked did not take it, or was lost meanwhile.
    func wasRefused() {
        state.withLock { state in
            if !state.hasEnded { state.phase = .homeless }
        }
    }

    /// Takes one event of the instance that computes it. False if the reader is so far behind that it was dropped.
    @discardableResult
    func take(_ event: GenerationEvent) -> Bool {
        guard let told = toldEvent(event) else { return true }
        if case .lost(let error) = told {
            onLost(self, error)
            return true
        }
        let result = reader.yield(told)
        if told.isTerminal { reader.finish() }
        if case .dropped = result { return told.isTerminal }
        return true
    }

    /// Ends it for the reader, unless it has ended.
    func fail(_ error: ShoalError) { take(.failed(error)) }

    /// What the reader is told of an event; `lost` is for `onLost`. Nil for what it knows, or no longer waits for.
    private func toldEvent(_ event: GenerationEvent) -> GenerationEvent? {
        state.withLock { state in
            guard !state.hasEnded else { return nil }
            switch event {
            case .started:
                guard !state.isStarted else { return nil }
                state.isStarted = true
            case .text(_, let tokens):
                state.tokens += tokens
                if state.firstTextAt == nil { state.firstTextAt = .now }
            case .finished(let reason, let usage):
                state.phase = .ended
                return .finished(reason, state.wasLost ? Self.usage(usage, over: state) : usage)
            case .failed: state.phase = .ended
            case .lost(let error): return Self.lost(error, &state)
            }
            return event
        }
    }

    private static func lost(_ error: ShoalError, _ state: inout State) -> GenerationEvent? {
        switch state.phase {
        case .asking: state.phase = .lostWhileAsking(error)
        case .running:
            state.phase = .homeless
            state.wasLost = true
            if state.tokens.count - state.tokenCountAtLoss >= progressTokenCount { state.lossCount = 0 }
            state.tokenCountAtLoss = state.tokens.count
            state.lossCount += 1
            guard state.lossCount > lossCountMax else { return .lost(error) }
            state.phase = .ended
            return .failed(error)
        case .homeless, .lostWhileAsking, .ended: break
        }
        return nil
    }

    /// The last instance knows the times of its own part only.
    private static func usage(_ last: GenerationUsage, over state: State) -> GenerationUsage {
        var usage = last
        guard let firstTextAt = state.firstTextAt else { return usage }
        usage.prefillSeconds = max(0, (firstTextAt - state.submittedAt) / .seconds(1) - usage.queueSeconds)
        usage.decodeSeconds = max(0, (.now - firstTextAt) / .seconds(1))
        return usage
    }

    // MARK: The reader

    func consumed(_ tokenCount: Int) { state.withLock(\.place)?.consumed(tokenCount) }

    /// The reader left.
    func cancel() {
        let place = state.withLock { state in
            defer { state.phase = .ended }
            return state.place
        }
        place?.cancel()
    }
}
