import Hummingbird
import ShoalCore

/// The answers to one HTTP request, several when `n` or a list of prompts asks for them.
struct Answers: Sendable {
    private let readers: [AnswerReader]

    /// Starts all of them. If one cannot start, the others are dropped and thereby cancelled.
    static func start(
        _ requests: [GenerationRequest], with inference: any InferenceService
    ) async throws(ShoalError) -> Answers {
        var readers: [AnswerReader] = []
        for request in requests { readers.append(AnswerReader(try await inference.generate(request))) }
        return Answers(readers: readers)
    }

    /// Hands out the events of all answers as they come, each with the answer's index, until all have ended.
    ///
    /// An answer is at most one event ahead of `body`, so a slow client slows its own answers. When the client closes
    /// its side of the connection, every answer is cancelled and `.cancelled` is thrown. The connection cannot be used
    /// again afterwards: watching it consumes what follows the request.
    @concurrent func forEachEvent(
        of request: Request, _ body: @concurrent (_ index: Int, _ event: GenerationEvent) async throws -> Void
    ) async throws {
        let (closed, connection) = AsyncStream<Void>.makeStream()
        try await request.body.consumeWithInboundCloseHandler { _ in
            try await forEachEvent(until: closed, body)
        } onInboundClosed: {
            connection.finish()
        }
    }

    @concurrent private func forEachEvent(
        until closed: AsyncStream<Void>,
        _ body: @concurrent (_ index: Int, _ event: GenerationEvent) async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: (index: Int, event: GenerationEvent).self) { group in
            // Leaving the group for any reason cancels its tasks, and with them every answer that is being read.
            defer { group.cancelAll() }
            group.addTask {
                for await _ in closed {}
                throw ShoalError(.cancelled, "the client closed the connection")
            }
            for (index, reader) in readers.enumerated() {
                group.addTask { (index, try await reader.next()) }
            }
            var runningCount = readers.count
            while runningCount > 0, let (index, event) = try await group.next() {
                try await body(index, event)
                guard !event.isTerminal else {
                    runningCount -= 1
                    continue
                }
                let reader = readers[index]
                group.addTask { (index, try await reader.next()) }
            }
        }
    }
}

/// Reads one answer, one event at a time, from changing tasks.
private actor AnswerReader {
    private var events: GenerationStream.Iterator

    init(_ stream: GenerationStream) { events = stream.makeAsyncIterator() }

    /// Must not be called again before it has returned. Throws `.cancelled` if the stream ends without a last event,
    /// which it does only when the task that reads it is cancelled.
    func next() async throws(ShoalError) -> GenerationEvent {
        var iterator = events
        let event = await iterator.next(isolation: self)
        events = iterator
        guard let event else { throw ShoalError(.cancelled, "the answer was cancelled") }
        return event
    }
}
