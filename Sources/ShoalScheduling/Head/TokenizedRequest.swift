package import ShoalCore

/// A request as the scheduler sees it: the prompt is tokens already.
package struct TokenizedRequest: Hashable, Sendable {
    package var id: RequestID
    /// Not empty.
    package var promptTokens: [TokenID]
    package var sampling: SamplingParameters
    /// The answer ends before the first of these; at most `Limits.stopSequenceCountMax`.
    package var stopSequences: [String]
    /// At least 1; nil means until the context is full.
    package var outputTokenCountMax: Int?
    /// Nil: as the head does by itself.
    package var speculation: SpeculationMode?
    /// The answer so far, of which the reader was told by an instance that was lost, with the tokens' pieces.
    package var answerSoFar: [AnsweredToken] = []

    package struct AnsweredToken: Hashable, Sendable {
        package var token: TokenID
        /// Raw bytes, which may end in the middle of a UTF-8 character.
        package var piece: [UInt8]

        package init(token: TokenID, piece: [UInt8]) {
            self.token = token
            self.piece = piece
        }
    }

    package init(
        id: RequestID, promptTokens: [TokenID], sampling: SamplingParameters = SamplingParameters(),
        stopSequences: [String] = [], outputTokenCountMax: Int? = nil, speculation: SpeculationMode? = nil
    ) {
        self.id = id
        self.promptTokens = promptTokens
        self.sampling = sampling
        self.stopSequences = stopSequences
        self.outputTokenCountMax = outputTokenCountMax
        self.speculation = speculation
    }
}

extension TokenizedRequest {
    /// Throws `invalidRequest` or, when the prompt leaves no room for a single token, `contextOverflow`.
    func validate(contextTokenCount: Int) throws(ShoalError) {
        guard !promptTokens.isEmpty else {
            throw ShoalError(.invalidRequest, "the prompt has no tokens; send at least one")
        }
        if let outputTokenCountMax, outputTokenCountMax < 1 {
            throw ShoalError(.invalidRequest, "\(outputTokenCountMax) output tokens were asked for; ask for at least 1")
        }
        guard stopSequences.count <= Limits.stopSequenceCountMax else {
            throw ShoalError(
                .invalidRequest,
                "\(stopSequences.count) stop sequences were sent; at most \(Limits.stopSequenceCountMax) are allowed")
        }
        if let long = stopSequences.map(\.utf8.count).max(), long > Limits.stopSequenceByteCountMax {
            throw ShoalError(
                .invalidRequest,
                "a stop sequence has \(long) bytes; at most \(Limits.stopSequenceByteCountMax) are allowed")
        }
        guard promptTokens.count < contextTokenCount else {
            throw ShoalError(
                .contextOverflow,
                "the prompt has \(promptTokens.count) tokens and the context \(contextTokenCount), which leaves no room"
                    + " for an answer; shorten the prompt, or load the model with a larger context")
        }
        let room = min(outputTokenCountMax ?? .max, contextTokenCount - promptTokens.count)
        guard answerSoFar.count < room else {
            throw ShoalError(
                .contextOverflow,
                "the answer has \(answerSoFar.count) tokens already, of \(room) that the request and the context allow")
        }
    }
}
