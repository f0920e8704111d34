import Foundation
import ShoalCore
import ShoalTesting

/// One real `shoal serve`, with its own data folder and its output in a file.
// Safety: set once in `init`; `Process` is used from one test at a time.
final class NodeProcess: @unchecked Sendable {
    let name: String
    let api: String
    let link: String
    let directory: URL
    private let process = Process()
    private let end: ProcessEnd

    /// `wrapper` is a command in front of the node's own; `environment` is added to the inherited one.
    init(
        name: String, api: String, link: String, directory: URL, arguments: [String] = [], wrapper: [String] = [],
        environment: [String: String] = [:]
    ) throws {
        self.name = name
        end = ProcessEnd(of: process)
        self.api = api
        self.link = link
        self.directory = directory
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let log = directory.appending(path: "node.log")
        try Data().write(to: log)
        let command =
            wrapper + [
                Binaries.shoal.path, "serve", "--name", name, "--data", directory.path, "--api", api, "--link", link,
                "--threads", "1",
            ] + arguments
        // A path, or a name to be looked up.
        process.executableURL = URL(filePath: command[0].hasPrefix("/") ? command[0] : "/usr/bin/env")
        process.arguments = command[0].hasPrefix("/") ? Array(command.dropFirst()) : command
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let output = try FileHandle(forWritingTo: log)
        process.standardOutput = output
        process.standardError = output
        process.standardInput = FileHandle.nullDevice
        try process.run()
    }

    var processID: Int32 { process.processIdentifier }
    var isRunning: Bool { process.isRunning }
    var log: String { (try? String(contentsOf: directory.appending(path: "node.log"), encoding: .utf8)) ?? "" }

    func signal(_ number: Int32) { kill(processID, number) }

    /// Waits until the process ended and returns its exit status.
    func waitForExit() async throws -> Int32 {
        try await eventually("node \(name) ends") { !self.process.isRunning }
        return process.terminationStatus
    }

    /// Ends it, politely first.
    func stop() async {
        guard process.isRunning else { return }
        signal(SIGTERM)
        do {
            _ = try await waitForExit()
        } catch {
            end.force()
        }
    }
}

/// The executables under test, beside the test bundle.
enum Binaries {
    static let directory =
        Bundle.allBundles.lazy.map(\.bundleURL).first { $0.pathExtension == "xctest" }?
        .deletingLastPathComponent() ?? URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()
    static var shoal: URL { directory.appending(path: "shoal") }
}

/// What `make setup` leaves in the user's cache.
enum TestFiles {
    static let cache: URL = {
        let environment = ProcessInfo.processInfo.environment
        if let path = environment["SHOAL_TEST_CACHE"] ?? environment["SHOAL_CACHE"] { return URL(filePath: path) }
        if let path = environment["XDG_CACHE_HOME"] { return URL(filePath: path).appending(path: "shoal") }
        return FileManager.default.homeDirectoryForCurrentUser.appending(path: ".cache/shoal")
    }()
    static var referenceModel: URL { cache.appending(path: "models/SmolLM2-135M-Instruct.Q4_1.gguf") }
    static var python: URL { cache.appending(path: "test-python/bin/python") }
    static var models: URL { cache.appending(path: "test-models") }
    static let referenceName = "SmolLM2-135M-Instruct.Q4_1"

    static func require(_ file: URL) throws -> URL {
        guard FileManager.default.fileExists(atPath: file.path) else {
            throw TestFailure("\(file.path) is missing; run: make setup")
        }
        return file
    }
}

extension TestFiles {
    /// Makes a library to be preloaded out of one of the C files in `clients`.
    static func compile(_ name: String, in folder: URL) async throws -> URL {
        let library = folder.appending(path: "\(name).so")
        let source = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "clients/\(name).c")
        let (status, output) = try await run(
            URL(filePath: "/usr/bin/env"), ["cc", "-shared", "-fPIC", "-o", library.path, source.path, "-ldl"])
        guard status == 0 else { throw TestFailure("\(source.path) cannot be compiled: \(output)") }
        return library
    }
}

/// A test that cannot go on, and why.
struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Asks until `condition` holds. Real processes offer no event to wait for, so this one place asks again, with a bound.
func eventually(
    _ what: String, attempts: Int = 6000, _ condition: () async throws -> Bool
) async throws {
    for _ in 0..<attempts {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(20))
    }
    throw TestFailure("waited in vain until \(what)")
}
