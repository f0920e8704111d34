import Logging
import ShoalCore

/// An answer outlives the instance that computes it: the next instance of the model goes on behind the tokens that the
/// reader has.
extension Node {
    /// Until the task is cancelled; then the answers that wait end.
    func continueLostAnswers() async {
        await withDiscardingTaskGroup { group in
            for await lost in lostAnswers.all { group.addTask { await self.goOn(lost) } }
            lostAnswers.end()
            group.cancelAll()
        }
    }

    private func goOn(_ lost: LostAnswers.Lost) async {
        let answer = lost.answer
        do throws(ShoalError) {
            let instance = try await next(for: lost)
            guard !answer.hasEnded else { return }
            logger.info(
                "an answer goes on",
                metadata: [
                    "request.id": "\(answer.id)", "instance.id": "\(instance.id)", "cause": "\(lost.cause)",
                ])
        } catch {
            guard !answer.hasEnded else { return }
            logger.warning(
                "an answer was lost", metadata: ["request.id": "\(answer.id)", "error": "\(error)"])
            answer.fail(error)
        }
    }

    /// Submits the answer to the first instance of the model that takes it. Throws why none will.
    private func next(for lost: LostAnswers.Lost) async throws(ShoalError) -> InstanceReport {
        let limits = configuration.limits
        let clock = ContinuousClock()
        let begin = clock.now
        var unplacedSince: ContinuousClock.Instant?
        while clock.now - begin < limits.lostAnswerDeadline, !lost.answer.hasEnded {
            let candidates = await instances(of: lost.answer.model)
            if let serving = candidates.first(where: \.phase.isServing), try await isTaken(lost.answer, by: serving) {
                return serving
            }
            try requireHope(candidates, lost.cause)
            // A leader plans anew within moments; longer means that nothing fits.
            unplacedSince = candidates.contains(where: { $0.phase != .waiting }) ? nil : unplacedSince ?? clock.now
            if let since = unplacedSince, clock.now - since >= limits.lostAnswerUnplacedDeadline {
                throw failure(lost.cause, "no other node can go on", candidates)
            }
            do {
                try await Task.sleep(for: limits.lostAnswerInterval)
            } catch {
                throw ShoalError(.unavailable, "node \(configuration.name) is shutting down")
            }
        }
        throw failure(
            lost.cause, "no instance went on with the answer within \(limits.lostAnswerDeadline)",
            await instances(of: lost.answer.model))
    }

    /// False when the instance may be the lost one, or one that is about to be: there will be another.
    private func isTaken(_ answer: ContinuedAnswer, by instance: InstanceReport) async throws(ShoalError) -> Bool {
        do throws(ShoalError) {
            try await submit(answer, to: instance)
            return true
        } catch {
            let passing: [ShoalError.Code] = [.unavailable, .linkLost, .timedOut, .notFound, .overloaded, .engineLost]
            guard passing.contains(error.code) else { throw error }
            return false
        }
    }

    /// Throws when the model is not wanted any more, or was given up.
    private func requireHope(_ candidates: [InstanceReport], _ cause: ShoalError) throws(ShoalError) {
        guard !candidates.isEmpty else { throw cause }
        guard candidates.allSatisfy({ $0.phase == .failed }) else { return }
        throw failure(cause, "the model was given up", candidates)
    }

    private func failure(_ cause: ShoalError, _ what: String, _ candidates: [InstanceReport]) -> ShoalError {
        let problem = candidates.lazy.compactMap(\.problem).first.map { ": \($0)" } ?? ""
        return ShoalError(cause.code, "\(cause.message); \(what)\(problem)")
    }

    func instances(of model: String) async -> [InstanceReport] {
        let wanted = ModelLibrary.name(ofFile: model).lowercased()
        return await instances().filter { $0.model.lowercased() == wanted || "\($0.id)" == model }
    }
}
