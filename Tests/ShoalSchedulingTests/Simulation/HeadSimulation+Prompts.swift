import ShoalCore
import ShoalScheduling

/// What the clients of a simulated head ask.
extension HeadSimulation {
    /// A new one, one that was seen, or the continuation of a conversation.
    mutating func prompt() -> [TokenID] {
        let tokenCount = Int.random(in: 1...configuration.contextTokenCount, using: &generator)
        var tokens: [TokenID] = []
        if generator.chance(70), let earlier = clients.randomElement(using: &generator) {
            tokens = earlier.request.promptTokens
            if generator.chance(60) { tokens += earlier.expected.tokens }
            if generator.chance(30) {
                tokens = Array(tokens.prefix(Int.random(in: 0...tokens.count, using: &generator)))
            }
        }
        while tokens.count < tokenCount {
            tokens.append(TokenID(rawValue: Int32.random(in: 0..<16, using: &generator)))
        }
        return Array(tokens.prefix(tokenCount))
    }
}
