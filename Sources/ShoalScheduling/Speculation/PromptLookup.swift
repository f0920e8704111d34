import ShoalCore

/// Guesses what follows a text by looking where its last tokens occurred before.
///
/// The guess goes on token by token from behind the latest earlier occurrence, through the guesses themselves where the
/// occurrence overlaps the end: a text that repeats is guessed without end.
struct PromptLookup: Sendable {
    /// Tokens that have to match. Two match by chance too often; four find less.
    private static let matchTokenCount = 3

    private struct Key: Hashable {
        var a: TokenID
        var b: TokenID
        var c: TokenID
    }

    /// Where each run of tokens ended last, and so where what followed it is.
    private var ends: [Key: Int] = [:]
    private var indexedCount = 0

    /// Position of the token that followed the last tokens of `tokens` where they occurred before; nil if they did not.
    mutating func occurrence(in tokens: [TokenID]) -> Int? {
        let length = Self.matchTokenCount
        guard tokens.count >= length else { return nil }
        // Everything but the end itself, which would only find itself.
        var end = max(length, indexedCount + 1)
        while end < tokens.count {
            ends[key(endingAt: end, in: tokens)] = end
            end += 1
        }
        indexedCount = max(indexedCount, tokens.count - 1)
        return ends[key(endingAt: tokens.count, in: tokens)]
    }

    private func key(endingAt end: Int, in tokens: [TokenID]) -> Key {
        Key(a: tokens[end - 3], b: tokens[end - 2], c: tokens[end - 1])
    }
}
