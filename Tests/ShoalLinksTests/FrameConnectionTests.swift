import CShoalSystem
import NIOCore
import NIOPosix
import ShoalCore
import ShoalLinks
import ShoalTesting
import ShoalWire
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Android)
    import Android
#elseif canImport(Darwin)
    import Darwin
#else
    #error("these tests write to a socket")
#endif

@Suite("Frame connections", .timeLimit(.minutes(5)))
struct FrameConnectionTests {
    @Test("one caller's frames arrive whole and in order, from outside the loop")
    func order() async throws {
        try await withEventLoops { group in
            let (left, right) = try await ConnectionPair.make(eventLoop: group.next(), second: group.next())
            let receiver = RecordingReceiver()
            right.start(receiver)
            let frames = (0..<500).map { number in
                Frame(
                    kind: .microBatch, number: UInt64(number), description: ByteBuffer(string: "batch \(number)"),
                    payload: ByteBuffer(repeating: UInt8(truncatingIfNeeded: number), count: number * 97))
            }
            for frame in frames { left.send(frame) }
            _ = await receiver.frame { $0.number == 499 }
            #expect(receiver.frames == frames)
            let byteCount = frames.reduce(0) { $0 + $1.byteCount }
            #expect(left.counts.sent == right.counts.received)
            #expect(right.counts.received[.microBatch]?.frameCount == 500)
            #expect(right.counts.receivedByteCount == byteCount)
            left.close(because: nil)
        }
    }

    @Test("frames and the end that come before start are not lost")
    func lateStart() async throws {
        try await withEventLoops { group in
            let (left, right) = try await ConnectionPair.make(eventLoop: group.next())
            let leftReceiver = RecordingReceiver()
            left.start(leftReceiver)
            left.send(Frame(kind: .ping, number: 1))
            left.close(because: ShoalError(.unavailable, "going away"))
            _ = await leftReceiver.closeReason()
            let receiver = RecordingReceiver()
            right.start(receiver)
            let reason = await receiver.closeReason()
            #expect(receiver.frames.map(\.number) == [1])
            #expect(reason == ShoalError(.unavailable, "going away"))
        }
    }

    @Test("bytes that are no frame are the reason also when the stream has ended before start")
    func lateGarbage() async throws {
        try await withEventLoops { group in
            var ends: [CInt] = [-1, -1]
            try #require(shoal_socket_pair(&ends) == 0)
            let garbage = Array(repeating: UInt8(0x41), count: 64)
            #expect(garbage.withUnsafeBytes { write(ends[1], $0.baseAddress, $0.count) } == garbage.count)
            close(ends[1])
            let connection = try await FrameConnection.adopting(socket: ends[0], eventLoop: group.next())
            let receiver = RecordingReceiver()
            connection.start(receiver)
            #expect(await receiver.closeReason()?.code == .protocolViolation)
        }
    }

    @Test("the closing side hears its own reason, and only once")
    func closeOnce() async throws {
        try await withEventLoops { group in
            let (left, right) = try await ConnectionPair.make(eventLoop: group.next())
            let (leftReceiver, rightReceiver) = (RecordingReceiver(), RecordingReceiver())
            left.start(leftReceiver)
            right.start(rightReceiver)
            left.close(because: nil)
            left.close(because: ShoalError(.internal, "too late"))
            left.send(Frame(kind: .ping))
            #expect(await leftReceiver.closeReason() == nil)
            #expect(await rightReceiver.closeReason()?.code == .linkLost)
            #expect(leftReceiver.recorder.events.count == 1)
            #expect(rightReceiver.recorder.events.count == 1)
        }
    }

    @Test("a peer that does not read closes the connection when the limit is passed")
    func slowPeer() async throws {
        try await withEventLoops { group in
            var configuration = LinkConfiguration()
            configuration.outboundByteCountMax = 4 << 20
            let (left, right) = try await ConnectionPair.make(eventLoop: group.next(), configuration: configuration)
            let receiver = RecordingReceiver()
            left.start(receiver)
            let payload = ByteBuffer(repeating: 1, count: 1 << 20)
            for number in 0..<16 { left.send(Frame(kind: .microBatch, number: UInt64(number), payload: payload)) }
            let reason = await receiver.closeReason()
            #expect(reason?.code == .linkLost)
            #expect(reason?.message.contains("does not read") == true, "\(reason?.message ?? "")")
            right.close(because: nil)
        }
    }

    @Test("a frame larger than the outbound limit still goes when nothing else waits")
    func largeFrame() async throws {
        try await withEventLoops { group in
            var configuration = LinkConfiguration()
            configuration.outboundByteCountMax = 1 << 20
            let (left, right) = try await ConnectionPair.make(
                eventLoop: group.next(), second: group.next(), configuration: configuration)
            let receiver = RecordingReceiver()
            right.start(receiver)
            left.send(Frame(kind: .microBatch, number: 3, payload: ByteBuffer(repeating: 7, count: 8 << 20)))
            #expect(await receiver.frame().payload.readableBytes == 8 << 20)
            left.close(because: nil)
        }
    }

    @Test("bytes that are no frame close the connection with the reason on both sides")
    func garbage() async throws {
        try await withEventLoops { group in
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, into: links)
            let (channel, bytes) = try await LinkFixture.stranger(to: listener.boundAddress, on: group)
            try await channel.writeAndFlush(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n....")).get()
            let frames = try await bytes.framesUntilEnd()
            #expect(frames.map(\.kind) == [.goodbye])
            let reason = try FrameJSON.decode(ShoalError.self, from: #require(frames.first).description)
            #expect(reason.code == .protocolViolation)
            #expect(links.events.isEmpty)
            await listener.close()
        }
    }
}
