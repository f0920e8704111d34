@testable import ShoalRPC

/// Drives a `HeadSession` with bytes and gathers what it did with them.
struct SessionRunner {
    /// A piece, as the stream for the rpc-server would get it back.
    struct Piece: Hashable {
        var span: PieceSpan
        var bytes: [UInt8]
    }

    var session: HeadSession
    /// The stream for the rpc-server, with the pieces put in.
    private(set) var toServer: [UInt8] = []
    private(set) var pieces: [Piece] = []
    private(set) var toClient: [UInt8] = []
    private(set) var learned: [ProbeQuestion: [UInt8]] = [:]
    private(set) var failures: [String] = []
    private(set) var memoryChangeCount = 0
    private var collected: [UInt8] = []

    init(index: TensorIndex = TensorIndex(headers: []), answers: ProbeAnswers = ProbeAnswers()) {
        session = HeadSession(index: index, answers: answers)
    }

    mutating func clientSends(_ bytes: some Sequence<UInt8>) { run(Array(bytes)) { $0.received($1, &$2) } }

    mutating func serverSends(_ bytes: some Sequence<UInt8>) { run(Array(bytes)) { $0.replied($1, &$2) } }

    private mutating func run(
        _ bytes: [UInt8],
        _ step: (inout HeadSession, UnsafeRawBufferPointer, inout [HeadSession.Action]) -> Int
    ) {
        var rest = bytes[...]
        while !rest.isEmpty {
            var actions: [HeadSession.Action] = []
            let count = rest.withUnsafeBytes { step(&session, $0, &actions) }
            perform(actions, rest.prefix(count))
            guard count > 0 || !actions.isEmpty else { break }
            rest = rest.dropFirst(count)
        }
    }

    private mutating func perform(_ actions: [HeadSession.Action], _ input: ArraySlice<UInt8>) {
        var rest = input
        func take(_ count: Int) -> ArraySlice<UInt8> {
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count)
        }
        for action in actions {
            switch action {
            case .send(let bytes): toServer += bytes
            case .sendInput(let count): toServer += take(count)
            case .collect(let count): collected += take(count)
            case .endPiece(let span):
                pieces.append(Piece(span: span, bytes: collected))
                toServer += collected
                collected = []
            case .answer(let bytes): toClient += bytes
            case .answerInput(let count): toClient += take(count)
            case .learned(let question, let answer): learned[question] = answer
            case .memoryChanges: memoryChangeCount += 1
            case .fail(let reason): failures.append(reason)
            }
        }
    }

    mutating func takeToClient() -> [UInt8] {
        defer { toClient = [] }
        return toClient
    }

    mutating func takeToServer() -> [UInt8] {
        defer { toServer = [] }
        return toServer
    }
}
