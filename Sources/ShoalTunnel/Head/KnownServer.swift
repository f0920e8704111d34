internal import ShoalRPC
internal import Synchronization

/// What a head's end remembers of one rpc-server process from session to session.
final class KnownServer: Sendable {
    private struct State {
        var answers = ProbeAnswers()
        var serverNumber: UInt64?
    }

    private let state = Mutex(State())

    var answers: ProbeAnswers { state.withLock { $0.answers } }

    func learn(_ answer: [UInt8], to question: ProbeQuestion) {
        state.withLock { $0.answers.keep(answer, to: question) }
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
