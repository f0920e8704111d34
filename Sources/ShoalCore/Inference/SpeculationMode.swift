/// Whether tokens are guessed from what the text repeats, and checked several at a time. Answers are the same in any
/// mode; guesses only save time.
package enum SpeculationMode: String, Hashable, Sendable, Codable, CaseIterable {
    case off
    /// Where it is expected to save time, from how many guesses were right and what stages and links take.
    case auto
    /// Whenever there is a guess.
    case ngram
}
