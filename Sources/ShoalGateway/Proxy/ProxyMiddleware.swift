import HTTPTypes
import Hummingbird
import NIOCore
import ShoalCore

/// Gives requests for models of the rpc engine to their llama-server, unchanged. Everything else goes on to the routes.
struct ProxyMiddleware: RouterMiddleware {
    typealias Context = GatewayRequestContext

    var cluster: any ClusterService
    var proxy: ServerProxy

    func handle(
        _ request: Request, context: Context, next: @concurrent (Request, Context) async throws -> Response
    ) async throws -> Response {
        guard let kind = ProxiedPaths.kind(of: request.uri.path) else { return try await next(request, context) }
        let candidates = await cluster.instances().filter { $0.engine == .rpc && $0.phase.isProxied }
        if case .explicit(let name, let path) = kind {
            guard let instance = candidates.first(where: { $0.isCalled(name) }) else {
                throw ShoalError(.modelNotFound, "no llama-server serves \"\(name)\"; shoal ps lists what runs")
            }
            var request = request
            return try await proxy.relay(&request, body: request.takeBody(), path: path, to: instance)
        }
        guard !candidates.isEmpty else { return try await next(request, context) }
        var request = request
        let body = try await request.takeBody()
        guard let instance = instance(of: request, body, kind, candidates) else {
            request.body = RequestBody(buffer: body)
            return try await next(request, context)
        }
        return try await proxy.relay(&request, body: body, path: request.uri.path, to: instance)
    }

    /// The one that the request names; on a path that only llama-server has, the one that there is.
    private func instance(
        of request: Request, _ body: ByteBuffer, _ kind: ProxiedPaths.Kind, _ candidates: [InstanceReport]
    ) -> InstanceReport? {
        let name = request.uri.queryParameters["model"].map(String.init) ?? ProxyMiddleware.model(in: body)
        if let name { return candidates.first { $0.isCalled(name) } ?? fallback(kind, candidates) }
        return fallback(kind, candidates)
    }

    private func fallback(_ kind: ProxiedPaths.Kind, _ candidates: [InstanceReport]) -> InstanceReport? {
        kind == .own && candidates.count == 1 ? candidates[0] : nil
    }

    /// Nil when the body is no JSON object with a model.
    private static func model(in body: ByteBuffer) -> String? {
        guard body.readableBytesView.first(where: { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 }) == 0x7B,
            let json = try? JSONParser.parse(Array(body.readableBytesView)), let fields = try? RequestFields(json),
            case .string(let name)? = fields["model"]
        else { return nil }
        return name
    }
}

extension InstanceReport {
    /// By id, by model, or by a path or file name of it, as clients and people write it.
    fileprivate func isCalled(_ name: String) -> Bool {
        if "\(id)" == name || model == name { return true }
        var file = (name.split(separator: "/").last.map(String.init) ?? name).lowercased()
        if file.hasSuffix(".gguf") { file.removeLast(5) }
        return model.lowercased() == file
    }
}

extension InstancePhase {
    /// Whether requests for the instance are its llama-server's, also when it cannot answer now.
    fileprivate var isProxied: Bool { self != .failed && self != .stopped }
}

extension Request {
    /// The whole body. Images travel in it, so that more is accepted than elsewhere; `.requestTooLarge` beyond.
    mutating func takeBody() async throws -> ByteBuffer {
        let limit = GatewayLimits.proxiedBodyByteCountMax
        if let length = headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw RequestError(.requestTooLarge, "the request body has \(length) bytes; at most \(limit) are accepted")
        }
        var buffer = ByteBuffer()
        for try await part in body {
            guard buffer.readableBytes + part.readableBytes <= limit else {
                throw RequestError(.requestTooLarge, "the request body has more than the accepted \(limit) bytes")
            }
            buffer.writeImmutableBuffer(part)
        }
        // As in `takeJSON`: the connection behind a body is watched only if the body was replaced.
        body = RequestBody(buffer: ByteBuffer())
        return buffer
    }
}
