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
        engine = try LoadRequest.engine(fields)
        if let options = try fields.fields("rpc") { rpc = try RPCOptions(options) }
        objective = try LoadRequest.objective(fields)
        excludedNodes = try LoadRequest.nodeNames(fields)
        imaginedNodes = try LoadRequest.imaginedNodes(fields)
        wire = try LoadRequest.wire(fields)
        speculation = try fields.speculation()
        draft = try fields.string("draft")
        promptTokenCount = try fields.integer("promptTokenCount", in: 1...Limits.contextTokenCountMax)
    }

    private static func engine(_ fields: RequestFields) throws(RequestError) -> EngineKind? {
        guard let name = try fields.string("engine") else { return nil }
        guard let engine = EngineKind(rawValue: name) else {
            let known = EngineKind.allCases.map(\.rawValue).joined(separator: " or ")
            throw fields.refuse("engine", "is \"\(name)\"; it must be \(known)")
        }
        return engine
    }

    private static func objective(_ fields: RequestFields) throws(RequestError) -> PlanObjective? {
        guard let text = try fields.string("objective") else { return nil }
        guard let objective = PlanObjective(rawValue: text) else {
            let known = PlanObjective.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: " or ")
            throw fields.refuse("objective", "must be \(known), not \"\(text)\"")
        }
        return objective
    }

    private static func wire(_ fields: RequestFields) throws(RequestError) -> BoundaryFormat? {
        guard let text = try fields.string("wire") else { return nil }
        guard let format = BoundaryFormat(rawValue: text) else {
            let known = BoundaryFormat.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            throw fields.refuse("wire", "must be one of \(known), not \"\(text)\"")
        }
        return format
    }

    private static func nodeNames(_ fields: RequestFields) throws(RequestError) -> [String]? {
        guard let elements = try bounded("excludedNodes", fields) else { return nil }
        var names: [String] = []
        for element in elements {
            guard case .string(let name) = element else { throw fields.refuse("excludedNodes", "must hold names") }
            names.append(name)
        }
        return names
    }

    /// Each as {"name": N, "memory": BYTES} or as the text of `--with`.
    private static func imaginedNodes(_ fields: RequestFields) throws(RequestError) -> [ImaginedNode]? {
        guard let elements = try bounded("imaginedNodes", fields) else { return nil }
        var nodes: [ImaginedNode] = []
        for (index, element) in elements.enumerated() {
            if case .string(let text) = element {
                do {
                    nodes.append(try ImaginedNode(parsing: text))
                } catch {
                    throw RequestError(error, param: "imaginedNodes[\(index)]")
                }
                continue
            }
            let node = try RequestFields(element, prefix: "imaginedNodes[\(index)].")
            guard let memory = try node.integer("memory", in: 1...Int(1) << 60) else {
                throw node.refuse("memory", "is missing")
            }
            nodes.append(ImaginedNode(name: try node.requiredString("name"), memory: ByteCount(memory)))
        }
        return nodes
    }

    private static func bounded(_ name: String, _ fields: RequestFields) throws(RequestError) -> [JSONValue]? {
        guard let elements = try fields.array(name) else { return nil }
        guard elements.count <= Limits.peerCountMax else {
            throw fields.refuse(name, "has \(elements.count) entries; at most \(Limits.peerCountMax) work")
        }
        return elements
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

extension RPCOptions {
    /// Reads "rpc" of a load request; everything may be absent.
    fileprivate init(_ fields: RequestFields) throws(RequestError) {
        self.init()
        let tokens = 1...Limits.contextTokenCountMax
        multimodalProjectorPath = try fields.string("multimodalProjectorPath")
        servesEmbeddings = try fields.boolean("servesEmbeddings") ?? false
        servesReranking = try fields.boolean("servesReranking") ?? false
        batchTokenCount = try fields.integer("batchTokenCount", in: tokens)
        microBatchTokenCount = try fields.integer("microBatchTokenCount", in: tokens)
        isVerbose = try fields.boolean("isVerbose") ?? false
        headName = try fields.string("headName")
        let words = try fields.array("arguments") ?? []
        guard words.count <= RPCOptions.argumentCountMax else {
            throw fields.refuse("arguments", "has \(words.count) words; at most \(RPCOptions.argumentCountMax) work")
        }
        for word in words {
            guard case .string(let text) = word else {
                throw fields.refuse("arguments", "must be an array of strings")
            }
            arguments.append(text)
        }
    }
}
