internal import ShoalCore
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

/// Cuts the daemon's bytes on one of its sockets into frames, for the thread that works them off. While that thread is
/// busy, frames wait in the socket, and then in the daemon.
struct FrameSource: ~Copyable {
    private let descriptor: Int32
    private var reader = FrameReader()
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: readByteCountMax, alignment: 16)

    private static let readByteCountMax = 1 << 18
    /// How often the daemon's life is checked besides the stream: another process may have inherited the daemon's end.
    private static let livenessMilliseconds: Int32 = 1000

    init(_ channel: ParentChannel) { descriptor = channel.descriptor }

    deinit { buffer.deallocate() }

    /// Waits for the next frame. Ends the process when the daemon is gone, or sends what no daemon sends.
    mutating func next() -> Frame { next { _ in } }

    /// The same, and sees after at most a second that the parent died, whoever else holds its end of the socket.
    mutating func next(from parent: pid_t) -> Frame {
        next { descriptor in
            var descriptor = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            while poll(&descriptor, 1, Self.livenessMilliseconds) == 0 {
                if getppid() != parent { Exit.parentGone() }
            }
        }
    }

    private mutating func next(waiting wait: (Int32) -> Void) -> Frame {
        while true {
            do throws(ShoalError) {
                if let frame = try reader.next() { return frame }
            } catch {
                Exit.protocolViolation("\(error)")
            }
            wait(descriptor)
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            if count < 0 && (errno == EINTR || errno == EAGAIN) { continue }
            guard count > 0 else { Exit.parentGone() }
            reader.append(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }
}
