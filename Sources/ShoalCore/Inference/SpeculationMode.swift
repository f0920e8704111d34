/// Whether tokens are guessed, from what the text repeats or by a draft model, and checked several at a time. Answers
/// are the same in any mode; guesses only save time.
package enum SpeculationMode: String, Hashable, Sendable, Codable, CaseIterable {
    case off
    /// Where it is expected to save time, from how many guesses were right and what stages and links take.
    case auto
    /// Whenever the text repeats itself; not by a draft model.
    case ngram
    /// Whenever there is a guess, whether by a draft model or because the text repeats itself.
    case draft
}
