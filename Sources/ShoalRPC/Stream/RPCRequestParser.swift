/// Cuts the bytes that a client sends to an rpc-server into requests, in whatever chunks they come.
///
/// It keeps at most the front of one request (3,260 bytes); bodies stream by and are only counted. The first thing it
/// does not understand ends its work for good: everything from that request's first byte on is plain.
package struct RPCRequestParser: Sendable {
    package enum Event: Sendable, Hashable {
        /// The next request; `remaining` bytes of its body follow as `body`.
        case request(RPCRequest)
        /// The next so many bytes of the input belong to the body of the request before.
        case body(Int)
        /// From here on nothing is understood. `pending` are the bytes that belong in front of the rest of the input.
        case passThrough(pending: [UInt8])
        /// The next so many bytes are not understood.
        case plain(Int)
    }

    private enum State {
        case header
        case front(RPCCommand, bodyByteCount: UInt64)
        case body(remaining: UInt64)
        case passThrough
    }

    private static let headerByteCount = 9

    private var state = State.header
    /// Header and front of the request that is being read.
    private var partial: [UInt8] = []
    private var sawHello = false

    package init() {}

    package var isPassThrough: Bool {
        if case .passThrough = state { true } else { false }
    }

    /// Whether the stream so far ends between two requests.
    package var isBetweenRequests: Bool {
        if case .header = state { partial.isEmpty } else { false }
    }

    /// From here on everything is plain; for violations that show up in the replies. Returns the bytes of a request
    /// that was begun.
    package mutating func passThrough() -> [UInt8] {
        state = .passThrough
        defer { partial = [] }
        return partial
    }

    /// Takes bytes from the front of `input`: how many, and what they are. Nil with all of `input` taken means that
    /// more is needed. Call again with the rest while there is some.
    package mutating func next(_ input: UnsafeRawBufferPointer) -> (byteCount: Int, event: Event?) {
        switch state {
        case .passThrough:
            return (input.count, input.isEmpty ? nil : .plain(input.count))
        case .body(let remaining):
            let count = Int(min(UInt64(input.count), remaining))
            guard count > 0 else { return (0, nil) }
            state = remaining == UInt64(count) ? .header : .body(remaining: remaining - UInt64(count))
            return (count, .body(count))
        case .header:
            let taken = collect(input, upTo: Self.headerByteCount)
            guard partial.count == Self.headerByteCount else { return (taken, nil) }
            return (taken, headerComplete())
        case .front(let command, let bodyByteCount):
            let taken = collect(input, upTo: Self.headerByteCount + command.lookedAtByteCount)
            return (taken, frontComplete(command, bodyByteCount))
        }
    }

    private mutating func collect(_ input: UnsafeRawBufferPointer, upTo count: Int) -> Int {
        let taken = min(input.count, count - partial.count)
        partial.append(contentsOf: input.prefix(taken))
        return taken
    }

    private mutating func headerComplete() -> Event? {
        let size = LittleEndian.read(UInt64.self, from: partial, at: 1)
        guard let command = RPCCommand(rawValue: partial[0]), command.requestSize.contains(size),
            sawHello != (command == .hello)
        else {
            return .passThrough(pending: passThrough())
        }
        sawHello = true
        state = .front(command, bodyByteCount: size)
        return frontComplete(command, size)
    }

    private mutating func frontComplete(_ command: RPCCommand, _ bodyByteCount: UInt64) -> Event? {
        guard partial.count == Self.headerByteCount + command.lookedAtByteCount else { return nil }
        let remaining = bodyByteCount - UInt64(command.lookedAtByteCount)
        let request = RPCRequest(command: command, bytes: partial, remaining: remaining)
        partial = []
        state = remaining == 0 ? .header : .body(remaining: remaining)
        return .request(request)
    }
}

/// A request as far as it is looked at.
package struct RPCRequest: Sendable, Hashable {
    package let command: RPCCommand
    /// Command, size, and the front of the body.
    package let bytes: [UInt8]
    /// Bytes of the body that are not in `bytes`.
    package let remaining: UInt64

    package init(command: RPCCommand, bytes: [UInt8], remaining: UInt64) {
        self.command = command
        self.bytes = bytes
        self.remaining = remaining
    }

    /// A whole request.
    package init(_ command: RPCCommand, body: [UInt8] = []) {
        self.init(
            command: command, bytes: [command.rawValue] + LittleEndian.bytes(UInt64(body.count)) + body, remaining: 0)
    }

    package var front: ArraySlice<UInt8> { bytes.dropFirst(9) }

    /// Of the whole request in the stream.
    package var byteCount: UInt64 { UInt64(bytes.count) + remaining }

    /// The size of its reply's body; nil if it has none.
    package var replyByteCount: UInt64? {
        switch command.replySize {
        case .none: nil
        case .exactly(let size): size
        case .asRequested: LittleEndian.read(from: bytes, at: bytes.count - 8)
        }
    }
}
