import NIOCore
import NIOPosix
import NIOSSL
import ShoalCore
import ShoalLinks
import ShoalTesting
import ShoalTrust
import ShoalWire
import Testing

@Suite("Who gets a link", .timeLimit(.minutes(5)))
struct LinkSecurityTests {
    private func dial(
        _ listener: LinkListener, as security: LinkSecurity, on group: MultiThreadedEventLoopGroup,
        hello: LinkHello? = nil, expected: NodeID? = nil
    ) async throws(ShoalError) -> (FrameConnection, LinkHello) {
        try await LinkDialer.dial(
            listener.boundAddress, eventLoop: group.next(), security: security,
            hello: hello ?? LinkFixture.hello(of: security), expected: expected)
    }

    @Test("a member speaks TLS 1.3 and Shoal's protocol")
    func version() async throws {
        try await withEventLoops { group in
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, into: links)
            let (channel, bytes) = try await LinkFixture.stranger(to: listener.boundAddress, on: group)
            let hello = try Frame(kind: .hello, description: FrameJSON.encode(LinkFixture.hello("a"))).encoded()
            try await channel.writeAndFlush(hello).get()
            let admitted = await links.first()
            guard case .handshake(let negotiated)? = bytes.recorder.events.first else {
                Issue.record("no handshake was reported")
                return
            }
            #expect(negotiated == "shoal/1")
            let version = try await channel.pipeline.handler(type: NIOSSLClientHandler.self).map(\.tlsVersion).get()
            #expect(version == .tlsv13)
            admitted.connection.close(because: nil)
            _ = await bytes.byteCountUntilEnd()
            await listener.close()
        }
    }

    @Test(
        "who has no certificate, an older TLS, another protocol, or a stranger's key gets not one byte and no link",
        arguments: ["no certificate", "TLS 1.2", "another protocol", "a stranger's key"])
    func strangers(kind: String) async throws {
        try await withEventLoops { group in
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, into: links)
            var tls = TestTLS(key: try LinkFixture.dialler().trust.nodeKey)
            switch kind {
            case "no certificate": tls.key = nil
            case "TLS 1.2": tls.maximumVersion = .tlsv12
            case "another protocol": tls.applicationProtocol = "h2"
            default: tls.key = try NodeKey.make()
            }
            let (channel, bytes) = try await LinkFixture.stranger(to: listener.boundAddress, on: group, tls: tls)
            let hello = try Frame(kind: .hello, description: FrameJSON.encode(LinkFixture.hello("a"))).encoded()
            // The connection may be closed before or after this is written.
            channel.writeAndFlush(hello, promise: nil)
            #expect(await bytes.byteCountUntilEnd() == 0)
            #expect(links.events.isEmpty)
            await listener.close()
        }
    }

    @Test("plain text gets no answer but the end, and who only listens hears nothing at all")
    func plain() async throws {
        try await withEventLoops { group in
            let listener = try await LinkFixture.listener(on: group, into: EventRecorder())
            let bytes = RecordingBytes()
            let channel = try await ClientBootstrap(group: group)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(RecordingBytes.Handler(bytes))
                    }
                }
                .connect(host: "127.0.0.1", port: Int(listener.boundAddress.port)).get()
            #expect(bytes.recorder.events.isEmpty)
            try await channel.writeAndFlush(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).get()
            // TLS itself answers with an alert of seven bytes.
            #expect(await bytes.byteCountUntilEnd() <= 7)
            await listener.close()
        }
    }

    @Test("the dialler does not speak to a listener that is no member, and says who that is")
    func falseListener() async throws {
        try await withEventLoops { group in
            let stranger = try TestTrust.alone("stranger")
            let listener = try await LinkFixture.listener(on: group, security: stranger, into: EventRecorder())
            let error = await #expect(throws: ShoalError.self) {
                _ = try await dial(listener, as: LinkFixture.dialler(), on: group)
            }
            #expect(error?.code == .notAMember)
            #expect(error?.message.contains("node \(stranger.trust.nodeID) is not a member") == true)
            await listener.close()
        }
    }

    @Test("a member that the listener does not know is told by TLS only, in one sentence")
    func unknownDialler() async throws {
        try await withEventLoops { group in
            let members = try TestTrust.members(["a", "b"])
            try members[0].trust.forget(members[1].trust.nodeID, now: 1)
            let listener = try await LinkFixture.listener(on: group, security: members[0], into: EventRecorder())
            let error = await #expect(throws: ShoalError.self) {
                _ = try await dial(listener, as: members[1], on: group)
            }
            #expect(error?.message.contains("this node is not a member of its cluster") == true, "\(error as Any)")
            await listener.close()
        }
    }

    @Test("a member that gives another id in its hello is refused, on either side")
    func wrongID() async throws {
        try await withEventLoops { group in
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, into: links)
            let liar = try LinkFixture.hello("listener")
            let error = await #expect(throws: ShoalError.self) {
                _ = try await dial(listener, as: LinkFixture.dialler(), on: group, hello: liar)
            }
            #expect(error?.message.contains("says that it is node \(liar.nodeID)") == true, "\(error as Any)")
            #expect(links.events.isEmpty)
            await listener.close()

            let answer = try LinkFixture.hello("a")
            let lying = try await LinkListener.bind(
                LinkAddress(parsing: LinkFixture.anyPort), eventLoopGroup: group, security: LinkFixture.listener(),
                hello: { answer }, onLink: { connection, _ in connection.start(RecordingReceiver()) })
            let other = await #expect(throws: ShoalError.self) {
                _ = try await dial(lying, as: LinkFixture.dialler(), on: group)
            }
            #expect(other?.code == .notAMember)
            await lying.close()
        }
    }

    @Test("a node that is expected at an address is not replaced by another member")
    func expectedNode() async throws {
        try await withEventLoops { group in
            let listener = try await LinkFixture.listener(on: group, into: EventRecorder())
            let error = await #expect(throws: ShoalError.self) {
                _ = try await dial(listener, as: LinkFixture.dialler(), on: group, expected: NodeID.random())
            }
            #expect(error?.message.contains("answers there, not node") == true)
            await listener.close()
        }
    }

    @Test("nodes that share a key link at the first try, and know each other afterwards")
    func sharedKey() async throws {
        try await withEventLoops { group in
            let key = ClusterKey.random()
            let (a, b) = (try TestTrust.alone("a", sharedKey: key), try TestTrust.alone("b", sharedKey: key))
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, security: a, into: links)
            for _ in 0..<2 {
                let (connection, hello) = try await dial(listener, as: b, on: group)
                #expect(hello.nodeID == a.trust.nodeID)
                connection.close(because: nil)
            }
            #expect(a.trust.isMember(b.trust.nodeID) && b.trust.isMember(a.trust.nodeID))
            #expect(a.trust.members.map(\.name).sorted() == ["a", "b"])
            await listener.close()
        }
    }

    @Test("another cluster key is refused without a byte")
    func wrongSharedKey() async throws {
        try await withEventLoops { group in
            let (a, b) = (
                try TestTrust.alone("a", sharedKey: .random()), try TestTrust.alone("b", sharedKey: .random())
            )
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, security: a, into: links)
            await #expect(throws: ShoalError.self) { _ = try await dial(listener, as: b, on: group) }
            #expect(!a.trust.isMember(b.trust.nodeID) && !b.trust.isMember(a.trust.nodeID))
            #expect(links.events.isEmpty)

            let (channel, bytes) = try await LinkFixture.stranger(
                to: listener.boundAddress, on: group, tls: TestTLS(key: b.trust.nodeKey))
            let request = try #require(b.trust.request(to: a.trust.nodeID)).request
            let frame = Frame(kind: .admission, description: try FrameJSON.encode(AdmissionMessage.request(request)))
            channel.writeAndFlush(try frame.encoded(), promise: nil)
            #expect(await bytes.byteCountUntilEnd() == 0)
            await listener.close()
        }
    }

    @Test("strangers that may try to be admitted get not one byte for a hello, for nonsense, or for waiting")
    func strangerWhileAdmissionIsOpen() async throws {
        try await withEventLoops { group in
            var configuration = LinkConfiguration()
            configuration.helloDeadline = .seconds(1)
            let listener = try await LinkFixture.listener(
                on: group, security: TestTrust.alone("a", sharedKey: .random()), configuration: configuration,
                into: EventRecorder())
            let hello = try Frame(kind: .hello, description: FrameJSON.encode(LinkFixture.hello("a"))).encoded()
            let large = try Frame(kind: .admission, description: ByteBuffer(repeating: 0x20, count: 4097)).encoded()
            for bytes in [hello, large, ByteBuffer(string: "GET / HTTP/1.1 and so on and so on\r\n\r\n"), ByteBuffer()]
            {
                let (channel, received) = try await LinkFixture.stranger(
                    to: listener.boundAddress, on: group, tls: TestTLS(key: NodeKey.make()))
                channel.writeAndFlush(bytes, promise: nil)
                #expect(await received.byteCountUntilEnd() == 0)
            }
            await listener.close()
        }
    }

    @Test("forgetting a node closes its open links and keeps it out")
    func forgetting() async throws {
        try await withEventLoops { group in
            let key = ClusterKey.random()
            let (a, b) = (try TestTrust.alone("a", sharedKey: key), try TestTrust.alone("b", sharedKey: key))
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, security: a, into: links)
            let (connection, _) = try await dial(listener, as: b, on: group)
            let (here, there) = (RecordingReceiver(), RecordingReceiver())
            await links.first().connection.start(here)
            connection.start(there)
            try a.trust.forget(b.trust.nodeID, now: 1_000_000)
            #expect(await here.closeReason()?.code == .notAMember)
            #expect(await there.closeReason()?.message.contains("was removed from the cluster") == true)
            let error = await #expect(throws: ShoalError.self) { _ = try await dial(listener, as: b, on: group) }
            #expect(error?.message.contains("for good") == true, "\(error as Any)")
            await listener.close()
        }
    }
}

