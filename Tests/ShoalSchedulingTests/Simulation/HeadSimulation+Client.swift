import ShoalCore
import ShoalScheduling

extension HeadSimulation {
    /// What is known of one request from outside.
    struct Client {
        let request: TokenizedRequest
        let expected: (text: String, reason: FinishReason, tokens: [TokenID])
        /// Per step, the chance that it reads on.
        let readPercent: Int
        var isStarted = false
        /// Whether another head went on with it.
        var hasMoved = false
        var text = ""
        var toldTokenCount = 0
        var consumedTokenCount = 0
        var terminal: GenerationEvent?
        var decodesInFlight = 0
        /// The prompt, and what was answered before the pipeline was lost.
        var prefillTokenCount = 0

        var unacknowledged: Int { toldTokenCount - consumedTokenCount }
    }
}
