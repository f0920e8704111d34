import ShoalCore

/// What a leader does for one wanted slot that has no instance: a value of one reign.
struct SlotEffort: Hashable, Sendable {
    /// The number of the plan that is being made.
    var ticket: UInt64?
    /// The head was told to start it, and has not reported it yet.
    var start: InstanceCommand?
    /// The instance that held the slot last.
    var owner: InstanceID?
    /// Instances that failed in a row.
    var failureCount = 0
    /// Instances whose failure is counted, the latest last; more than one slot can have at a time.
    static let countedFailureCountMax = 64
    var countedFailures: [InstanceID] = []
    /// Nothing is tried before.
    var notBefore = Duration.zero
    /// No plan is made before, whatever changes.
    var notPlannedBefore = Duration.zero
    /// Why it is not running; kept while it is started again.
    var reason: ShoalError?
    /// Whether it waits for nodes, not for a pause to be over.
    var isWaitingForNodes = false
    var hasGivenUp = false

    /// Another attempt failed.
    mutating func failed(
        _ error: ShoalError, instance: InstanceID?, configuration: DesiredState.Configuration, now: Duration
    ) {
        if let instance {
            guard !countedFailures.contains(instance) else { return }
            countedFailures.append(instance)
            countedFailures.removeFirst(max(0, countedFailures.count - Self.countedFailureCountMax))
        }
        if instance == nil || start?.instance == instance { start = nil }
        failureCount += 1
        isWaitingForNodes = false
        reason = error
        let pause = configuration.retryDelayMin * (1 << min(failureCount - 1, 16))
        notBefore = now + min(pause, configuration.retryDelayMax)
        guard error.code.mayHealElsewhere else { return hasGivenUp = true }
        guard failureCount >= configuration.failureCountMax else { return }
        reason = error.during("given up after \(failureCount) attempts")
        hasGivenUp = true
    }

    /// With another node there is a new plan to try, unless no plan helps.
    mutating func nodeArrived(now: Duration) {
        guard hasGivenUp, reason?.code.mayHealElsewhere == true else { return }
        hasGivenUp = false
        failureCount = 0
        notBefore = now
    }

    /// Whoever waits for nodes is planned at once, within bounds.
    mutating func resourcesChanged(now: Duration) {
        if isWaitingForNodes { notBefore = max(now, notPlannedBefore) }
    }

    /// Its instance answers.
    mutating func succeeded() {
        failureCount = 0
        countedFailures = []
        reason = nil
    }
}
