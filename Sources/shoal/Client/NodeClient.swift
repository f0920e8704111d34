import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import NIOPosix
import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Android)
    import Android
#elseif canImport(Darwin)
    import Darwin
#else
    #error("no C library that defines ECONNREFUSED")
#endif

/// Talks to the API of one node.
struct NodeClient: Sendable {
    /// Time to open a connection.
    static let connectTimeout = TimeAmount.seconds(5)
    /// Time for a whole response that does not wait for a model.
    static let requestTimeout = TimeAmount.seconds(60)
    /// Silence after which a streamed answer counts as dead; a long prompt on slow machines takes minutes.
    static let streamSilenceTimeout = TimeAmount.minutes(30)
    /// The largest response that is not streamed.
    static let responseByteCountMax = 64 << 20

    private let http: HTTPClient
    private let endpoint: NetworkEndpoint

    /// Runs `body` with a client of the node at `endpoint`, and closes its connections afterwards.
    static func with<Result>(
        _ endpoint: NetworkEndpoint, _ body: (NodeClient) async throws -> Result
    ) async throws -> Result {
        var configuration = HTTPClient.Configuration()
        configuration.timeout = .init(connect: connectTimeout, read: streamSilenceTimeout)
        let http = HTTPClient(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, configuration: configuration)
        let result: Result
        do {
            result = try await body(NodeClient(http: http, endpoint: endpoint.reachable))
        } catch {
            try? await http.shutdown()  // The first error is the one to tell.
            throw error
        }
        try await http.shutdown()
        return result
    }

    /// The JSON at `path`.
    func get<Report: Decodable>(_ path: String, as type: Report.Type = Report.self) async throws(ShoalError) -> Report {
        try await decoded(send(.GET, path, body: nil))
    }

    /// The answer to `body`, sent as JSON.
    func post<Report: Decodable>(_ path: String, _ body: some Encodable) async throws(ShoalError) -> Report {
        try await decoded(send(.POST, path, body: encoded(body)))
    }

    /// The answer to a DELETE.
    func delete<Report: Decodable>(_ path: String) async throws(ShoalError) -> Report {
        try await decoded(send(.DELETE, path, body: nil))
    }

    /// The events of a streamed answer to `body`, until `[DONE]` or until `onEvent` has thrown.
    func stream<Event: Decodable>(
        _ path: String, _ body: some Encodable, onEvent: (Event) async throws -> Void
    ) async throws {
        let request = request(.POST, path, body: try encoded(body))
        let response = try await execute(request, deadline: .distantFuture)
        guard response.status == .ok else { throw try await failure(response) }
        var lines = EventStreamLines()
        do {
            for try await var part in response.body {
                for data in try lines.append(part.readBytes(length: part.readableBytes) ?? []) {
                    if data == "[DONE]" { return }
                    try await onEvent(decoded(Array(data.utf8)))
                }
            }
        } catch let error as ShoalError {
            throw error
        } catch {
            throw broken(error)
        }
        throw ShoalError(.linkLost, "the node at \(endpoint) ended the answer before it was complete")
    }

    private func send(
        _ method: HTTPMethod, _ path: String, body: [UInt8]?
    ) async throws(ShoalError) -> [UInt8] {
        let response = try await execute(
            request(method, path, body: body), deadline: .now() + NodeClient.requestTimeout)
        guard (200..<300).contains(response.status.code) else { throw try await failure(response) }
        return try await collect(response)
    }

    private func request(_ method: HTTPMethod, _ path: String, body: [UInt8]?) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: "http://\(endpoint)\(path)")
        request.method = method
        guard let body else { return request }
        request.headers.add(name: "content-type", value: "application/json")
        request.body = .bytes(ByteBuffer(bytes: body))
        return request
    }

    private func execute(
        _ request: HTTPClientRequest, deadline: NIODeadline
    ) async throws(ShoalError) -> HTTPClientResponse {
        do {
            return try await http.execute(request, deadline: deadline)
        } catch {
            throw broken(error)
        }
    }

    private func collect(_ response: HTTPClientResponse) async throws(ShoalError) -> [UInt8] {
        do {
            var buffer = try await response.body.collect(upTo: NodeClient.responseByteCountMax)
            return buffer.readBytes(length: buffer.readableBytes) ?? []
        } catch {
            throw broken(error)
        }
    }

    /// What the node says about a refused request.
    private func failure(_ response: HTTPClientResponse) async throws(ShoalError) -> ShoalError {
        let body = try await collect(response)
        // What cannot be read is another kind of server; its status is told instead.
        if let report = try? JSONDecoder().decode(ErrorBody.self, from: Data(body)) { return report.shoalError }
        return ShoalError(.internal, "the node at \(endpoint) answered \(response.status.code) without saying why")
    }

    private var nobody: ShoalError {
        ShoalError(.linkLost, "no shoal node answers at \(endpoint); start one with: shoal serve")
    }

    private func broken(_ error: any Error) -> ShoalError {
        switch error {
        case is NIOConnectionError: nobody
        case let error as IOError where error.errnoCode == ECONNREFUSED: nobody
        case let error as HTTPClientError where error == .connectTimeout:
            ShoalError(
                .linkLost, "nothing answers at \(endpoint); is the address right, and does shoal serve run there?")
        case let error as HTTPClientError where error == .deadlineExceeded || error == .readTimeout:
            ShoalError(.timedOut, "the node at \(endpoint) does not answer in time")
        default: ShoalError(.linkLost, "the connection to the node at \(endpoint) broke: \(error)")
        }
    }

    private func encoded(_ body: some Encodable) throws(ShoalError) -> [UInt8] {
        do {
            return Array(try JSONEncoder().encode(body))
        } catch {
            throw ShoalError(.internal, "the request cannot be written as JSON: \(error)")
        }
    }

    private func decoded<Report: Decodable>(_ body: [UInt8]) throws(ShoalError) -> Report {
        do {
            return try JSONDecoder().decode(Report.self, from: Data(body))
        } catch {
            throw ShoalError(.protocolViolation, "what answers at \(endpoint) is not this version of shoal: \(error)")
        }
    }
}

/// `{"error": {...}}` of any endpoint.
struct ErrorBody: Decodable, Sendable {
    struct Detail: Decodable, Sendable {
        var message: String
        var code: String?
    }

    var error: Detail

    var shoalError: ShoalError {
        ShoalError(error.code.map { ShoalError.Code(rawValue: $0) } ?? .internal, error.message)
    }
}
