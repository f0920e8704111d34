import ShoalCore
import ShoalScheduling

/// A deterministic language model: the next token is a hash of all tokens before it, or, where the text begins with an
/// even token, mostly of the last one alone, so that it repeats itself and now and then does not.
enum ReferenceModel {
    /// Pieces of some tokens: whole words, halves of characters, beginnings of stop sequences.
    static let pieces: [[UInt8]] = [
        Array("the ".utf8), Array("fish ".utf8), Array("a".utf8), Array("ab".utf8), Array("b".utf8), [0xC3], [0xA9],
        [0xE2, 0x82], [0xAC], [0xF0, 0x9F], [0x90, 0x9F], [0xFF], Array("END".utf8), Array("EN".utf8), [],
        Array("\n".utf8),
    ]

    static func next(after tokens: [TokenID], in sequence: SequenceID) -> SampledToken {
        var hash = hash(of: tokens[...])
        if let first = tokens.first, first.rawValue % 2 == 0, hash % 6 != 0 { hash = self.hash(of: tokens.suffix(1)) }
        let isEnd = hash % 40 == 0
        let token = Int(hash >> 8) % pieces.count
        return SampledToken(
            sequence: sequence, token: TokenID(rawValue: isEnd ? 999 : Int32(token)), piece: isEnd ? [] : pieces[token],
            isEndOfGeneration: isEnd)
    }

    private static func hash(of tokens: ArraySlice<TokenID>) -> UInt64 {
        tokens.reduce(7) { SeededGenerator.mixed($0 ^ UInt64(bitPattern: Int64($1.rawValue))) }
    }

    /// The whole answer computed at once: its text, why it ends, and its tokens.
    static func answer(
        to request: TokenizedRequest, contextTokenCount: Int
    ) -> (text: String, reason: FinishReason, tokens: [TokenID]) {
        var tokens = request.promptTokens
        var bytes: [UInt8] = []
        let countMax = min(request.outputTokenCountMax ?? .max, contextTokenCount - request.promptTokens.count)
        for _ in 0..<countMax {
            let sampled = next(after: tokens, in: SequenceID(rawValue: 0))
            if sampled.isEndOfGeneration {
                let (text, _) = NaiveText.text(of: bytes, stopSequences: request.stopSequences, isFinished: true)
                return (text, .stop, Array(tokens.dropFirst(request.promptTokens.count)))
            }
            tokens.append(sampled.token)
            bytes += sampled.piece
            let (text, isStopped) = NaiveText.text(of: bytes, stopSequences: request.stopSequences, isFinished: false)
            if isStopped { return (text, .stop, Array(tokens.dropFirst(request.promptTokens.count))) }
        }
        let (text, isStopped) = NaiveText.text(of: bytes, stopSequences: request.stopSequences, isFinished: true)
        return (text, isStopped ? .stop : .length, Array(tokens.dropFirst(request.promptTokens.count)))
    }
}

/// What `TextAssembler` must give, computed from all bytes at once.
enum NaiveText {
    /// Cuts at the stop sequence that ends first, and of those the longest. Without `isFinished`, incomplete characters
    /// at the end do not count yet.
    static func text(of bytes: [UInt8], stopSequences: [String], isFinished: Bool) -> (text: String, isStopped: Bool) {
        let whole = isFinished ? bytes : Array(bytes.dropLast(incompleteByteCount(bytes)))
        let text = Array(String(decoding: whole, as: UTF8.self).utf8)
        let stops = stopSequences.map { Array($0.utf8) }.filter { !$0.isEmpty }
        for end in text.indices.map({ $0 + 1 }) {
            let matches = stops.filter { text[..<end].suffix($0.count) == $0[...] }
            guard let longest = matches.map(\.count).max() else { continue }
            return (String(decoding: text[..<(end - longest)], as: UTF8.self), true)
        }
        return (String(decoding: text, as: UTF8.self), false)
    }

    /// A tail is incomplete when some continuation makes it a character.
    private static func incompleteByteCount(_ bytes: [UInt8]) -> Int {
        for count in [3, 2, 1] where count <= bytes.count {
            let tail = Array(bytes.suffix(count))
            if tail[0] >= 0xC0, isBeginning(tail) { return count }
        }
        return 0
    }

    private static func isBeginning(_ tail: [UInt8]) -> Bool {
        for missing in 1...3 {
            // The extremes of the second byte's ranges: 80, 8F, 90, 9F, A0, BF.
            for filler: UInt8 in [0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF] {
                let candidate = tail + [filler] + Array(repeating: 0x80, count: missing - 1)
                if let text = String(validating: candidate, as: UTF8.self), text.unicodeScalars.count == 1 {
                    return true
                }
            }
        }
        return false
    }
}
