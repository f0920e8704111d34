import ShoalCore

/// The fields that `/v1/chat/completions` and `/v1/completions` share.
struct GenerationOptions {
    var model: String
    var sampling: SamplingParameters
    var stopSequences: [String]
    /// Nil means until the context is full.
    var outputTokenCountMax: Int?
    var responseFormat: GenerationRequest.ResponseFormat
    /// Shoal's own field `speculate`; nil where it is absent.
    var speculation: SpeculationMode?
    /// Answers per prompt.
    var answerCount: Int
    var streams: Bool
    /// Whether a stream ends with a chunk that holds the usage.
    var includesUsage: Bool

    /// Throws `.invalidRequest` naming the field.
    init(_ fields: RequestFields) throws(RequestError) {
        model = try fields.requiredString("model")
        sampling = try SamplingParameters(fields)
        stopSequences = try GenerationOptions.stopSequences(fields)
        outputTokenCountMax = try GenerationOptions.outputTokenCountMax(fields)
        responseFormat = try GenerationRequest.ResponseFormat(fields)
        speculation = try fields.speculation()
        answerCount = try fields.integer("n", in: 1...GatewayLimits.answerCountMax) ?? 1
        streams = try fields.boolean("stream") ?? false
        includesUsage = try fields.fields("stream_options")?.boolean("include_usage") ?? false
    }

    /// One request of the cluster for one answer. A seed given by the client is counted up for further answers, so
    /// that `n` answers differ and can still be had again.
    func request(id: RequestID, input: GenerationRequest.Input, answer index: Int) -> GenerationRequest {
        var request = GenerationRequest(id: id, model: model, input: input)
        request.sampling = sampling
        request.sampling.seed = sampling.seed.map { $0 &+ UInt32(truncatingIfNeeded: index) }
        request.stopSequences = stopSequences
        request.outputTokenCountMax = outputTokenCountMax
        request.responseFormat = responseFormat
        request.speculation = speculation
        return request
    }

    private static func stopSequences(_ fields: RequestFields) throws(RequestError) -> [String] {
        guard let value = fields["stop"] else { return [] }
        let elements: [JSONValue]
        if case .array(let list) = value { elements = list } else { elements = [value] }
        guard elements.count <= Limits.stopSequenceCountMax else {
            throw fields.refuse("stop", "has \(elements.count) entries; at most \(Limits.stopSequenceCountMax) work")
        }
        var sequences: [String] = []
        for element in elements {
            guard case .string(let text) = element else {
                throw fields.refuse("stop", "must be a string or an array of strings, not \(element.kindDescription)")
            }
            guard (1...Limits.stopSequenceByteCountMax).contains(text.utf8.count) else {
                let limit = Limits.stopSequenceByteCountMax
                throw fields.refuse("stop", "has an entry of \(text.utf8.count) bytes; 1 to \(limit) work")
            }
            sequences.append(text)
        }
        return sequences
    }

    /// `max_completion_tokens` wins over its older name. -1 means no limit, as llama.cpp's clients write it.
    private static func outputTokenCountMax(_ fields: RequestFields) throws(RequestError) -> Int? {
        for name in ["max_completion_tokens", "max_tokens"] {
            guard let count = try fields.integer(name, in: -1...Int(Int32.max)) else { continue }
            guard count != 0 else { throw fields.refuse(name, "must be at least 1, or -1 for no limit") }
            return count < 0 ? nil : count
        }
        return nil
    }
}

extension RequestFields {
    /// The field `speculate` of requests and of loads.
    func speculation() throws(RequestError) -> SpeculationMode? {
        guard let text = try string("speculate") else { return nil }
        guard let mode = SpeculationMode(rawValue: text) else {
            throw refuse("speculate", "must be off, auto, ngram or draft, not \"\(text)\"")
        }
        return mode
    }
}
