import Dispatch
import Foundation
import ShoalCore

/// Where the engine's program is: `SHOAL_ENGINE`, or `shoal-engine` beside this program.
enum EngineExecutable {
    static func path() throws(ShoalError) -> String {
        let environment = ProcessInfo.processInfo.environment
        let path = environment["SHOAL_ENGINE"] ?? besideThisProgram()
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw ShoalError(
                .engineLost, "there is no engine program at \(path); build it with make release, or set SHOAL_ENGINE")
        }
        return path
    }

    /// What the engine at `path` is built from; empty when it does not say so in time.
    static func build(of path: String) async -> String {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: path)
        process.arguments = ["--build"]
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        return await withCheckedContinuation { continuation in
            process.terminationHandler = { process in
                let isGood = process.terminationReason == .exit && process.terminationStatus == 0
                let bytes = isGood ? output.fileHandleForReading.availableData.prefix(buildByteCountMax) : Data()
                let text = String(decoding: bytes, as: UTF8.self)
                continuation.resume(returning: text.trimmingCharacters(in: .whitespacesAndNewlines))
            }
            do {
                try process.run()
                // A program that has ended takes no notice.
                DispatchQueue.global().asyncAfter(deadline: .now() + buildDeadlineSeconds) { process.terminate() }
            } catch {
                process.terminationHandler = nil
                continuation.resume(returning: "")
            }
        }
    }

    private static let buildByteCountMax = 128
    private static let buildDeadlineSeconds = 3.0

    private static func besideThisProgram() -> String { ownFolder + "/shoal-engine" }

    /// Where this program is.
    static var ownFolder: String {
        let own =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        guard let slash = own.lastIndex(of: "/") else { return "." }
        return String(own[..<slash])
    }
}
