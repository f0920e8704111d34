import Dispatch
import Foundation
import NIOCore
import ShoalCore
import ShoalEngine
import ShoalTesting
import ShoalWire

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    #error("a C library is needed")
#endif

/// A real shoal-engine process, driven with plain blocking calls on a thread of its own.
actor EngineUnderTest {
    private let executor = QueueExecutor(label: "engine under test")
    private let process = Process()
    private let end: ProcessEnd
    private let work: Int32
    private let texts: Int32
    private var reader = FrameReader()
    private var nextNumber: UInt64 = 1
    private(set) var build: EngineBuild?
    /// Of all loads, in order.
    private(set) var progress: [Double] = []

    /// No answer takes longer, on the slowest machine, while the engine lives.
    private static let replySecondsMax = 120

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// Starts a process and waits for its first frame.
    static func start() async throws -> EngineUnderTest {
        let engine = try EngineUnderTest()
        try await engine.waitForStart()
        return engine
    }

    private init() throws {
        let theirs: FileHandle
        let theirTexts: FileHandle
        (work, theirs) = try Self.socketPair()
        (texts, theirTexts) = try Self.socketPair()
        end = ProcessEnd(of: process)
        process.executableURL = Bundle.main.bundleURL.appendingPathComponent("shoal-engine")
        process.standardInput = theirs
        process.standardOutput = theirTexts
        process.standardError =
            ProcessInfo.processInfo.environment["SHOAL_TEST_ENGINE_LOG"] == nil
            ? FileHandle.nullDevice : FileHandle.standardError
        try process.run()
        try theirs.close()
        try theirTexts.close()
    }

    private static func socketPair() throws -> (Int32, FileHandle) {
        var pair: [Int32] = [-1, -1]
        #if canImport(Darwin)
            let type = SOCK_STREAM
        #else
            let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        #endif
        guard socketpair(AF_UNIX, type, 0, &pair) == 0 else {
            throw ShoalError(.internal, "socketpair: \(String(cString: strerror(errno)))")
        }
        var timeout = timeval(tv_sec: EngineUnderTest.replySecondsMax, tv_usec: 0)
        setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        return (pair[0], FileHandle(fileDescriptor: pair[1], closeOnDealloc: true))
    }

    deinit {
        close(work)
        close(texts)
    }

    private func waitForStart() throws {
        let frame = try receive()
        guard frame.kind == .engineEvent,
            case .started(let build) = try FrameJSON.decode(EngineEvent.self, from: frame.description)
        else { throw ShoalError(.protocolViolation, "the first frame was \(frame)") }
        self.build = build
    }

    /// Waits for the reply; events on the way are noted.
    func ask(_ request: EngineRequest) throws -> EngineReply {
        let number = nextNumber
        nextNumber += 1
        let descriptor = request.isAboutText ? texts : work
        try send(Frame(kind: .engineRequest, number: number, description: FrameJSON.encode(request)), to: descriptor)
        while true {
            let frame = try receive(from: descriptor)
            if frame.kind == .engineEvent {
                let event: EngineEvent = try FrameJSON.decode(from: frame.description)
                if case .loadProgress(let value) = event { progress.append(value) }
                continue
            }
            guard frame.kind == .engineReply, frame.number == number else {
                throw ShoalError(.protocolViolation, "expected the reply to request \(number), got \(frame.kind)")
            }
            return try FrameJSON.decode(from: frame.description)
        }
    }

    /// Throws what the engine answers as failure.
    func load(_ request: StageLoadRequest) throws -> StageLoaded {
        let reply = try ask(.load(request))
        if case .failed(let error) = reply { throw error }
        guard case .loaded(let loaded) = reply else { throw ShoalError(.protocolViolation, "load: \(reply)") }
        return loaded
    }

    func status() throws -> StageStatus {
        guard case .status(let status) = try ask(.status) else { throw ShoalError(.protocolViolation, "no status") }
        return status
    }

    func tokens(of text: String, addSpecial: Bool = false, parseSpecial: Bool = false) throws -> [TokenID] {
        let reply = try ask(.tokenize(text: text, addSpecial: addSpecial, parseSpecial: parseSpecial))
        guard case .tokens(let tokens) = reply else { throw ShoalError(.protocolViolation, "tokenize: \(reply)") }
        return tokens
    }

    func pieces(of tokens: [TokenID]) throws -> [[UInt8]] {
        let reply = try ask(.pieces(tokens))
        if case .failed(let error) = reply { throw error }
        guard case .pieces(let pieces) = reply else { throw ShoalError(.protocolViolation, "pieces: \(reply)") }
        return pieces
    }

    func text(_ request: EngineRequest) throws -> String {
        let reply = try ask(request)
        if case .failed(let error) = reply { throw error }
        guard case .text(let text) = reply else { throw ShoalError(.protocolViolation, "text: \(reply)") }
        return text
    }

    func configureSampler(
        _ sequence: Int32, _ parameters: SamplingParameters, history: SamplerHistory = SamplerHistory()
    ) throws {
        let reply = try ask(.configureSampler(SequenceID(rawValue: sequence), parameters, history))
        if case .failed(let error) = reply { throw error }
    }

    /// Sends a micro-batch and waits for what comes out of this stage. Throws what the engine answers as failure.
    func compute(_ frame: Frame) throws -> Frame {
        try send(frame)
        let answer = try receive()
        if answer.kind == .microBatchFailed {
            throw try FrameJSON.decode(ShoalError.self, from: answer.description)
        }
        return answer
    }

    func send(_ frame: Frame) throws { try send(frame, to: work) }

    func send(bytes: [UInt8]) throws { try send(bytes: bytes, to: work) }

    /// On the socket that is for text requests only.
    func sendOnTextSocket(_ frame: Frame) throws { try send(frame, to: texts) }

    private func send(_ frame: Frame, to descriptor: Int32) throws {
        try send(bytes: Array(frame.encoded().readableBytesView), to: descriptor)
    }

    private func send(bytes: [UInt8], to descriptor: Int32) throws {
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { throw ShoalError(.engineLost, "write: \(String(cString: strerror(errno)))") }
            done += count
        }
    }

    func receive() throws -> Frame { try receive(from: work) }

    /// One reader is enough: nothing is asked on one socket before the answers of the other one are there.
    private func receive(from descriptor: Int32) throws -> Frame {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 16)
        defer { buffer.deallocate() }
        while true {
            if let frame = try reader.next() { return frame }
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            guard count > 0 else {
                throw ShoalError(
                    .engineLost, count == 0 ? "the engine closed its end" : "read: \(String(cString: strerror(errno)))")
            }
            reader.append(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }

    /// Closes our ends and waits for the process to end by itself.
    func closeAndWait() -> Int32 {
        shutdown(work, Int32(SHUT_RDWR))
        shutdown(texts, Int32(SHUT_RDWR))
        return waitForExit()
    }

    func waitForExit() -> Int32 {
        guard end.wait() else { return Int32.min }
        return process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus
    }

    nonisolated var processID: Int32 { process.processIdentifier }
}

/// Runs an actor's jobs, which block, on a thread outside the cooperative pool.
final class QueueExecutor: SerialExecutor {
    private let queue: DispatchQueue

    init(label: String) { queue = DispatchQueue(label: label) }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
    }
}
