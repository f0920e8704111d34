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
            guard let instance = try await next(for: lost) else { return }
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

    /// Submits the answer to the first instance of the model that takes it; nil when its reader left. Throws why none
    /// will.
    private func next(for lost: LostAnswers.Lost) async throws(ShoalError) -> InstanceReport? {
        let clock = ContinuousClock()
        let begin = clock.now
        var search = AnswerSearch(cause: lost.cause, limits: configuration.limits)
        while !lost.answer.hasEnded {
            let candidates = await instances(of: lost.answer.model)
            var step = search.next(among: candidates, now: clock.now - begin)
            if case .ask(let instance) = step {
                do throws(ShoalError) {
                    try await submit(lost.answer, to: instance)
                    return instance
                } catch {
                    step = search.refused(error)
                }
            }
            if case .giveUp(let error) = step { throw error }
            do {
                try await Task.sleep(for: configuration.limits.lostAnswerInterval)
            } catch {
                throw ShoalError(.unavailable, "node \(configuration.name) is shutting down")
            }
        }
        return nil
    }

    func instances(of model: String) async -> [InstanceReport] {
        let wanted = ModelLibrary.name(ofFile: model).lowercased()
        return await instances().filter { $0.model.lowercased() == wanted || "\($0.id)" == model }
    }
}
