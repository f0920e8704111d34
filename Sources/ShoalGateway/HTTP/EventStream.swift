import HTTPTypes
import Hummingbird
import NIOCore
import ShoalCore

/// Writes server-sent events (HTML standard, section 9.2): one `data:` line per event.
struct EventStreamWriter {
    private var base: any ResponseBodyWriter
    /// What writing cost so far.
    private(set) var times = TraceReport.HTTP()

    init(_ base: any ResponseBodyWriter) { self.base = base }

    /// Suspends while the client does not read.
    @concurrent mutating func send(_ event: JSONValue) async throws {
        let start = ContinuousClock.now
        try await send(line: event.text)
        times.eventCount += 1
        times.write += Int(StageTimes.microseconds(ContinuousClock.now - start))
    }

    /// OpenAI's last event.
    @concurrent mutating func sendDone() async throws { try await send(line: "[DONE]") }

    @concurrent consuming func finish() async throws { try await base.finish(nil) }

    @concurrent private mutating func send(line: String) async throws {
        try await base.write(ByteBuffer(string: "data: \(line)\n\n"))
    }
}

extension HTTPFields {
    /// Of an event stream: nobody on the way may keep or collect it.
    static var eventStream: HTTPFields {
        var fields: HTTPFields = [
            .contentType: "text/event-stream; charset=utf-8",
            .cacheControl: "no-cache, no-transform",
        ]
        if let buffering = HTTPField.Name("X-Accel-Buffering") { fields[buffering] = "no" }
        return fields
    }
}
