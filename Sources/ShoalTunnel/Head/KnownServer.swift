internal import ShoalRPC
internal import Synchronization

/// What a head's end remembers of one rpc-server process from session to session.
final class KnownServer: Sendable {
    private struct State {
        var answers = ProbeAnswers()
        var serverNumber: UInt64?
        /// Until then the answers about memory may be given.
        var memoryDeadline: ContinuousClock.Instant?
        var guesses: [UncheckedGuess] = []

        mutating func forgetMemory() {
            guard memoryDeadline != nil else { return }
            memoryDeadline = nil
            answers.forgetMemory()
        }
    }

    private let state = Mutex(State())

    /// What may be answered now, and until when what is said of memory holds; nil when nothing is.
    func answers(now: ContinuousClock.Instant) -> (ProbeAnswers, memoryDeadline: ContinuousClock.Instant?) {
        state.withLock { state in
            if let deadline = state.memoryDeadline, now >= deadline { state.forgetMemory() }
            return (state.answers, state.memoryDeadline)
        }
    }

    /// The server's own node has just asked it.
    func prime(_ facts: RPCServerFacts, serverNumber: UInt64, now: ContinuousClock.Instant) {
        state.withLock { state in
            if state.serverNumber != serverNumber { state.answers = ProbeAnswers() }
            state.serverNumber = serverNumber
            state.answers.merge(ProbeAnswers(facts))
            state.memoryDeadline = now + TunnelLimits.memoryAnswerAgeMax
            // Of a llama-server that is gone.
            state.guesses = []
        }
    }

    func learn(_ answer: [UInt8], to question: ProbeQuestion) {
        state.withLock { $0.answers.keep(answer, to: question) }
    }

    func forgetMemory() { state.withLock { $0.forgetMemory() } }

    /// Between two events of a session its guesses are here: the next event may be another session's.
    func leave(_ guesses: [UncheckedGuess]) { state.withLock { $0.guesses += guesses } }

    func takeGuesses() -> [UncheckedGuess] {
        state.withLock { state in
            defer { state.guesses = [] }
            return state.guesses
        }
    }

    /// The worker named its process; whether it is another one than before, in which case nothing is known any more.
    func isOther(_ serverNumber: UInt64) -> Bool {
        state.withLock { state in
            let isOther = state.serverNumber != nil && state.serverNumber != serverNumber
            if isOther { state.answers = ProbeAnswers() }
            state.serverNumber = serverNumber
            return isOther
        }
    }

    /// The process may have died.
    func forget() { state.withLock { $0.answers = ProbeAnswers() } }
}
