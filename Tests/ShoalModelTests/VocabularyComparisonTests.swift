import ShoalCore
import ShoalModel
import Testing

@Suite("Vocabularies of a model and its draft model")
struct VocabularyComparisonTests {
    private func header(_ name: String, _ tokens: [String]?, kind: String = "gpt2") throws -> GGUFHeader {
        var gguf = GGUFBuilder()
        gguf.add("general.architecture", "llama")
        gguf.add("tokenizer.ggml.model", kind)
        if let tokens { gguf.add("tokenizer.ggml.tokens", strings: tokens) }
        return try GGUFHeader.read(MemoryBytes(gguf.file()), fileName: name)
    }

    private func refusal(_ draft: GGUFHeader, _ model: GGUFHeader) -> ShoalError? {
        do throws(ShoalError) {
            try VocabularyComparison.requireSame(draft: draft, model: model)
            return nil
        } catch {
            return error
        }
    }

    private let tokens = (0..<400).map { "token \($0) é" }

    @Test("equal ones fit, and so do those whose special tokens or padding differ")
    func same() throws {
        let model = try header("model.gguf", tokens)
        #expect(refusal(try header("draft.gguf", tokens), model) == nil)
        let padded = ["<start>", "<end>"] + tokens.dropFirst(2) + (0..<128).map { "[pad \($0)]" }
        #expect(refusal(try header("draft.gguf", padded), model) == nil)
        #expect(refusal(model, try header("draft.gguf", padded)) == nil)
    }

    @Test("a refusal names both files and what differs")
    func different() throws {
        let model = try header("model.gguf", tokens)
        var other = tokens
        other[399] = "else"
        let cases: [(GGUFHeader, String)] = [
            (try header("draft.gguf", other), "token 399 is \"else\" in one and \"token 399 é\" in the other"),
            (try header("draft.gguf", tokens + (0..<129).map { "[pad \($0)]" }), "529 and 400 tokens"),
            (try header("draft.gguf", tokens, kind: "llama"), "\"llama\" and \"gpt2\""),
        ]
        for (draft, what) in cases {
            let error = try #require(refusal(draft, model))
            #expect(error.code == .invalidRequest)
            for part in ["draft.gguf", "model.gguf", what] {
                #expect(error.message.contains(part), "\(error.message)")
            }
        }
    }

    @Test("a file without a vocabulary is refused")
    func missing() throws {
        let error = refusal(try header("draft.gguf", nil), try header("model.gguf", tokens))
        #expect(error?.code == .malformedModel)
        #expect(error?.message.contains("draft.gguf") == true)
    }
}
