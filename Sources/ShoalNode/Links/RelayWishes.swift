import ShoalCore

/// When to link with a node that can only be reached through another one. Pure; time is a parameter.
///
/// Direct dials come first and are given time. The node with the smaller id begins, so that one link is made.
struct RelayWishes {
    struct Configuration {
        /// From hearing of a node without having a link to it.
        var delay = Duration.seconds(2)
        /// The node with the larger id waits longer.
        var laterSideDelay = Duration.seconds(4)
        /// After a failure; doubles up to `retryPauseMax`.
        var retryPauseMin = Duration.seconds(2)
        var retryPauseMax = Duration.seconds(60)
    }

    private struct Wish {
        var dueAt: Duration
        var failureCount = 0
        var isTried = false
    }

    private let own: NodeID
    private let configuration: Configuration
    private var wishes: [NodeID: Wish] = [:]

    init(own: NodeID, configuration: Configuration = Configuration()) {
        self.own = own
        self.configuration = configuration
    }

    /// The nodes to link with now, of those without any link; each is reported with `ended`.
    mutating func due(unlinked: Set<NodeID>, now: Duration) -> [NodeID] {
        wishes = wishes.filter { unlinked.contains($0.key) || $0.value.isTried }
        for node in unlinked where wishes[node] == nil && wishes.count < Limits.peerCountMax {
            let delay = configuration.delay + (node < own ? configuration.laterSideDelay : .zero)
            wishes[node] = Wish(dueAt: now + delay)
        }
        let due = wishes.filter { unlinked.contains($0.key) && !$0.value.isTried && $0.value.dueAt <= now }.keys
            .sorted()
        for node in due { wishes[node]?.isTried = true }
        return due
    }

    mutating func ended(_ node: NodeID, succeeded: Bool, now: Duration) {
        guard var wish = wishes[node] else { return }
        wish.isTried = false
        let pause = configuration.retryPauseMin * (1 << min(wish.failureCount, 5))
        wish.dueAt = now + min(pause, configuration.retryPauseMax)
        wish.failureCount = succeeded ? 0 : wish.failureCount + 1
        wishes[node] = wish
    }
}
