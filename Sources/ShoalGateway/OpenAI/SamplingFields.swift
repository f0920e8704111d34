import ShoalCore

extension SamplingParameters {
    /// Reads OpenAI's sampling fields and llama.cpp's `top_k`, `min_p` and `repeat_penalty`.
    init(_ fields: RequestFields) throws(RequestError) {
        self.init()
        if let value = try fields.number("temperature", in: 0...100) { temperature = Float(value) }
        if let value = try fields.number("top_p", in: 0...1) { topP = Float(value) }
        if let value = try fields.number("min_p", in: 0...1) { minP = Float(value) }
        // -1 is another way to write "off" that clients use.
        if let value = try fields.integer("top_k", in: -1...Int(Int32.max)) { topK = Int32(max(0, value)) }
        if let value = try fields.number("frequency_penalty", in: -2...2) { frequencyPenalty = Float(value) }
        if let value = try fields.number("presence_penalty", in: -2...2) { presencePenalty = Float(value) }
        if let value = try fields.number("repeat_penalty", in: 0.01...100) { repetitionPenalty = Float(value) }
        seed = try SamplingParameters.seed(fields)
        logitBias = try SamplingParameters.logitBias(fields)
    }

    /// The low 32 bits of OpenAI's 64-bit seed; -1 draws one, as llama.cpp's clients expect.
    private static func seed(_ fields: RequestFields) throws(RequestError) -> UInt32? {
        guard let seed = try fields.integer("seed", in: Int.min...Int.max), seed != -1 else { return nil }
        return UInt32(truncatingIfNeeded: seed)
    }

    private static func logitBias(_ fields: RequestFields) throws(RequestError) -> [TokenBias] {
        guard let members = try fields.object("logit_bias") else { return [] }
        guard members.count <= GatewayLimits.logitBiasCountMax else {
            let limit = GatewayLimits.logitBiasCountMax
            throw fields.refuse("logit_bias", "has \(members.count) entries; at most \(limit) work")
        }
        let biases = try RequestFields(.object(members), prefix: "logit_bias.")
        var result: [TokenBias] = []
        for member in members {
            guard let token = Int32(member.name), token >= 0 else {
                throw fields.refuse("logit_bias", "has the name \"\(member.name)\", which is not a token number")
            }
            guard let bias = try biases.number(member.name, in: -100...100) else { continue }
            result.append(TokenBias(token: TokenID(rawValue: token), bias: Float(bias)))
        }
        return result
    }
}

extension GenerationRequest.ResponseFormat {
    /// Reads `response_format`. A schema keeps the order of its properties, which is the order of the answer's.
    init(_ fields: RequestFields) throws(RequestError) {
        guard let format = try fields.fields("response_format") else {
            self = .text
            return
        }
        switch try format.requiredString("type") {
        case "text": self = .text
        case "json_object":
            // llama-server takes a schema here as well.
            self = try format.object("schema").map { .jsonSchema(JSONValue.object($0).text) } ?? .jsonObject
        case "json_schema":
            guard let schema = try format.fields("json_schema")?.object("schema") else {
                throw format.refuse("json_schema.schema", "is missing; it must be a JSON schema")
            }
            self = .jsonSchema(JSONValue.object(schema).text)
        case let other:
            throw format.refuse("type", "must be text, json_object or json_schema, not \"\(other)\"")
        }
    }
}
