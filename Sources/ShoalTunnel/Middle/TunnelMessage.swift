internal import NIOCore
internal import ShoalCore
internal import ShoalModel
internal import ShoalRPC

/// One message of the connection between the two ends of a tunnel. docs/rpc.md is its specification.
enum TunnelMessage: Hashable {
    /// First of either side. `serverNumber` is the worker's: another one is another rpc-server process.
    case hello(serverNumber: UInt64?)
    case bytes(ByteBuffer)
    case piece(PieceReference)
    case fill(number: UInt64, ByteBuffer)
    case found(number: UInt64, PieceSource)
    case missing(number: UInt64)
    case goodbye(String)

    static let headerByteCount = 5
    /// "SHRP".
    static let magic: UInt32 = 0x5348_5250
    static let version: UInt8 = 1

    enum Kind: UInt8 {
        case hello = 1
        case bytes = 2
        case piece = 3
        case fill = 4
        case found = 5
        case missing = 6
        case goodbye = 7

        var byteCountMax: Int {
            switch self {
            case .hello: 13
            case .bytes: TunnelLimits.messageByteCountMax
            case .piece: TunnelMessage.pieceFixedByteCount + TunnelLimits.tensorNameByteCountMax
            case .fill: 8 + PieceSpan.byteCountMax
            case .found: 9
            case .missing: 8
            case .goodbye: TunnelLimits.sentenceByteCountMax
            }
        }
    }

    private static let pieceFixedByteCount = 4 + ContentDigest.byteCount + 4 + 8 + 8

    private var kind: Kind {
        switch self {
        case .hello: .hello
        case .bytes: .bytes
        case .piece: .piece
        case .fill: .fill
        case .found: .found
        case .missing: .missing
        case .goodbye: .goodbye
        }
    }

    /// Appends the message. Large bodies are copied once.
    func write(to buffer: inout ByteBuffer) {
        buffer.writeInteger(kind.rawValue)
        let sizeIndex = buffer.writerIndex
        buffer.writeInteger(UInt32(0))
        writeBody(to: &buffer)
        buffer.setInteger(UInt32(buffer.writerIndex - sizeIndex - 4), at: sizeIndex)
    }

    private func writeBody(to buffer: inout ByteBuffer) {
        switch self {
        case .hello(let serverNumber):
            buffer.writeInteger(Self.magic)
            buffer.writeInteger(Self.version)
            if let serverNumber { buffer.writeInteger(serverNumber) }
        case .bytes(let bytes): buffer.writeImmutableBuffer(bytes)
        case .piece(let reference):
            buffer.writeInteger(UInt32(reference.span.byteCount))
            buffer.writeBytes(reference.digest.bytes)
            buffer.writeInteger(reference.span.type)
            buffer.writeInteger(reference.span.tensorByteCount)
            buffer.writeInteger(reference.span.offset)
            buffer.writeString(reference.span.tensorName)
        case .fill(let number, let bytes):
            buffer.writeInteger(number)
            buffer.writeImmutableBuffer(bytes)
        case .found(let number, let source):
            buffer.writeInteger(number)
            buffer.writeInteger(source.rawValue)
        case .missing(let number): buffer.writeInteger(number)
        case .goodbye(let sentence): buffer.writeBytes(sentence.utf8.prefix(TunnelLimits.sentenceByteCountMax))
        }
    }

    /// Nil for a body that is not what its kind has.
    init?(_ kind: Kind, body: ByteBuffer) {
        var body = body
        switch kind {
        case .hello:
            guard body.readInteger(as: UInt32.self) == Self.magic, body.readInteger(as: UInt8.self) == Self.version
            else { return nil }
            self = .hello(serverNumber: body.readInteger())
        case .bytes: self = .bytes(body)
        case .piece:
            guard let reference = Self.readPiece(&body) else { return nil }
            self = .piece(reference)
        case .fill:
            guard let number: UInt64 = body.readInteger() else { return nil }
            self = .fill(number: number, body)
        case .found:
            guard let number: UInt64 = body.readInteger(),
                let source = body.readInteger(as: UInt8.self).flatMap(PieceSource.init)
            else { return nil }
            self = .found(number: number, source)
        case .missing:
            guard let number: UInt64 = body.readInteger() else { return nil }
            self = .missing(number: number)
        case .goodbye: self = .goodbye(String(buffer: body))
        }
    }

    private static func readPiece(_ body: inout ByteBuffer) -> PieceReference? {
        guard let byteCount: UInt32 = body.readInteger(), (1...UInt32(PieceSpan.byteCountMax)).contains(byteCount),
            let digest = body.readBytes(length: ContentDigest.byteCount).flatMap(ContentDigest.init),
            let type: UInt32 = body.readInteger(), let tensorByteCount: UInt64 = body.readInteger(),
            let offset: UInt64 = body.readInteger(), let name = body.readString(length: body.readableBytes)
        else { return nil }
        return PieceReference(
            digest: digest,
            span: PieceSpan(
                tensorName: name, type: type, tensorByteCount: tensorByteCount, offset: offset,
                byteCount: Int(byteCount)))
    }
}

/// Where a worker had a piece.
enum PieceSource: UInt8 {
    case file = 1
    case cache = 2
}

/// Cuts bytes into messages; it holds at most one that is not complete.
struct TunnelMessageReader {
    private var buffer = ByteBuffer()

    mutating func append(_ bytes: ByteBuffer) {
        if buffer.readableBytes == 0 {
            buffer = bytes
        } else {
            buffer.writeImmutableBuffer(bytes)
        }
    }

    /// Nil when more is needed. Throws `protocolViolation`, after which the stream is over.
    mutating func next() throws(ShoalError) -> TunnelMessage? {
        guard let number: UInt8 = buffer.getInteger(at: buffer.readerIndex),
            let size: UInt32 = buffer.getInteger(at: buffer.readerIndex + 1)
        else { return nil }
        guard let kind = TunnelMessage.Kind(rawValue: number), Int(size) <= kind.byteCountMax else {
            throw ShoalError(
                .protocolViolation,
                "a tunnel message of kind \(number) with \(size) bytes; is the same Shoal version on both nodes?")
        }
        guard buffer.readableBytes >= TunnelMessage.headerByteCount + Int(size) else { return nil }
        buffer.moveReaderIndex(forwardBy: TunnelMessage.headerByteCount)
        guard let body = buffer.readSlice(length: Int(size)), let message = TunnelMessage(kind, body: body) else {
            throw ShoalError(.protocolViolation, "a damaged tunnel message of kind \(kind)")
        }
        return message
    }
}
