import ShoalCore

/// One chat with one model, in a terminal.
struct Conversation {
    var client: NodeClient
    /// Model, options, and the messages that every conversation starts with.
    var template: ChatRequestBody
    var showsTimings: Bool
    var showsTrace = false

    /// One question, one answer.
    func ask(_ prompt: String) async throws {
        var request = template
        request.messages.append(ChatMessage(role: "user", content: prompt))
        _ = try await answer(request)
    }

    /// Questions and answers until /bye or the end of the input.
    func chat() async throws {
        var messages = template.messages
        while true {
            Terminal.write(">>> ")
            guard let line = try await Terminal.readLine() else { return Terminal.writeLine("") }
            switch line.trimmingBlanks {
            case "": continue
            case "/bye": return
            case "/clear":
                messages = template.messages
                Terminal.writeLine("forgotten")
            case let command where command.hasPrefix("/"):
                Terminal.writeLine("\(command) is not a command; there are /clear and /bye")
            default:
                messages.append(ChatMessage(role: "user", content: line))
                messages = try await continued(messages)
            }
        }
    }

    /// The conversation with the answer added. A refused question is told and taken back, so that the chat goes on.
    private func continued(_ messages: [ChatMessage]) async throws -> [ChatMessage] {
        var request = template
        request.messages = messages
        do {
            return messages + [ChatMessage(role: "assistant", content: try await answer(request))]
        } catch let error as ShoalError where error.code != .linkLost {
            Terminal.note("shoal: \(error.message)")
            return Array(messages.dropLast())
        }
    }

    private func answer(_ request: ChatRequestBody) async throws -> String {
        var text = ""
        var id: String?
        try await client.stream("/v1/chat/completions", request) { (event: ChatEvent) in
            if let error = event.error {
                Terminal.writeLine("")
                throw ErrorBody(error: error).shoalError
            }
            id = event.id ?? id
            let piece = event.choices?.first?.delta?.content ?? ""
            text += piece
            Terminal.write(piece)
            if let timings = event.timings {
                Terminal.writeLine("")
                if showsTimings { Terminal.note(timings.sentence) }
            }
        }
        if showsTrace, let id { await tell(traceOf: id) }
        return text
    }

    /// An answer that has no trace, because llama-server gave it, is an answer all the same.
    private func tell(traceOf id: String) async {
        do throws(ShoalError) {
            let trace: TraceReport = try await client.get("/shoal/v1/traces/\(percentEncoded(id))")
            trace.lines.forEach(Terminal.note)
        } catch {
            Terminal.note("no trace: \(error.message)")
        }
    }
}

extension ChatEvent.Timings {
    /// "prompt 12 tokens, 340.1 tok/s; answer 30 tokens, 41.5 tok/s"
    var sentence: String {
        let prompt = promptPerSecond.map { ", \(oneDecimal($0)) tok/s" } ?? ""
        let output = outputPerSecond.map { ", \(oneDecimal($0)) tok/s" } ?? ""
        return "prompt \(promptCount) tokens\(prompt); answer \(outputCount) tokens\(output)"
    }
}

extension String {
    /// Without blanks at both ends.
    fileprivate var trimmingBlanks: String {
        guard let first = firstIndex(where: { !$0.isWhitespace }), let last = lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return String(self[first...last])
    }
}
