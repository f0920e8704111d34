internal import ShoalCore
internal import ShoalEngine
internal import ShoalWire

#if canImport(Darwin)
    internal import Darwin
#elseif canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#else
    #error("a C library is needed")
#endif

/// The reader thread: cuts the daemon's bytes into frames, checks them, and gives each to the thread that does it.
///
/// It never computes, so it notices within milliseconds that the daemon is gone, even during a long decode.
struct FrameIntake: Sendable {
    let channel: ParentChannel
    let jobs: BlockingQueue<EngineJob>
    let textJobs: BlockingQueue<TextJob>

    private static let readByteCountMax = 1 << 18
    /// How often a full queue is offered a frame again, and how often the daemon's life is checked besides the stream:
    /// another process may have inherited the daemon's end.
    private static let retryMilliseconds: Int32 = 5
    private static let livenessMilliseconds: Int32 = 1000

    /// Runs until the process ends.
    func run() -> Never {
        let parent = getppid()
        var reader = FrameReader()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.readByteCountMax, alignment: 16)
        while true {
            waitForBytes(parent: parent)
            let count = read(channel.input, buffer.baseAddress, buffer.count)
            if count < 0 && (errno == EINTR || errno == EAGAIN) { continue }
            guard count > 0 else { Exit.parentGone() }
            do {
                reader.append(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                while let frame = try reader.next() { try dispatch(frame) }
            } catch {
                Exit.protocolViolation("\(error)")
            }
        }
    }

    private func waitForBytes(parent: pid_t) {
        var descriptor = pollfd(fd: channel.input, events: Int16(POLLIN), revents: 0)
        while poll(&descriptor, 1, Self.livenessMilliseconds) == 0 {
            if getppid() != parent { Exit.parentGone() }
        }
    }

    private func dispatch(_ frame: Frame) throws(ShoalError) {
        switch frame.kind {
        case .microBatch:
            let arrivedAt = ContinuousClock.now
            enqueue(.microBatch(frame, try MicroBatchDescription(decoding: frame), arrivedAt: arrivedAt))
        case .engineRequest:
            let request: EngineRequest = try FrameJSON.decode(from: frame.description)
            switch request {
            case .tokenize, .detokenize, .renderChat, .grammar: enqueueText(TextJob(frame: frame, request: request))
            case .load, .configureSampler, .releaseSampler, .reset, .status, .measureSpeed:
                enqueue(.request(frame, request))
            }
        default:
            throw ShoalError(.protocolViolation, "a \(frame.kind) frame is not for an engine")
        }
    }

    private func enqueue(_ job: EngineJob) {
        while !jobs.offer(job) { waitForSpace() }
    }

    private func enqueueText(_ job: TextJob) {
        while !textJobs.offer(job) { waitForSpace() }
    }

    /// Back-pressure: the daemon's writes wait while the queue is full. Its death is noticed here too.
    private func waitForSpace() {
        var descriptor = pollfd(fd: channel.input, events: 0, revents: 0)
        let count = poll(&descriptor, 1, Self.retryMilliseconds)
        if count > 0 && descriptor.revents & Int16(POLLHUP | POLLERR) != 0 { Exit.parentGone() }
    }
}
