import NIOCore
import NIOPosix
import ShoalCore
import ShoalLinks
import ShoalTesting
import ShoalWire
import Testing

@Suite("Control links", .timeLimit(.minutes(5)))
struct ControlLinkTests {
    @Test("requests are answered, each with its own answer")
    func requests() async throws {
        try await withControlPair { pair in
            try await withThrowingTaskGroup(of: (Int, String).self) { tasks in
                for number in 0..<50 {
                    tasks.addTask {
                        let reply = try await pair.left.request(
                            ByteBuffer(string: "echo \(number)"), deadline: .seconds(30))
                        return (number, String(buffer: reply))
                    }
                }
                for try await (number, text) in tasks { #expect(text == "answer to echo \(number)") }
            }
        }
    }

    @Test("an error that the peer throws arrives as it was thrown")
    func remoteError() async throws {
        try await withControlPair { pair in
            let error = await #expect(throws: ShoalError.self) {
                try await pair.left.request(ByteBuffer(string: "fail"), deadline: .seconds(30))
            }
            #expect(error == ShoalError(.modelNotFound, "no such model"))
        }
    }

    @Test("events arrive in order")
    func events() async throws {
        try await withControlPair { pair in
            for number in 0..<100 { pair.left.sendEvent(ByteBuffer(string: "\(number)")) }
            _ = await pair.rightHandler.events.first { $0 == "99" }
            #expect(pair.rightHandler.events.events == (0..<100).map { "\($0)" })
        }
    }

    @Test("an answer that does not come fails the request at its deadline, and the link lives on")
    func deadline() async throws {
        try await withControlPair { pair in
            let error = await #expect(throws: ShoalError.self) {
                try await pair.left.request(ByteBuffer(string: "hang"), deadline: .milliseconds(20))
            }
            #expect(error?.code == .timedOut)
            let reply = try await pair.left.request(ByteBuffer(string: "x"), deadline: .seconds(30))
            #expect(String(buffer: reply) == "answer to x")
        }
    }

    @Test("closing fails the requests that wait, and cancels the ones being answered")
    func closeFailsPending() async throws {
        try await withControlPair { pair in
            let pending = Task { try await pair.left.request(ByteBuffer(string: "hang"), deadline: .seconds(30)) }
            _ = await pair.rightHandler.requests.first { $0 == "hang" }
            pair.right.close(because: ShoalError(.unavailable, "shutting down"))
            let error = await #expect(throws: ShoalError.self) { try await pending.value }
            #expect(error?.code == .linkLost)
            #expect(error?.message.contains("shutting down") == true)
            _ = await pair.rightHandler.cancelled.first()
            let late = await #expect(throws: ShoalError.self) {
                try await pair.left.request(ByteBuffer(string: "x"), deadline: .seconds(30))
            }
            #expect(late?.code == .linkLost)
        }
    }

    @Test("a cancelled caller is let go at once")
    func cancellation() async throws {
        try await withControlPair { pair in
            let task = Task { try await pair.left.request(ByteBuffer(string: "hang"), deadline: .seconds(30)) }
            _ = await pair.rightHandler.requests.first { $0 == "hang" }
            task.cancel()
            let error = await #expect(throws: ShoalError.self) { try await task.value }
            #expect(error?.code == .cancelled)
        }
    }

    @Test("too many requests at once are answered with overloaded")
    func overloaded() async throws {
        var configuration = LinkConfiguration()
        configuration.requestsInProgressMax = 1
        try await withControlPair(configuration) { pair in
            let hanging = Task { try await pair.left.request(ByteBuffer(string: "hang"), deadline: .seconds(30)) }
            _ = await pair.rightHandler.requests.first { $0 == "hang" }
            let error = await #expect(throws: ShoalError.self) {
                try await pair.left.request(ByteBuffer(string: "x"), deadline: .seconds(30))
            }
            #expect(error?.code == .overloaded)
            hanging.cancel()
        }
    }

    @Test("heartbeats measure the round trip")
    func heartbeat() async throws {
        var configuration = LinkConfiguration()
        configuration.heartbeatInterval = .milliseconds(5)
        try await withControlPair(configuration) { pair in
            // Each request gives the pings of the interval before it time to be answered.
            while pair.left.roundTrip == nil {
                _ = try await pair.left.request(ByteBuffer(string: "x"), deadline: .seconds(30))
            }
            #expect(pair.left.connection.counts.sent[.ping] != nil)
        }
    }

    @Test("a peer that stops answering loses the link")
    func silentPeer() async throws {
        try await withEventLoops { group in
            var configuration = LinkConfiguration()
            configuration.heartbeatInterval = .milliseconds(5)
            configuration.silenceMax = .milliseconds(25)
            let (left, right) = try await ConnectionPair.make(eventLoop: group.next())
            let handler = EchoHandler()
            let link = ControlLink(
                connection: left, peer: try LinkFixture.hello("mute"), handler: handler, configuration: configuration)
            link.start()
            let closed = await handler.closed.first()
            #expect(closed?.code == .linkLost)
            #expect(closed?.message.contains("node mute: the peer was silent") == true, "\(closed?.message ?? "")")
            right.close(because: nil)
        }
    }

    @Test("a frame that does not belong on a control link closes it")
    func foreignFrame() async throws {
        try await withControlPair { pair in
            pair.left.connection.send(Frame(kind: .microBatch))
            let reason = await pair.rightHandler.closed.first()
            #expect(reason?.code == .protocolViolation)
        }
    }

    private struct Pair: Sendable {
        let left: ControlLink
        let right: ControlLink
        let rightHandler: EchoHandler
    }

    private func withControlPair(
        _ configuration: LinkConfiguration = LinkConfiguration(), _ body: (Pair) async throws -> Void
    ) async throws {
        try await withEventLoops { group in
            let (left, right) = try await ConnectionPair.make(eventLoop: group.next(), second: group.next())
            let (leftHandler, rightHandler) = (EchoHandler(), EchoHandler())
            let pair = Pair(
                left: ControlLink(
                    connection: left, peer: try LinkFixture.hello("right"), handler: leftHandler,
                    configuration: configuration),
                right: ControlLink(
                    connection: right, peer: try LinkFixture.hello("left"), handler: rightHandler,
                    configuration: configuration),
                rightHandler: rightHandler)
            pair.left.start()
            pair.right.start()
            try await body(pair)
            pair.left.close(because: nil)
            _ = await rightHandler.closed.first()
            _ = await leftHandler.closed.first()
        }
    }
}

/// Answers "answer to …"; "fail" throws, "hang" waits until it is cancelled.
private final class EchoHandler: ControlLinkHandler {
    let requests = EventRecorder<String>()
    let events = EventRecorder<String>()
    let cancelled = EventRecorder<Bool>()
    let closed = EventRecorder<ShoalError?>()

    func answer(_ request: ByteBuffer, from link: ControlLink) async throws(ShoalError) -> ByteBuffer {
        let text = String(buffer: request)
        requests.record(text)
        switch text {
        case "fail": throw ShoalError(.modelNotFound, "no such model")
        case "hang":
            let never = PendingReply<ByteBuffer>()
            do throws(ShoalError) {
                return try await never.wait()
            } catch {
                cancelled.record(true)
                throw error
            }
        default: return ByteBuffer(string: "answer to \(text)")
        }
    }

    func received(event: ByteBuffer, from link: ControlLink) { events.record(String(buffer: event)) }

    func closed(_ link: ControlLink, because error: ShoalError?) { closed.record(error) }
}
