internal import CLlama
internal import CShoalEngine
package import ShoalCore

#if canImport(Darwin)
    internal import Darwin
#elseif canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#else
    #error("a C library is needed")
#endif

/// A model's tokens and chat template, without its weights.
///
/// Immutable after `init`, and so usable from several threads.
// llama.h documents tokenizing as thread-safe, and the other calls made here are const lookups.
// Safety: libllama's vocabulary is only read after loading.
package final class Vocabulary: @unchecked Sendable {
    /// Tokens; 0 when the file has no vocabulary.
    package let tokenCount: Int

    /// `llama_vocab *`.
    let pointer: OpaquePointer
    private let model: OpaquePointer
    private let chat: OpaquePointer?
    private let chatProblem: String

    /// Loads the vocabulary of a model from its files, in order. Throws `malformedModel`.
    package init(paths: [String]) throws(ShoalError) {
        LlamaLibrary.start()
        _ = LlamaLibrary.loggedErrors()
        var parameters = llama_model_default_params()
        parameters.vocab_only = true
        parameters.load_mode = LLAMA_LOAD_MODE_NONE
        guard let model = LlamaLoading.open(paths, parameters) else {
            throw ShoalError(
                .malformedModel,
                "\(paths.first ?? ""): libllama cannot load the vocabulary\(LlamaLibrary.loggedErrors())")
        }
        guard let vocabulary = llama_model_get_vocab(model) else {
            llama_model_free(model)
            throw ShoalError(.malformedModel, "\(paths.first ?? ""): llama_model_get_vocab returned NULL")
        }
        self.model = model
        pointer = vocabulary
        let hasTokens = llama_vocab_type(vocabulary) != LLAMA_VOCAB_TYPE_NONE
        tokenCount = hasTokens ? Int(llama_vocab_n_tokens(vocabulary)) : 0
        var error: UnsafeMutablePointer<CChar>?
        chat = hasTokens ? shoal_chat_create(model, &error) : nil
        chatProblem = LlamaLibrary.taken(error) ?? "the model's file has no vocabulary"
    }

    deinit {
        if let chat { shoal_chat_free(chat) }
        llama_model_free(model)
    }

    /// `addSpecial` adds what the model wants around a text (BOS, EOS); `parseSpecial` reads special tokens in the text
    /// as such. Throws `invalidRequest`.
    package func tokens(of text: String, addSpecial: Bool, parseSpecial: Bool) throws(ShoalError) -> [TokenID] {
        try requireTokens()
        guard let byteCount = Int32(exactly: text.utf8.count) else {
            throw ShoalError(.invalidRequest, "a text of \(text.utf8.count) bytes cannot be tokenized")
        }
        var tokens: UnsafeMutablePointer<Int32>?
        var error: UnsafeMutablePointer<CChar>?
        let count = shoal_tokenize(pointer, text, byteCount, addSpecial, parseSpecial, &tokens, &error)
        defer { free(tokens) }
        guard count >= 0 else {
            throw ShoalError(.invalidRequest, "tokenizing: \(LlamaLibrary.taken(error) ?? "llama_tokenize failed")")
        }
        return UnsafeBufferPointer(start: tokens, count: Int(count)).map(TokenID.init(rawValue:))
    }

    /// As `piece(of:)`. Throws `invalidRequest` for unknown tokens.
    package func pieces(of tokens: [TokenID]) throws(ShoalError) -> [[UInt8]] {
        try requireTokens()
        for token in tokens { try require(token) }
        return tokens.map(piece(of:))
    }

    /// A token's text as raw bytes, which may end inside a UTF-8 character; empty for control and unknown tokens.
    package func piece(of token: TokenID) -> [UInt8] {
        guard (0..<tokenCount).contains(Int(token.rawValue)) else { return [] }
        let first = piece(of: token, capacity: 64)
        return first.count >= 0 ? first.bytes : piece(of: token, capacity: -first.count).bytes
    }

    package func isEndOfGeneration(_ token: TokenID) -> Bool {
        tokenCount > 0 && llama_vocab_is_eog(pointer, token.rawValue)
    }

    /// The token that ends an answer; nil when the vocabulary has none.
    package var endOfText: TokenID? {
        guard tokenCount > 0 else { return nil }
        let candidates = [llama_vocab_eot(pointer), llama_vocab_eos(pointer)]
        return candidates.first { $0 >= 0 }.map(TokenID.init(rawValue:))
    }

    /// The conversation as the model's own template writes it, ending with the prompt for the answer. Tokenize it with
    /// `addSpecial` and `parseSpecial`. Throws `invalidRequest`.
    package func rendered(_ messages: [ChatMessage]) throws(ShoalError) -> String {
        guard let chat else { throw ShoalError(.invalidRequest, "no chat template: \(chatProblem)") }
        var error: UnsafeMutablePointer<CChar>?
        let text = withCStrings(messages.map(\.role)) { roles in
            withCStrings(messages.map(\.content)) { contents in
                shoal_chat_render(chat, roles, contents, messages.count, &error)
            }
        }
        guard let text = LlamaLibrary.taken(text) else {
            let reason = LlamaLibrary.taken(error) ?? "the template failed"
            throw ShoalError(.invalidRequest, "rendering \(messages.count) messages with the chat template: \(reason)")
        }
        return text
    }

    /// GBNF of a JSON schema. Throws `invalidRequest`.
    package static func grammar(jsonSchema: String) throws(ShoalError) -> String {
        var error: UnsafeMutablePointer<CChar>?
        guard let grammar = LlamaLibrary.taken(shoal_json_schema_grammar(jsonSchema, &error)) else {
            throw ShoalError(.invalidRequest, "the JSON schema: \(LlamaLibrary.taken(error) ?? "cannot be converted")")
        }
        return grammar
    }

    private func piece(of token: TokenID, capacity: Int) -> (count: Int, bytes: [UInt8]) {
        var count = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, initialized in
            buffer.withMemoryRebound(to: CChar.self) { characters in
                count = Int(
                    llama_token_to_piece(pointer, token.rawValue, characters.baseAddress, Int32(capacity), 0, false))
            }
            initialized = max(0, count)
        }
        return (count, bytes)
    }

    private func requireTokens() throws(ShoalError) {
        guard tokenCount > 0 else { throw ShoalError(.invalidRequest, "the model's file has no vocabulary") }
    }

    private func require(_ token: TokenID) throws(ShoalError) {
        guard (0..<tokenCount).contains(Int(token.rawValue)) else {
            throw ShoalError(.invalidRequest, "token \(token) is outside the vocabulary of \(tokenCount) tokens")
        }
    }
}
