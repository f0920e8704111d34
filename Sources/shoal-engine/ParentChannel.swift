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

/// One of the two sockets to the daemon. Each belongs to one thread.
struct ParentChannel: Sendable {
    let descriptor: Int32

    /// Takes over descriptors 0 and 1: the way of micro-batches and of requests that are in order with them, and that
    /// of text requests. What libraries print to the standard output lands in the standard error from now on, so that
    /// it cannot corrupt a stream. Nil when the system gives no descriptors.
    static func takeOver() -> (work: ParentChannel, text: ParentChannel)? {
        let work = fcntl(0, F_DUPFD_CLOEXEC, 3)
        let text = fcntl(1, F_DUPFD_CLOEXEC, 3)
        let null = open("/dev/null", O_RDONLY)
        guard work >= 0, text >= 0, null >= 0, dup2(null, 0) == 0, dup2(2, 1) == 1 else { return nil }
        if null > 2 { close(null) }
        // The daemon may close its end while a frame is on its way out.
        signal(SIGPIPE, SIG_IGN)
        // Ctrl-C reaches the whole process group; the daemon decides when an engine ends.
        signal(SIGINT, SIG_IGN)
        return (ParentChannel(descriptor: work), ParentChannel(descriptor: text))
    }

    /// Waits until the frame is written. A daemon that is gone ends the process.
    func send(_ frame: Frame) {
        do {
            let (first, rest) = try frame.encodedPieces()
            write(first)
            if let rest { write(rest) }
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

    private func write(_ piece: ByteBuffer) {
        var buffer = piece
        while buffer.readableBytes > 0 {
            let written = buffer.withUnsafeReadableBytes { bytes in
                #if canImport(Darwin)
                    Darwin.write(descriptor, bytes.baseAddress, bytes.count)
                #elseif canImport(Glibc)
                    Glibc.write(descriptor, bytes.baseAddress, bytes.count)
                #elseif canImport(Musl)
                    Musl.write(descriptor, bytes.baseAddress, bytes.count)
                #else
                    Android.write(descriptor, bytes.baseAddress, bytes.count)
                #endif
            }
            if written < 0 && errno == EINTR { continue }
            guard written > 0 else { Exit.parentGone() }
            buffer.moveReaderIndex(forwardBy: written)
        }
    }
}
