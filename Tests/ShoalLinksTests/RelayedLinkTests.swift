import NIOCore
import NIOPosix
import ShoalCore
import ShoalTesting
import ShoalTrust
import ShoalWire
import Synchronization
import Testing

@testable import ShoalLinks

@Suite("Links through a third node", .timeLimit(.minutes(5)))
struct RelayedLinkTests {
    /// A link from `first` to `second`, whose bytes `relay` passes on.
    private struct Relayed {
        let first: FrameConnection
        let second: Admitted
        let halves: [Admitted]
        let ended: EventRecorder<[Int]>
    }

    /// `members` are the first node, the second and the relay.
    private func withRelayed(
        _ members: [LinkSecurity], expected: NodeID? = nil, _ body: (Relayed) async throws -> Void
    ) async throws {
        try await withEventLoops { group in
            let admitted = EventRecorder<Admitted>()
            let loop = group.next()
            let relayHello = LinkFixture.hello(of: members[2], name: "relay")
            let listener = try await LinkListener.bind(
                LinkAddress(parsing: LinkFixture.anyPort), eventLoopGroup: loop, security: members[2],
                hello: { relayHello }, onLink: { admitted.record(Admitted(connection: $0, hello: $1)) })
            let token = LinkToken.random()
            var outers: [FrameConnection] = []
            for member in members.prefix(2) {
                let hello = LinkFixture.hello(of: member).with(purpose: .relay(token))
                outers.append(
                    try await LinkDialer.dial(
                        listener.boundAddress, eventLoop: group.next(), security: member, hello: hello,
                        expected: members[2].trust.nodeID
                    ).0)
            }
            let ids = members.prefix(2).map(\.trust.nodeID)
            let halves = [
                await admitted.first { $0.hello.nodeID == ids[0] }, await admitted.first { $0.hello.nodeID == ids[1] },
            ]
            let ended = EventRecorder<[Int]>()
            let accepted = EventRecorder<Admitted>()
            let hello = LinkFixture.hello(of: members[1], name: "second")
            RelayedLink.accept(
                through: outers[1], relay: "relay", security: members[1], hello: { hello },
                expected: expected ?? ids[0], deadline: .seconds(5),
                onLink: { accepted.record(Admitted(connection: $0, hello: $1)) })
            ByteSplice.join(halves[0].connection, halves[1].connection) { ended.record([$0, $1]) }
            do {
                let (first, theirs) = try await RelayedLink.dial(
                    through: outers[0], relay: "relay", security: members[0],
                    hello: LinkFixture.hello(of: members[0], name: "first"), expected: ids[1], deadline: .seconds(5))
                #expect(theirs.nodeName == "second")
                let second = expected == nil ? await accepted.first() : halves[1]
                try await body(Relayed(first: first, second: second, halves: halves, ended: ended))
                first.close(because: nil)
            } catch {
                for outer in outers { outer.close(because: nil) }
                await listener.close()
                throw error
            }
            _ = await ended.first()
            await listener.close()
        }
    }

    @Test("frames of any size pass whole and in order, and the ends know each other")
    func frames() async throws {
        let members = try TestTrust.members(["a", "b", "c"])
        try await withRelayed(members) { relayed in
            #expect(relayed.second.hello.nodeID == members[0].trust.nodeID)
            #expect(relayed.first.relay == "relay")
            #expect(relayed.first.peerHost == nil)
            let receivers = [RecordingReceiver(), RecordingReceiver()]
            relayed.first.start(receivers[0])
            relayed.second.connection.start(receivers[1])
            let sizes = [0, 1, 70_000, 3 << 20]
            for (number, size) in sizes.enumerated() {
                let payload = ByteBuffer(repeating: UInt8(number), count: size)
                relayed.first.send(Frame(kind: .ping, number: UInt64(number), payload: payload))
                relayed.second.connection.send(Frame(kind: .pong, number: UInt64(number), payload: payload))
            }
            for receiver in receivers { _ = await receiver.frame { $0.number == 3 } }
            for receiver in receivers {
                #expect(receiver.frames.map(\.number) == [0, 1, 2, 3])
                #expect(receiver.frames.map(\.payload.readableBytes) == sizes)
            }
        }
    }

