import ShoalCore

/// How one of OpenAI's two endpoints words its answers.
protocol AnswerDialect: Sendable {
    /// In front of the identifier of a response: "chatcmpl" or "cmpl".
    static var identifierPrefix: String { get }
    /// `object` of a plain response.
    static var objectName: String { get }
    /// `object` of each chunk of a stream.
    static var chunkObjectName: String { get }
    /// Text that belongs in front of the answer of that index.
    func leadingText(answer index: Int) -> String
    /// What a choice of a chunk holds before the first text; nil where nothing is sent.
    func opening(answer index: Int) -> JSONValue.Member?
    /// What a choice of a chunk holds for more text; empty text in the last one.
    func delta(text: String) -> JSONValue.Member
    /// What a choice of a plain response holds.
    func whole(text: String) -> JSONValue.Member
}

/// `/v1/chat/completions`: the role comes first, then pieces of the message's content.
struct ChatDialect: AnswerDialect {
    static let identifierPrefix = "chatcmpl"
    static let objectName = "chat.completion"
    static let chunkObjectName = "chat.completion.chunk"

    func leadingText(answer index: Int) -> String { "" }

    func opening(answer index: Int) -> JSONValue.Member? { .init("delta", ["role": "assistant", "content": ""]) }

    func delta(text: String) -> JSONValue.Member {
        .init("delta", text.isEmpty ? [:] : ["content": .string(text)])
    }

    func whole(text: String) -> JSONValue.Member {
        .init("message", ["role": "assistant", "content": .string(text)])
    }
}

/// `/v1/completions`: nothing but text, with the prompt in front where `echo` asks for it.
struct CompletionDialect: AnswerDialect {
    static let identifierPrefix = "cmpl"
    static let objectName = "text_completion"
    static let chunkObjectName = "text_completion"

    /// One per answer.
    var echoes: [String]

    func leadingText(answer index: Int) -> String { echoes[index] }

    func opening(answer index: Int) -> JSONValue.Member? {
        echoes[index].isEmpty ? nil : delta(text: echoes[index])
    }

    func delta(text: String) -> JSONValue.Member { .init("text", .string(text)) }

    func whole(text: String) -> JSONValue.Member { .init("text", .string(text)) }
}
