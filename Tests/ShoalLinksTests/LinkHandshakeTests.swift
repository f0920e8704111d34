import NIOCore
import NIOPosix
import ShoalCore
import ShoalLinks
import ShoalTesting
import ShoalWire
import Testing

@Suite("Dialling and listening", .timeLimit(.minutes(5)))
struct LinkHandshakeTests {
    @Test("both sides learn who the other is, and what the link is for")
    func handshake() async throws {
        try await withEventLoops { group in
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, into: links)
            let purpose = LinkHello.Purpose.data(instance: InstanceID(rawValue: 9), generation: 2, boundary: 1)
            let ours = try LinkFixture.hello("dialler").with(purpose: purpose)
            let (connection, theirs) = try await LinkDialer.dial(
                listener.boundAddress, eventLoop: group.next(), security: LinkFixture.dialler(), hello: ours)
            let admitted = await links.first()
            #expect(theirs.nodeName == "listener")
            #expect(theirs.purpose == purpose)
            #expect(admitted.hello == ours)
            connection.close(because: nil)
            await listener.close()
        }
    }

    @Test("frames right behind the hello wait for the owner")
    func framesBehindHello() async throws {
        try await withEventLoops { group in
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, into: links)
            let (channel, _) = try await LinkFixture.stranger(to: listener.boundAddress, on: group)
            var bytes = try Frame(kind: .hello, description: FrameJSON.encode(LinkFixture.hello("eager"))).encoded()
            // Larger than anything a stranger may send: the limits must be the ordinary ones by now.
            let frame = Frame(kind: .microBatch, number: 5, payload: ByteBuffer(repeating: 1, count: 10_000))
            bytes.writeImmutableBuffer(try frame.encoded())
            try await channel.writeAndFlush(bytes).get()
            let admitted = await links.first()
            let receiver = RecordingReceiver()
            admitted.connection.start(receiver)
            #expect(await receiver.frame() == frame)
            admitted.connection.close(because: nil)
            await listener.close()
        }
    }

    @Test("a peer of another protocol version is refused by the listener")
    func otherVersionDials() async throws {
        try await withEventLoops { group in
            let links = EventRecorder<Admitted>()
            let listener = try await LinkFixture.listener(on: group, into: links)
            var hello = try LinkFixture.hello("future")
            hello.protocolNumber = 99
            let error = await #expect(throws: ShoalError.self) {
                try await LinkDialer.dial(
                    listener.boundAddress, eventLoop: group.next(), security: LinkFixture.dialler(), hello: hello)
            }
            #expect(
                error?.message.contains("speaks protocol 99, this node protocol 1") == true, "\(error?.message ?? "")")
            #expect(error?.message.contains("\(listener.boundAddress)") == true)
            #expect(links.events.isEmpty)
            await listener.close()
        }
    }

    @Test("a listener of another protocol version is refused by the dialler")
    func otherVersionListens() async throws {
        try await withEventLoops { group in
            var hello = try LinkFixture.hello("listener")
            hello.protocolNumber = 99
            let answer = hello
            let listener = try await LinkListener.bind(
                LinkAddress(parsing: LinkFixture.anyPort), eventLoopGroup: group, security: LinkFixture.listener(),
                hello: { answer },
                onLink: { connection, _ in connection.start(RecordingReceiver()) })
            let error = await #expect(throws: ShoalError.self) {
                try await LinkDialer.dial(
                    listener.boundAddress, eventLoop: group.next(), security: LinkFixture.dialler(),
                    hello: try LinkFixture.hello("now"))
            }
            #expect(error?.code == .protocolViolation)
            #expect(error?.message.contains("speaks protocol 99") == true, "\(error?.message ?? "")")
            await listener.close()
        }
    }

    @Test("a frame header of another version is refused too")
    func otherHeaderVersion() async throws {
        try await withEventLoops { group in
            let listener = try await LinkFixture.listener(on: group, into: EventRecorder())
            let (channel, bytes) = try await LinkFixture.stranger(to: listener.boundAddress, on: group)
            var frame = try Frame(kind: .hello).encoded()
            frame.setInteger(UInt8(2), at: 4)
            try await channel.writeAndFlush(frame).get()
            let reason = try FrameJSON.decode(
                ShoalError.self, from: #require(try await bytes.framesUntilEnd().first).description)
            #expect(reason.message.contains("protocol 2, this is protocol 1"), "\(reason.message)")
            await listener.close()
        }
    }

    @Test("a peer that says nothing is closed at the hello deadline")
    func silentDialler() async throws {
        try await withEventLoops { group in
            var configuration = LinkConfiguration()
            configuration.helloDeadline = .seconds(1)
            let listener = try await LinkFixture.listener(
                on: group, configuration: configuration, into: EventRecorder())
            let (_, bytes) = try await LinkFixture.stranger(to: listener.boundAddress, on: group)
            let reason = try FrameJSON.decode(
                ShoalError.self, from: #require(try await bytes.framesUntilEnd().first).description)
            #expect(reason.code == .timedOut)
            #expect(reason.message.contains("no hello"))
            await listener.close()
        }
    }

    @Test("a listener that accepts and says nothing costs the dialler its deadline, with the address in the sentence")
    func silentListener() async throws {
        try await withEventLoops { group in
            let mute = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
            let address = try LinkAddress(parsing: "127.0.0.1:\(#require(mute.localAddress?.port))")
            let error = await #expect(throws: ShoalError.self) {
                try await LinkDialer.dial(
                    address, eventLoop: group.next(), security: LinkFixture.dialler(),
                    hello: try LinkFixture.hello("a"), deadline: .milliseconds(50))
            }
            #expect(error?.code == .timedOut)
            #expect(error?.message.contains("\(address)") == true)
            try await mute.close()
        }
    }

    @Test("a stranger's large frame is refused from its header")
    func largeHello() async throws {
        try await withEventLoops { group in
            let listener = try await LinkFixture.listener(on: group, into: EventRecorder())
            let (channel, bytes) = try await LinkFixture.stranger(to: listener.boundAddress, on: group)
            let frame = try Frame(kind: .hello, description: ByteBuffer(repeating: 0x20, count: 4097)).encoded()
            try await channel.writeAndFlush(frame.getSlice(at: 0, length: FrameHeader.byteCount)).get()
            let reason = try FrameJSON.decode(
                ShoalError.self, from: #require(try await bytes.framesUntilEnd().first).description)
            #expect(reason.message.contains("4097 bytes; the limit is 4096"), "\(reason.message)")
            await listener.close()
        }
    }

    @Test("connections without a hello beyond the limit are closed at once")
    func halfOpenLimit() async throws {
        try await withEventLoops { group in
            var configuration = LinkConfiguration()
            configuration.halfOpenConnectionCountMax = 1
            let listener = try await LinkFixture.listener(
                on: group, configuration: configuration, into: EventRecorder())
            let (first, firstBytes) = try await LinkFixture.stranger(to: listener.boundAddress, on: group)
            let (_, secondBytes) = try await LinkFixture.stranger(to: listener.boundAddress, on: group)
            #expect(try await secondBytes.framesUntilEnd().isEmpty)
            #expect(firstBytes.recorder.events.allSatisfy { !$0.isBytesOrEnd })
            try await first.close()
            await listener.close()
        }
    }

    @Test("refused connections say that nothing listens there")
    func refused() async throws {
        try await withEventLoops { group in
            let listener = try await LinkFixture.listener(on: group, into: EventRecorder())
            let address = listener.boundAddress
            await listener.close()
            let error = await #expect(throws: ShoalError.self) {
                try await LinkDialer.dial(
                    address, eventLoop: group.next(), security: LinkFixture.dialler(), hello: try LinkFixture.hello("a")
                )
            }
            #expect(error?.code == .linkLost)
            #expect(error?.message.contains("nothing listens at \(address)") == true, "\(error?.message ?? "")")
        }
    }

    @Test("a port in use is said to be in use")
    func portInUse() async throws {
        try await withEventLoops { group in
            let listener = try await LinkFixture.listener(on: group, into: EventRecorder())
            let error = await #expect(throws: ShoalError.self) {
                _ = try await LinkFixture.listener(
                    on: group, address: "\(listener.boundAddress)", into: EventRecorder())
            }
            #expect(error?.code == .addressUnusable)
            #expect(error?.message.contains("port \(listener.boundAddress.port) is in use") == true)
            await listener.close()
        }
    }

    @Test("addresses of the network are listened at")
    func allInterfaces() async throws {
        try await withEventLoops { group in
            let listener = try await LinkFixture.listener(on: group, address: "0.0.0.0:0", into: EventRecorder())
            let (connection, _) = try await LinkDialer.dial(
                LinkAddress(parsing: "127.0.0.1:\(listener.boundAddress.port)"), eventLoop: group.next(),
                security: LinkFixture.dialler(), hello: LinkFixture.hello("a"))
            connection.close(because: nil)
            await listener.close()
        }
    }

    @Test("the name localhost can be dialled")
    func localhost() async throws {
        try await withEventLoops { group in
            let listener = try await LinkFixture.listener(on: group, into: EventRecorder())
            let (connection, hello) = try await LinkDialer.dial(
                LinkAddress(parsing: "localhost:\(listener.boundAddress.port)"), eventLoop: group.next(),
                security: LinkFixture.dialler(), hello: try LinkFixture.hello("a"))
            #expect(hello.nodeName == "listener")
            connection.close(because: nil)
            await listener.close()
        }
    }
}
