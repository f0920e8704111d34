import AsyncHTTPClient
import HTTPTypes
import Hummingbird
import NIOCore
import NIOHTTP1
import NIOPosix
import ShoalCore

/// Passes one request on to an instance's llama-server and its answer back, byte for byte.
///
/// llama-server aborts when a worker is lost, and its connections break. As long as the client has seen nothing, the
/// request is then sent once more, to the llama-server that comes next; afterwards the answer ends with an error.
struct ServerProxy: Sendable {
    var cluster: any ClusterService

    /// Tries of one request.
    private static let attemptCountMax = 2

    // Lives as long as the process, so that it is never shut down.
    private static let http: HTTPClient = {
        var configuration = HTTPClient.Configuration()
        configuration.timeout = .init(connect: .seconds(5), read: nil)
        configuration.redirectConfiguration = .disallow
        configuration.decompression = .disabled
        return HTTPClient(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, configuration: configuration)
    }()

    /// What came first: nothing of it has reached the client.
    private struct Begun: Sendable {
        var response: HTTPClientResponse
        var first: ByteBuffer?
        var rest: BodyReader
    }

    /// `path` may be another one than the request's; its query stays.
    func relay(
        _ request: inout Request, body: ByteBuffer, path: String, to instance: InstanceReport
    ) async throws -> Response {
        let query = request.uri.query.map { "?\($0)" } ?? ""
        let outgoing = Outgoing(
            method: request.method.rawValue, target: path + query, headers: Self.forwarded(request.headers),
            body: body)
        // Most refusals: the connection can be used again.
        let ready = try require(ready: instance)
        let watched = request
        do {
            let (begun, attempts) = try await watched.body.consumeWithCancellationOnInboundClose { _ in
                try await begin(outgoing, ready)
            }
            return response(begun, attempts, ready)
        } catch {
            throw SpentConnectionError(cause: error)
        }
    }

    // MARK: Before the client has seen anything

    private struct Outgoing: Sendable {
        var method: String
        var target: String
        var headers: HTTPHeaders
        var body: ByteBuffer
    }

    private func begin(_ outgoing: Outgoing, _ instance: InstanceReport) async throws -> (Begun, attempts: Int) {
        var instance = instance
        var attempt = 1
        while true {
            do {
                return (try await attemptOnce(outgoing, instance), attempt)
            } catch is CancellationError {
                throw ShoalError(.cancelled, "the client closed the connection")
            } catch {
                guard !Task.isCancelled else { throw ShoalError(.cancelled, "the client closed the connection") }
                let cause = Self.sentence(error)
                guard attempt < Self.attemptCountMax else {
                    throw ShoalError(
                        .engineLost, "llama-server of \(instance.model) was lost \(attempt) times: \(cause)")
                }
                attempt += 1
                instance = try await nextReady(after: instance, cause)
            }
        }
    }

    private func attemptOnce(_ outgoing: Outgoing, _ instance: InstanceReport) async throws -> Begun {
        let address = try await cluster.serverAddress(of: instance.id)
        var request = HTTPClientRequest(url: "http://\(address.host):\(address.port)\(outgoing.target)")
        request.method = .RAW(value: outgoing.method)
        request.headers = outgoing.headers
        request.headers.add(name: "connection", value: "close")
        if outgoing.body.readableBytes > 0 { request.body = .bytes(outgoing.body) }
        let response = try await Self.http.execute(request, deadline: .distantFuture)
        let reader = BodyReader(response.body)
        return Begun(response: response, first: try await reader.next(), rest: reader)
    }

    private func require(ready instance: InstanceReport) throws(ShoalError) -> InstanceReport {
        guard instance.phase.isServing else {
            let why = instance.problem.map { ": \($0)" } ?? ""
            throw ShoalError(
                .unavailable,
                "the model \(instance.model) is \(instance.phase.rawValue), not ready\(why); try again soon")
        }
        return instance
    }

