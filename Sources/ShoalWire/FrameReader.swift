package import NIOCore
package import ShoalCore

/// Turns bytes that a plain `read(2)` delivers into frames, without an event loop.
///
///     var reader = FrameReader()
///     reader.append(bytes)
///     while let frame = try reader.next() { … }
package struct FrameReader {
    private var decoder: FrameDecoder
    private var buffer = ByteBuffer()

    package init(limits: FrameSizeLimits = .standard) { decoder = FrameDecoder(limits: limits) }

    /// What the next header may announce.
    package var limits: FrameSizeLimits {
        get { decoder.limits }
        set { decoder.limits = newValue }
    }

    /// Bytes that no frame has taken yet.
    package var unreadByteCount: Int { buffer.readableBytes }

    /// Copies `bytes` behind what is still unread.
    package mutating func append(_ bytes: UnsafeRawBufferPointer) {
        discardConsumed()
        buffer.writeBytes(bytes)
    }

    package mutating func append(_ bytes: [UInt8]) {
        discardConsumed()
        buffer.writeBytes(bytes)
    }

    /// Takes `bytes` over without a copy when nothing is unread.
    package mutating func append(_ bytes: ByteBuffer) {
        if buffer.readableBytes == 0 {
            buffer = bytes
        } else {
            buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next whole frame; nil when more bytes are needed. Throws `protocolViolation`, after which the stream is
    /// over.
    package mutating func next() throws(ShoalError) -> Frame? { try decoder.nextFrame(in: &buffer) }

    /// Takes out what no frame has taken, for somebody who reads it as something else.
    package mutating func takeUnread() -> ByteBuffer {
        defer { buffer = ByteBuffer() }
        return buffer.slice()
    }

    /// At the end of the stream: throws when it ended inside a frame.
    package func finish() throws(ShoalError) {
        try decoder.requireFrameBoundary(remainingByteCount: buffer.readableBytes)
    }

    /// Frames share the buffer's storage, so a consumed buffer is left to them rather than copied on the next write.
    private mutating func discardConsumed() {
        if buffer.readableBytes == 0 { buffer = ByteBuffer() }
    }
}
