package import ShoalCore

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// A stock program of llama.cpp as a child of this node: both its outputs always drained into one bounded log, its end
/// always reaped and explained.
package final class StockProcess: Sendable {
    /// What to run, and where its log goes.
    package struct Program: Sendable {
        package var path: String
        package var arguments: [String]
        /// The child's whole environment.
        package var environment: [String: String]
        /// Names the log file.
        package var label: String
        /// Nil keeps the last lines in memory only.
        package var logDirectory: String?
        package var logByteCountMax = 4 << 20

        package init(
            path: String, arguments: [String], environment: [String: String], label: String, logDirectory: String?
        ) {
            self.path = path
            self.arguments = arguments
            self.environment = environment
            self.label = label
            self.logDirectory = logDirectory
        }
    }

    package let launchRecord: LaunchRecord
    private let child: ChildProcess
    private let ending: EngineEnding
    private let log: EngineLog

    private init(_ program: Program, child: ChildProcess, log: EngineLog, stopGrace: Duration) {
        self.child = child
        self.log = log
        ending = EngineEnding(child: child, stopGrace: stopGrace)
        launchRecord = LaunchRecord(
            command: [program.path] + program.arguments, environment: program.environment)
    }

    /// Starts the program. `onLine` gets every line of its output, in order, on a thread of its own; it must not block.
    /// Throws `engineLost` naming the program and the reason.
    package static func start(
        _ program: Program, stopGrace: Duration = .seconds(2), onLine: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws(ShoalError) -> StockProcess {
        let log = EngineLog(
            path: try EngineLogFile.path(program.label, in: program.logDirectory),
            byteCountMax: program.logByteCountMax, onLine: onLine)
        let (child, sockets) = try await ChildProcess.start(
            ChildProcess.Program(
                path: program.path, arguments: program.arguments, environment: program.environment, isStock: true),
            log: log)
        closeDescriptor(sockets.work)
        closeDescriptor(sockets.text)
        return StockProcess(program, child: child, log: log, stopGrace: stopGrace)
    }

    package var processID: Int32 { child.processID }

    /// Nil when it cannot be told, which is so once the process has ended.
    package var processorSeconds: Double? { MachineFacts.processorSeconds(of: child.processID) }

    /// Whether a signal stopped it, so that it does nothing until another one.
    package var isStopped: Bool { MachineFacts.isStopped(child.processID) ?? false }

    package var residentBytes: ByteCount? { MachineFacts.residentBytes(of: child.processID) }

    /// Returns when it has ended by itself or otherwise, and is reaped.
    package func waitForExit() async -> EngineExit { await ending.wait() }

    /// Ends it, politely first, and returns when it is gone and reaped. Any number of calls.
    @discardableResult
    package func stop() async -> EngineExit {
        ending.askFor()
        // A stopped process does not hear SIGTERM.
        if isStopped { child.send(signal: ProcessEngine.killSignal) }
        return await ending.end()
    }

    /// Ends it at once, and returns when it is gone and reaped.
    @discardableResult
    package func kill() async -> EngineExit {
        ending.askFor()
        child.send(signal: ProcessEngine.killSignal)
        return await ending.wait()
    }

    /// The last lines that it wrote, oldest first.
    package func logTail() -> [String] { log.lines }
}

/// Where the logs of children go.
enum EngineLogFile {
    /// `FOLDER/engine-LABEL.log`, with the folder made; nil without a folder.
    static func path(_ label: String, in folder: String?) throws(ShoalError) -> String? {
        guard let folder else { return nil }
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        } catch {
            throw ShoalError(.engineLost, "the folder for engine logs, \(folder), cannot be made: \(error)")
        }
        let safe = label.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") ? $0 : "_" }
        return "\(folder)/engine-\(String(safe)).log"
    }
}
