import ShoalCore
import ShoalModel

/// What a placement is predicted to do, and the report about it.
extension Placement {
    /// Starting an engine and proving with a token that it answers.
    private static let secondsToStart = 0.4
    /// Of a file that nobody has loaded yet: an ordinary solid-state disk.
    private static let assumedLoadBytesPerSecond = 500e6

    func report(_ pieces: [Piece], _ reasons: [String]) -> PlanReport {
        var report = PlanReport(
            model: request.modelName, family: request.shape.family, layerCount: layerCount, stages: stages(pieces),
            boundaryBytesPerToken: request.shape.boundaryBytesPerToken, reasons: reasons)
        report.objective = request.objective
        report.prediction = prediction(pieces)
        return report
    }

    func stages(_ pieces: [Piece]) -> [PlanReport.Stage] {
        pieces.indices.compactMap { index in
            let piece = pieces[index]
            guard let layers = LayerRange(first: piece.first, end: piece.end) else { return nil }
            let node = nodes[piece.node]
            var stage = PlanReport.Stage(
                node: node.id, nodeName: node.name, layers: layers,
                weightBytes: ByteCount(needs.weightBytes(piece.first, piece.end)), neededBytes: bytes(piece),
                availableBytes: node.acceleratorBytes ?? node.availableBytes)
            stage.prediction = stagePrediction(pieces, index, layers)
            return stage
        }
    }

    private func stagePrediction(_ pieces: [Piece], _ index: Int, _ layers: LayerRange) -> PlanReport.StagePrediction {
        let piece = pieces[index]
        let speed = costs.speeds[piece.node]
        let next = pieces[(index + 1) % pieces.count].node
        let isReturn = index == pieces.count - 1
        let hop =
            pieces.count == 1
            ? 0
            : costs.links.seconds(
                from: piece.node, to: next,
                byteCount: isReturn ? 4 : request.shape.boundaryBytesPerToken.rawValue)
        return PlanReport.StagePrediction(
            loadSeconds: loadSeconds(piece),
            promptSeconds: chunks.reduce(0) { $0 + speed.stageSeconds(layers, $1) },
            millisecondsPerToken: speed.stageSeconds(layers, token) * 1000, hopMilliseconds: hop * 1000)
    }

    private func loadSeconds(_ piece: Piece) -> Double {
        let rate = costs.speeds[piece.node].loadBytesPerSecond ?? Placement.assumedLoadBytesPerSecond
        return Double(needs.weightBytes(piece.first, piece.end)) / rate
    }

    // MARK: Times

    /// One token after the prompt.
    private var token: StageSpeed.Work {
        StageSpeed.Work(tokenCount: 1, cachedTokenCount: request.promptTokenCount, outputCount: 1)
    }

    /// The prompt's micro-batches. Tokens of a chunk see what came before it and, on average, half of the chunk.
    private var chunks: [StageSpeed.Work] {
        stride(from: 0, to: request.promptTokenCount, by: request.promptChunkTokenCount).map { first in
            let count = min(request.promptChunkTokenCount, request.promptTokenCount - first)
            let isLast = first + count == request.promptTokenCount
            return StageSpeed.Work(
                tokenCount: count, cachedTokenCount: first + count / 2, outputCount: isLast ? 1 : 0)
        }
    }

    func prediction(_ pieces: [Piece]) -> PlanPrediction {
        let load = (pieces.map(loadSeconds).max() ?? 0) + Placement.secondsToStart
        let alone = single(pieces)
        return PlanPrediction(
            loadSeconds: load, promptTokenCount: request.promptTokenCount,
            timeToFirstTokenSeconds: timeToFirstToken(pieces), millisecondsPerToken: alone * 1000,
            streamCount: request.sequenceCount, tokensPerSecond: 1 / max(1e-9, together(pieces)),
            assumptions: assumptions(pieces))
    }

    /// Seconds per token of one request.
    private func single(_ pieces: [Piece]) -> Double {
        costs.streamCount == 1 ? costs.score(pieces) : costs(for: pieces, streamCount: 1)
    }

    /// Seconds per token of all requests together.
    private func together(_ pieces: [Piece]) -> Double {
        costs.streamCount == request.sequenceCount
            ? costs.score(pieces) : costs(for: pieces, streamCount: request.sequenceCount)
    }

    /// Scores with another number of requests, with tables for the placement's own nodes only.
    private func costs(for pieces: [Piece], streamCount: Int) -> Double {
        let own = pieces.map { nodes[$0.node] }
        let renumbered = pieces.enumerated().map {
            Piece(node: $0.offset, first: $0.element.first, end: $0.element.end)
        }
        let links = costs.links.selecting(pieces.map(\.node))
        return PlanCosts(request, needs: needs, nodes: own, links: links, streamCount: streamCount).score(renumbered)
    }

    /// Chunks follow each other: the first one goes through all stages, the others wait for the slowest stage.
    private func timeToFirstToken(_ pieces: [Piece]) -> Double {
        var arrived = [Double](repeating: 0, count: pieces.count)
        var finished = 0.0
        for chunk in chunks {
            var ready = 0.0
            for (index, piece) in pieces.enumerated() {
                guard let layers = LayerRange(first: piece.first, end: piece.end) else { continue }
                if index > 0 {
                    ready += costs.links.seconds(
                        from: pieces[index - 1].node, to: piece.node,
                        byteCount: chunk.tokenCount * request.shape.boundaryBytesPerToken.rawValue)
                }
                ready = max(ready, arrived[index]) + costs.speeds[piece.node].stageSeconds(layers, chunk)
                arrived[index] = ready
            }
            finished = ready
        }
        return finished
    }

    // MARK: What is not known

    private func assumptions(_ pieces: [Piece]) -> [String] {
        var sentences = pieces.map { nodes[$0.node] }.filter(\.isImagined).map {
            "\($0.name) does not exist; it is taken to be as fast as this node"
        }
        let guessed = pieces.map(\.node).filter { !costs.speeds[$0].isMeasured }.map { nodes[$0].name }
        if !guessed.isEmpty {
            sentences.append(
                "the speed of \(guessed.joined(separator: ", ")) is not measured yet; guessed from the threads")
        }
        for node in pieces.map(\.node) {
            for (type, measured) in costs.speeds[node].standIns.sorted(by: { $0.key < $1.key })
            where costs.speeds[node].isMeasured {
                sentences.append("\(nodes[node].name) has not measured \(type); \(measured) stands for it")
            }
        }
        let unknown = hops(pieces).filter { !costs.links.isMeasured(from: $0.from, to: $0.to) }
        if !unknown.isEmpty {
            let names = unknown.map { "\(nodes[$0.from].name) to \(nodes[$0.to].name)" }.joined(separator: ", ")
            sentences.append(
                "links not measured yet: \(names); taken as \(oneDecimal(LinkTimes.assumedRoundTripSeconds * 1000)) ms "
                    + "round trip and \(Int(LinkTimes.assumedBytesPerSecond / 1e6)) MB/s")
        }
        let unloaded = pieces.map(\.node).filter { costs.speeds[$0].loadBytesPerSecond == nil }.map { nodes[$0].name }
        if !unloaded.isEmpty {
            sentences.append(
                "nothing was loaded on \(unloaded.joined(separator: ", ")) yet; its disk is taken as "
                    + "\(Int(Placement.assumedLoadBytesPerSecond / 1e6)) MB/s")
        }
        return sentences
    }
}
