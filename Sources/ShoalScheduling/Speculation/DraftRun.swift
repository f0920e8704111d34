import ShoalCore

/// The guesses of one answer: what is thought to follow, who thinks so, and how often each of them was right.
///
/// What the text repeats is looked up for nothing, so a look-up goes first when it finds something, as long as every
/// second of its guesses was right lately, or as many as the draft model's. It is judged also while the model's guesses
/// are used.
struct DraftRun: Sendable {
    enum Origin: Sendable {
        case lookup
        /// The draft model, whose guesses come in one by one.
        case model
    }

    private var lookup = PromptLookup()
    /// Guessed tokens behind the answer so far, in order, all of one origin.
    private(set) var tokens: [TokenID] = []
    private(set) var origin = Origin.lookup
    /// Where the next looked up guess comes from, counted through the answer and the guesses.
    private var source: Int?
    /// What a look-up says comes next, while the model's guesses are used.
    private var foreseen: TokenID?
    /// Shares of the guesses that were right, the latest counting most.
    private var lookupAcceptance = DraftRun.firstAcceptance
    private(set) var modelAcceptance: Double

    private static let firstAcceptance = 0.5
    private static let newestWeight = 0.1
    /// Steadier: a draft model that was found to be of no use rests for a while.
    private static let newestModelWeight = 0.05

    init(modelAcceptance: Double) { self.modelAcceptance = modelAcceptance }

    /// Of the origin of `tokens`.
    var acceptance: Double { origin == .lookup ? lookupAcceptance : modelAcceptance }

    /// Decides who guesses behind the answer. `isUntold`: no guess was sent, so all of them may be replaced.
    /// `hasModel`: a draft model is there and worth asking.
    mutating func begin(after answer: [TokenID], isUntold: Bool, hasModel: Bool) {
        let match = lookup.occurrence(in: answer)
        foreseen = match.map { answer[$0] }
        guard tokens.isEmpty || (origin == .model && isUntold) else { return }
        guard let match, !hasModel || lookupAcceptance >= min(modelAcceptance, Self.firstAcceptance) else {
            origin = .model
            return
        }
        origin = .lookup
        tokens = []
        source = match
        extend(to: 1, after: answer)
    }

    /// Goes on guessing until `count` tokens are guessed, if it is the text that is looked up.
    mutating func extend(to count: Int, after answer: [TokenID]) {
        guard var next = source else { return }
        while tokens.count < count {
            let index = next - answer.count
            tokens.append(index < 0 ? answer[next] : tokens[index])
            next += 1
        }
        source = next
    }

    /// One more guess of the draft model.
    mutating func append(_ token: TokenID) {
        assert(origin == .model)
        tokens.append(token)
    }

    /// What really followed. Returns false when something else was guessed, which ends the run.
    mutating func judge(_ token: TokenID) -> Bool {
        if origin == .model, let foreseen { Self.learn(foreseen == token, &lookupAcceptance) }
        guard let guess = tokens.first else { return true }
        let isRight = guess == token
        switch origin {
        case .lookup: Self.learn(isRight, &lookupAcceptance)
        case .model: Self.learn(isRight, &modelAcceptance, weight: Self.newestModelWeight)
        }
        if isRight {
            tokens.removeFirst()
        } else {
            forget()
        }
        return isRight
    }

    /// A guess of the draft model that came when it was known what follows.
    mutating func judgeLate(_ isRight: Bool) {
        Self.learn(isRight, &modelAcceptance, weight: Self.newestModelWeight)
    }

    mutating func forget() {
        tokens = []
        source = nil
        foreseen = nil
    }

    static func learn(_ isRight: Bool, _ acceptance: inout Double, weight: Double = newestWeight) {
        acceptance += ((isRight ? 1 : 0) - acceptance) * weight
    }
}
