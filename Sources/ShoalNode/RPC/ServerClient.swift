import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Asks one llama-server what its head must know. Every question has a deadline.
struct ServerClient: Sendable {
    /// What /slots says of one of its slots.
    struct Slot: Decodable {
        var is_processing: Bool?
    }

    var port: Int

    private static let answerByteCountMax = 8 << 20

    /// Whether /health says 200. It does as soon as the model is loaded, and goes on to when nothing is computed.
    func isHealthy() async -> Bool {
        let response = try? await HTTPClient.shared.execute(request("/health", nil), timeout: .seconds(5))
        return response?.status == .ok
    }

    /// How many requests run, from the model's own loop; nil when it does not answer.
    func processingCount(deadline: TimeAmount) async -> Int? {
        guard let body = try? await body(of: request("/slots", nil), deadline: deadline),
            let slots = try? JSONDecoder().decode([Slot].self, from: body)
        else { return nil }
        return slots.count { $0.is_processing ?? false }
    }

    /// Puts something small through all devices. Throws `engineLost` or `timedOut` with what came instead of an answer.
    func probe(_ options: RPCOptions, deadline: TimeAmount) async throws(ShoalError) {
        let (path, question) =
            options.servesReranking
            ? ("/rerank", #"{"query":"a","documents":["a"]}"#)
            : options.servesEmbeddings
                ? ("/embedding", #"{"content":"a"}"#)
                : ("/completion", #"{"prompt":"a","n_predict":1,"temperature":0,"cache_prompt":false}"#)
        do {
            let response = try await HTTPClient.shared.execute(request(path, question), timeout: deadline)
            let body = try await response.body.collect(upTo: Self.answerByteCountMax)
            guard response.status == .ok else {
                throw ShoalError(
                    .engineLost,
                    "llama-server answered the probe with \(response.status.code): \(String(buffer: body).prefix(300))")
            }
        } catch let error as ShoalError {
            throw error
        } catch let error as HTTPClientError where error == .deadlineExceeded || error == .readTimeout {
            throw ShoalError(
                .timedOut, "no token came through all devices within \(deadline.nanoseconds / 1_000_000_000) s")
        } catch {
            throw ShoalError(.engineLost, "the probe of llama-server failed: \(error)")
        }
    }

    private func body(of request: HTTPClientRequest, deadline: TimeAmount) async throws -> Data {
        let response = try await HTTPClient.shared.execute(request, timeout: deadline)
        let body = try await response.body.collect(upTo: Self.answerByteCountMax)
        return Data(body.readableBytesView)
    }

    private func request(_ path: String, _ body: String?) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(path)")
        // The connection would outlive the server, and the next one may have its port.
        request.headers.add(name: "connection", value: "close")
        guard let body else { return request }
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        request.body = .bytes(ByteBuffer(string: body))
        return request
    }
}
