/// A SET_TENSOR of a weight on its way: where its body is cut into pieces.
struct WeightWrite: Sendable {
    private let head: SetTensorHead
    private let tensorByteCount: UInt64
    /// Both from the start of the tensor.
    private var position: UInt64
    private let end: UInt64
    private var pieceStart: UInt64
    private var pieceByteCount: Int

    /// `byteCount` is what the write has, more than nothing; the index has checked that it lies in the tensor.
    init(head: SetTensorHead, tensorByteCount: UInt64, byteCount: UInt64) {
        self.head = head
        self.tensorByteCount = tensorByteCount
        position = head.offset
        end = head.offset + byteCount
        pieceStart = position
        pieceByteCount = PieceSpan.byteCount(at: position, end: end)
    }

    var isComplete: Bool { position == end }

    /// `count` more bytes of the body have come, at most what remains.
    mutating func advance(by count: Int, _ actions: inout [HeadSession.Action]) {
        var left = count
        while left > 0 {
            let collected = Int(position - pieceStart)
            let taken = min(left, pieceByteCount - collected)
            left -= taken
            position += UInt64(taken)
            guard pieceByteCount >= PieceSpan.byteCountMin else {
                actions.append(.sendInput(taken))
                if collected + taken == pieceByteCount { beginPiece() }
                continue
            }
            actions.append(.collect(taken))
            guard collected + taken == pieceByteCount else { continue }
            actions.append(.endPiece(span(byteCount: pieceByteCount)))
            beginPiece()
        }
    }

    /// Ends the piece that was begun where it is.
    func cutShort(_ actions: inout [HeadSession.Action]) {
        let collected = Int(position - pieceStart)
        guard collected > 0, pieceByteCount >= PieceSpan.byteCountMin else { return }
        actions.append(.endPiece(span(byteCount: collected)))
    }

    private mutating func beginPiece() {
        pieceStart = position
        pieceByteCount = isComplete ? 0 : PieceSpan.byteCount(at: position, end: end)
    }

    private func span(byteCount: Int) -> PieceSpan {
        PieceSpan(
            tensorName: head.tensor.name, type: head.tensor.type, tensorByteCount: tensorByteCount, offset: pieceStart,
            byteCount: byteCount)
    }
}
