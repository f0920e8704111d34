/// What a head counted since it began.
package struct HeadCounters: Hashable, Sendable, Codable {
    /// Tokens of the prompts of admitted requests.
    package var promptTokenCount = 0
    /// Of those, tokens whose KV was there already.
    package var reusedTokenCount = 0
    package var outputTokenCount = 0
    /// Guessed tokens that were checked, and those of them that were right.
    package var draftedTokenCount = 0
    package var acceptedTokenCount = 0
    /// Those of the draft model among them.
    package var modelDraftedTokenCount = 0
    package var modelAcceptedTokenCount = 0
    /// Running answers that went on in a rebuilt pipeline.
    package var resumedRequestCount = 0

    package init() {}
}