@Suite("What TLS costs", .timeLimit(.minutes(5)))
struct LinkCostTests {
    private static let roundTripCount = 500

    /// Sends frames back.
    private func echo() -> RecordingReceiver { RecordingReceiver { frame, connection in connection.send(frame) } }

    /// Median time of 8 KB out and back.
    private func median(_ near: FrameConnection, _ far: FrameConnection) async -> Duration {
        far.start(echo())
        let receiver = RecordingReceiver()
        near.start(receiver)
        let payload = ByteBuffer(repeating: 7, count: 8192)
        let clock = ContinuousClock()
        var times: [Duration] = []
        for number in 0..<UInt64(Self.roundTripCount) {
            let start = clock.now
            near.send(Frame(kind: .microBatch, number: number, payload: payload))
            _ = await receiver.frame { $0.number == number }
            times.append(clock.now - start)
        }
        near.close(because: nil)
        return times.sorted()[times.count / 2]
    }

    @Test("8 KB cross a TLS link and come back whole, in the time that is printed beside a plain socket's")
    func roundTrip() async throws {
        try await withEventLoops { group in
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, into: links)
            let (near, _) = try await LinkDialer.dial(
                listener.boundAddress, eventLoop: group.next(), security: LinkFixture.dialler(),
                hello: LinkFixture.hello("a"))
            let far = await links.first().connection
            let encrypted = await median(near, far)
            let plain = try await ConnectionPair.make(eventLoop: group.next(), second: group.next())
            let bare = await median(plain.0, plain.1)
            #expect(near.counts.received[.microBatch]?.frameCount == Self.roundTripCount)
            print("8 KB out and back, median: TLS link \(encrypted), plain Unix socket \(bare)")
            await listener.close()
        }
    }
}
