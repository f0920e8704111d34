import NIOCore
import NIOPosix
import ShoalCore
import ShoalEngine
import ShoalTesting
import ShoalWire
import Testing

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A folder and event loops for one test; both are gone at its end.
struct EngineFixture {
    let group: MultiThreadedEventLoopGroup
    let folder: String

    static func with<Result>(_ body: (EngineFixture) async throws -> Result) async throws -> Result {
        let folder = FileManager.default.temporaryDirectory.path + "/shoal-engine-test-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let fixture = EngineFixture(group: MultiThreadedEventLoopGroup(numberOfThreads: 1), folder: folder)
        do {
            let result = try await body(fixture)
            try await fixture.end()
            return result
        } catch {
            try await fixture.end()
            throw error
        }
    }

    private func end() async throws {
        try await group.shutdownGracefully()
        try FileManager.default.removeItem(atPath: folder)
    }

    /// A launcher whose engine is a shell script. It runs `preparation`, says `started`, then runs `script`, in which
    /// `$frames` is a folder for more frames.
    func launcher(
        preparation: String = ":", script: String, build: EngineBuild = EngineFixture.build,
        configure: (inout ProcessEngineLauncher.Configuration) -> Void = { _ in }
    ) throws -> ProcessEngineLauncher {
        try write(EngineEvent.started(build), kind: .engineEvent, number: 0, to: "started")
        var configuration = ProcessEngineLauncher.Configuration(
            executablePath: "/bin/sh", logDirectory: folder + "/logs", environment: ["PATH": "/usr/bin:/bin"])
        configuration.arguments = ["-c", "frames=$1; \(preparation); cat $frames/started; \(script)", "sh", folder]
        configure(&configuration)
        return ProcessEngineLauncher(configuration)
    }

    /// Puts a frame where the script finds it.
    func write(_ value: some Encodable, kind: FrameKind, number: UInt64, to name: String) throws {
        let frame = Frame(kind: kind, number: number, description: try FrameJSON.encode(value))
        let bytes = Data(try frame.encoded().readableBytesView)
        try bytes.write(to: URL(filePath: "\(folder)/\(name)"))
    }

    func launch(
        _ launcher: some EngineLauncher, receiver: RecordingReceiver = RecordingReceiver(),
        onLoadProgress: @escaping @Sendable (Double) -> Void = { _ in }
    ) async throws -> any EngineHandle {
        try await launcher.launch(
            label: "test/1", eventLoop: group.next(), receiver: receiver, onLoadProgress: onLoadProgress)
    }

    static let build = EngineBuild(
        shoalVersion: ShoalVersion.current, protocolNumber: ShoalVersion.protocolNumber, llamaBuild: "b0")

    /// Reads its input until the node closes it.
    static let waitForEnd = "exec cat > /dev/null"
}
