import ShoalCore

// Orders come from other nodes; what is wrong in them must be refused here, before anything counts on it.

extension InstanceOrder {
    /// Throws `invalidPlacement`, `invalidRequest`.
    func validate() throws(ShoalError) {
        guard (1...Limits.stageCountMax).contains(stages.count) else {
            throw ShoalError(
                .invalidPlacement, "an instance of \(stages.count) stages; it must have 1 to \(Limits.stageCountMax)")
        }
        guard (2...Limits.contextTokenCountMax).contains(contextTokenCount) else {
            throw ShoalError(
                .invalidRequest,
                "the context is \(contextTokenCount) tokens; it must be 2 to \(Limits.contextTokenCountMax)")
        }
        guard (1...Limits.sequenceCountMax).contains(sequenceCountMax) else {
            throw ShoalError(
                .invalidRequest,
                "the number of sequences is \(sequenceCountMax); it must be 1 to \(Limits.sequenceCountMax)")
        }
        guard draft == nil || rpc == nil else {
            throw ShoalError(.invalidRequest, "an order for the rpc engine names a draft model")
        }
        try rpc?.validate(stageCount: stages.count)
    }

    /// What is known before the head has begun.
    func report(headName: String) -> InstanceReport {
        InstanceReport(
            id: id, model: model.name, family: family, head: head ?? stages[stages.count - 1].node,
            headName: headName, phase: .placing,
            stages: stages.map {
                StageReport(
                    node: $0.node, nodeName: $0.nodeName, layers: $0.layers, phase: .placing,
                    weightBytes: $0.weightBytes)
            },
            contextTokenCount: contextTokenCount, sequenceCountMax: sequenceCountMax,
            createdUnixSeconds: createdUnixSeconds)
    }
}

extension RPCOrder {
    /// Throws `invalidPlacement`, `invalidRequest`.
    func validate(stageCount: Int) throws(ShoalError) {
        let named = foreignAddresses.keys + [localStage].compactMap { $0 }
        guard named.allSatisfy({ (0..<stageCount).contains($0) }), foreignAddresses[localStage ?? -1] == nil else {
            throw ShoalError(.invalidPlacement, "an order for the rpc engine names stages that it does not have")
        }
        let words = options.arguments + [options.multimodalProjectorPath, options.headName].compactMap { $0 }
        guard words.count <= RPCOptions.argumentCountMax + 2,
            words.allSatisfy({ $0.utf8.count <= RPCOptions.argumentByteCountMax && !$0.contains("\0") })
        else { throw ShoalError(.invalidRequest, "too many or too long words for llama-server") }
    }
}

extension StageAssignment {
    /// `sender` is the node that asks: only an instance's head assigns its stages. Throws `invalidPlacement`.
    func validate(sender: NodeID) throws(ShoalError) {
        guard head == sender else {
            throw ShoalError(.invalidPlacement, "node \(sender) assigned a stage in the name of node \(head)")
        }
        guard (1...Limits.stageCountMax).contains(stageCount), (0..<stageCount).contains(stageIndex), generation > 0
        else {
            throw ShoalError(
                .invalidPlacement, "stage \(stageIndex) of \(stageCount) in generation \(generation) cannot be")
        }
    }
}
