package import ShoalCore

/// Whether two models mean the same by a token, so that one can guess for the other.
package enum VocabularyComparison {
    /// Models of one family are padded to different sizes; llama.cpp allows as many (common/speculative.cpp).
    package static let sizeDifferenceMax = 128
    /// The first tokens are special ones, which guesses do not need to share. Also as in llama.cpp.
    package static let firstComparedToken = 5

    private static let tokensKey = "tokenizer.ggml.tokens"
    private static let modelKey = "tokenizer.ggml.model"

    /// Throws `invalidRequest` that names both files and what differs. `draft` and `model` are the headers of the
    /// models' first files, where the vocabulary is.
    package static func requireSame(draft: GGUFHeader, model: GGUFHeader) throws(ShoalError) {
        let (draftKind, kind) = (try draft.string(modelKey) ?? "none", try model.string(modelKey) ?? "none")
        guard draftKind == kind else {
            throw refusal(draft, model, "the tokenizers are \(quoted(draftKind)) and \(quoted(kind))")
        }
        let (own, others) = (try texts(of: draft), try texts(of: model))
        guard abs(own.count - others.count) <= sizeDifferenceMax else {
            throw refusal(draft, model, "they have \(own.count) and \(others.count) tokens")
        }
        let common = min(own.count, others.count)
        for token in min(firstComparedToken, common)..<common
        where draft.bytes[own[token]] != model.bytes[others[token]] {
            let text = quoted(String(decoding: draft.bytes[own[token]], as: UTF8.self))
            let other = quoted(String(decoding: model.bytes[others[token]], as: UTF8.self))
            throw refusal(draft, model, "token \(token) is \(text) in one and \(other) in the other")
        }
    }

    private static func refusal(_ draft: GGUFHeader, _ model: GGUFHeader, _ reason: String) -> ShoalError {
        ShoalError(
            .invalidRequest,
            "\(draft.fileName) cannot guess for \(model.fileName): their vocabularies differ, \(reason); give a draft "
                + "model of the same family")
    }

    /// Where each token's text is in the header's bytes.
    private static func texts(of header: GGUFHeader) throws(ShoalError) -> [Range<Int>] {
        guard let key = header.key(tokensKey), key.isArray, key.elementType == .string else {
            throw ShoalError(.malformedModel, "\(header.fileName): there is no vocabulary in it")
        }
        var texts: [Range<Int>] = []
        texts.reserveCapacity(key.elementCount)
        // The header's reader has checked that all elements lie inside the value.
        var offset = key.value.lowerBound
        for _ in 0..<key.elementCount {
            let start = offset + 8
            guard start <= key.value.upperBound else { break }
            let length = header.bytes[offset..<start].reversed().reduce(0) { $0 << 8 | Int($1) }
            guard length >= 0, length <= key.value.upperBound - start else { break }
            texts.append(start..<start + length)
            offset = start + length
        }
        guard texts.count == key.elementCount else {
            throw ShoalError(.malformedModel, "\(header.fileName): the vocabulary ends early")
        }
        return texts
    }
}
