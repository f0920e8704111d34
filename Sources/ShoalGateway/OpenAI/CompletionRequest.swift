import ShoalCore

/// The body of `POST /v1/completions`.
struct CompletionRequest {
    var options: GenerationOptions
    var prompts: [GenerationRequest.Input]
    /// Put in front of each answer; empty strings unless `echo` is set. One per prompt.
    var echoes: [String]

    /// Throws `.invalidRequest` naming the field.
    init(_ json: JSONValue) throws(RequestError) {
        let fields = try RequestFields(json)
        try CompletionRequest.refuseUnsupported(fields)
        options = try GenerationOptions(fields)
        if fields["max_tokens"] == nil, fields["max_completion_tokens"] == nil {
            options.outputTokenCountMax = GatewayLimits.completionTokenCountDefault
        }
        prompts = try CompletionRequest.prompts(fields)
        let answerCount = prompts.count * options.answerCount
        guard answerCount <= GatewayLimits.answerCountMax else {
            let limit = GatewayLimits.answerCountMax
            throw fields.refuse("prompt", "and \"n\" ask for \(answerCount) answers; at most \(limit) work")
        }
        echoes = try CompletionRequest.echoes(of: prompts, fields)
    }

    private static func refuseUnsupported(_ fields: RequestFields) throws(RequestError) {
        for name in ["suffix", "logprobs"] where fields[name] != nil {
            throw fields.refuse(name, "is not supported yet; send the request without it")
        }
        if let best = try fields.integer("best_of", in: 0...GatewayLimits.answerCountMax), best > 1 {
            throw fields.refuse("best_of", "is not supported yet; send the request without it")
        }
    }

    /// A string, a list of strings, a list of tokens, or a list of lists of tokens.
    private static func prompts(_ fields: RequestFields) throws(RequestError) -> [GenerationRequest.Input] {
        guard let value = fields["prompt"] else {
            throw fields.refuse("prompt", "is missing; it must be a string, an array of strings or an array of tokens")
        }
        guard case .array(let elements) = value else { return [try prompt(value, fields)] }
        guard let first = elements.first else { throw fields.refuse("prompt", "must not be an empty array") }
        if RequestFields.wholeNumber(first) != nil { return [.tokens(try tokens(elements, fields))] }
        var prompts: [GenerationRequest.Input] = []
        for element in elements { prompts.append(try prompt(element, fields)) }
        return prompts
    }

    private static func prompt(_ value: JSONValue, _ fields: RequestFields) throws(RequestError)
        -> GenerationRequest.Input
    {
        switch value {
        case .string(let text): return .text(text)
        case .array(let elements) where !elements.isEmpty: return .tokens(try tokens(elements, fields))
        default: throw fields.refuse("prompt", "must hold strings or tokens, not \(value.kindDescription)")
        }
    }

    private static func tokens(_ elements: [JSONValue], _ fields: RequestFields) throws(RequestError) -> [TokenID] {
        var tokens: [TokenID] = []
        tokens.reserveCapacity(elements.count)
        for element in elements {
            guard let number = RequestFields.wholeNumber(element), let token = Int32(exactly: number), token >= 0 else {
                throw fields.refuse("prompt", "has an element that is not a token number")
            }
            tokens.append(TokenID(rawValue: token))
        }
        return tokens
    }

    private static func echoes(
        of prompts: [GenerationRequest.Input], _ fields: RequestFields
    ) throws(RequestError) -> [String] {
        guard try fields.boolean("echo") == true else { return prompts.map { _ in "" } }
        var echoes: [String] = []
        for prompt in prompts {
            guard case .text(let text) = prompt else {
                throw fields.refuse("echo", "works only with prompts of text, not with tokens")
            }
            echoes.append(text)
        }
        return echoes
    }
}
