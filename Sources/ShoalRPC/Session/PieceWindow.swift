/// Which pieces the worker has not answered yet, and how far the stream has run ahead of the first of them.
///
/// Both ends hold what lies behind an unanswered piece, so the window bounds the memory of both.
package struct PieceWindow: Sendable {
    private struct Open {
        var byteCount: Int
        var position: Int
        var isAnswered = false
    }

    /// From the first unanswered piece; the window is full when it is reached.
    package let byteCountMax: Int
    private var open: [Open] = []
    private var firstOpen = 0
    /// Number of `open[0]`.
    private var firstNumber: UInt64 = 0
    private var position = 0

    package init(byteCountMax: Int) { self.byteCountMax = byteCountMax }

    package var unansweredCount: Int { open.count - firstOpen }

    /// Whether nothing but fills should be sent.
    package var isFull: Bool {
        guard firstOpen < open.count else { return false }
        return position - open[firstOpen].position >= byteCountMax
    }

    /// Bytes of the stream that are not a piece.
    package mutating func sent(_ byteCount: Int) { position += byteCount }

    /// The next piece; returns its number.
    package mutating func sentPiece(byteCount: Int) -> UInt64 {
        open.append(Open(byteCount: byteCount, position: position))
        position += byteCount
        return firstNumber + UInt64(open.count - 1)
    }

    /// The worker has said whether it has a piece. Returns its size; nil if it was not asked about that.
    package mutating func answered(_ number: UInt64) -> Int? {
        guard number >= firstNumber, let index = Int(exactly: number - firstNumber), open.indices.contains(index),
            !open[index].isAnswered
        else { return nil }
        open[index].isAnswered = true
        let byteCount = open[index].byteCount
        while firstOpen < open.count, open[firstOpen].isAnswered { firstOpen += 1 }
        forgetAnswered()
        return byteCount
    }

    private mutating func forgetAnswered() {
        guard firstOpen > 256 || firstOpen == open.count else { return }
        open.removeFirst(firstOpen)
        firstNumber += UInt64(firstOpen)
        firstOpen = 0
    }
}
