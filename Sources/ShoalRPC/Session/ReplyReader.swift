/// Cuts the bytes that an rpc-server answers into replies, whose sizes are known from their requests.
struct ReplyReader {
    /// What the oldest outstanding request must be answered with.
    struct Expectation: Hashable {
        /// Of the body.
        var byteCount: UInt64
        /// Whether it is passed on as it comes, without being looked at.
        var isStreamed: Bool
    }

    enum Event: Hashable {
        /// Bytes of a reply: all of it, or, of one that is streamed, the size field.
        case bytes([UInt8], isLast: Bool)
        /// The next so many bytes of the input belong to a streamed reply.
        case input(Int, isLast: Bool)
        /// Not the size it must have, or nobody asked. `pending` belong in front of the rest of the input.
        case violation(pending: [UInt8])
    }

    private static let sizeByteCount = 8

    private var partial: [UInt8] = []
    /// Of a reply that is being streamed.
    private var remaining: UInt64 = 0

    /// Takes bytes from the front of `input`; nil with all of it taken means that more is needed.
    mutating func next(
        _ input: UnsafeRawBufferPointer, _ expected: Expectation?
    ) -> (byteCount: Int, event: Event?) {
        guard remaining == 0 else {
            let count = Int(min(UInt64(input.count), remaining))
            guard count > 0 else { return (0, nil) }
            remaining -= UInt64(count)
            return (count, .input(count, isLast: remaining == 0))
        }
        guard let expected else { return (0, input.isEmpty ? nil : violation()) }
        var taken = collect(input, upTo: Self.sizeByteCount)
        guard partial.count >= Self.sizeByteCount else { return (taken, nil) }
        guard LittleEndian.read(UInt64.self, from: partial, at: 0) == expected.byteCount else {
            return (taken, violation())
        }
        if expected.isStreamed {
            remaining = expected.byteCount
            return (taken, .bytes(takePartial(), isLast: remaining == 0))
        }
        let whole = Self.sizeByteCount + Int(expected.byteCount)
        taken += collect(UnsafeRawBufferPointer(rebasing: input[taken...]), upTo: whole)
        guard partial.count == whole else { return (taken, nil) }
        return (taken, .bytes(takePartial(), isLast: true))
    }

    /// The bytes of a reply that was begun.
    mutating func takePartial() -> [UInt8] {
        defer { partial = [] }
        return partial
    }

    private mutating func violation() -> Event { .violation(pending: takePartial()) }

    private mutating func collect(_ input: UnsafeRawBufferPointer, upTo count: Int) -> Int {
        let taken = min(input.count, max(0, count - partial.count))
        partial.append(contentsOf: input.prefix(taken))
        return taken
    }
}