    /// Waits for the llama-server after the one that was lost. The same one again after a while: then the connection
    /// broke and nothing else.
    private func nextReady(after old: InstanceReport, _ cause: String) async throws -> InstanceReport {
        let clock = ContinuousClock()
        let begin = clock.now
        while true {
            try await Task.sleep(for: GatewayLimits.recoveryPollInterval)
            let waited = clock.now - begin
            guard let now = await cluster.instances().first(where: { $0.id == old.id }), now.phase.isProxiedLater else {
                throw ShoalError(.engineLost, "llama-server of \(old.model) was lost for good: \(cause)")
            }
            let isSame = now.generation == old.generation
            if now.phase.isServing, !isSame || waited > GatewayLimits.sameServerDuration { return now }
            guard waited < GatewayLimits.recoveryDurationMax else {
                throw ShoalError(
                    .unavailable,
                    "llama-server of \(old.model) was lost (\(now.problem ?? cause)) and is not back after "
                        + "\(GatewayLimits.recoveryDurationMax)")
            }
        }
    }

    // MARK: Afterwards

    private func response(_ begun: Begun, _ attempts: Int, _ instance: InstanceReport) -> Response {
        var headers = Self.returned(begun.response.headers)
        headers[.shoalInstance] = "\(instance.id)"
        if HTTPField.isValidValue(instance.headName) { headers[.shoalHead] = instance.headName }
        if let name = HTTPField.Name("x-shoal-attempts") { headers[name] = "\(attempts)" }
        // Watching for the client's going has consumed the connection.
        headers[.connection] = "close"
        let isEventStream = headers[.contentType]?.hasPrefix("text/event-stream") == true
        let body = ResponseBody { writer in
            do {
                if let first = begun.first { try await writer.write(first) }
                while let part = try await begun.rest.next() { try await writer.write(part) }
            } catch let error as BodyReader.Broken where isEventStream {
                // The status line is long gone: an error event is all that is left to say it with.
                let lost = await self.lost(instance, error.cause)
                let event = "data: \(ErrorTable.json(RequestError(lost)).text)\n\n"
                try await writer.write(ByteBuffer(string: event))
            }
            try await writer.finish(nil)
        }
        let status = HTTPResponse.Status(
            code: Int(begun.response.status.code), reasonPhrase: begun.response.status.reasonPhrase)
        return Response(status: status, headers: headers, body: body)
    }

    /// The head may take a moment to find out why the connection broke.
    private func lost(_ instance: InstanceReport, _ cause: String) async -> ShoalError {
        var problem: String?
        for _ in 0..<GatewayLimits.causePollCount {
            problem = await cluster.instances().first { $0.id == instance.id && $0.phase != .ready }?.problem
            guard problem == nil else { break }
            // Cancellation only makes the wait shorter.
            try? await Task.sleep(for: GatewayLimits.recoveryPollInterval)
        }
        return ShoalError(
            .engineLost,
            "llama-server of \(instance.model) was lost while it answered: \(problem ?? cause); the answer is not "
                + "complete")
    }

    // MARK: Headers

    /// Between two connections only (RFC 9110, section 7.6.1), or set anew.
    private static let hopByHop: Set<String> = [
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "host", "content-length", "expect",
    ]

    private static func forwarded(_ fields: HTTPFields) -> HTTPHeaders {
        var headers = HTTPHeaders()
        for field in fields where !hopByHop.contains(field.name.canonicalName) {
            headers.add(name: field.name.rawName, value: field.value)
        }
        return headers
    }

    private static func returned(_ headers: HTTPHeaders) -> HTTPFields {
        var fields = HTTPFields()
        for (name, value) in headers where !hopByHop.contains(name.lowercased()) {
            guard let name = HTTPField.Name(name), HTTPField.isValidValue(value) else { continue }
            fields.append(HTTPField(name: name, value: value))
        }
        return fields
    }

    fileprivate static func sentence(_ error: any Error) -> String {
        (error as? ShoalError)?.message ?? (error as? BodyReader.Broken)?.cause ?? "its connection broke: \(error)"
    }
}

extension InstancePhase {
    fileprivate var isProxiedLater: Bool { self != .failed && self != .stopped && self != .draining }
}

/// Reads a body part by part: first where the answer begins, then where it is written.
// Safety: used by one task at a time; the second begins when the first has ended.
private final class BodyReader: @unchecked Sendable {
    /// The connection ended before the body did.
    struct Broken: Error {
        var cause: String
    }

    private var iterator: HTTPClientResponse.Body.AsyncIterator

    init(_ body: HTTPClientResponse.Body) { iterator = body.makeAsyncIterator() }

    @concurrent func next() async throws -> ByteBuffer? {
        do {
            return try await iterator.next()
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw Broken(cause: "its connection broke: \(error)")
        }
    }
}
