package import ShoalCore

/// A model without weights: the next token is a function of the whole history, so any mistake in what travels or in the
/// KV bookkeeping changes the text.
package struct FakeModel: Sendable, Hashable {
    /// Tokens 0 to 255 are bytes.
    package static let beginToken = TokenID(rawValue: 256)
    package static let endToken = TokenID(rawValue: 257)
    package static let vocabularyTokenCount = 258

    private static let alphabet = Array("abcdefghijklmnopqrstuvwxyz ".utf8)

    package var family = "fake"
    package var layerCount = 12
    package var embeddingWidth = 16
    /// Of the file; divided by layers.
    package var weightByteCount = 12 << 20
    /// The history length after which the model ends its answer; nil means never.
    package var endsAtTokenCount: Int?

    package init() {}

    package func tokenize(_ text: String, addSpecial: Bool) -> [TokenID] {
        (addSpecial ? [Self.beginToken] : []) + text.utf8.map { TokenID(rawValue: Int32($0)) }
    }

    /// Empty for special tokens.
    package func piece(of token: TokenID) -> [UInt8] { UInt8(exactly: token.rawValue).map { [$0] } ?? [] }

    package func text(of tokens: [TokenID]) -> String { String(decoding: tokens.flatMap(piece), as: UTF8.self) }

    package func renderChat(_ messages: [ChatMessage]) -> String {
        messages.map { "<\($0.role)>\($0.content)\n" }.joined() + "<assistant>"
    }

    /// What follows `history`: FNV-1a over its tokens picks a letter.
    package func next(after history: [TokenID]) -> TokenID {
        if let endsAtTokenCount, history.count >= endsAtTokenCount { return Self.endToken }
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for token in history { hash = (hash ^ UInt64(UInt32(bitPattern: token.rawValue))) &* 0x0100_0000_01B3 }
        return TokenID(rawValue: Int32(Self.alphabet[Int((hash >> 20) % UInt64(Self.alphabet.count))]))
    }

    /// The answer that an instance must give: `count` tokens, or fewer when the model ends it.
    package func continuation(of prompt: [TokenID], count: Int) -> [TokenID] {
        var history = prompt
        while history.count < prompt.count + count {
            let token = next(after: history)
            guard token != Self.endToken else { break }
            history.append(token)
        }
        return Array(history.dropFirst(prompt.count))
    }
}