    @Test("the relay sees neither names nor frames")
    func ciphertext() async throws {
        let members = try TestTrust.members(["a", "b", "c"])
        let seen = SeenBytes()
        try await withRelayed(members) { relayed in
            let channel = relayed.halves[0].connection.channel
            try await channel.eventLoop.submit {
                let splice = try channel.pipeline.syncOperations.handler(type: SpliceHandler.self)
                try channel.pipeline.syncOperations.addHandler(seen, position: .before(splice))
            }.get()
            let receiver = RecordingReceiver()
            relayed.second.connection.start(receiver)
            let secret = "the user's own words"
            relayed.first.send(Frame(kind: .controlEvent, description: ByteBuffer(string: secret)))
            let frame = await receiver.frame { $0.kind == .controlEvent }
            #expect(String(buffer: frame.description) == secret)
            let bytes = try await channel.eventLoop.submit { seen.bytes }.get()
            #expect(!bytes.isEmpty)
            #expect(!String(decoding: bytes, as: UTF8.self).contains("own words"))
            #expect(!String(decoding: bytes, as: UTF8.self).contains("SHOL"))
        }
    }

    @Test("a slow reader holds the sender up, and nothing is lost")
    func slowReader() async throws {
        let members = try TestTrust.members(["a", "b", "c"])
        try await withRelayed(members) { relayed in
            let sender = RecordingReceiver()
            relayed.first.start(sender)
            let count = 48
            for number in 0..<count {
                relayed.first.send(
                    Frame(kind: .ping, number: UInt64(number), payload: ByteBuffer(repeating: 7, count: 1 << 20)))
            }
            // Nobody reads at the other end: the relay stops taking, which the sender feels.
            _ = await sender.recorder.first { if case .writability(false) = $0 { true } else { false } }
            let receiver = RecordingReceiver()
            relayed.second.connection.start(receiver)
            _ = await receiver.frame { $0.number == UInt64(count - 1) }
            #expect(receiver.frames.map(\.number) == (0..<UInt64(count)).map(\.self))
            relayed.first.close(because: nil)
            let bytes = await relayed.ended.first()
            #expect(bytes[0] > count << 20)
        }
    }

    @Test("either end's close reaches the other one with its reason, and ends the relay", arguments: [0, 1])
    func ends(closing: Int) async throws {
        let members = try TestTrust.members(["a", "b", "c"])
        try await withRelayed(members) { relayed in
            let receivers = [RecordingReceiver(), RecordingReceiver()]
            let ends = [relayed.first, relayed.second.connection]
            for (end, receiver) in zip(ends, receivers) { end.start(receiver) }
            ends[closing].close(because: ShoalError(.unavailable, "enough"))
            #expect(await receivers[1 - closing].closeReason()?.message == "enough")
            _ = await relayed.ended.first()
        }
    }

    @Test("when the relay forgets a node, its connections end")
    func forgotten() async throws {
        let members = try TestTrust.members(["a", "b", "c"])
        try await withRelayed(members) { relayed in
            let receiver = RecordingReceiver()
            relayed.second.connection.start(receiver)
            try members[2].trust.forget(members[0].trust.nodeID, now: 1)
            _ = await receiver.closeReason()
            _ = await relayed.ended.first()
        }
    }

    @Test("a node that only the relay trusts gets no link to the other end")
    func stranger() async throws {
        var members = try TestTrust.members(["a", "b", "c"])
        // The second node does not know the first one any more.
        try members[1].trust.forget(members[0].trust.nodeID, now: 1)
        members = Array(members)
        await #expect(throws: ShoalError.self) { try await withRelayed(members) { _ in } }
    }

    /// What a relay could write down. On its channel's loop.
    private final class SeenBytes: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        private let storage = Mutex<[UInt8]>([])

        var bytes: [UInt8] { storage.withLock { $0 } }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            storage.withLock { $0 += Array(Self.unwrapInboundIn(data).readableBytesView) }
            context.fireChannelRead(data)
        }
    }
}
