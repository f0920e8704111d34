import ShoalCore

/// The guesses of one answer: what is thought to follow, and how often that was right.
///
/// Guesses are made whether they are sent or not, so a text that begins to repeat is noticed for free, and one that
/// stops.
struct DraftRun: Sendable {
    private var lookup = PromptLookup()
    /// Guessed tokens behind the answer so far, in order.
    private(set) var tokens: [TokenID] = []
    /// Where the next guess comes from, counted through the answer and the guesses.
    private var source: Int?
    /// Share of the guesses that were right, the latest counting most.
    private(set) var acceptance = DraftRun.firstAcceptance

    private static let firstAcceptance = 0.5
    private static let newestWeight = 0.1

    /// Guesses one token for an answer of which nothing is guessed yet.
    mutating func begin(after answer: [TokenID]) {
        guard tokens.isEmpty else { return }
        source = lookup.occurrence(in: answer)
        extend(to: 1, after: answer)
    }

    /// Goes on guessing until `count` tokens are guessed, if anything is.
    mutating func extend(to count: Int, after answer: [TokenID]) {
        guard var next = source else { return }
        while tokens.count < count {
            let index = next - answer.count
            tokens.append(index < 0 ? answer[next] : tokens[index])
            next += 1
        }
        source = next
    }

    /// What really followed. Returns false when something else was guessed, which ends the run.
    mutating func judge(_ token: TokenID) -> Bool {
        guard let guess = tokens.first else { return true }
        let isRight = guess == token
        acceptance += ((isRight ? 1 : 0) - acceptance) * Self.newestWeight
        if isRight {
            tokens.removeFirst()
        } else {
            forget()
        }
        return isRight
    }

    mutating func forget() {
        tokens = []
        source = nil
    }
}
