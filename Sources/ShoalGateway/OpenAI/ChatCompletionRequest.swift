import ShoalCore

/// The body of `POST /v1/chat/completions`.
struct ChatCompletionRequest {
    var options: GenerationOptions
    var messages: [ChatMessage]

    /// Throws `.invalidRequest` naming the field.
    init(_ json: JSONValue) throws(RequestError) {
        let fields = try RequestFields(json)
        try ChatCompletionRequest.refuseUnsupported(fields)
        options = try GenerationOptions(fields)
        guard let elements = try fields.array("messages"), !elements.isEmpty else {
            throw fields.refuse("messages", "is missing; it must be an array of at least one message")
        }
        messages = []
        for (index, element) in elements.enumerated() {
            messages.append(try ChatMessage(RequestFields(element, prefix: "messages[\(index)].")))
        }
    }

    private static func refuseUnsupported(_ fields: RequestFields) throws(RequestError) {
        for name in ["tools", "functions"] {
            if let list = try fields.array(name), !list.isEmpty {
                throw fields.refuse(name, "is not supported yet; send the request without it")
            }
        }
        for name in ["audio", "top_logprobs"] where fields[name] != nil {
            throw fields.refuse(name, "is not supported yet; send the request without it")
        }
        if try fields.boolean("logprobs") == true {
            throw fields.refuse("logprobs", "is not supported yet; send the request without it")
        }
    }
}

extension ChatMessage {
    /// Reads one message: its content is a string or a list of text parts, which are joined.
    init(_ fields: RequestFields) throws(RequestError) {
        let role = try fields.requiredString("role")
        if let calls = try fields.array("tool_calls"), !calls.isEmpty {
            throw fields.refuse("tool_calls", "is not supported yet")
        }
        switch role {
        case "system", "user", "assistant": self.init(role: role, content: try ChatMessage.content(fields, role: role))
        // OpenAI's newer name of the system role, which chat templates do not know.
        case "developer": self.init(role: "system", content: try ChatMessage.content(fields, role: role))
        case "tool", "function": throw fields.refuse("role", "of \"\(role)\" is not supported yet")
        default: throw fields.refuse("role", "must be system, developer, user or assistant, not \"\(role)\"")
        }
    }

    private static func content(_ fields: RequestFields, role: String) throws(RequestError) -> String {
        switch fields["content"] {
        case .string(let text): return text
        case .array(let parts):
            var text = ""
            for part in parts { text += try ChatMessage.text(of: part, in: fields) }
            return text
        // An assistant's message may be empty in a history; nobody else's.
        case nil where role == "assistant": return ""
        case nil: throw fields.refuse("content", "is missing; it must be a string or an array of text parts")
        case let value?:
            throw fields.refuse("content", "must be a string or an array of text parts, not \(value.kindDescription)")
        }
    }

    private static func text(of part: JSONValue, in message: RequestFields) throws(RequestError) -> String {
        guard case .string(let type)? = part["type"] else {
            throw message.refuse("content", "has a part without a \"type\"")
        }
        guard type == "text" else {
            throw message.refuse("content", "has a part of type \"\(type)\", which is not supported yet; only text is")
        }
        guard case .string(let text)? = part["text"] else {
            throw message.refuse("content", "has a text part without a string in \"text\"")
        }
        return text
    }
}
