import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import NIOPosix
import ShoalCore
import Testing

@testable import ShoalGateway

@Suite("A connection that is used again")
struct KeptConnectionTests {
    private static let failing =
        #"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"stream":false}"#

    @Test(
        "after a refusal it answers the next request, or the refusal said that it closes",
        arguments: [
            ("POST", "/v1/chat/completions", #"{"model":"#, 400, true),
            (
                "POST", "/v1/chat/completions", #"{"model":"none","messages":[{"role":"user","content":"a"}]}"#, 404,
                true
            ),
            ("POST", "/v1/chat/completions", #"{"messages":3}"#, 400, true),
            ("POST", "/nowhere", "a body", 404, true),
            ("GET", "/nowhere", "", 404, true),
            ("DELETE", "/v1/chat/completions", "", 405, true),
            ("POST", "/v1/models", "a body that nobody reads", 405, true),
            ("DELETE", "/shoal/v1/instances/123", "", 404, true),
            // It was watched for the client's going.
            ("POST", "/v1/chat/completions", KeptConnectionTests.failing, 503, false),
            ("POST", "/v1/completions", #"{"model":"tiny","prompt":"a"}"#, 503, false),
        ])
    func refusal(method: String, path: String, body: String, status: Int, isKept: Bool) async throws {
        let inference = ScriptedInference { _, _ in .events([.failed(ShoalError(.engineLost, "it died"))]) }
        try await GatewayHarness(inference: inference).makeApplication().test(.live) { client in
            let port = try #require(client.port)
            let first = "\(method) \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
            let second = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            let (refused, next) = try await Self.exchange(first, then: second, port: port)
            #expect(refused.hasPrefix("HTTP/1.1 \(status) "), "\(refused)")
            #expect(refused.lowercased().contains("\r\nconnection: close\r\n") == !isKept, "\(refused)")
            #expect(next?.hasPrefix("HTTP/1.1 200 ") == (isKept ? true : nil), "\(next ?? "nothing")")
        }
    }

    /// The answer to `first`, and what comes for `second`, which is sent when the first answer is whole unless that
    /// said that the connection closes.
    private static func exchange(
        _ first: String, then second: String, port: Int
    ) async throws -> (first: String, second: String?) {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: first))
            var text = ""
            var answer: String?
            for try await part in inbound {
                text += String(buffer: part)
                guard answer == nil, let end = Self.endOfAnswer(in: text) else { continue }
                let whole = String(text[..<end])
                guard !whole.lowercased().contains("\r\nconnection: close\r\n") else { return (whole, nil) }
                answer = whole
                text = String(text[end...])
                try await outbound.write(ByteBuffer(string: second))
            }
            return (answer ?? text, answer == nil ? nil : text)
        }
    }

    /// Behind the body of the first answer in `text`, if that is whole.
    private static func endOfAnswer(in text: String) -> String.Index? {
        guard let head = text.firstRange(of: "\r\n\r\n") else { return nil }
        let length = text[..<head.lowerBound].split(separator: "\r\n").lazy
            .filter { $0.lowercased().hasPrefix("content-length:") }
            .compactMap { Int($0.split(separator: " ").last ?? "") }.first
        return text.utf8.index(head.upperBound, offsetBy: length ?? 0, limitedBy: text.endIndex)
    }
}
