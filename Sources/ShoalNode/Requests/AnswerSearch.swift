import ShoalCore

/// Who goes on with an answer whose instance was lost, as a value: whom to ask next, or why there is nobody.
struct AnswerSearch: Sendable {
    enum Step: Sendable {
        case ask(InstanceReport)
        case wait
        case giveUp(ShoalError)
    }

    /// Why the instance was lost.
    let cause: ShoalError
    let deadline: Duration
    /// Of that, while the cluster says that the model cannot be placed.
    let unplacedDeadline: Duration
    private var unplacedSince: Duration?

    init(cause: ShoalError, limits: NodeLimits) {
        self.cause = cause
        deadline = limits.lostAnswerDeadline
        unplacedDeadline = limits.lostAnswerUnplacedDeadline
    }

    /// `candidates` are the instances of the model, `now` is the time since the loss.
    mutating func next(among candidates: [InstanceReport], now: Duration) -> Step {
        // The model is not wanted any more.
        guard !candidates.isEmpty else { return .giveUp(cause) }
        guard now < deadline else {
            return .giveUp(failure("no instance went on with the answer within \(deadline)", candidates))
        }
        if let serving = candidates.first(where: \.phase.isServing) {
            unplacedSince = nil
            return .ask(serving)
        }
        guard !candidates.allSatisfy({ $0.phase == .failed }) else {
            return .giveUp(failure("the model was given up", candidates))
        }
        // A leader plans anew within moments; longer means that nothing fits.
        unplacedSince = candidates.contains { $0.phase != .waiting } ? nil : unplacedSince ?? now
        guard let unplacedSince, now - unplacedSince >= unplacedDeadline else { return .wait }
        return .giveUp(failure("no other node can go on", candidates))
    }

    /// After an instance refused: it may have been the lost one, or one that is about to be, and there will be another.
    func refused(_ error: ShoalError) -> Step {
        let passing: [ShoalError.Code] = [.unavailable, .linkLost, .timedOut, .notFound, .overloaded, .engineLost]
        return passing.contains(error.code) ? .wait : .giveUp(error)
    }

    private func failure(_ what: String, _ candidates: [InstanceReport]) -> ShoalError {
        let problem = candidates.lazy.compactMap(\.problem).first.map { ": \($0)" } ?? ""
        return ShoalError(cause.code, "\(cause.message); \(what)\(problem)")
    }
}
