import NIOCore
import ShoalCore
import ShoalRPC
import Testing

@testable import ShoalTunnel

@Suite("Messages between the two ends")
struct TunnelMessageTests {
    private static let reference: PieceReference = {
        guard let digest = ContentDigest(Array(0..<32)) else { preconditionFailure("32 bytes") }
        return PieceReference(
            digest: digest,
            span: PieceSpan(
                tensorName: "blk.0.ffn_up.weight", type: 12, tensorByteCount: 5 << 30, offset: 1 << 20,
                byteCount: 1 << 20))
    }()

    private static let messages: [TunnelMessage] = [
        .hello(serverNumber: nil), .hello(serverNumber: 7), .bytes(ByteBuffer(bytes: [1, 2, 3])), .piece(reference),
        .fill(number: 9, ByteBuffer(bytes: [4, 5])), .found(number: 3, .cache), .missing(number: 1 << 40),
        .goodbye("the rpc-server closed the connection"),
    ]

    @Test("the golden piece has exactly these bytes")
    func goldenPiece() {
        var buffer = ByteBuffer()
        TunnelMessage.piece(Self.reference).write(to: &buffer)
        let golden: [UInt8] =
            [3, 0, 0, 0, 75, 0, 16, 0, 0] + Array(0..<32) + [0, 0, 0, 12, 0, 0, 0, 1, 64, 0, 0, 0]
            + [0, 0, 0, 0, 0, 16, 0, 0] + Array("blk.0.ffn_up.weight".utf8)
        #expect(Array(buffer.readableBytesView) == golden)
    }

    @Test("messages come out as they went in, however they are cut", arguments: [1, 2, 7, 1000])
    func roundTrip(size: Int) throws {
        var stream = ByteBuffer()
        for message in Self.messages { message.write(to: &stream) }
        var reader = TunnelMessageReader()
        var found: [TunnelMessage] = []
        while stream.readableBytes > 0, let part = stream.readSlice(length: min(size, stream.readableBytes)) {
            reader.append(part)
            while let message = try reader.next() { found.append(message) }
        }
        #expect(found == Self.messages)
    }

    @Test("messages of unknown kinds, wrong sizes and damaged bodies are refused")
    func refusals() {
        let bad: [[UInt8]] = [
            [0, 0, 0, 0, 0], [99, 0, 0, 0, 0], [2, 0, 0x10, 0, 1], [3, 0, 0, 2, 0], [1, 0, 0, 0, 5, 1, 2, 3, 4, 5],
            [1, 0, 0, 0, 5, 0x53, 0x48, 0x52, 0x50, 2], [5, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 3],
            [6, 0, 0, 0, 1, 0], [3, 0, 0, 0, 4, 0, 0, 0, 0],
        ]
        for bytes in bad {
            var reader = TunnelMessageReader()
            reader.append(ByteBuffer(bytes: bytes))
            let error = #expect(throws: ShoalError.self) { try reader.next() }
            #expect(error?.code == .protocolViolation)
        }
    }
}

@Suite("The stream with holes")
struct WorkerStreamTests {
    @Test("bytes wait behind a piece that is not here, and come in order")
    func order() throws {
        var stream = WorkerStream()
        stream.append(ByteBuffer(bytes: [1]))
        stream.append(reference(10))
        stream.append(ByteBuffer(bytes: [2]))
        #expect(stream.next() == ByteBuffer(bytes: [1]))
        #expect(stream.next() == nil)
        let next = stream.nextLookup()
        let lookup = try #require(next)
        stream.lookedUp(lookup.number, nil)
        #expect(stream.next() == nil)
        let bytes = ByteBuffer(repeating: 9, count: 10)
        let filled = try stream.fill(0)
        #expect(filled == lookup.reference)
        #expect(stream.next() == nil)
        stream.filled(0, bytes)
        #expect(stream.next() == bytes)
        #expect(stream.next() == ByteBuffer(bytes: [2]))
        #expect(stream.isEmpty)
    }

    @Test("only so many are looked for, and held, at a time")
    func lookAhead() {
        var stream = WorkerStream()
        for _ in 0..<100 { stream.append(reference(PieceSpan.byteCountMax)) }
        var held = 0
        while let lookup = stream.nextLookup() {
            held += 1
            stream.lookedUp(lookup.number, ByteBuffer(repeating: 0, count: PieceSpan.byteCountMax))
        }
        #expect(held == TunnelLimits.lookAheadByteCount / PieceSpan.byteCountMax)
        _ = stream.next()
        #expect(stream.nextLookup() != nil)
        #expect(stream.nextLookup() == nil)
        var other = WorkerStream()
        for _ in 0..<100 { other.append(reference(10)) }
        var lookups = 0
        while other.nextLookup() != nil { lookups += 1 }
        #expect(lookups == TunnelLimits.lookupCountMax)
    }

    @Test("bytes for a piece that is not missing are refused")
    func unexpectedFill() {
        var stream = WorkerStream()
        stream.append(reference(10))
        #expect(throws: ShoalError.self) { try stream.fill(0) }
        #expect(throws: ShoalError.self) { try stream.fill(1) }
    }

    private func reference(_ byteCount: Int) -> PieceReference {
        PieceReference(
            digest: ContentDigest(of: ByteBuffer()),
            span: PieceSpan(tensorName: "t", type: 0, tensorByteCount: 1 << 30, offset: 0, byteCount: byteCount))
    }
}
