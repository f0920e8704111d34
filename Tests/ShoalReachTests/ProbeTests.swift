import NIOCore
import NIOPosix
import ShoalCore
import ShoalLinks
import ShoalReach
import Testing

@Suite("Measuring")
struct ProbeTests {
    /// Answers everything after `delay` per frame, and holds the answers from frame `stallAt` on for `stall`.
    private func run(
        _ configuration: ProbeConversation.Configuration, delay: Duration, stallAt: UInt64 = .max,
        stall: Duration = .zero
    ) throws -> LinkQuality {
        var now = Duration.zero
        var conversation = ProbeConversation(configuration: configuration, now: now)
        var waiting = conversation.start(now: now)
        for _ in 0..<10000 {
            guard case .send(let number, _)? = waiting.first else { break }
            waiting.removeFirst()
            now += delay + (number == stallAt ? stall : .zero)
            waiting +=
                now >= conversation.deadline ? conversation.tick(now: now) : conversation.answered(number, now: now)
            if case .finished(let quality)? = waiting.last { return quality }
        }
        throw ShoalError(.internal, "the conversation did not finish: \(waiting)")
    }

    @Test("pings and 10 MB give round trip, throughput and a pass")
    func passes() throws {
        let quality = try run(ProbeConversation.Configuration(), delay: .milliseconds(2))
        #expect(quality.roundTripMilliseconds == 2)
        #expect(quality.jitterMilliseconds == 0)
        #expect(quality.pingCount == 9)
        #expect(quality.bulkPassed == true)
        let perChunk = 65536 / 0.002
        #expect(abs(try #require(quality.bytesPerSecond) - perChunk) < perChunk * 0.01)
    }

    @Test("a stall in the middle of 10 MB fails it and is measured; normal WiFi pauses do not")
    func stalls() throws {
        let configuration = ProbeConversation.Configuration()
        let stalled = try run(configuration, delay: .milliseconds(1), stallAt: 60, stall: .seconds(2))
        #expect(stalled.bulkPassed == false)
        #expect(stalled.longestStallMilliseconds == 2001)
        let normal = try run(configuration, delay: .milliseconds(1), stallAt: 60, stall: .milliseconds(300))
        #expect(normal.bulkPassed == true)
    }

    @Test("silence in the middle of 10 MB is a result, silence during pings a failure")
    func silence() throws {
        let configuration = ProbeConversation.Configuration()
        let dead = try run(configuration, delay: .milliseconds(1), stallAt: 60, stall: .seconds(60))
        #expect(dead.bulkPassed == false)
        #expect(throws: ShoalError.self) {
            try run(configuration, delay: .milliseconds(1), stallAt: 3, stall: .seconds(60))
        }
    }

    @Test("an answer out of order ends the measurement")
    func wrongAnswer() {
        var conversation = ProbeConversation(configuration: ProbeConversation.Configuration(), now: .zero)
        _ = conversation.start(now: .zero)
        guard case .failed(let error)? = conversation.answered(7, now: .zero).first else {
            Issue.record("not refused")
            return
        }
        #expect(error.code == .protocolViolation)
        let afterwards = conversation.answered(0, now: .zero)
        #expect(afterwards.isEmpty)
    }

    @Test("a real connection is measured, 10 MB included", .timeLimit(.minutes(1)))
    func realConnection() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let server = try await ServerBootstrap(group: loop)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try FrameConnection.attachingPlain(to: channel).start(ProbeResponder())
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(server.localAddress?.port)
        let address = try LinkAddress(host: "127.0.0.1", port: UInt16(port))
        #expect(await LinkProber.dial(address, eventLoop: loop) == DialFinding(.open))
        let connection = try await ClientBootstrap(group: loop)
            .channelOption(.autoRead, value: false)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture { try FrameConnection.attachingPlain(to: channel) }
            }
        let quality = try await LinkProber.measure(on: connection)
        #expect(quality.pingCount == 9)
        #expect(quality.bulkPassed != nil)
        #expect(try #require(quality.bytesPerSecond) > 0)
        try await server.close()
        #expect(await LinkProber.dial(address, eventLoop: loop) == DialFinding(.refused))
    }

    @Test("a peer that closes ends the measurement with its reason", .timeLimit(.minutes(1)))
    func closingPeer() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let server = try await ServerBootstrap(group: loop)
            .childChannelInitializer { $0.close() }
            .bind(host: "127.0.0.1", port: 0).get()
        let connection = try await ClientBootstrap(group: loop)
            .channelOption(.autoRead, value: false)
            .connect(host: "127.0.0.1", port: try #require(server.localAddress?.port)) { channel in
                channel.eventLoop.makeCompletedFuture { try FrameConnection.attachingPlain(to: channel) }
            }
        await #expect(throws: ShoalError.self) { try await LinkProber.measure(on: connection) }
        try await server.close()
    }
}
