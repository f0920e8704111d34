import NIOCore
import NIOEmbedded
import NIOTestUtils
import ShoalCore
import ShoalWire
import Testing

@Suite("Frame codec")
struct FrameCodecTests {
    private static let golden = Frame(
        kind: .microBatch, flags: .wantsLogits, instance: InstanceID(rawValue: 0x0102_0304_0506_0708), generation: 9,
        number: 0x0A0B, description: ByteBuffer(bytes: [0xD1, 0xD2]), payload: ByteBuffer(bytes: [0xAA, 0xBB, 0xCC]))

    private static let goldenBytes: [UInt8] = [
        0x53, 0x48, 0x4F, 0x4C,  // "SHOL"
        0x01, 0x01,  // version, kind
        0x00, 0x01,  // flags
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,  // instance
        0x00, 0x00, 0x00, 0x09,  // generation
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0A, 0x0B,  // number
        0x00, 0x00, 0x00, 0x02,  // description byte count
        0x00, 0x00, 0x00, 0x03,  // payload byte count
        0xD1, 0xD2, 0xAA, 0xBB, 0xCC,
    ]

    @Test("the golden frame has exactly these bytes")
    func goldenEncoding() throws {
        #expect(try Self.golden.encoded().byteArray == Self.goldenBytes)
        #expect(Self.golden.byteCount == Self.goldenBytes.count)
    }

    @Test("header and description are one buffer and the payload is not in it")
    func headWithoutPayload() throws {
        #expect(try Self.golden.encodedHead().byteArray == Array(Self.goldenBytes.dropLast(3)))
    }

    @Test("the golden bytes decode to the golden frame")
    func goldenDecoding() throws {
        var reader = FrameReader()
        reader.append(Self.goldenBytes)
        #expect(try reader.next() == Self.golden)
        #expect(try reader.next() == nil)
        try reader.finish()
    }

    @Test("random frames survive encoding and decoding in any chunks", arguments: 0..<40 as Range<UInt64>)
    func roundTrip(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let frames = (0..<20).map { _ in random.frame() }
        let bytes = try frames.flatMap { try $0.encoded().byteArray }
        var reader = FrameReader()
        var decoded: [Frame] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let chunk = rest.prefix(.random(in: 1...200, using: &random))
            rest = rest.dropFirst(chunk.count)
            reader.append(Array(chunk))
            while let frame = try reader.next() { decoded.append(frame) }
        }
        try reader.finish()
        #expect(decoded == frames, "seed \(seed)")
    }

    @Test("the decoder passes NIO's own verifier: drip feed, many at once, leftovers")
    func verifier() throws {
        var random = SeededRandom(seed: 7)
        let pairs = try (0..<6).map { _ in
            let frame = random.frame()
            return (try frame.encoded(), [frame])
        }
        try ByteToMessageDecoderVerifier.verifyDecoder(inputOutputPairs: pairs, decoderFactory: { BridgedDecoder() })
    }

    @Test("a stream that ends anywhere inside a frame is an error, and yields nothing")
    func truncation() throws {
        for length in 1..<Self.goldenBytes.count {
            var reader = FrameReader()
            reader.append(Array(Self.goldenBytes.prefix(length)))
            #expect(try reader.next() == nil, "\(length) bytes")
            #expect(throws: ShoalError.self, "\(length) bytes") { try reader.finish() }
        }
    }

    @Test("a wrong magic is refused")
    func wrongMagic() {
        expectRefused(byte: 0, value: 0x54, saying: "magic")
    }

    @Test("another protocol version is refused with both numbers")
    func wrongVersion() {
        expectRefused(byte: 4, value: 2, saying: "protocol 2, this is protocol 1")
    }

    @Test("an oversized description is refused from the header alone")
    func oversizedDescription() {
        expectRefused(byte: 28, value: 0x7F, saying: "announces a description of 2130706434 bytes")
    }

    @Test("an oversized payload is refused from the header alone")
    func oversizedPayload() {
        expectRefused(byte: 32, value: 0xFF, saying: "announces a payload of 4278190083 bytes")
    }

    @Test("a frame of an unknown kind is skipped by its length, however it is cut")
    func unknownKind() throws {
        var unknown = Self.goldenBytes
        unknown[5] = 0x7E
        let bytes = unknown + Self.goldenBytes + unknown
        for chunkSize in [1, 7, 36, 40, bytes.count] {
            var reader = FrameReader()
            var decoded: [Frame] = []
            for start in stride(from: 0, to: bytes.count, by: chunkSize) {
                reader.append(Array(bytes[start..<min(start + chunkSize, bytes.count)]))
                while let frame = try reader.next() { decoded.append(frame) }
            }
            try reader.finish()
            #expect(decoded == [Self.golden], "chunks of \(chunkSize)")
        }
    }

    @Test("a stream that ends inside a skipped frame is an error")
    func truncatedUnknownKind() throws {
        var unknown = Self.goldenBytes
        unknown[5] = 0x7E
        var reader = FrameReader()
        reader.append(Array(unknown.dropLast()))
        #expect(try reader.next() == nil)
        #expect(throws: ShoalError.self) { try reader.finish() }
    }

    @Test("a frame too large for the receiver cannot be sent")
    func oversizedSend() {
        let description = ByteBuffer(repeating: 0, count: Limits.frameDescriptionByteCountMax + 1)
        #expect(throws: ShoalError.self) { try Frame(kind: .ping, description: description).encodedHead() }
    }

    @Test("random bytes never trap the decoder", arguments: 0..<200 as Range<UInt64>)
    func garbage(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var bytes = Self.goldenBytes + Self.goldenBytes
        for _ in 0..<Int.random(in: 1...8, using: &random) {
            bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(in: .min ... .max, using: &random)
        }
        var reader = FrameReader()
        reader.append(bytes)
        var frameCount = 0
        // Either frames or an error; what matters is that it ends and that no frame is invented.
        while let frame = try? reader.next() {
            frameCount += 1
            _ = try? MicroBatchDescription(decoding: frame)
        }
        #expect(frameCount <= 2, "seed \(seed)")
    }

    private func expectRefused(byte index: Int, value: UInt8, saying text: String) {
        var bytes = Array(Self.goldenBytes.prefix(FrameHeader.byteCount))
        bytes[index] = value
        var reader = FrameReader()
        reader.append(bytes)
        let error = #expect(throws: ShoalError.self) { _ = try reader.next() }
        #expect(error?.code == .protocolViolation)
        #expect(error?.message.contains(text) == true, "\(error?.message ?? "")")
    }
}

/// The verifier wants a `ByteToMessageDecoder`; ours is the single-step kind.
private struct BridgedDecoder: ByteToMessageDecoder {
    typealias InboundOut = Frame

    private var decoder = FrameDecoder()

    mutating func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
        guard let frame = try decoder.decode(buffer: &buffer) else { return .needMoreData }
        context.fireChannelRead(Self.wrapInboundOut(frame))
        return .continue
    }

    mutating func decodeLast(
        context: ChannelHandlerContext, buffer: inout ByteBuffer, seenEOF: Bool
    ) throws -> DecodingState {
        // The verifier ends streams inside frames on purpose and looks at the leftovers itself.
        try decode(context: context, buffer: &buffer)
    }
}
