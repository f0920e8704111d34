internal import NIOCore
internal import ShoalCore
internal import ShoalRPC

/// The stream for an rpc-server while it still has holes: what came, in order, and which pieces are being looked for.
///
/// A value. It holds what lies behind the first hole, which the head bounds by its window, and at most
/// `TunnelLimits.lookAheadByteCount` of pieces that were found before their turn.
struct WorkerStream {
    private enum Item {
        case bytes(ByteBuffer)
        case piece(UInt64)
    }

    private enum PieceState {
        /// Nobody has looked for it yet.
        case waiting(PieceReference)
        case looking(PieceReference)
        /// The head was told.
        case missing(PieceReference)
        /// Its bytes came, and are being hashed.
        case checking
        case here(ByteBuffer)
    }

    private var items = CircularBuffer<Item>()
    private var pieces: [UInt64: PieceState] = [:]
    private var nextNumber: UInt64 = 0
    private var waiting = CircularBuffer<UInt64>()
    private var lookupCount = 0
    /// Of pieces that are looked for or here.
    private var heldByteCount = 0

    var isEmpty: Bool { items.isEmpty }

    mutating func append(_ bytes: ByteBuffer) { items.append(.bytes(bytes)) }

    mutating func append(_ reference: PieceReference) {
        items.append(.piece(nextNumber))
        pieces[nextNumber] = .waiting(reference)
        waiting.append(nextNumber)
        nextNumber += 1
    }

    /// The next piece to look for; nil while enough are.
    mutating func nextLookup() -> (number: UInt64, reference: PieceReference)? {
        guard lookupCount < TunnelLimits.lookupCountMax, let number = waiting.first,
            heldByteCount == 0 || heldByteCount < TunnelLimits.lookAheadByteCount,
            case .waiting(let reference) = pieces[number]
        else { return nil }
        waiting.removeFirst()
        lookupCount += 1
        heldByteCount += reference.span.byteCount
        pieces[number] = .looking(reference)
        return (number, reference)
    }

    /// The look-up of a piece ended; nil: it is not here.
    mutating func lookedUp(_ number: UInt64, _ bytes: ByteBuffer?) {
        lookupCount -= 1
        guard case .looking(let reference) = pieces[number] else { return }
        if let bytes {
            pieces[number] = .here(bytes)
        } else {
            heldByteCount -= reference.span.byteCount
            pieces[number] = .missing(reference)
        }
    }

    /// The bytes of a missing piece came and are about to be checked. Throws `protocolViolation` if it was not missing.
    mutating func fill(_ number: UInt64) throws(ShoalError) -> PieceReference {
        guard case .missing(let reference) = pieces[number] else {
            throw ShoalError(.protocolViolation, "bytes came for piece \(number), which is not missing")
        }
        heldByteCount += reference.span.byteCount
        pieces[number] = .checking
        return reference
    }

    mutating func filled(_ number: UInt64, _ bytes: ByteBuffer) { pieces[number] = .here(bytes) }

    /// The next bytes for the rpc-server; nil when there are none, or a piece is not here yet.
    mutating func next() -> ByteBuffer? {
        switch items.first {
        case nil: return nil
        case .bytes(let bytes):
            items.removeFirst()
            return bytes
        case .piece(let number):
            guard case .here(let bytes) = pieces[number] else { return nil }
            items.removeFirst()
            pieces[number] = nil
            heldByteCount -= bytes.readableBytes
            return bytes
        }
    }
}
