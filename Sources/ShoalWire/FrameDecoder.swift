package import NIOCore
package import ShoalCore

/// How large the parts of a frame may be for one receiver.
package struct FrameSizeLimits: Hashable, Sendable {
    package var descriptionByteCountMax: Int
    package var payloadByteCountMax: Int

    package init(descriptionByteCountMax: Int, payloadByteCountMax: Int) {
        self.descriptionByteCountMax = descriptionByteCountMax
        self.payloadByteCountMax = payloadByteCountMax
    }

    package static let standard = FrameSizeLimits(
        descriptionByteCountMax: Limits.frameDescriptionByteCountMax,
        payloadByteCountMax: Limits.framePayloadByteCountMax)

    /// For peers that have not said who they are.
    package static let hello = FrameSizeLimits(descriptionByteCountMax: 4096, payloadByteCountMax: 0)
}

/// Cuts a byte stream into frames.
///
/// The header is checked as soon as its 36 bytes are there: magic, version and both sizes against `Limits`, before a
/// byte of the body is waited for. Frames of an unknown kind, from a newer peer, are skipped by their length without
/// being buffered. Errors are `ShoalError(.protocolViolation)`; the stream cannot be read on after one, because where
/// the next frame starts is not known.
package struct FrameDecoder: NIOSingleStepByteToMessageDecoder {
    package typealias InboundOut = Frame

    private enum State {
        case header
        case body(FrameHeader)
        case skipping(remainingByteCount: Int)
    }

    private var state = State.header
    /// Applies to headers read from now on.
    package var limits: FrameSizeLimits

    package init(limits: FrameSizeLimits = .standard) { self.limits = limits }

    /// Takes the next frame out of `buffer`; nil when more bytes are needed.
    package mutating func nextFrame(in buffer: inout ByteBuffer) throws(ShoalError) -> Frame? {
        // Ends: every turn either returns or consumes bytes of `buffer`.
        while true {
            switch state {
            case .header:
                guard let next = try readHeader(from: &buffer) else { return nil }
                state = next
            case .body(let header):
                guard let frame = readBody(of: header, from: &buffer) else { return nil }
                state = .header
                return frame
            case .skipping(let remaining):
                let skipped = min(remaining, buffer.readableBytes)
                buffer.moveReaderIndex(forwardBy: skipped)
                guard skipped == remaining else {
                    state = .skipping(remainingByteCount: remaining - skipped)
                    return nil
                }
                state = .header
            }
        }
    }

    package mutating func decode(buffer: inout ByteBuffer) throws -> Frame? { try nextFrame(in: &buffer) }

    package mutating func decodeLast(buffer: inout ByteBuffer, seenEOF: Bool) throws -> Frame? {
        if let frame = try nextFrame(in: &buffer) { return frame }
        try requireFrameBoundary(remainingByteCount: buffer.readableBytes)
        return nil
    }

    /// Throws when the stream ends inside a frame.
    package func requireFrameBoundary(remainingByteCount: Int) throws(ShoalError) {
        switch state {
        case .header where remainingByteCount == 0:
            return
        case .header:
            throw ended("a frame header, \(remainingByteCount) of \(FrameHeader.byteCount) bytes came")
        case .body(let header):
            let expected = Int(header.descriptionByteCount) + Int(header.payloadByteCount)
            throw ended("the body of a \(header.kind) frame, \(remainingByteCount) of \(expected) bytes came")
        case .skipping(let missing):
            throw ended("a frame of an unknown kind, \(missing) bytes are missing")
        }
    }

    private func ended(_ place: String) -> ShoalError {
        ShoalError(.protocolViolation, "the stream ended inside \(place)")
    }

    private func readHeader(from buffer: inout ByteBuffer) throws(ShoalError) -> State? {
        guard let raw = RawFrameHeader(reading: &buffer) else { return nil }
        try raw.validate(limits)
        guard let kind = FrameKind(rawValue: raw.kind) else {
            return .skipping(remainingByteCount: Int(raw.descriptionByteCount) + Int(raw.payloadByteCount))
        }
        return .body(
            FrameHeader(
                kind: kind, flags: FrameFlags(rawValue: raw.flags), instance: InstanceID(rawValue: raw.instance),
                generation: raw.generation, number: raw.number, descriptionByteCount: raw.descriptionByteCount,
                payloadByteCount: raw.payloadByteCount))
    }

    private func readBody(of header: FrameHeader, from buffer: inout ByteBuffer) -> Frame? {
        let descriptionByteCount = Int(header.descriptionByteCount)
        let payloadByteCount = Int(header.payloadByteCount)
        guard buffer.readableBytes >= descriptionByteCount + payloadByteCount,
            let description = buffer.readSlice(length: descriptionByteCount),
            let payload = buffer.readSlice(length: payloadByteCount)
        else { return nil }
        return Frame(
            kind: header.kind, flags: header.flags, instance: header.instance, generation: header.generation,
            number: header.number, description: description, payload: payload)
    }
}

/// A header as it came: nothing in it is believed yet.
private struct RawFrameHeader {
    let magic: UInt32
    let version: UInt8
    let kind: UInt8
    let flags: UInt16
    let instance: UInt64
    let generation: UInt32
    let number: UInt64
    let descriptionByteCount: UInt32
    let payloadByteCount: UInt32

    /// Nil, and nothing consumed, unless all 36 bytes are there.
    init?(reading buffer: inout ByteBuffer) {
        guard buffer.readableBytes >= FrameHeader.byteCount,
            let first = buffer.readMultipleIntegers(as: (UInt32, UInt8, UInt8, UInt16, UInt64).self),
            let second = buffer.readMultipleIntegers(as: (UInt32, UInt64, UInt32, UInt32).self)
        else { return nil }
        (magic, version, kind, flags, instance) = first
        (generation, number, descriptionByteCount, payloadByteCount) = second
    }

    func validate(_ limits: FrameSizeLimits) throws(ShoalError) {
        guard magic == FrameHeader.magic else {
            throw violation("starts with 0x\(String(magic, radix: 16)), which is not Shoal's frame magic")
        }
        guard version == ShoalVersion.protocolNumber else {
            throw violation(
                "is of protocol \(version), this is protocol \(ShoalVersion.protocolNumber); "
                    + "install the same Shoal version on both sides")
        }
        guard descriptionByteCount <= limits.descriptionByteCountMax else {
            throw violation(
                "announces a description of \(descriptionByteCount) bytes; "
                    + "the limit is \(limits.descriptionByteCountMax)")
        }
        guard payloadByteCount <= limits.payloadByteCountMax else {
            throw violation(
                "announces a payload of \(payloadByteCount) bytes; the limit is \(limits.payloadByteCountMax)")
        }
    }

    private func violation(_ problem: String) -> ShoalError {
        ShoalError(.protocolViolation, "a frame \(problem)")
    }
}
