import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import NIOPosix
import ShoalCore
import Testing

@testable import ShoalGateway

@Suite("Real connections")
struct ConnectionTests {
    private static func chat(stream: Bool) -> String {
        #"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"stream":\#(stream)}"#
    }

    @Test(
        "a client that disconnects cancels its answer, streamed or not, while the model is silent",
        arguments: [true, false])
    func disconnect(stream: Bool) async throws {
        let inference = ScriptedInference { _, _ in
            .eventsThenSilence([
                .started(promptTokenCount: 3, headName: "a"), .text("Hel", tokens: [TokenID(rawValue: 1)]),
            ])
        }
        let application = GatewayHarness(inference: inference).makeApplication()
        try await application.test(.live) { client in
            let port = try #require(client.port)
            let other = TestClient(host: "localhost", port: port)
            other.connect()
            try await other.executeAndDontWaitForResponse(
                TestClient.Request(
                    "/v1/chat/completions", method: .post, authority: "localhost",
                    headers: [.contentLength: String(Self.chat(stream: stream).utf8.count)],
                    body: ByteBuffer(string: Self.chat(stream: stream))))
            var arrivals = inference.arrivals.makeAsyncIterator()
            _ = await arrivals.next()
            try await other.close(mode: .all)
            var cancelled = inference.cancelled.makeAsyncIterator()
            #expect(await cancelled.next() == RequestID(rawValue: 0x2A))
        }
    }

    @Test("every answer of n is cancelled when the client disconnects")
    func disconnectSeveral() async throws {
        let inference = ScriptedInference { _, _ in .eventsThenSilence([.started(promptTokenCount: 3, headName: "a")]) }
        let application = GatewayHarness(inference: inference).makeApplication()
        try await application.test(.live) { client in
            let other = TestClient(host: "localhost", port: try #require(client.port))
            other.connect()
            let body = #"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"stream":true,"n":3}"#
            try await other.executeAndDontWaitForResponse(
                TestClient.Request(
                    "/v1/chat/completions", method: .post, authority: "localhost",
                    headers: [.contentLength: String(body.utf8.count)], body: ByteBuffer(string: body)))
            var arrivals = inference.arrivals.makeAsyncIterator()
            for _ in 0..<3 { _ = await arrivals.next() }
            try await other.close(mode: .all)
            var cancelled = inference.cancelled.makeAsyncIterator()
            for _ in 0..<3 { #expect(await cancelled.next() != nil) }
        }
    }

    @Test(
        "a stream and a plain answer arrive whole over a socket, although the connection closes after them",
        arguments: [true, false])
    func whole(stream: Bool) async throws {
        let pieces = (0..<500).map { "piece \($0) " }
        let harness = GatewayHarness(inference: ScriptedInference(pieces: pieces))
        try await harness.makeApplication().test(.live) { client in
            let response = try await client.execute(
                uri: "/v1/chat/completions", method: .post, body: ByteBuffer(string: Self.chat(stream: stream)))
            #expect(response.headers[.connection] == "close")
            guard stream else {
                #expect(response.json["choices"]?[0]["message"]?["content"] == .string(pieces.joined()))
                return
            }
            #expect(response.events.count == pieces.count + 3)
            #expect(response.events.last == "[DONE]")
        }
    }

    @Test("an announced body over the limit is refused before it is sent")
    func announced() async throws {
        try await GatewayHarness().makeApplication().test(.live) { client in
            let other = TestClient(host: "localhost", port: try #require(client.port))
            other.connect()
            // Only the head and a few bytes are sent: an answer proves that the rest was not waited for.
            let channel = try await other.getChannel()
            let response = try await rawResponse(
                to: """
                    POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n{"mod
                    """, port: try #require(channel.remoteAddress?.port))
            #expect(response.hasPrefix("HTTP/1.1 413 "))
            #expect(response.contains(#""code":"request_too_large""#))
            #expect(response.contains("the request body has 99999999 bytes; at most \(Limits.requestBodyByteCountMax)"))
            try await other.shutdown()
        }
    }

    @Test("a body that grows over the limit is refused")
    func growing() async throws {
        let body = ByteBuffer(repeating: UInt8(ascii: " "), count: Limits.requestBodyByteCountMax + 1)
        let response = try await GatewayHarness().makeApplication().test(.router) { client in
            try await client.execute(
                uri: "/v1/chat/completions", method: .post, headers: [.transferEncoding: "chunked"], body: body)
        }
        #expect(response.status == .contentTooLarge)
    }

    @Test("an address in use is an error that names it")
    func addressInUse() async throws {
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(listener.localAddress?.port)
        let harness = GatewayHarness()
        let gateway = Gateway(
            configuration: GatewayConfiguration(host: "127.0.0.1", port: port), inference: harness.inference,
            cluster: harness.cluster, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let error = await #expect(throws: ShoalError.self) { try await gateway.run() }
        #expect(error?.code == .addressUnusable)
        #expect(
            error?.message
                == "the API cannot listen on 127.0.0.1:\(port): another program listens there; choose another --api")
        try await listener.close()
    }
}

/// Everything that a server sends back on one connection until it closes it.
private func rawResponse(to request: String, port: Int) async throws -> String {
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connect(host: "127.0.0.1", port: port) { channel in
            channel.eventLoop.makeCompletedFuture {
                try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
            }
        }
    return try await channel.executeThenClose { inbound, outbound in
        try await outbound.write(ByteBuffer(string: request))
        var response = ByteBuffer()
        for try await part in inbound { response.writeImmutableBuffer(part) }
        return String(buffer: response)
    }
}
