internal import NIOCore
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

/// The way to the daemon: frames out from any thread.
// Safety: the descriptor is immutable, and `mutex` keeps frames whole.
final class ParentChannel: @unchecked Sendable {
    /// Where frames come from.
    let input: Int32
    private let output: Int32
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    private static let copiedPayloadByteCountMax = 64 << 10

    /// Takes over descriptors 0 and 1. What libraries print to the standard output lands in the standard error
    /// from now on, so that it cannot corrupt the stream. Nil when the system gives no descriptors.
    init?() {
        input = fcntl(0, F_DUPFD_CLOEXEC, 3)
        output = fcntl(1, F_DUPFD_CLOEXEC, 3)
        let null = open("/dev/null", O_RDONLY)
        guard input >= 0, output >= 0, null >= 0, dup2(null, 0) == 0, dup2(2, 1) == 1 else { return nil }
        if null > 2 { close(null) }
        // The daemon may close its end while a frame is on its way out.
        signal(SIGPIPE, SIG_IGN)
        // Ctrl-C reaches the whole process group; the daemon decides when an engine ends.
        signal(SIGINT, SIG_IGN)
        pthread_mutex_init(mutex, nil)
    }

    /// Waits until the frame is written. A daemon that is gone ends the process.
    func send(_ frame: Frame) {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        do {
            // In one piece, so that the daemon wakes up once for it; copying costs less than a second system call.
            if frame.payload.readableBytes <= Self.copiedPayloadByteCountMax {
                var whole = try frame.encoded()
                return write(&whole)
            }
            var head = try frame.encodedHead()
            write(&head)
            var payload = frame.payload
            write(&payload)
        } catch {
            Exit.internalError("a \(frame.kind) frame cannot be sent: \(error)")
        }
    }

    func send(_ event: EngineEvent) {
        send(Frame(kind: .engineEvent, description: encoded(event)))
    }

    func send(_ reply: EngineReply, to request: Frame) {
        send(
            Frame(
                kind: .engineReply, instance: request.instance, generation: request.generation, number: request.number,
                description: encoded(reply)))
    }

    func sendFailure(_ error: ShoalError, of batch: Frame) {
        send(
            Frame(
                kind: .microBatchFailed, instance: batch.instance, generation: batch.generation, number: batch.number,
                description: encoded(error)))
    }

    private func encoded(_ value: some Encodable) -> ByteBuffer {
        do {
            return try FrameJSON.encode(value)
        } catch {
            Exit.internalError("\(error)")
        }
    }

    private func write(_ buffer: inout ByteBuffer) {
        while buffer.readableBytes > 0 {
            let written = buffer.withUnsafeReadableBytes { bytes in
                #if canImport(Darwin)
                    Darwin.write(output, bytes.baseAddress, bytes.count)
                #elseif canImport(Glibc)
                    Glibc.write(output, bytes.baseAddress, bytes.count)
                #elseif canImport(Musl)
                    Musl.write(output, bytes.baseAddress, bytes.count)
                #else
                    Android.write(output, bytes.baseAddress, bytes.count)
                #endif
            }
            if written < 0 && errno == EINTR { continue }
            guard written > 0 else { Exit.parentGone() }
            buffer.moveReaderIndex(forwardBy: written)
        }
    }
}
