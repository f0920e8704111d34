import ShoalCore

extension LoadRequest {
    /// Reads the body of `POST /shoal/v1/plan` and `/shoal/v1/instances`: the JSON of a `LoadRequest` in which all but
    /// `model` may be absent and `layers` may be the text of `--layers`.
    init(_ json: JSONValue) throws(RequestError) {
        let fields = try RequestFields(json)
        self.init(
            model: try fields.requiredString("model"),
            layers: try LoadRequest.layers(fields),
            contextTokenCount: try fields.integer("contextTokenCount", in: 1...Limits.contextTokenCountMax),
            sequenceCountMax: try fields.integer("sequenceCountMax", in: 1...Limits.sequenceCountMax))
    }

    private static func layers(_ fields: RequestFields) throws(RequestError) -> [Assignment] {
        if case .string(let text)? = fields["layers"] {
            do {
                return try assignments(parsing: text)
            } catch {
                throw RequestError(error, param: "layers")
            }
        }
        let elements = try fields.array("layers") ?? []
        guard elements.count <= Limits.stageCountMax else {
            throw fields.refuse("layers", "has \(elements.count) entries; at most \(Limits.stageCountMax) work")
        }
        var assignments: [Assignment] = []
        for (index, element) in elements.enumerated() {
            assignments.append(try assignment(RequestFields(element, prefix: "layers[\(index)].")))
        }
        return assignments
    }

    private static func assignment(_ fields: RequestFields) throws(RequestError) -> Assignment {
        let name = try fields.requiredString("nodeName")
        guard let range = try fields.fields("layers"),
            let first = try range.integer("first", in: 0...Limits.layerCountMax),
            let end = try range.integer("end", in: 0...Limits.layerCountMax),
            let layers = LayerRange(first: first, end: end)
        else { throw fields.refuse("layers", "must be {\"first\": F, \"end\": E} with F below E") }
        return Assignment(nodeName: name, layers: layers)
    }
}
