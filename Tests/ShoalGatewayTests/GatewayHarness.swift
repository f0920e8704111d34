import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import ShoalCore

@testable import ShoalGateway

/// A gateway over scripted services, with fixed time and identities.
struct GatewayHarness {
    var inference = ScriptedInference(pieces: ["Hello", " world"])
    var cluster = ScriptedCluster()

    func makeApplication() -> some ApplicationProtocol {
        var configuration = GatewayConfiguration(host: "127.0.0.1", port: 0)
        configuration.unixSeconds = { 1_700_000_001 }
        configuration.makeRequestID = { RequestID(rawValue: 0x2A) }
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return Gateway(configuration: configuration, inference: inference, cluster: cluster, logger: logger)
            .makeApplication()
    }

    /// One request without a socket.
    func send(
        _ method: HTTPRequest.Method, _ path: String, _ body: String? = nil
    ) async throws -> TestResponse {
        try await makeApplication().test(.router) { client in
            try await client.execute(uri: path, method: method, body: body.map { ByteBuffer(string: $0) })
        }
    }

    func post(_ path: String, _ body: String) async throws -> TestResponse { try await send(.post, path, body) }

    func chat(_ body: String) async throws -> TestResponse { try await post("/v1/chat/completions", body) }
}

extension TestResponse {
    var text: String { String(buffer: body) }

    /// The body as JSON; null if it is not.
    var json: JSONValue { (try? JSONParser.parse(Array(body.readableBytesView))) ?? .null }

    /// `error` of the body.
    var error: JSONValue { json["error"] ?? .null }

    /// The payloads of a server-sent event stream.
    var events: [String] {
        text.split(separator: "\n\n").map { String($0.dropFirst("data: ".count)) }
    }
}

extension JSONValue {
    /// The element at `index` of an array; null if there is none.
    subscript(index: Int) -> JSONValue {
        guard case .array(let elements) = self, elements.indices.contains(index) else { return .null }
        return elements[index]
    }

    var stringValue: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }
}
