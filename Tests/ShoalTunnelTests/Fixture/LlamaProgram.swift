import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import ShoalCore
import ShoalRPC
import ShoalTesting
import ShoalTunnel

/// A stock program of the engine prefix, with its output in a file.
// Safety: set once in `init`; `Process` is used from one test at a time.
final class LlamaProgram: @unchecked Sendable {
    let port: Int
    private let process = Process()
    private let end: ProcessEnd
    private let log: URL

    /// A worker's program, on loopback.
    static func rpcServer(in folder: URL) async throws -> LlamaProgram {
        let port = try freePort()
        let program = try LlamaProgram(
            "ggml-rpc-server", ["-H", "127.0.0.1", "-p", "\(port)", "-t", "1"], port: port, in: folder)
        try await program.wait(for: "the rpc-server listens") {
            let facts = try? await RPCClient.facts(
                host: "127.0.0.1", port: port, eventLoop: MultiThreadedEventLoopGroup.singleton.any(),
                deadline: .seconds(3))
            return facts?.devices.count == 1
        }
        return program
    }

    /// The head's program, with all layers on the rpc-servers. Ready when this returns.
    static func server(
        model: String, rpc ports: [Int], in folder: URL, context: Int = 512
    ) async throws -> LlamaProgram {
        let program = try launchServer(model: model, rpc: ports, in: folder, context: context)
        try await program.waitUntilReady()
        return program
    }

    static func launchServer(model: String, rpc ports: [Int], in folder: URL, context: Int = 512) throws -> LlamaProgram
    {
        let port = try freePort()
        let workers = ports.map { "127.0.0.1:\($0)" }.joined(separator: ",")
        return try LlamaProgram(
            "llama-server",
            [
                "-m", model, "--host", "127.0.0.1", "--port", "\(port)", "-c", "\(context)", "-np", "1", "-fit", "off",
                "--cache-ram", "0", "-t", "1", "--no-warmup",
            ] + (ports.isEmpty ? [] : ["--rpc", workers, "-ngl", "99"]), port: port, in: folder)
    }

    private init(_ name: String, _ arguments: [String], port: Int, in folder: URL) throws {
        self.port = port
        end = ProcessEnd(of: process)
        log = folder.appending(path: "\(name)-\(port).log")
        try Data().write(to: log)
        process.executableURL = try EnginePrefix.program(name)
        process.arguments = arguments
        let output = try FileHandle(forWritingTo: log)
        process.standardOutput = output
        process.standardError = output
        process.standardInput = FileHandle.nullDevice
        try process.run()
    }

    var output: String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }
    var isRunning: Bool { process.isRunning }

    func stop() { end.force() }

    func wait(for what: String, _ condition: () async throws -> Bool) async throws {
        try await eventually(what) {
            guard process.isRunning else { throw TestFailure("it ended:\n\(output.suffix(4000))") }
            return try await condition()
        }
    }

    func waitUntilReady() async throws {
        try await wait(for: "llama-server is ready") {
            let request = HTTPClientRequest(url: "http://127.0.0.1:\(port)/health")
            return (try? await HTTPClient.shared.execute(request, timeout: .seconds(5)))?.status == .ok
        }
    }

    /// Greedy.
    func complete(_ prompt: String, tokenCount: Int = 24) async throws -> String {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)/completion")
        request.method = .POST
        let body: [String: Any] = ["prompt": prompt, "n_predict": tokenCount, "temperature": 0, "seed": 1]
        request.body = .bytes(ByteBuffer(bytes: try JSONSerialization.data(withJSONObject: body)))
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(120))
        let answer = Data(try await response.body.collect(upTo: 1 << 20).readableBytesView)
        let object = try JSONSerialization.jsonObject(with: answer) as? [String: Any]
        guard let text = object?["content"] as? String else {
            throw TestFailure("llama-server answered \(String(decoding: answer, as: UTF8.self))")
        }
        return text
    }
}

/// The engine prefix that the tests were built with.
enum EnginePrefix {
    static func program(_ name: String) throws -> URL {
        let paths = (ProcessInfo.processInfo.environment["PKG_CONFIG_PATH"] ?? "").split(separator: ":")
        for path in paths {
            let program = URL(filePath: String(path)).appending(path: "../../bin/\(name)").standardizedFileURL
            if FileManager.default.isExecutableFile(atPath: program.path) { return program }
        }
        throw TestFailure("\(name) is not in the prefix of PKG_CONFIG_PATH; run the tests with: make test")
    }
}

/// What `make setup` leaves in the user's cache.
enum TestFiles {
    static let cache: URL = {
        let environment = ProcessInfo.processInfo.environment
        if let path = environment["SHOAL_TEST_CACHE"] ?? environment["SHOAL_CACHE"] { return URL(filePath: path) }
        if let path = environment["XDG_CACHE_HOME"] { return URL(filePath: path).appending(path: "shoal") }
        return FileManager.default.homeDirectoryForCurrentUser.appending(path: ".cache/shoal")
    }()

    static func referenceModel() throws -> String {
        try require(cache.appending(path: "models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    }

    static func testModel(_ name: String) throws -> String {
        try require(cache.appending(path: "test-models/\(name).gguf"))
    }

    private static func require(_ file: URL) throws -> String {
        guard FileManager.default.fileExists(atPath: file.path) else {
            throw TestFailure("\(file.path) is missing; run: make setup")
        }
        return file.path
    }
}

/// A folder that goes with the test.
struct TestFolder: ~Copyable {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appending(path: "shoal-tunnel-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }
}

/// A test that cannot go on, and why.
struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Asks until `condition` holds. Real processes offer no event to wait for, so this one place asks again, with a bound.
func eventually(
    _ what: String, attempts: Int = 3000, _ condition: () async throws -> Bool
) async throws {
    for _ in 0..<attempts {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(20))
    }
    throw TestFailure("waited in vain until \(what)")
}

/// A port that nobody listens on.
func freePort() throws -> Int {
    let descriptor = socket(AF_INET, streamSocket, 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
            bind(descriptor, address, size) == 0 && getsockname(descriptor, address, &size) == 0
        }
    }
    guard isBound else { throw TestFailure("no free port") }
    return Int(UInt16(bigEndian: address.sin_port))
}

#if canImport(Glibc) || canImport(Musl)
    private let streamSocket = Int32(SOCK_STREAM.rawValue)
#else
    private let streamSocket = SOCK_STREAM
#endif
